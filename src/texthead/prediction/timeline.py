"""A window that slides over a video: each frame is encoded once -> the probability of each class over time.

A video is looked at on a grid of `rate` points a second: a frame counts at the points at which it is on the screen, so
its time stamps decide and not its number. A window of as many points as a clip has frames is one clip; of a longer one
the points are dealt out to several clips in turn, so that each spans the window and every point counts, and the clips
are averaged as several views of a video are. What comes out of a window stands for the time around its middle, from
half a point before it to half a point behind it.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from texthead.data.protocol import Pooling, Protocol, Views
from texthead.data.transforms import view_crops
from texthead.errors import DataError, MediaError
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.evaluate import average_views, check_scores
from texthead.features.engine import Engine
from texthead.media.limits import MOST_MEGAPIXELS
from texthead.media.open import open_media
from texthead.media.reader import Media, Take
from texthead.media.video_pipe import LiveStream, PipedVideo
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Progress
from texthead.prediction.events import Event, Hysteresis, Stretch, event_json, events_in
from texthead.prediction.predict import answered, calibration_for, protocol_of
from texthead.recipes import EngineName
from texthead.runs.run import Run

# A picture that stays longer is more likely a wrong time stamp, and each of its points would be scored.
MAX_GAP_SECONDS = 3600.0

MAX_WINDOW_FRAMES = 10_000

# Two times as near as this are one: a frame's time and a point of the grid are rounded in other ways.
_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class Sliding:
    """The window in seconds, the points a second, and how many frames are encoded at once.

    With a `batch` of 1 no frame's feature depends on another frame; more is faster on a GPU, may change last digits and
    waits for so many frames.

    Raises: DataError for a number that is not above 0, or a window of more than 10,000 points.
    """

    window: float = 1.0
    rate: float = 8.0
    batch: int = 1

    def __post_init__(self) -> None:
        for name in ("window", "rate", "batch"):
            if not 0 < getattr(self, name) < math.inf:
                raise DataError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.window * self.rate > MAX_WINDOW_FRAMES:
            raise DataError(
                f"window {self.window:g} at rate {self.rate:g} is {self.window * self.rate:.0f} frames, more than "
                f"{MAX_WINDOW_FRAMES}: take a shorter window"
            )

    @property
    def points(self) -> int:
        """The points of the grid in one window."""
        return max(1, round(self.window * self.rate))

    def views(self, frames: int) -> Views:
        """The clips of `frames` frames that are made of one window."""
        return Views(clips=max(1, self.points // frames), origin="centre")


class Timeline:
    """The engine: frames in as they come, stretches of time with the probability of each class out.

    It holds one frame, the frames of a batch that are still to be encoded and the features of one window, however long
    the video is.

    A model whose convolutions over frames work inside the encoder has no features of single frames: then the window
    holds pictures, and each window is encoded whole.
    """

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
        self._device = model.device
        self._frames = protocol.frames
        self._pixels = protocol.sizes
        self._sliding = sliding
        self._views = sliding.views(protocol.frames)
        self._pooling: Pooling = protocol.pooling
        self._calibration = calibration
        self._shown: tuple[float, Take] | None = None
        self._points = 0
        self._encoded = 0
        self._waiting: list[tuple[UInt8[Tensor, "3 size size"], int]] = []
        self._window: deque[Tensor] = deque(maxlen=sliding.points)
        self._last: Stretch | None = None

    @property
    def held(self) -> int:
        """The pictures and features that are held now."""
        return (self._shown is not None) + len(self._waiting) + len(self._window)

    def feed(self, seconds: float, take: Take) -> list[Stretch]:
        """Add a frame that is shown from `seconds` on; return the stretches that are known by now.

        `take` gives its picture (height, width, 3; RGB) and is called if the frame is on the screen at a point.

        Raises:
            DataError: a time that is not behind the last one's, or more than an hour behind it.
        """
        known = self._until(seconds) if self._shown else []
        self._shown = (seconds, take)
        return known

    def finish(self, end: float) -> list[Stretch]:
        """Return the last stretches of a video that ends at `end` seconds.

        Raises:
            DataError: no frame was fed, or the end lies before the last one or more than an hour behind it.
        """
        if self._shown is None:
            raise DataError("no frame was fed, so there is no timeline: feed at least one")
        # The frame that is on at the very beginning counts, however short it is.
        known = self._until(max(end, self._shown[0] + 2 * _SAME_SECONDS)) + self._encode()
        if len(self._window) < self._sliding.points:
            self._score()
        assert self._last is not None, "at least one point was fed, so at least one window was scored"
        self._shown = None
        return [*known, self._last._replace(end=max(end, self._last.start))]

    def _until(self, seconds: float) -> list[Stretch]:
        """Return what is known when the frame on the screen has been there until `seconds`."""
        assert self._shown is not None, "only called where a frame is on the screen"
        since, take = self._shown
        if not since < seconds <= since + MAX_GAP_SECONDS:
            rule = "times must rise, by an hour at most: encode the video again, or cut it there"
            raise DataError(f"a frame at {since:.2f} s is followed by one at {seconds:.2f} s; {rule}")
        due = math.ceil((seconds - _SAME_SECONDS) * self._sliding.rate)
        if due <= self._points:
            return []
        self._waiting.append((self._crop(take()), due - self._points))
        self._points = due
        return self._encode() if len(self._waiting) >= self._sliding.batch else []

    def _crop(self, picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[Tensor, "3 size size"]:
        p = self._pixels
        # A copy: what comes from the decoder cannot be written to, and a turned picture has steps below 0.
        frame = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        return view_crops(frame, p.size, p.resize, 1, p.interpolation, squash=p.squash, antialias=p.antialias)[0, 0]

    @torch.inference_mode()
    def _encode(self) -> list[Stretch]:
        """Encode the waiting frames; return the stretches that are known by now."""
        if not self._waiting:
            return []
        pictures = torch.stack([picture for picture, _ in self._waiting]).to(self._device)
        features = self._encoder(pictures)
        counts = [count for _, count in self._waiting]
        self._waiting.clear()
        known: list[Stretch] = []
        for feature, count in zip(features, counts, strict=True):
            for _ in range(count):
                self._window.append(feature)
                self._encoded += 1
                known += self._score() if len(self._window) == self._sliding.points else []
        return known

    @torch.inference_mode()
    def _score(self) -> list[Stretch]:
        """Score a window; return the stretch before it, which only now is known not to be the last.

        Worked example, 8 points a second, 16 points a window: the first window is that of points 0-15, 0 to 2 s.
        Its middle is 1 s, so it stands for 0.9375 to 1.0625 s; being the first, from 0 on.
        """
        chosen = torch.tensor(self._views.frame_indices(len(self._window), self._frames), device=self._device)
        features = self._scorer.features(torch.stack(list(self._window))[chosen])
        logits = average_views(features[None], self._scorer.head, pooling=self._pooling)
        check_scores(logits)
        probabilities, (known,) = answered(logits.float(), self._calibration)
        before, start = self._last, 0.0 if self._last is None else self._last.end
        end = (self._encoded + 0.5 - self._sliding.points / 2) / self._sliding.rate
        self._last = Stretch(start, end, tuple(probabilities[0].tolist()), known)
        return [] if before is None else [before]


TimedVideo = Media | PipedVideo | LiveStream


def open_timed(path: str | Path, most_megapixels: int = MOST_MEGAPIXELS) -> Media:
    """Open the video at `path`.

    Raises: MediaError for a picture or a folder of pictures, which have no times, and as `open_media`.
    """
    media = open_media(path, most_megapixels)
    if not media.times:
        media.close()
        raise MediaError(
            path, "its frames have no times, so there is no timeline: name a video; `texthead predict` takes pictures"
        )
    return media


def scores_over_time(
    run: Run | Recognizer,
    video: TimedVideo,
    *,
    sliding: Sliding | None = None,
    protocol: Protocol | None = None,
    engine: EngineName = "eager",
    progress: Progress | None = None,
) -> Iterator[Stretch]:
    """Yield the probability of each class over time, from the first frame to the end of the last without a gap.

    A calibrated run's temperature and threshold are used as `calibration_for` says; the threshold's promise is of whole
    clips, and not of windows.

    Args:
        run: a run or a bare model, as in `predict`; so the protocol, whose views do not matter here.
        video: of a file, from `open_timed`, or of a pipe: the same frames give the same stretches, to the bit.
        engine: what runs the encoder, as `Reading` has it.
        progress: is called with whole seconds done, and those of the whole video (0 where that is not known yet).

    Raises:
        MediaError: a frame that cannot be read, or whose time is not behind the last one's, when it is come to.
    """
    model, protocol = protocol_of(run, protocol)
    calibration, _ = calibration_for(run, protocol)
    sliding = sliding or Sliding()
    whole = math.ceil(video.duration_seconds) if isinstance(video, Media) else 0
    encoder = Engine(model.visual, engine, int(whole * sliding.rate))
    timeline = Timeline(model, protocol, sliding, calibration, encoder)
    if isinstance(video, LiveStream) and model.sees_frames_apart:
        # The first pass takes seconds, in which a stream would go on.
        size = protocol.sizes.size
        encoder(torch.zeros(1, 3, size, size, dtype=torch.uint8, device=model.device))
    for seconds, take in video.in_order():
        yield from _of(video, timeline.feed, seconds, take)
        if progress:
            progress(int(seconds), whole)
    yield from _of(video, timeline.finish, video.duration_seconds)


def _of(video: TimedVideo, step: Callable[..., list[Stretch]], *arguments: Any) -> list[Stretch]:
    """Run one step; re-raise time-stamp errors as MediaError naming the video."""
    try:
        return step(*arguments)
    except DataError as error:
        raise MediaError(video.path, str(error)) from None


def find_events(
    run: Run | Recognizer,
    path: str | Path,
    *,
    rule: Hysteresis | None = None,
    sliding: Sliding | None = None,
    protocol: Protocol | None = None,
    engine: EngineName = "eager",
) -> list[Event]:
    """Return what happens in a video, and when: events with start and end in seconds, by their start.

    Windows of which a calibrated run says that they are none of its classes make no event.

    Raises:
        MediaError: the file is no video, or cannot be read to its end.
    """
    names = protocol_of(run)[0].names
    with open_timed(path) as video:
        stretches = scores_over_time(run, video, sliding=sliding, protocol=protocol, engine=engine)
        return events_in(stretches, names, rule or Hysteresis())


def timeline_json(
    path: str | Path,
    seconds: float,
    sliding: Sliding,
    rule: Hysteresis,
    events: list[Event],
    calibration: Calibration | None = None,
) -> dict[str, object]:
    """Return the events of a video as JSON holds them, with how they were found.

    Of a calibrated run also the temperature; where it has a threshold, that and the times of none of its classes.
    """
    asked: dict[str, object] = {"window": sliding.window, "rate": sliding.rate}
    asked |= {"enter": rule.enter, "leave": rule.leave, "min_length": rule.min_length}
    found: dict[str, object] = {"events": [event_json(each) for each in events if each.known]}
    if calibration is not None:
        asked["temperature"] = calibration.temperature
        if calibration.threshold is not None:
            asked["threshold"] = calibration.threshold.probability
            found["none_of_these"] = [event_json(each) for each in events if not each.known]
    return {"video": str(path), "seconds": seconds, **asked, **found}
