"""Scores over time -> events with a start and an end: pure numbers, in one go or as the scores come."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from texthead.errors import DataError, printable
from texthead.evaluation.calibration import NONE


class Stretch(NamedTuple):
    """The probability of each class (0 to 1) from one time to another, in seconds; the next begins where it ends.

    `known` is False where a calibrated model says that it is none of them.
    """

    start: float
    end: float
    scores: tuple[float, ...]
    known: bool = True


@dataclass(frozen=True)
class Event:
    """One class from `start` to `end` (seconds from the first frame), and its probability there: mean and peak.

    The mean is that of the stretches at which the class was on, without gaps that were bridged. A time that is none of
    the classes is no event; it comes as one that is not `known`, with the best probability there, whatever its class.
    """

    name: str
    start: float
    end: float
    mean: float
    peak: float
    known: bool = True


@dataclass(frozen=True)
class Hysteresis:
    """When an event of a class begins and ends.

    It begins where the class's probability is `enter` or more and ends where it falls below `leave`. A gap between two
    events of the same class that is shorter than `min_length` seconds is bridged; then events that are shorter are
    dropped. Classes are looked at each by itself, so below 0.5 events of several can overlap. Where it is none of the
    classes no event begins or goes on, and such times are bridged and dropped by the same length.

    Raises: DataError for thresholds outside 0..1, a `leave` above `enter`, or a negative length.
    """

    enter: float = 0.7
    leave: float = 0.4
    min_length: float = 1.0

    def __post_init__(self) -> None:
        for name in ("enter", "leave"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} must be a probability, 0 to 1, got {getattr(self, name)}")
        if self.leave > self.enter:
            raise DataError(f"leave {self.leave} must not be above enter {self.enter}: an event would end at once")
        if not 0 <= self.min_length < float("inf"):
            raise DataError(f"min_length must be 0 seconds or more, got {self.min_length}")


@dataclass(slots=True)
class _Span:
    """An event in the making: `weighted` is the sum of probability times seconds over the `seconds` it was on."""

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


class _Class:
    """The events of one class: at most one that is on, or that is over unless the gap behind it is bridged."""

    def __init__(self, name: str, rule: Hysteresis, *, known: bool = True):
        self.name = name
        self.rule = rule
        self.known = known
        self._on: _Span | None = None
        self._over: _Span | None = None
        self._told = False

    def reached_by(self, score: float) -> bool:
        """Return whether an event begins, or goes on, with this probability."""
        return score >= (self.rule.enter if self._on is None else self.rule.leave)

    def add(self, start: float, end: float, score: float, *, on: bool) -> list[Event]:
        """Add a stretch and return the event that it settles, if any."""
        if on:
            # What is over is still there only if the gap is short enough to be bridged.
            self._on = self._on or self._over or _Span(start, end)
            self._over = None
            self._on.add(start, end, score)
            return []
        if self._on is not None:
            self._on, self._over = None, self._on
        if self._over is not None and end - self._over.end >= self.rule.min_length:
            return self.finish()
        return []

    def begun(self) -> list[tuple[str, float]]:
        """Return (name, start) of the event that is on, once, when it is long enough to be kept."""
        if self._told or self._on is None or self._on.end - self._on.start < self.rule.min_length:
            return []
        self._told = True
        return [(self.name, self._on.start)]

    def finish(self) -> list[Event]:
        """Return the last event, if there is one and it is long enough."""
        span = self._on or self._over
        self._on = self._over = None
        self._told = False
        if span is None or span.end - span.start < self.rule.min_length or not span.seconds:
            return []
        return [Event(self.name, span.start, span.end, span.weighted / span.seconds, span.peak, self.known)]


class EventFinder:
    """Events as the stretches come; it holds one unfinished event a class, however long it runs."""

    def __init__(self, names: Sequence[str], rule: Hysteresis):
        self._classes = [_Class(name, rule) for name in names]
        self._none = _Class(NONE, rule, known=False)

    def add(self, stretch: Stretch) -> list[Event]:
        """Add a stretch and return the events that it settles, most often none, and times of none of the classes.

        An event is settled when it is over and the gap behind it is too long to be bridged.
        """
        settled: list[Event] = []
        start, end, scores, known = stretch
        for each, score in zip(self._classes, scores, strict=True):
            settled += each.add(start, end, score, on=known and each.reached_by(score))
        return settled + self._none.add(start, end, max(scores), on=not known)

    def begun(self) -> list[tuple[str, float]]:
        """Return (name, start) of the events that have begun since this was asked, and are long enough to be kept."""
        return [told for each in self._classes for told in each.begun()]

    def finish(self) -> list[Event]:
        """Return the events that are still on at the end."""
        return [event for each in (*self._classes, self._none) for event in each.finish()]


def events_in(stretches: Iterable[Stretch], names: Sequence[str], rule: Hysteresis) -> list[Event]:
    """Return all events, by their start; times of none of the classes are left out.

    Worked example, one class, enter 0.6, leave 0.4, stretches of a second: 0.5 0.7 0.5 0.3 gives one event of 1-3 s.
    """
    finder = EventFinder(names, rule)
    found = [event for stretch in stretches for event in finder.add(stretch)] + finder.finish()
    return in_order(event for event in found if event.known)


def in_order(events: Iterable[Event]) -> list[Event]:
    """Return the events by their start, then their end and name."""
    return sorted(events, key=lambda event: (event.start, event.end, event.name))


CSV_COLUMNS = ("start", "end", "name", "mean", "peak")


def csv_row(event: Event) -> tuple[str, ...]:
    """Return the row of a table with `CSV_COLUMNS`: seconds to a thousandth."""
    return f"{event.start:.3f}", f"{event.end:.3f}", event.name, f"{event.mean:.6f}", f"{event.peak:.6f}"


MANIFEST_COLUMNS = ("path", "start", "end", "label", "probability")


def manifest_row(event: Event, video: str, *, begin: float = 0.0) -> tuple[str, ...]:
    """Return the row of a manifest with `MANIFEST_COLUMNS`, an event as a labelled part of its video.

    Args:
        event: what was found.
        video: how the manifest names the file.
        begin: where in the file the event's times count from, in seconds.
    """
    start, end = f"{begin + event.start:.3f}", f"{begin + event.end:.3f}"
    return video, start, end, event.name, f"{event.mean:.6f}"


def event_json(event: Event) -> dict[str, object]:
    """Return the event as JSON holds it, unrounded; the name of none of the classes is null."""
    return {
        "name": event.name if event.known else None,
        "start": event.start,
        "end": event.end,
        "mean": event.mean,
        "peak": event.peak,
    }


def srt(events: Iterable[Event]) -> str:
    """Return the events as SubRip subtitles, one per cue, without times of none of the classes.

    A name that reads as an arrow or a tag of the format is text: an invisible character (U+2060) takes it apart.
    """
    cues = (
        f"{number}\n{_clock(event.start)} --> {_clock(event.end)}\n{_cue_text(event.name)}\n"
        for number, event in enumerate((event for event in events if event.known), 1)
    )
    return "\n".join(cues)


def _cue_text(name: str) -> str:
    return re.sub(r"[<{]|--(?=>)", lambda mark: f"{mark[0]}\u2060", printable(" ".join(name.split())))


def _clock(seconds: float) -> str:
    """Return hours, minutes, seconds and thousandths as SubRip writes them.

    Worked example: 3725.5 is 3725500 thousandths: 1 h, 2 min, 5 s and 500.
    So it is 01:02:05,500.
    """
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{thousandths:03d}"
