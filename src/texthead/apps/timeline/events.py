"""Find events with a start and an end in class probabilities over time, all at once or as a stream."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool

from texthead.errors import DataError, Share, check_fields, printable
from texthead.evaluation import NONE


class Stretch(NamedTuple):
    """The probability of each class (0-1) from `start` to `end`, in seconds; the next stretch starts where it ends.

    `known` is False if a calibrated model rejects it as none of the classes.
    """

    start: float
    end: float
    scores: Sequence[float]
    known: bool = True


@dataclass(frozen=True)
class Event:
    """One class from `start` to `end` (seconds from the first frame), with its mean and peak probability.

    The mean excludes bridged gaps. A time that is none of the classes is an event with `known` False, with the highest
    probability of any class.
    """

    name: str
    start: float
    end: float
    mean: float
    peak: float
    known: bool = True

    COLUMNS: ClassVar = ("start", "end", "name", "mean", "peak")

    @property
    def cells(self) -> tuple[str, ...]:
        """A CSV row with `COLUMNS`; times in seconds, to a thousandth."""
        return f"{self.start:.3f}", f"{self.end:.3f}", self.name, f"{self.mean:.6f}", f"{self.peak:.6f}"

    def to_json(self) -> dict[str, object]:
        """Return the event for JSON, unrounded; `name` is null for none of the classes."""
        numbers = {key: getattr(self, key) for key in ("start", "end", "mean", "peak")}
        return {"name": self.name if self.known else None, **numbers}


@dataclass(frozen=True)
class Hysteresis:
    """Thresholds for the start and end of events.

    An event starts when the class's probability reaches `enter` and ends when it falls below `leave`. Gaps shorter than
    `min_length` seconds between events of a class are bridged; then shorter events are dropped. Each class is treated
    separately, so with thresholds below 0.5 events can overlap. While a stretch is none of the classes, no event starts
    or continues; such times are bridged and dropped by the same `min_length`.

    Args:
        thresholds: the probability of each class at which its events start and end, in place of `enter` and `leave`.

    Raises: DataError for thresholds outside 0..1, a `leave` above `enter`, or a negative length.
    """

    enter: Share = 0.7
    leave: Share = 0.4
    min_length: float = 1.0
    thresholds: Mapping[str, float] | None = None

    def of(self, name: str) -> "Hysteresis":
        """Return the rule of one class."""
        if self.thresholds is None:
            return self
        return Hysteresis(self.thresholds[name], self.thresholds[name], self.min_length)

    def __post_init__(self) -> None:
        check_fields(self, [(("min_length",), lambda value: 0 <= value < math.inf, "0 seconds or more")], DataError)
        if self.leave > self.enter:
            raise DataError(
                f"`leave` must be at most `enter` ({self.enter}), got {self.leave}; otherwise events would end at once"
            )


class EventFinder:
    """Find events in a stream of stretches; memory is one unfinished event per class.

    Attributes:
        highest: the stretch with the highest probability, of those that are known if there are any.
    """

    def __init__(self, names: Sequence[str], rule: Hysteresis):
        rules = [*map(rule.of, names), rule]
        self._names, self._shortest = [*names, NONE], rule.min_length
        self._enter, self._leave = np.array([(each.enter, each.leave) for each in rules]).T
        self._on = np.zeros(len(rules), bool)
        # Of the event of each class, which is on or may be bridged: NaN if there is none. `_sum` is the sum of
        # probability times duration over the `_seconds` that the class was on.
        self._events = np.full((5, len(rules)), math.nan)
        self._start, self._end, self._sum, self._seconds, self._peak = self._events
        self.highest: Stretch | None = None

    def add(self, stretch: Stretch) -> list[Event]:
        """Add a stretch; return the events it finishes, including times of none of the classes.

        An event is finished once the gap after it is too long to be bridged.

        Worked example, one class, enter 0.6, leave 0.4, 1 s stretches: 0.5 0.7 0.5 0.3 gives one event from 1 to 3 s.
        """
        start, end, scores, known = stretch
        self.highest = max(self.highest or stretch, stretch, key=lambda each: (each.known, max(each.scores)))
        values = np.array([*scores, max(scores)])
        self._on = (values >= np.where(self._on, self._leave, self._enter)) & known
        self._on[-1] = not known
        self._events[:, self._on & np.isnan(self._start)] = np.array([start, end, 0, 0, 0])[:, None]
        self._end[self._on] = end
        self._sum += values * (end - start) * self._on
        self._seconds += (end - start) * self._on
        self._peak[self._on] = np.maximum(self._peak, values)[self._on]
        return self._finish(~self._on & (end - self._end >= self._shortest))

    def finish(self) -> list[Event]:
        """Return the events that are unfinished at the end."""
        return self._finish(np.ones_like(self._on))

    def _finish(self, over: Bool[np.ndarray, " classes"]) -> list[Event]:
        """Return the events of some classes that are long enough, and forget them all."""
        long = np.flatnonzero(over & (self._end - self._start >= self._shortest) & (self._seconds > 0))
        start, end, total, seconds, peak = self._events[:, long]
        rows = np.stack([start, end, total / seconds, peak], 1).tolist()
        none = len(self._names) - 1
        events = [Event(self._names[i], *row, known=i < none) for i, row in zip(long.tolist(), rows, strict=True)]
        self._events[:, over], self._on[over] = math.nan, False
        return events


def in_order(events: Iterable[Event]) -> list[Event]:
    """Return the events sorted by start, end and name."""
    return sorted(events, key=lambda event: (event.start, event.end, event.name))


def subtitles(events: Iterable[Event]) -> str:
    """Return the events as SubRip subtitles, one cue each, without times of none of the classes.

    Arrows and tags in names are broken up by an invisible character (U+2060), so that they stay text.
    """
    cues = (
        f"{number}\n{_clock(event.start)} --> {_clock(event.end)}\n{_cue_text(event.name)}\n"
        for number, event in enumerate((event for event in events if event.known), 1)
    )
    return "\n".join(cues)


def _cue_text(name: str) -> str:
    return re.sub(r"[<{]|--(?=>)", lambda mark: f"{mark[0]}\u2060", printable(" ".join(name.split())))


def _clock(seconds: float) -> str:
    """Return a time in SubRip's format.

    Worked example: 3725.5 s is 1 h, 2 min, 5 s and 500 ms: 01:02:05,500.
    """
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{thousandths:03d}"
