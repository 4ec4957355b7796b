"""Class probabilities over time, from a sliding window in which each frame is encoded once.

A video is sampled on a grid of `rate` points per second; each point uses the frame on screen at that time, so time
stamps matter, not frame numbers. A window with as many points as a clip has frames is one clip. Longer windows are
split into interleaved clips that each span the window and together use every point; they are averaged like the views of
a video. The result of a window applies to the time around its middle, half a point to each side.
"""

import math
import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from texthead.apps.timeline.events import (
    Event,
    EventFinder,
    Hysteresis,
    Stretch,
    in_order,
    of_all_classes,
    subtitles,
)
from texthead.apps.timeline.inputs import PIPE, exports, is_live
from texthead.apps.timeline.streams import LiveStream, PipedVideo
from texthead.data import Protocol, Views, check_no_separator, view_crops
from texthead.errors import DataError, MediaError, PositiveFloat, PositiveInt, check_fields, checked
from texthead.evaluation import NONE, Calibration, average_views, check_scores
from texthead.features import Engine
from texthead.files import replacing, write_csv
from texthead.media import Media, MediaPath, Part, Take
from texthead.models import Recognizer
from texthead.notebook import html_table
from texthead.parallel import Reporter, silent
from texthead.prediction import apply_calibration, protocol_of
from texthead.recipes import EngineName
from texthead.runs import Run

# A longer gap is probably a wrong time stamp, and every grid point in it would be scored.
MAX_GAP_SECONDS = 3600.0

MAX_WINDOW_FRAMES = 10_000

# Closer times are equal: frame times and grid points are rounded differently.
_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class Sliding:
    """Window in seconds, points per second, and frames encoded together.

    With a `batch` of 1, features don't depend on other frames. Larger batches are faster on a GPU, but add latency and
    may change last digits.

    Raises: DataError if a number is not above 0, or the window has more than 10,000 points.
    """

    window: PositiveFloat = 1.0
    rate: PositiveFloat = 8.0
    batch: PositiveInt = 1

    def __post_init__(self) -> None:
        check_fields(self, error=DataError)
        if self.window * self.rate > MAX_WINDOW_FRAMES:
            raise DataError(
                f"`window={self.window:g}` at `rate={self.rate:g}` is {self.window * self.rate:.0f} frames, more than "
                f"{MAX_WINDOW_FRAMES}; use a shorter `window`"
            )

    @property
    def points(self) -> int:
        """The number of grid points in one window."""
        return max(1, round(self.window * self.rate))

    def views(self, frames: int) -> Views:
        """Return the clips of `frames` frames in one window."""
        return Views(clips=max(1, self.points // frames), origin="centre")


class Timeline:
    """Turn a stream of frames into a stream of stretches with class probabilities.

    Memory is one frame, the frames of an incomplete batch and the features of one window, however long the video is.

    If the encoder convolves over frames, single frames have no features: the window then holds frames, and each window
    is encoded as a whole.
    """

    @checked
    def __init__(
        self,
        model: Recognizer,
        protocol: Protocol,
        sliding: Sliding,
        calibration: Calibration | None = None,
        engine: Engine | None = None,
    ):
        apart = model.eval().sees_frames_apart
        self._encoder = (engine or model.visual) if apart else nn.Identity()
        self._scorer = model.on_features() if apart else model
        self._model = model
        self._protocol = protocol
        self._sliding = sliding
        self._calibration = calibration
        self._shown: tuple[float, Take] | None = None
        self._points = 0
        self._encoded = 0
        self._waiting: list[tuple[UInt8[Tensor, "3 size size"], int]] = []
        self._window: deque[Tensor] = deque(maxlen=sliding.points)
        self._last: Stretch | None = None

    @property
    def held(self) -> int:
        """The number of frames and features in memory."""
        return (self._shown is not None) + len(self._waiting) + len(self._window)

    def feed(self, seconds: float, take: Take) -> list[Stretch]:
        """Add a frame shown from `seconds` on; return the stretches that are now complete.

        `take` returns the picture (height, width, 3; RGB). It is called only if the frame is on screen at a grid point.

        Raises:
            DataError: the time is not later than the previous one, or more than an hour later.
        """
        complete = self._until(seconds) if self._shown else []
        self._shown = (seconds, take)
        return complete

    def finish(self, end: float) -> list[Stretch]:
        """Return the last stretches of a video that ends at `end` seconds.

        Raises:
            DataError: there was no frame, or `end` is before the last frame or more than an hour after it.
        """
        if self._shown is None:
            raise DataError("no frames, so there is no timeline; feed at least one")
        # A frame at the very beginning counts, however short it is.
        complete = self._until(max(end, self._shown[0] + 2 * _SAME_SECONDS)) + self._encode()
        if len(self._window) < self._sliding.points:
            self._score()
        assert self._last is not None, "at least one point was fed, so at least one window was scored"
        self._shown = None
        return [*complete, self._last._replace(end=max(end, self._last.start))]

    def _until(self, seconds: float) -> list[Stretch]:
        """Keep the current frame on screen until `seconds`; return the stretches that are now complete."""
        assert self._shown is not None, "only called where a frame is on the screen"
        since, take = self._shown
        if not since < seconds <= since + MAX_GAP_SECONDS:
            rule = "times must increase by at most an hour; encode the video again, or cut it there"
            raise DataError(f"a frame at {since:.2f} s is followed by one at {seconds:.2f} s; {rule}")
        due = math.ceil((seconds - _SAME_SECONDS) * self._sliding.rate)
        if due <= self._points:
            return []
        self._waiting.append((self._crop(take()), due - self._points))
        self._points = due
        return self._encode() if len(self._waiting) >= self._sliding.batch else []

    def _crop(self, picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[Tensor, "3 size size"]:
        # A copy, because decoded frames are read-only and rotated ones have negative strides.
        frame = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        return view_crops(frame, self._protocol.sizes)[0, 0]

    @torch.inference_mode()
    def _encode(self) -> list[Stretch]:
        """Encode the waiting frames; return the stretches that are now complete."""
        if not self._waiting:
            return []
        pictures = torch.stack([picture for picture, _ in self._waiting]).to(self._model.device)
        features = self._encoder(pictures)
        counts = [count for _, count in self._waiting]
        self._waiting.clear()
        complete: list[Stretch] = []
        for feature, count in zip(features, counts, strict=True):
            for _ in range(count):
                self._window.append(feature)
                self._encoded += 1
                complete += self._score() if len(self._window) == self._sliding.points else []
        return complete

    @torch.inference_mode()
    def _score(self) -> list[Stretch]:
        """Score the window; return the previous stretch, which is now known not to be the last.

        Worked example, 8 points per second, 16 points per window: the first window has points 0-15, 0 to 2 s. Its
        middle is 1 s, so its scores apply from 0.9375 to 1.0625 s; as the first, it starts at 0.
        """
        frames = self._protocol.frames
        clips = self._sliding.views(frames).frame_indices(len(self._window), frames)
        chosen = torch.tensor(clips, device=self._model.device)
        features = self._scorer.features(torch.stack(list(self._window))[chosen])
        logits = average_views(features[None], self._scorer.head, pooling=self._protocol.pooling)
        check_scores(logits)
        if self._model.several:
            probabilities, known = self._model.probabilities(logits.float()), True
        else:
            probabilities, (known,) = apply_calibration(logits.float(), self._calibration)
        before, start = self._last, 0.0 if self._last is None else self._last.end
        end = (self._encoded + 0.5 - self._sliding.points / 2) / self._sliding.rate
        self._last = Stretch(start, end, tuple(probabilities[0].tolist()), known)
        return [] if before is None else [before]


def rule_for(model: Recognizer, rule: Hysteresis | None = None) -> Hysteresis:
    """Return the rule for events, the default one if None; with several labels, with the threshold of each class."""
    rule = rule or Hysteresis()
    if model.thresholds is None:
        return rule
    return replace(rule, thresholds=dict(zip(model.names, model.thresholds.sigmoid().tolist(), strict=True)))


TimedVideo = Media | PipedVideo | LiveStream


def open_timed(path: str | Path) -> Media:
    """Open the video at `path`.

    Raises: MediaError for images and frame folders, which have no times, and like `MediaPath.open`.
    """
    media = MediaPath(path).open()
    if not media.times:
        media.close()
        raise MediaError(
            path,
            "its frames have no times, so there is no timeline; give a video, or use `texthead predict` for images",
        )
    return media


def _open_any(path: str) -> TimedVideo:
    """Open a video, a camera or an address, or - for standard input."""
    if is_live(path):
        return LiveStream(path)
    if path != PIPE:
        return open_timed(path)
    return PipedVideo(open(sys.stdin.fileno(), "rb", closefd=False), Path("standard input"))


def scores_over_time(
    run: Run | Recognizer,
    video: TimedVideo,
    *,
    sliding: Sliding | None = None,
    protocol: Protocol | None = None,
    engine: EngineName = "eager",
    reporter: Reporter = Reporter(),
) -> Iterator[Stretch]:
    """Yield class probabilities over time, from the first frame to the end of the last without gaps.

    Uses a calibrated run's temperature and threshold, see `Run.calibration_for`; the threshold's guarantee is for whole
    clips, not for windows.

    Args:
        run: a run or a bare model, as for `predict`.
        video: a file from `open_timed`, or a pipe; the same frames give bit-identical stretches.
        protocol: as for `predict`; its views are ignored.
        engine: runs the encoder; see `Reading`.
        reporter: gets progress in seconds if the end of the video is known, messages, and notes on what makes scores
            slow or inexact.

    Raises:
        MediaError: a frame cannot be read, or its time is not later than the previous one's.
    """
    model, protocol = run.model, protocol_of(run, protocol)
    calibration, _ = run.calibration_for(protocol)
    sliding = sliding or Sliding()
    clips, once = sliding.views(protocol.frames).clips, ", encoded once" if model.sees_frames_apart else ""
    each = f"{f'{clips} clips' if clips > 1 else 'one clip'} of {protocol.frames} frames"
    reporter.say(f"{sliding.rate:g} frames a second{once}; each window of {sliding.window:g} s is {each}")
    if not model.sees_frames_apart:
        inside, times = "the encoder" if model.sees_clips else type(model.temporal).__name__, clips * protocol.frames
        reporter.note(f"{inside} sees several frames at once, so each window is encoded whole: {times} times the work")
    if not video.has_times:
        reporter.note(f"{video.path} has no time stamps: times are counted from its frame rate")
    if calibration is not None and calibration.threshold is not None:
        reporter.note(
            f"windows whose best probability is not above {calibration.threshold.probability:.3f} are {NONE} and "
            "make no event; the threshold was set on whole clips, so its rate may not hold for windows"
        )
    whole = math.ceil(video.duration_seconds) if isinstance(video, Media) else 0
    encoder = Engine(model.visual, engine, int(whole * sliding.rate), reporter)
    timeline = Timeline(model, protocol, sliding, calibration, encoder)
    if isinstance(video, LiveStream) and model.sees_frames_apart:
        # Warm up: the first pass takes seconds, during which a live stream would run on.
        size = protocol.sizes.size
        encoder(torch.zeros(1, 3, size, size, dtype=torch.uint8, device=model.device))
    try:
        # The end of a pipe or a stream is unknown, so there is no bar.
        with reporter.bar("timeline", "s") if whole else nullcontext(silent) as progress:
            for seconds, take in video.in_order():
                yield from timeline.feed(seconds, take)
                progress(int(seconds), whole)
        yield from timeline.finish(video.duration_seconds)
    except DataError as error:  # Of time stamps.
        raise MediaError(video.path, str(error)) from None
    if isinstance(video, LiveStream) and video.dropped:
        reporter.note(f"{video.dropped} frames were dropped to keep up with {video.source}")
    if isinstance(video, LiveStream) and video.fault:
        reporter.note(f"{video.source} ended with a fault ({video.fault})")


class EventChange(NamedTuple):
    """What has changed in a video that is being scored.

    Attributes:
        ended: events that are final.
        begun: name and start of events that have become long enough to be kept.
        dropped: number of frames of a live stream that were dropped so far.
        stretch: the probabilities that made the change; None at the end.
    """

    ended: Sequence[Event]
    begun: Sequence[tuple[str, float]]
    dropped: int
    stretch: Stretch | None


class Events(list[Event]):
    """The events of a video sorted by start, in seconds from its first frame, and how they were found.

    Attributes:
        all: these events, and the times that a calibrated run rejects as none of its classes.
        none_of_these: such times alone.
        seconds: length of the video.
        calibration: the valid part of the run's calibration.
        why_none: why there is no event.
    """

    def __init__(
        self,
        events: Iterable[Event],
        path: str | Path,
        seconds: float,
        sliding: Sliding,
        rule: Hysteresis,
        calibration: Calibration | None = None,
        why_none: str = "",
    ):
        self.all = in_order(events)
        super().__init__(event for event in self.all if event.known)
        self.none_of_these = [event for event in self.all if not event.known]
        self.path, self.seconds, self.sliding, self.rule = path, seconds, sliding, rule
        self.calibration, self.why_none = calibration, why_none

    def _repr_html_(self) -> str:
        rows = [(each.name, each.start, each.end, f"{100 * each.mean:.0f} %") for each in self]
        return html_table(
            ("event", "start (s)", "end (s)", "probability"), rows, caption=f"{self.path}: {len(self)} events"
        )

    def to_json(self) -> dict[str, object]:
        """Return the events for JSON, with the settings.

        For a calibrated run, includes the temperature and, with a threshold, the times of none of the classes.
        """
        rule, calibration = self.rule, self.calibration
        settings: dict[str, object] = {"window": self.sliding.window, "rate": self.sliding.rate}
        limits = {"enter": rule.enter, "leave": rule.leave}
        settings |= limits if rule.thresholds is None else {"thresholds": {**rule.thresholds}}
        settings["min_length"] = rule.min_length
        results: dict[str, object] = {"events": [event.to_json() for event in self]}
        if calibration is not None:
            settings["temperature"] = calibration.temperature
            if calibration.threshold is not None:
                settings["threshold"] = calibration.threshold.probability
                results["none_of_these"] = [event.to_json() for event in self.none_of_these]
        return {"video": str(self.path), "seconds": self.seconds, **settings, **results}


def find_events(
    run: Run | Recognizer,
    path: str | Path,
    *,
    rule: Hysteresis | None = None,
    sliding: Sliding | None = None,
    protocol: Protocol | None = None,
    engine: EngineName = "eager",
    export: Sequence[str | Path] = (),
    reporter: Reporter = Reporter(),
) -> Events:
    """Return the events in a video sorted by start, as `texthead timeline` does; times in seconds from the first frame.

    Windows that a calibrated run rejects as none of its classes make no event.

    Args:
        path: a video, the address of a stream, a camera, or - for a pipe into standard input.
        rule: when events begin and end; the default one if None, with several labels with the threshold of each class.
        export: files to write: subtitles (.srt), the events as labelled parts of the video (.csv), or the video with
            names and probabilities drawn in (.mp4).
        reporter: gets progress, notes, and as events each `EventChange` and, before files are written, the result.

    Raises:
        DataError: a file to write has another ending, is the video, or needs a file in place of a stream.
        MediaError: the file is not a video, or cannot be read to its end.
        RunError: a file cannot be written.
    """
    files = exports(str(path), export)
    model, protocol = run.model, protocol_of(run, protocol)
    sliding, rule = sliding or Sliding(), rule or rule_for(model)
    if "manifest" in files.values():
        check_no_separator(model.names)
    finder, events, curve = EventFinder(model.names, rule), list[Event](), list[Stretch]()
    with _open_any(str(path)) as video:
        stretches = scores_over_time(run, video, sliding=sliding, protocol=protocol, engine=engine, reporter=reporter)
        for stretch in chain(stretches, [None]):
            ended = finder.finish() if stretch is None else finder.add(stretch)
            events += ended
            reporter.event(EventChange(ended, finder.open_events(), getattr(video, "dropped", 0), stretch))
            if "overlay" in files.values() and stretch is not None:
                curve.append(stretch._replace(scores=array("f", stretch.scores)))  # Four bytes per number.
        seconds, begin = video.duration_seconds, video.start_seconds if isinstance(video, Part) else 0.0
    calibration, _ = run.calibration_for(protocol)
    why = "" if any(event.known for event in events) else _why_none(finder, model.names, rule, calibration)
    result = Events(events, path, seconds, sliding, rule, calibration, why)
    reporter.event(result)
    for file, kind in files.items():
        if kind == "manifest":
            _write_manifest(file, result, begin, several=model.several)
        elif kind == "subtitles":
            with replacing(file) as temporary:
                temporary.write_text(subtitles(result), encoding="utf-8")
        else:
            from texthead.apps.timeline.overlay import write_overlay

            with open_timed(path) as video:
                write_overlay(file, video, result, model.names, curve, reporter)
    return result


def _write_manifest(out: Path, events: Events, begin: float, *, several: bool) -> None:
    """Write the events as labelled parts of the video; `begin` is the time of its first frame in the file."""
    file = MediaPath(MediaPath(events.path).file).text_below(out.parent)
    rows = [
        (file, f"{begin + part.start:.3f}", f"{begin + part.end:.3f}", part.name, f"{part.mean:.6f}")
        for part in (of_all_classes(events, events.rule.min_length) if several else events)
    ]
    write_csv(out, ("path", "start", "end", "labels" if several else "label", "probability"), rows)


def _why_none(finder: EventFinder, names: Sequence[str], rule: Hysteresis, calibration: Calibration | None) -> str:
    """Return why there is no event."""
    best = finder.highest
    assert best is not None, "every video has one stretch at least"
    top = max(best.scores)
    if not best.known and calibration is not None and calibration.threshold is not None:
        why = f"none is above the threshold {calibration.threshold.probability:.3f} of calibration.json"
    elif rule.thresholds is not None:
        why = f"none stayed above the threshold of its class for `min_length={rule.min_length:g}` s"
    elif top >= rule.enter:
        why = f"none lasted `min_length={rule.min_length:g}` s"
    else:
        why = f"none reached `enter={rule.enter:g}`"
        if calibration is not None and calibration.temperature > 1:
            why += f" after temperature {calibration.temperature:.3g}, which lowers all probabilities; lower `enter`"
    return f"{why}; the highest was {names[best.scores.index(top)]!r} with {top:.3f} at {best.start:.2f} s"
