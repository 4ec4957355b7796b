"""Find events with a start and an end in class probabilities over time, all at once or as a stream."""

import math
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

from texthead.data import Labels
from texthead.errors import DataError, Share, check_fields, printable
from texthead.evaluation import NONE


class Stretch(NamedTuple):
    """The probability of each class (0-1) from `start` to `end`, in seconds; the next stretch starts where it ends.

    `known` is False if a calibrated model rejects it as none of the classes.
    """

    start: float
    end: float
    scores: tuple[float, ...]
    known: bool = True


class Curve:
    """The probability of each class over time, four bytes per number."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._ends: list[float] = []
        self._rows: list[array] = []

    def add(self, stretch: Stretch) -> None:
        """Add the scores of the next stretch."""
        self._ends.append(stretch.end)
        self._rows.append(array("f", stretch.scores))

    def at(self, seconds: float) -> dict[str, float]:
        """Return the score of each class at a time; after the end, the last one."""
        row = min(bisect_right(self._ends, seconds), len(self._rows) - 1)
        return dict(zip(self._names, self._rows[row], strict=True))


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


@dataclass(slots=True)
class _Span:
    """An unfinished event: `weighted` sums probability times duration over the `seconds` the class was on."""

    start: float
    end: float
    weighted: float = 0.0
    seconds: float = 0.0
    peak: float = 0.0

    def add(self, start: float, end: float, score: float) -> None:
        self.end = end
        self.weighted += score * (end - start)
        self.seconds += end - start
        self.peak = max(self.peak, score)


@dataclass
class _Class:
    """The current event of one class: either on, or over but still waiting for its gap to be bridged."""

    name: str
    rule: Hysteresis
    known: bool = True
    _span: _Span | None = None
    _on: bool = False
    _announced: bool = False

    def reached_by(self, score: float) -> bool:
        """Return whether an event starts or continues at this probability."""
        return score >= (self.rule.leave if self._on else self.rule.enter)

    def add(self, start: float, end: float, score: float, *, on: bool) -> list[Event]:
        """Add a stretch; return the event it finishes, if any."""
        self._on = on
        if on:
            # An event that is over is still here only if the gap is short enough to be bridged.
            self._span = self._span or _Span(start, end)
            self._span.add(start, end, score)
        elif self._span is not None and end - self._span.end >= self.rule.min_length:
            return self.finish()
        return []

    def open_events(self) -> list[tuple[str, float]]:
        """Return (name, start) of the current event once it is long enough to be kept; later calls return nothing."""
        span = self._span if self._on and not self._announced else None
        if span is None or span.end - span.start < self.rule.min_length:
            return []
        self._announced = True
        return [(self.name, span.start)]

    def finish(self) -> list[Event]:
        """Return the last event if it is long enough."""
        span, self._span, self._on, self._announced = self._span, None, False, False
        if span is None or span.end - span.start < self.rule.min_length or not span.seconds:
            return []
        return [Event(self.name, span.start, span.end, span.weighted / span.seconds, span.peak, self.known)]


class EventFinder:
    """Find events in a stream of stretches; memory is one unfinished event per class.

    Attributes:
        highest: the stretch with the highest probability, of those that are known if there are any.
    """

    def __init__(self, names: Sequence[str], rule: Hysteresis):
        self._classes = [_Class(name, rule.of(name)) for name in names]
        self._none = _Class(NONE, rule, known=False)
        self.highest: Stretch | None = None

    def add(self, stretch: Stretch) -> list[Event]:
        """Add a stretch; return the events it finishes, including times of none of the classes.

        An event is finished once the gap after it is too long to be bridged.

        Worked example, one class, enter 0.6, leave 0.4, 1 s stretches: 0.5 0.7 0.5 0.3 gives one event from 1 to 3 s.
        """
        finished: list[Event] = []
        start, end, scores, known = stretch
        self.highest = max(self.highest or stretch, stretch, key=lambda each: (each.known, max(each.scores)))
        for each, score in zip(self._classes, scores, strict=True):
            finished += each.add(start, end, score, on=known and each.reached_by(score))
        return finished + self._none.add(start, end, max(scores), on=not known)

    def open_events(self) -> list[tuple[str, float]]:
        """Return (name, start) of events that have become long enough to be kept since the last call."""
        return [event for each in self._classes for event in each.open_events()]

    def finish(self) -> list[Event]:
        """Return the events that are unfinished at the end."""
        return [event for each in (*self._classes, self._none) for event in each.finish()]


def in_order(events: Iterable[Event]) -> list[Event]:
    """Return the events sorted by start, end and name."""
    return sorted(events, key=lambda event: (event.start, event.end, event.name))


def of_all_classes(events: Iterable[Event], shortest: float = 0.0) -> list[Event]:
    """Return an event for each time between starts and ends in which events are on, named after all these.

    Its mean is the lowest of theirs, its peak the highest. Times shorter than `shortest` seconds are left out.

    Worked example: "dog" from 1 to 4 s and "frisbee" from 2 to 5 s give "dog" from 1 to 2 s, "dog; frisbee" from 2 to
    4 s, and "frisbee" from 4 to 5 s.
    """
    events, joined = list(events), []
    for start, end in pairwise(sorted({time for event in events for time in (event.start, event.end)})):
        on = [event for event in events if event.start <= start < event.end]
        if on and end - start >= shortest:
            name = Labels.join(event.name for event in on)
            joined.append(Event(name, start, end, min(each.mean for each in on), max(each.peak for each in on)))
    return joined


def event_json(event: Event) -> dict[str, object]:
    """Return the event for JSON, unrounded; `name` is null for none of the classes."""
    numbers = {key: getattr(event, key) for key in ("start", "end", "mean", "peak")}
    return {"name": event.name if event.known else None, **numbers}


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
