"""Class probabilities over time, from a sliding window in which each frame is encoded once.

A video is sampled on a grid of `rate` points per second; each point uses the frame on screen at that time, so time
stamps matter, not frame numbers. A window with as many points as a clip has frames is one clip. Longer windows are
split into interleaved clips that each span the window and together use every point; they are averaged like the views of
a video. The result of a window applies to the time around its middle, half a point to each side.
"""

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from texthead import Calibration, Protocol, Recognizer, Reporter, Run, Views
from texthead.apps.timeline.events import Hysteresis, Interval, events_of
from texthead.apps.timeline.results import Events, VideoTimes
from texthead.data import view_crops
from texthead.errors import DataError, MediaError, PositiveFloat, Share, check_fields
from texthead.evaluation import NONE, head_scores
from texthead.features import Engine
from texthead.media import Media, MediaPath
from texthead.recipes import EngineName

# A longer gap is probably a wrong time stamp, and every grid point in it would be scored.
MAX_GAP_SECONDS = 3600.0

MAX_WINDOW_FRAMES = 10_000

_Picture = UInt8[np.ndarray, "height width 3"]

# The time of each frame, and a function that returns its picture.
_Frames = Iterable[tuple[float, Callable[[], _Picture]]]

# Closer times are equal: frame times and grid points are rounded differently.
_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class Sliding:
    """How the windows of a video are scored.

    Args:
        window: length of the window, in seconds.
        rate: frames encoded per second.
        protocol: as for `Run.predict`; its views are ignored.
        engine: runs the encoder; see `ReadOptions`.

    Raises: DataError if a number is not above 0, or the window has more than 10,000 frames.
    """

    window: PositiveFloat = 1.0
    rate: PositiveFloat = 8.0
    protocol: Protocol | None = None
    engine: EngineName = "eager"

    def __post_init__(self) -> None:
        check_fields(self)
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
        return Views(clips=max(1, self.points // frames), origin="center")


def intervals_of(
    frames: _Frames,
    end: float,
    model: Recognizer,
    protocol: Protocol,
    sliding: Sliding,
    calibration: Calibration | None = None,
    engine: Engine | None = None,
) -> Iterator[Interval]:
    """Yield class probabilities over time as soon as they are known.

    Memory is one frame and the features of one window, however long the video is.

    If the encoder convolves over frames, single frames have no features: the window then holds frames, and each window
    is encoded as a whole.

    Worked example, 8 points per second, 16 points per window: the first window has points 0-15, 0 to 2 s. Its middle
    is 1 s, so its scores apply from 0.9375 to 1.0625 s; as the first, it starts at 0.

    Args:
        frames: the time of each frame, and a function that returns its picture (height, width, 3; RGB), which is called
            only if the frame is on screen at a grid point.
        end: when the last frame ends, in seconds.

    Raises:
        DataError: a time is not later than the previous one, or more than an hour later.
    """
    apart = model.eval().encodes_frames_independently
    encoder = (engine or model.visual) if apart else nn.Identity()
    scorer = model.on_features() if apart else model
    points = sliding.points

    @torch.inference_mode()
    def scored() -> tuple[Sequence[float], bool]:
        """Return the probabilities of the window, and whether they are accepted."""
        clips = sliding.views(protocol.frames).frame_indices(len(window), protocol.frames)
        chosen = torch.tensor(clips, device=model.device)
        features = scorer.features(torch.stack([*window])[chosen])
        logits = head_scores(scorer, features[None], pooling=protocol.pooling)
        accepted = calibration is None or bool(calibration.accepts(logits))
        probabilities = model.probabilities(logits if calibration is None else calibration.apply(logits))[0]
        # In single precision: a long video has many.
        return array("f", probabilities.tolist()), accepted

    window, last = deque[Tensor](maxlen=points), None
    pictures = _on_screen(frames, end, sliding.rate)
    for count, feature in enumerate(_features(pictures, encoder, protocol, model.device), 1):
        window.append(feature)
        if len(window) == points:
            if last is not None:
                yield last
            start = 0.0 if last is None else last.end
            last = Interval(start, (count + 0.5 - points / 2) / sliding.rate, *scored())
    if last is None:
        last = Interval(0.0, end, *scored())
    yield last._replace(end=max(end, last.start))


def _on_screen(frames: _Frames, end: float, rate: float) -> Iterator[tuple[_Picture, int]]:
    """Yield the pictures that are on screen at grid points, each with the number of these points."""
    points = 0
    for (since, take), (seconds, after) in pairwise(chain(frames, [(end, None)])):
        if after is None:  # A frame at the very beginning counts, however short it is.
            seconds = max(end, since + 2 * _SAME_SECONDS)
        if not since < seconds <= since + MAX_GAP_SECONDS:
            rule = "times must increase by at most an hour; encode the video again, or cut it there"
            raise DataError(f"a frame at {since:.2f} s is followed by one at {seconds:.2f} s; {rule}")
        due = math.ceil((seconds - _SAME_SECONDS) * rate)
        if take is not None and due > points:
            yield take(), due - points
            points = due


def _features(
    pictures: Iterator[tuple[_Picture, int]],
    encoder: Callable[[Tensor], Tensor],
    protocol: Protocol,
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield the feature of each grid point; a picture is encoded once, alone: others would change its last bits."""
    for picture, count in pictures:
        # A copy, because decoded frames are read-only and rotated ones have negative strides.
        frame = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            feature = encoder(view_crops(frame, protocol.sizes)[0].to(device))[0]
        yield from repeat(feature, count)


def open_timed(path: str | Path) -> Media:
    """Open the video at `path`.

    Raises: MediaError for images and frame folders, which have no times, and like `MediaPath.open`.
    """
    media = MediaPath(path).open()
    if not media.times:
        media.close()
        raise MediaError(
            path,
            "its frames have no times, so there is no timeline; pass a video, or use `texthead predict` for images",
        )
    return media


def find_events(
    run: Run,
    path: str | Path,
    sliding: Sliding = Sliding(),
    *,
    enter: Share | None = None,
    leave: Share | None = None,
    min_length: float = 1.0,
    reporter: Reporter = Reporter(),
) -> Events:
    """Return the events in a video sorted by start, as `texthead timeline` does; times in seconds from the first frame.

    A calibrated run's temperature and threshold are used, see `Run.calibration_for`; the threshold's guarantee is for
    whole clips. Windows that it rejects as none of its classes make no event.

    Args:
        sliding: the windows that are scored.
        enter, leave: probability at which an event begins, and below which it ends; 0.7 and 0.4 if None, with several
            labels the threshold of each class.
        min_length: shortest event, and shortest gap within one, in seconds.
        reporter: gets progress and notes.

    Raises:
        DataError: a number is out of range.
        MediaError: the file is not a video, or cannot be read to its end.
    """
    model, protocol = run.model, run.protocol_for(sliding.protocol)
    if enter is None and leave is None and model.thresholds is not None:
        of_class = dict(zip(model.names, model.thresholds.sigmoid().tolist(), strict=True))
        rule = Hysteresis(min_length=min_length, thresholds=of_class)
    else:
        enter = Hysteresis.enter if enter is None else enter
        rule = Hysteresis(enter, min(Hysteresis.leave, enter) if leave is None else leave, min_length)
    calibration, intervals = run.calibration_for(protocol)[0], list[Interval]()
    with open_timed(path) as video:
        clips, once = sliding.views(protocol.frames).clips, ", encoded once" * model.encodes_frames_independently
        each = f"{f'{clips} clips' if clips > 1 else 'one clip'} of {protocol.frames} frames"
        reporter.say(f"{sliding.rate:g} frames per second{once}; each window of {sliding.window:g} s is {each}")
        if not video.has_times:
            reporter.note(f"{path} has no time stamps: times are counted from its frame rate")
        if calibration is not None and calibration.threshold is not None:
            reporter.note(
                f"windows whose best probability is not above {calibration.threshold.probability:.3f} are {NONE} and "
                "make no event; the threshold was set on whole clips, so its rate may not hold for windows"
            )
        seconds, whole = video.duration_seconds, math.ceil(video.duration_seconds)
        encoder = Engine(model.visual, sliding.engine, int(whole * sliding.rate), reporter)
        with reporter.bar("timeline", "s") as progress:
            try:
                for each in intervals_of(video.in_order(), seconds, model, protocol, sliding, calibration, encoder):
                    progress(min(whole, int(each.end)), whole)
                    intervals.append(each)
            except DataError as error:  # Of time stamps.
                raise MediaError(path, str(error)) from None
        film: Media = getattr(video, "whole", video)  # A part is too short to tell 29.97 from 30 frames per second.
        fps = film.num_frames / film.duration_seconds
        times = VideoTimes(seconds, video.start_seconds, video.offset_seconds, fps)
    if times.offset >= 0.1:
        reporter.note(
            f"{path}: its video stream starts {times.offset:.2f} s into the file: times count from the first frame, "
            "those in .srt and .edl files from the start of the file"
        )
    return Events(
        events_of(intervals, model.names, rule),
        path,
        rule,
        times,
        intervals=intervals,
        settings={"window": sliding.window, "rate": sliding.rate},
        calibration=calibration,
    )
