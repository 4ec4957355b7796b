"""Class probabilities over time, from a sliding window in which each frame is encoded once.

A video is sampled on a grid of `rate` points per second; each point uses the frame on screen at that time, so time
stamps matter, not frame numbers. A window with as many points as a clip has frames is one clip. Longer windows are
split into interleaved clips that each span the window and together use every point; they are averaged like the views of
a video. The result of a window applies to the time around its middle, half a point to each side.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from texthead.apps.timeline.events import Event, EventFinder, Hysteresis, Stretch
from texthead.apps.timeline.results import Events, why_none
from texthead.data import Protocol, Views, view_crops
from texthead.errors import DataError, MediaError, PositiveFloat, PositiveInt, check_fields, checked
from texthead.evaluation import NONE, Calibration, average_views, check_scores
from texthead.features import Engine
from texthead.media import Media, MediaPath, Part, Take
from texthead.models import Recognizer
from texthead.parallel import Reporter
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


def scores_over_time(
    run: Run | Recognizer,
    video: Media,
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
        video: from `open_timed`; the same frames give bit-identical stretches.
        protocol: as for `predict`; its views are ignored.
        engine: runs the encoder; see `Reading`.
        reporter: gets progress in seconds, messages, and notes on what makes scores
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
    whole = math.ceil(video.duration_seconds)
    encoder = Engine(model.visual, engine, int(whole * sliding.rate), reporter)
    timeline = Timeline(model, protocol, sliding, calibration, encoder)
    try:
        with reporter.bar("timeline", "s") as progress:
            for seconds, take in video.in_order():
                yield from timeline.feed(seconds, take)
                progress(int(seconds), whole)
        yield from timeline.finish(video.duration_seconds)
    except DataError as error:  # Of time stamps.
        raise MediaError(video.path, str(error)) from None


def find_events(
    run: Run | Recognizer,
    path: str | Path,
    *,
    rule: Hysteresis | None = None,
    sliding: Sliding | None = None,
    protocol: Protocol | None = None,
    engine: EngineName = "eager",
    reporter: Reporter = Reporter(),
) -> Events:
    """Return the events in a video sorted by start, as `texthead timeline` does; times in seconds from the first frame.

    Windows that a calibrated run rejects as none of its classes make no event.

    Args:
        rule: when events begin and end; the default one if None, with several labels with the threshold of each class.
        reporter: gets progress and notes, and as events each `Stretch` of probabilities.

    Raises:
        MediaError: the file is not a video, or cannot be read to its end.
    """
    model, protocol = run.model, protocol_of(run, protocol)
    sliding, rule = sliding or Sliding(), rule or rule_for(model)
    finder, events = EventFinder(model.names, rule), list[Event]()
    with open_timed(path) as video:
        for stretch in scores_over_time(
            run, video, sliding=sliding, protocol=protocol, engine=engine, reporter=reporter
        ):
            reporter.event(stretch)
            events += finder.add(stretch)
        seconds, fps = video.duration_seconds, video.num_frames / video.duration_seconds
        begin = video.start_seconds if isinstance(video, Part) else 0.0
    events += finder.finish()
    calibration, _ = run.calibration_for(protocol)
    return Events(
        events,
        path,
        rule,
        seconds=seconds,
        begin=begin,
        fps=fps,
        settings={"window": sliding.window, "rate": sliding.rate},
        calibration=calibration,
        why_none="" if any(event.known for event in events) else why_none(finder, model.names, rule, calibration),
    )
