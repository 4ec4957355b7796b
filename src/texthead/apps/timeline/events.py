"""Find events with a start and an end in class probabilities over time."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Bool

from texthead.errors import DataError, Rule, Share, check_fields


class Interval(NamedTuple):
    """The probability of each class (0-1) from `start` to `end`, in seconds; the next interval starts where it ends.

    `accepted` is False if a calibrated model rejects it as none of the classes.
    """

    start: float
    end: float
    scores: Sequence[float]
    accepted: bool = True


@dataclass(frozen=True)
class Event:
    """One class from `start` to `end` (seconds from the first frame), with its mean and peak probability.

    The mean excludes bridged gaps.
    """

    name: str
    start: float
    end: float
    mean: float
    peak: float


@dataclass(frozen=True)
class Hysteresis:
    """Thresholds for the start and end of events.

    An event starts when the class's probability reaches `enter` and ends when it falls below `leave`. Gaps shorter than
    `min_length` seconds between events of a class are bridged; then shorter events are dropped. Each class is treated
    separately, so with thresholds below 0.5 events can overlap. While an interval is none of the classes, no event
    starts or continues.

    Args:
        thresholds: the probability of each class at which its events start and end, in place of `enter` and `leave`.

    Raises: DataError for thresholds outside 0..1, a `leave` above `enter`, or a negative length.
    """

    enter: Share = 0.7
    leave: Share = 0.4
    min_length: Annotated[float, Rule("0 seconds or more", lambda value: 0 <= value < math.inf)] = 1.0
    thresholds: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.leave > self.enter:
            raise DataError(
                f"`leave` must be at most `enter` ({self.enter}), got {self.leave}; otherwise events would end at once"
            )


def events_of(intervals: Iterable[Interval], names: Sequence[str], rule: Hysteresis) -> list[Event]:
    """Return the events in order. Memory is one unfinished event per class.

    Worked example, one class, enter 0.6, leave 0.4, 1 s intervals: 0.5 0.7 0.5 0.3 gives one event from 1 to 3 s.
    """
    own = rule.thresholds
    limits = [(rule.enter, rule.leave) if own is None else (own[name], own[name]) for name in names]
    enter, leave = np.array(limits).T
    on, events = np.zeros(len(names), bool), list[Event]()
    # Of the event of each class, which is on or may be bridged: NaN if there is none. `total` is the sum of probability
    # times duration over the `seconds` that the class was on.
    unfinished = np.full((5, len(names)), math.nan)
    starts, ends, total, seconds, peak = unfinished

    def finish(over: Bool[np.ndarray, " classes"]) -> None:
        """Collect the events of some classes that are long enough, and forget them all."""
        long = np.flatnonzero(over & (ends - starts >= rule.min_length) & (seconds > 0))
        start, end, weighted, duration, best = unfinished[:, long]
        rows = np.stack([start, end, weighted / duration, best], 1).tolist()
        events.extend(Event(names[i], *row) for i, row in zip(long.tolist(), rows, strict=True))
        unfinished[:, over] = math.nan

    for interval in intervals:
        start, end, scores, accepted = interval
        values = np.array(scores)
        on = (values >= np.where(on, leave, enter)) & accepted
        unfinished[:, on & np.isnan(starts)] = np.array([start, end, 0, 0, 0])[:, None]
        ends[on] = end
        total += values * (end - start) * on
        seconds += (end - start) * on
        peak[on] = np.maximum(peak, values)[on]
        # A longer gap is not bridged.
        finish(~on & (end - ends >= rule.min_length))
    finish(np.ones_like(on))
    return sorted(events, key=lambda event: (event.start, event.end, event.name))
