"""Write a video with its events: current names with bars at the top, a timeline at the bottom."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont

from texthead.apps.timeline.events import Event, Stretch
from texthead.files import replacing
from texthead.media import Media
from texthead.parallel import Reporter
from texthead.report import COLOURS, font_file, without_glyph

# Ticks per second, as in MPEG; a multiple of the usual frame rates.
TICKS = 90_000

# Smaller videos are enlarged to at least this short side, in pixels, to keep the names readable.
LEAST_SIDE = 240

# Names shown at once; further current events are only counted.
MOST_NAMED = 3

DIM, LIGHT, BACKGROUND = (24, 24, 24), (255, 255, 255), (24, 24, 24, 170)


def colours(events: Sequence[Event]) -> dict[str, str]:
    """Return a colour for each name, in order of the first events; colours repeat from the seventh name on."""
    names = dict.fromkeys(event.name for event in events)
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def lanes(events: Sequence[Event]) -> list[int]:
    """Return the lane of each event, 0 to 2: the first that is free, else the last. Events are sorted by start."""
    ends, result = [0.0] * MOST_NAMED, []
    for event in events:
        lane = next((lane for lane, end in enumerate(ends) if end <= event.start), MOST_NAMED - 1)
        ends[lane] = event.end
        result.append(lane)
    return result


def write_overlay(
    out: Path,
    video: Media,
    events: Sequence[Event],
    names: Sequence[str],
    stretches: Sequence[Stretch],
    reporter: Reporter = Reporter(),
) -> None:
    """Write every frame at its original time with the current events; no audio.

    Args:
        names: the classes.
        stretches: their probabilities over time; after the last one, its own.

    Raises:
        MediaError: a frame cannot be read.
        RunError: the file cannot be written; an existing file is kept.
    """
    if missing := without_glyph(sorted({event.name for event in events})):
        reporter.note(f"the overlay's font has no letters for {', '.join(missing)}: it draws boxes instead")
    painter: _Painter | None = None
    stream: VideoStream | None = None
    with (
        reporter.bar("overlay", "frames") as progress,
        replacing(out) as temporary,
        av.open(str(temporary), "w", format="mp4") as container,
    ):
        for number, (seconds, take) in enumerate(video.in_order(), 1):
            picture = enlarged(take())
            if painter is None or stream is None:
                painter = _Painter(picture.size, events, video.duration_seconds)
                stream = _add_stream(container, picture.size, _rate(video))
            row = bisect_right(stretches, seconds, hi=len(stretches) - 1, key=lambda stretch: stretch.end)
            score_of = dict(zip(names, stretches[row].scores, strict=True))
            on = [(event.name, score_of[event.name]) for event in events if event.start <= seconds < event.end]
            painter.draw(picture, on, seconds)
            container.mux(stream.encode(_timed(picture, seconds)))
            progress(number, video.num_frames)
        assert stream is not None, "a video that opens has a frame, or in_order has raised"
        container.mux(stream.encode(None))


def _add_stream(container: OutputContainer, size: tuple[int, int], rate: Fraction) -> VideoStream:
    about = {"width": size[0], "height": size[1], "pix_fmt": "yuv420p"}
    stream = container.add_stream("libx264", rate, options={"crf": "20", "preset": "veryfast"}, **about)
    stream.codec_context.time_base = Fraction(1, TICKS)
    return stream


def _timed(picture: Image.Image, seconds: float) -> VideoFrame:
    """Return the picture as a video frame with this presentation time."""
    frame = VideoFrame.from_image(picture)
    frame.pts, frame.time_base = round(seconds * TICKS), Fraction(1, TICKS)
    return frame


def enlarged(picture: UInt8[np.ndarray, "height width 3"]) -> Image.Image:
    """Return the picture with even sides of at least 240 pixels; odd sides repeat their last row or column."""
    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    times = -(-LEAST_SIDE // min(even.shape[:2]))
    return Image.fromarray(even.repeat(times, 0).repeat(times, 1))


class _Painter:
    """Draws on frames of one size; the timeline is drawn once and reused."""

    def __init__(self, size: tuple[int, int], events: Sequence[Event], seconds: float):
        self.unit = max(12, min(size) // 20)
        self.height = round(1.6 * self.unit)
        self.colour_of = colours(events)
        self.font = ImageFont.truetype(font_file(), self.unit)
        self.seconds = seconds or 1.0
        lane_of, height = lanes(events), max(6, self.unit // 2)
        self.strip = Image.new("RGB", (size[0], height * (1 + max(lane_of, default=0))), DIM)
        pen = ImageDraw.Draw(self.strip)
        for event, lane in zip(events, lane_of, strict=True):
            ends = self._x_of(event.start), self._x_of(event.end)
            top = self.strip.height - (lane + 1) * height
            box = ends[0], top, max(ends[0], ends[1] - 1), top + height - 1
            pen.rectangle(box, fill=self.colour_of[event.name])

    def _x_of(self, seconds: float) -> int:
        return round(seconds / self.seconds * self.strip.width)

    def draw(self, picture: Image.Image, on: Sequence[tuple[str, float]], seconds: float) -> None:
        """Draw the current names with their probabilities (0-1), and the position in the timeline."""
        top = picture.height - self.strip.height
        picture.paste(self.strip, (0, top))
        pen = ImageDraw.Draw(picture, "RGBA")
        x, half = self._x_of(seconds), max(1, self.unit // 8)
        pen.rectangle((x - half - 1, top - half, x + half + 1, picture.height), fill=DIM)
        pen.rectangle((x - half, top - half, x + half, picture.height), fill=LIGHT)
        for row, (name, probability) in enumerate(on[:MOST_NAMED]):
            self._line(pen, picture.width, row, name, probability)
        if len(on) > MOST_NAMED:
            self._bar(pen, picture.width, MOST_NAMED, BACKGROUND)
            self._text(pen, MOST_NAMED, f"and {len(on) - MOST_NAMED} more", 0.6 * self.unit)

    def _line(self, pen: ImageDraw.ImageDraw, width: int, row: int, name: str, probability: float) -> None:
        """Draw a bar with the length of the probability, with name and percentage on it."""
        self._bar(pen, width, row, BACKGROUND)
        self._bar(pen, round(width * probability), row, (*ImageColor.getrgb(self.colour_of[name])[:3], 190))
        percent = f"{100 * probability:.0f} %"
        edge = width - 0.6 * self.unit - self.font.getlength("100 %")
        self._text(pen, row, _fitted(name, self.font, edge - 1.2 * self.unit), 0.6 * self.unit)
        self._text(pen, row, percent, width - 0.6 * self.unit - self.font.getlength(percent))

    def _bar(self, pen: ImageDraw.ImageDraw, length: int, row: int, fill: tuple[int, int, int, int]) -> None:
        """Draw a rectangle from the left edge over one line of the label, leaving a gap of one pixel below."""
        if length:
            pen.rectangle((0, row * self.height, length - 1, (row + 1) * self.height - 2), fill=fill)

    def _text(self, pen: ImageDraw.ImageDraw, row: int, text: str, x: float) -> None:
        corner = x, row * self.height + 0.2 * self.unit
        pen.text(corner, text, fill=LIGHT, font=self.font, stroke_width=1, stroke_fill=DIM)


def _fitted(name: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return the name, cut with an ellipsis to fit the width."""
    text = name
    while text and font.getlength(text) > width:
        text = f"{text.rstrip('…')[:-1]}…" if len(text) > 1 else ""
    return text


def _rate(video: Media) -> Fraction:
    """Return the frame rate for the encoder, which uses it only for the duration of the last frame."""
    last = video.duration_seconds - video.times[-1]
    return Fraction(1 / last).limit_denominator(TICKS) if last > 1 / TICKS else Fraction(25)
