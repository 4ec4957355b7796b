"""File -> frames; the only door to the decoder.

An image is a clip of one frame; a folder of images under a template is a clip of many. A video is read packet
by packet: all packets are listed once, which gives the exact frame count and presentation times without
trusting a header; then only the stretch from the last keyframe to a wanted frame is decoded. One thread a
file: run several files side by side instead.

Which file counts as whole? A header's frame count is wrong too often to be a rule (.avi counts the frames
that were dropped in recording, .mov those that its edit list hides), so the packets are believed, unless

- on opening: the last packet is incomplete, or the container's index lists more packets than there are, or a
  container without a full index claims a length that its packets fall short of: the file was cut short;
- on reading: a frame on the way to a wanted one is damaged. `check` reads all of them.
"""

import io
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import av
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import torch
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8
from torch import Tensor

from texthead.errors import DataError, Fault, MediaError
from texthead.frame_files import frame_files, is_template
from texthead.sample_tables import claimed_samples
from texthead.shard_files import is_member, read_member
from texthead.workers import end_after

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# A few bytes can claim any size: the claim is checked before memory is taken. The area is where Pillow warns.
MAX_SIDE = 16_384
MAX_PIXELS = 89_478_485
# Frames of a video, with what else its header lists: 38 hours at 30 frames a second.
MAX_SAMPLES = 2**22


@runtime_checkable
class Readable(Protocol):
    """What bytes can be read from, as many as are asked for at most, none at the end."""

    @property
    def read(self) -> Callable[[int], bytes]:
        """The next bytes."""
        ...


# What gives a frame's picture, upright: only those that are looked at are turned into RGB.
Take = Callable[[], UInt8[np.ndarray, "height width 3"]]

# Seconds of a processor that a call may take: a few kilobytes can hold a day of decoding.
MAX_SECONDS = 600.0

# A video's packets are held in memory up to this many bytes; those of a longer one are read again.
_HELD_BYTES = 256 * 2**20
# What a packet takes beside its bytes.
_PACKET_BYTES = 512

# Playlists and plain text can make FFmpeg open other files, even over the network: containers only.
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,gif,ogg,h264,hevc,m4v,ivf,mjpeg,dv,mxf,nut"
_OPEN_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
# Old files carry titles that are not UTF-8. PyAV reads them as they are from 19 on, and takes no word for it any more.
_TITLES: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
_IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
# What Pillow and FFmpeg call a format, and its usual suffix.
_SUFFIXES = {
    "BMP": ".bmp",
    "GIF": ".gif",
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "asf": ".wmv",
    "avi": ".avi",
    "flv": ".flv",
    "matroska,webm": ".mkv",
    "mov,mp4,m4a,3gp,3g2,mj2": ".mp4",
    "mpeg": ".mpg",
    "mpegts": ".ts",
    "ogg": ".ogv",
}

# How much longer than its packets a file must claim to be before it counts as cut short.
_MISSING_SECONDS, _MISSING_SHARE = 0.5, 0.05


class Image:
    """One picture as a clip of one frame, upright by its EXIF orientation, in RGB.

    Transparency is dropped, not blended; 16-bit grey keeps its upper eight bits; an animated file gives its
    first picture (but .gif is a video).
    """

    num_frames = 1

    def __init__(self, path: Path, data: bytes | None = None):
        self.path = path
        with _pillow_faults(path):
            self._image = PIL.Image.open(path if data is None else io.BytesIO(data), formats=_IMAGE_FORMATS)
        _check_size(path, *self._image.size)

    def frames_at(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The picture, once for every index; each index must be 0.

        Raises: DataError for another index; MediaError for a damaged picture.
        """
        _check_indices(self.path, indices, self.num_frames)
        with _pillow_faults(self.path):
            picture = np.asarray(_upright_rgb(self._image))
        # `repeat` also makes the memory our own: Pillow's is read-only.
        return torch.from_numpy(picture[None].repeat(len(indices), axis=0)).permute(0, 3, 1, 2)

    @property
    def orientation(self) -> int:
        """How EXIF says that the picture lies, 1 to 8; 1 is upright.

        Raises: MediaError for EXIF that cannot be read.
        """
        with _pillow_faults(self.path):
            return int(self._image.getexif().get(PIL.ExifTags.Base.Orientation, 1))

    def check(self) -> int:
        """1, after decoding the picture.

        Raises: MediaError for a damaged picture.
        """
        self.frames_at([0])
        return self.num_frames

    def close(self) -> None:
        self._image.close()

    def __enter__(self) -> "Image":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FrameFolder:
    """The pictures of a folder that fit a template, by ascending number, as the frames of one clip.

    `path` is the folder and the template, as `v1/img_{:05d}.jpg`. Pictures are opened when they are asked for.

    Source: the published code's `image_tmpl`.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise MediaError(path, f"frames must be images, and {path.suffix or 'no suffix'!r} is none of theirs")
        self._files = frame_files(path)
        self.num_frames = len(self._files)

    def frames_at(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at `indices`, in that order; an index may come twice, its picture is read once.

        Raises: DataError for an index outside 0..num_frames-1; MediaError for a damaged picture, or one of
        another size.
        """
        _check_indices(self.path, indices, self.num_frames)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(place)
        out: np.ndarray | None = None
        for index in sorted(places):
            picture = self._picture(index)
            if out is None:
                out = np.empty((len(indices), *picture.shape), np.uint8)
            self._check_same_size(out.shape[1:], picture.shape, index)
            out[places[index]] = picture
        assert out is not None, "_check_indices lets no empty request through"
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def check(self) -> int:
        """The number of frames, after decoding every one of them; none is kept.

        Raises: MediaError for the first fault.
        """
        shape: tuple[int, ...] | None = None
        for index in range(self.num_frames):
            here = self._picture(index).shape
            shape = shape or here
            self._check_same_size(shape, here, index)
        return self.num_frames

    def _picture(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        file = self._files[index]
        try:
            _check_file(file)
            with Image(file) as image:
                return image.frames_at([0])[0].permute(1, 2, 0).numpy()
        except MediaError as error:
            raise MediaError(self.path, f"frame {file.name}: {error.problem}", error.fault) from error

    def _check_same_size(self, before: tuple[int, ...], here: tuple[int, ...], index: int) -> None:
        if here != before:
            problem = f"{_changed_size(before, here)} (at {self._files[index].name})"
            raise MediaError(self.path, problem, "changing size")

    def close(self) -> None:
        """Nothing: no picture stays open."""

    def __enter__(self) -> "FrameFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Video:
    """The frames of a file's best video stream in presentation order, upright by the container's rotation.

    `num_frames` is the number of frames that a player shows; `pts_seconds` says when it shows each of them,
    counted from the first, which is at `begin_seconds` on the file's clock; `duration_seconds` is the end of the last
    one; `has_times` is False where the file says
    no times and they were counted from its frame rate. Not applied: a sample aspect ratio
    other than 1:1, and mirroring in the container's matrix.
    """

    def __init__(self, path: Path, data: bytes | None = None):
        self.path = path
        self._data = data
        self.has_times = True
        self._until = time.thread_time() + MAX_SECONDS
        _check_claims(path, data)
        self._container, self._stream = open_stream(path, data)
        try:
            self._context = one_thread(self._stream.codec_context)
            _check_size(path, self._context.width, self._context.height)
            self._to_rgb = VideoReformatter()
            self._entries, self._held = _list_packets(path, self._container, self._stream)
            tally = Tally()
            for entry in self._entries:
                tally.add(entry.pts, entry.duration, whole=entry.is_whole)
            check_whole(path, self._container, self._stream, tally)
            self._keys = [i for i, entry in enumerate(self._entries) if entry.is_key] or [0]
            self._order = self._presentation_order()
            ticks = self._count_frames() if self._order is None else [self._pts(i) for i in self._order]
            if not ticks:
                raise MediaError(path, "no frame of its video stream decodes; fetch or encode the file again")
            self.pts_seconds = seconds_from(ticks[0], ticks, self._stream)
            (self.begin_seconds,) = seconds_from(0, ticks[:1], self._stream)
            self.num_frames = len(ticks)
            self.duration_seconds = self.pts_seconds[-1] + self._last_frame_seconds()
        except BaseException:
            self.close()
            raise

    def frames_at(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at `indices`, in that order; an index may come twice, its frame is decoded once.

        The memory is channels-last (rows of RGB triples), which torchvision resizes fastest.

        Raises: DataError for an index outside 0..num_frames-1; MediaError for damage on the way to a wanted
        frame.
        """
        _check_indices(self.path, indices, self.num_frames)
        self._until = time.thread_time() + MAX_SECONDS
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(place)
        out: np.ndarray | None = None
        for index, frame in self._frames(set(places)):
            picture = self._rgb(frame)
            if out is None:
                out = np.empty((len(indices), *picture.shape), np.uint8)
            if picture.shape != out.shape[1:]:
                raise MediaError(self.path, _changed_size(out.shape[1:], picture.shape), "changing size")
            for place in places.pop(index):
                out[place] = picture
        if out is None or places:
            missing = min(places)
            problem = f"frame {missing} of {self.num_frames} is listed but does not decode; encode it again"
            raise MediaError(self.path, problem, "damaged")
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def check(self) -> int:
        """The number of frames, after decoding every one of them; none is kept.

        Raises: MediaError for the first fault, even one that `frames_at` would pass by.
        """
        for _ in self.checked_frames(()):
            pass
        return self.num_frames

    def checked_frames(self, wanted: Container[int]) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        """(index, picture) of each wanted frame in order, while every frame of the file is decoded.

        Raises: MediaError for the first fault, even one that `frames_at` would pass by.
        """
        self._until = time.thread_time() + MAX_SECONDS
        shape: tuple[int, ...] | None = None
        count = 0
        for frame in self._decode(self._keys[0], len(self._entries)):
            here = (frame.height, frame.width)
            shape = shape or here
            if here != shape:
                raise MediaError(self.path, _changed_size(shape, here), "changing size")
            if count in wanted:
                yield count, self._rgb(frame)
            count += 1
        self._check_count(count)

    def in_order(self) -> Iterator[tuple[float, Take]]:
        """(seconds, what gives the picture) of every frame, first shown first; none is kept, however long the video.

        The time limit is one frame's here, not the call's: whoever asks works between the frames.

        Raises: MediaError for the first fault, when it is come to.
        """
        count = 0
        self._until = time.thread_time() + MAX_SECONDS
        for frame in self._decode(self._keys[0], len(self._entries)):
            if count < self.num_frames:
                self._check_time(frame, count)
                yield self.pts_seconds[count], partial(self._rgb, frame)
            count += 1
            self._until = time.thread_time() + MAX_SECONDS
        self._check_count(count)

    def _check_time(self, frame: VideoFrame, index: int) -> None:
        """Nothing, unless the frame that is decoded next is not the one that is shown next."""
        if self._order is not None and frame.pts != self._pts(self._order[index]):
            told = f"{self._where(frame.pts)} comes where that at {self.pts_seconds[index]:.2f} s is due"
            raise MediaError(self.path, f"the frame {told}; its time stamps step back: encode it again", "damaged")

    def _check_count(self, count: int) -> None:
        if count != self.num_frames:
            problem = f"{self.num_frames} frames are listed, {count} decode; encode the file again"
            raise MediaError(self.path, problem, "damaged")

    @property
    def listed_frames(self) -> int:
        """The number of frames that the header claims; 0 where it claims none."""
        return self._stream.frames

    @property
    def rotation(self) -> int:
        """Degrees that the container turns the picture by, counter-clockwise; the first frame is decoded for it."""
        return next((frame.rotation for frame in self._decode(self._keys[0], len(self._entries))), 0)

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- which packet is which frame

    def _pts(self, position: int) -> int:
        pts = self._entries[position].pts
        assert pts is not None, "only asked for where _presentation_order found every time present"
        return pts

    def _presentation_order(self) -> list[int] | None:
        """The packet position of every frame, first shown first; None where only decoding can tell.

        Worked example, I P B B as stored with times 0 3 1 2: positions 0 2 3 1.
        Frame 1 of the film is the third packet of the file.
        """
        entries = self._entries[self._keys[0] :]
        shown = [i for i in range(self._keys[0], len(self._entries)) if self._entries[i].is_shown]
        times = [self._entries[i].pts for i in shown]
        if any(entry.pts is None for entry in entries) or len(set(times)) < len(times):
            return None
        # An .avi stores no presentation times: FFmpeg guesses them, wrongly where frames are reordered.
        if self._container.format.name == "avi" and self._context.has_b_frames:
            return None
        # Frames shown before the first keyframe may need pictures that the file does not have.
        if any(self._pts(i) < self._pts(self._keys[0]) for i in shown):
            return None
        return sorted(shown, key=self._pts)

    def _count_frames(self) -> list[int]:
        """The presentation times of all frames in ticks, found by decoding the whole file once."""
        times = [frame.pts for frame in self._decode(self._keys[0], len(self._entries))]
        known = sorted({time for time in times if time is not None})
        if len(known) == len(times):
            return known
        self.has_times = False
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate or not self._stream.time_base:
            raise MediaError(self.path, "has no presentation times and no frame rate; remux it as .mp4")
        return [round(i / rate / self._stream.time_base) for i in range(len(times))]

    def _last_frame_seconds(self) -> float:
        last = self._entries[self._order[-1] if self._order else -1].duration
        if last and self._stream.time_base:
            return float(last * self._stream.time_base)
        return self.pts_seconds[-1] - self.pts_seconds[-2] if self.num_frames > 1 else 0.0

    # ---- packets in, pictures out

    def _frames(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        """(index, frame) for every wanted index once, in the order of decoding."""
        if self._order is None:
            shown = self._decode(self._keys[0], len(self._entries))
            yield from ((i, frame) for i, frame in enumerate(islice(shown, max(wanted) + 1)) if i in wanted)
            return
        positions = [self._order[i] for i in wanted]
        index_at = {self._pts(self._order[i]): i for i in wanted}
        stretches = _joined((self._keyframe_before(i), i + 1) for i in positions)
        # What a stretch leaves out, because its keyframe is no clean start, is decoded from the front.
        for start, stop in [*stretches, (self._keys[0], max(positions) + 1)]:
            for frame in self._if_clean(start, self._decode(start, stop, index_at)) if index_at else ():
                if frame.pts in index_at:
                    yield index_at.pop(frame.pts), frame

    def _if_clean(self, start: int, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """The frames, or none where the first to come out is not the keyframe itself.

        With periodic intra refresh a "keyframe" only begins to repair the picture: the decoder holds frames
        back until it believes the repair done, which is a little too soon.
        """
        first = next(frames, None)
        begins = start == self._keys[0] or not self._entries[start].is_shown
        if first is not None and (begins or first.pts == self._pts(start)):
            yield first
            yield from frames

    def _keyframe_before(self, position: int) -> int:
        """The position of the keyframe to start from, so that the frame at `position` comes out right.

        Worked example, I0 P4 B2 | I8 B6 as stored: B6 is shown before I8 and needs P4 too.
        So B6 starts from I0, the last keyframe that is both stored and shown before it.
        """
        key = bisect_right(self._keys, position) - 1
        while key > 0 and self._pts(self._keys[key]) > self._pts(position):
            key -= 1
        return self._keys[key]

    def _decode(self, start: int, stop: int, needed: Container[int | None] | None = None) -> Iterator[VideoFrame]:
        """The frames in packets start..stop-1, whole; where `needed` lists times, others may be left out.

        Raises: MediaError for a damaged frame.
        """
        first = None if needed is None else self._pts(start)
        h264 = self._context.name == "h264"
        self._context.flush_buffers()
        self._context.skip_frame = "DEFAULT"
        for packet in self._packets(start, stop):
            if needed is not None and h264:
                # An h264 picture says itself that no other refers to it: skipping it changes no other.
                self._context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            yield from self._whole(packet, first)
        yield from self._whole(None, first)

    def _whole(self, packet: Packet | None, first: int | None) -> Iterator[VideoFrame]:
        """The frames that come out after one more packet, or at the end (None)."""
        if time.thread_time() > self._until:
            raise MediaError(self.path, f"takes more than {MAX_SECONDS:.0f} s to decode; cut it up or scale it down")
        yield from whole_frames(self.path, self._stream, self._context, packet, first)

    def _where(self, pts: int | None) -> str:
        return where_is(pts, self._stream)

    def _packets(self, start: int, stop: int) -> Iterator[Packet]:
        """The packets start..stop-1: those held in memory, or those of a long video again from the file."""
        if self._held is not None:
            yield from islice(self._held, start, stop)
            return
        found = 0
        if self._order is not None and start > 0:
            for packet in islice(self._packets_after_seek(start), stop - start):
                found += 1
                yield packet
        if not found:
            # At the front, or where seeking went past the keyframe: from the front, slow but always right.
            container, stream = open_stream(self.path, self._data)
            with container:
                yield from islice(stored_packets(self.path, container, stream), start, stop)

    def _packets_after_seek(self, start: int) -> Iterator[Packet]:
        """The packets from position `start` on; none if seeking goes past it."""
        entry = self._entries[start]
        container, stream = open_stream(self.path, self._data)
        with container:
            with _decoder_faults(self.path):
                container.seek(self._pts(start) if entry.dts is None else entry.dts, stream=stream)
            packets = stored_packets(self.path, container, stream)
            # The size too: after a seek .mpg may cut the stream into packets differently.
            wanted = (entry.pts, entry.dts, entry.size)
            yield from dropwhile(lambda packet: (packet.pts, packet.dts, packet.size) != wanted, packets)

    def _rgb(self, frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        return upright_rgb(self.path, frame, self._to_rgb)


Media = Video | Image | FrameFolder


def is_media(path: str | Path) -> bool:
    """True for a name that ends like a video's or an image's, a template's too; the file itself is not looked at."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def is_image(path: str | Path) -> bool:
    """True for a name that is read as one image; a template is a clip."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES and not is_template(path)


def suffix_of(content: bytes) -> str | None:
    """The suffix that a file with this content should have; None where it is no image or video that can be read."""
    try:
        with PIL.Image.open(io.BytesIO(content), formats=_IMAGE_FORMATS) as image:
            return _SUFFIXES.get(image.format or "")
    except Exception:  # On what is no image Pillow's readers raise nearly every kind there is.
        pass
    try:
        _check_claims(Path(), content)
        with av.open(io.BytesIO(content), options=_OPEN_OPTIONS, **_TITLES) as container:
            return _SUFFIXES.get(container.format.name)
    except (FFmpegError, MediaError):
        return None


def open_media(path: str | Path) -> Media:
    """The video, image or folder of frames at `path`, open; use it as a context manager.

    A name with a place for a number (`img_{:05d}.jpg`) is read as a folder of frames, one with an image suffix as an
    image, any other as a video. What lies below a `.tar` is a clip of a prepared shard.

    Raises: MediaError for a file that is missing, empty, cut short, without pictures, or in no known format; for a
    folder of frames that is missing, holds none, or lacks one between others.
    """
    path = Path(path)
    # Opening and reading may each take their time; what takes longer is in a call that does not look at a clock.
    end_after(3 * MAX_SECONDS)
    if is_template(path):
        return FrameFolder(path)
    kind = Image if is_image(path) else Video
    if is_member(path):
        return kind(path, read_member(path))
    _check_file(path)
    return kind(path)


def check(path: str | Path) -> int:
    """The number of frames, after decoding every one of them.

    Raises: MediaError for the first fault, even one that `frames_at` would pass by.
    """
    with open_media(path) as media:
        return media.check()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What stays known of a packet when its bytes are let go; times in ticks of the stream's time base."""

    pts: int | None
    dts: int | None
    duration: int
    size: int
    is_key: bool
    is_shown: bool
    is_whole: bool


def open_stream(path: Path, data: bytes | Readable | None) -> tuple[InputContainer, VideoStream]:
    """The opened container and its best video stream; cover art is none.

    `data` is the content or where it is read from, if it is not the file at `path`.
    """
    with _decoder_faults(path):
        # Absolute, so that a name like "http:x.mp4" is a file.
        source = str(path.absolute()) if data is None else io.BytesIO(data) if isinstance(data, bytes) else data
        container = av.open(source, options=_OPEN_OPTIONS, **_TITLES)
        stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        fault: Fault = "sound only" if container.streams.audio else "unreadable"
        holds = fault if container.streams.audio else "nothing to play"
        container.close()
        raise MediaError(path, f"no video stream, it holds {holds}; leave it out or fetch it again", fault)
    if stream.codec_context is None:
        container.close()
        raise MediaError(path, "its codec is not known to this FFmpeg; encode it as h264")
    return container, stream


def one_thread(context: VideoCodecContext) -> VideoCodecContext:
    """The decoder, on one thread and with a limit to the size of pictures."""
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return context


def open_sound(path: Path) -> tuple[InputContainer, tuple[AudioStream, ...]]:
    """The opened container of a video that could be read, and its streams of sound."""
    with _decoder_faults(path):
        source = io.BytesIO(read_member(path)) if is_member(path) else str(path.absolute())
        container = av.open(source, options=_OPEN_OPTIONS, **_TITLES)
        return container, container.streams.audio


def stored_packets(path: Path, container: InputContainer, stream: VideoStream | AudioStream) -> Iterator[Packet]:
    """The stream's packets as stored, without the empty ones (frames dropped in recording, the end)."""
    with _decoder_faults(path):
        yield from (packet for packet in container.demux(stream) if packet.size)


def whole_frames(
    path: Path, stream: VideoStream, context: VideoCodecContext, packet: Packet | None, first: int | None
) -> Iterator[VideoFrame]:
    """The frames that come out after one more packet, or at the end (None); those before the time `first` are left out.

    Raises: MediaError for a damaged frame.
    """
    try:
        frames = context.decode(packet)
    except FFmpegError as error:
        where = "at the end" if packet is None else where_is(packet.pts, stream)
        problem = f"the frame {where} does not decode ({error.strerror}); fetch or encode the file again"
        raise MediaError(path, problem, "damaged") from error
    for frame in frames:
        if first is not None and frame.pts is not None and frame.pts < first:
            # Stored after the starting keyframe but shown before it: what it refers to was not decoded.
            continue
        if frame.is_corrupt:
            problem = f"the frame {where_is(frame.pts, stream)} is damaged; fetch or encode the file again"
            raise MediaError(path, problem, "damaged")
        yield frame


def where_is(pts: int | None, stream: VideoStream) -> str:
    """Where a frame is, in words."""
    if pts is None or not stream.time_base:
        return "without a time"
    return f"at {float(pts * stream.time_base):.2f} s"


def upright_rgb(path: Path, frame: VideoFrame, to_rgb: VideoReformatter) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of a frame, turned as the container says.

    Raises: MediaError for a picture that is too large, or turned by something else than quarters.
    """
    _check_size(path, frame.width, frame.height)
    turns = round(frame.rotation / 90)
    # FFmpeg cuts the angle off to whole degrees, so a quarter turn may come as 89.
    if abs(frame.rotation - 90 * turns) > 1:
        problem = f"rotated by {frame.rotation} degrees, not a multiple of 90; encode it upright"
        raise MediaError(path, problem)
    with _decoder_faults(path):
        plane = to_rgb.reformat(frame, format="rgb24", threads=1).planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    picture = rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)
    # The container turns the picture counter-clockwise, and so does rot90.
    return np.rot90(picture, turns)


def _list_packets(
    path: Path, container: InputContainer, stream: VideoStream
) -> tuple[list[_Entry], list[Packet] | None]:
    """An entry for every packet, and the packets themselves unless they are more than memory should hold."""
    entries: list[_Entry] = []
    held: list[Packet] | None = []
    size = 0
    vp8 = stream.codec_context.name == "vp8"
    for packet in stored_packets(path, container, stream):
        # vp8 stores pictures that are only referred to as packets of their own, told by one bit.
        hidden = packet.is_discard or (vp8 and not memoryview(packet)[0] & 0x10)
        entries.append(
            _Entry(
                pts=packet.pts,
                dts=packet.dts,
                duration=packet.duration or 0,
                size=packet.size,
                is_key=packet.is_keyframe,
                is_shown=not hidden,
                is_whole=not packet.is_corrupt,
            )
        )
        size += packet.size
        if len(entries) > MAX_SAMPLES:
            raise MediaError(path, f"holds more than {MAX_SAMPLES} frames; cut it up")
        if held is not None:
            held.append(packet)
        if size + len(entries) * _PACKET_BYTES > _HELD_BYTES:
            held = None
    if not any(entry.is_shown for entry in entries):
        raise MediaError(path, "its video stream shows no frame; export it again")
    return entries, held


@dataclass(slots=True)
class Tally:
    """What there was of a stream's packets so far: how many, how many whole, the end of the last shown in ticks."""

    packets: int = 0
    whole: int = 0
    last_is_whole: bool = True
    end: int | None = None

    def add(self, pts: int | None, duration: int | None, *, whole: bool) -> None:
        """Count one more packet."""
        self.packets += 1
        self.whole += whole
        self.last_is_whole = whole
        end = (pts or 0) + (duration or 0)
        self.end = end if self.end is None else max(self.end, end)


def check_whole(path: Path, container: InputContainer, stream: VideoStream, tally: Tally) -> None:
    """Nothing, if there was all that the container lists (the rule is in the module's docstring).

    Raises: MediaError for a file that was cut short.
    """
    found, listed = tally.whole, max(stream.frames, len(stream.index_entries))
    if len(stream.index_entries) > tally.packets or not tally.last_is_whole:
        claim = f"its header says {listed} frames" if listed > found else "its last frame is incomplete"
        raise MediaError(path, f"cut short: {claim}, {found} are there; fetch or copy the file again", "cut short")
    claimed = _claimed_seconds(container, stream)
    end = (tally.end or 0) * float(stream.time_base or 0)
    if claimed - end > max(_MISSING_SECONDS, _MISSING_SHARE * claimed):
        claim = f"its header says {claimed:.1f} s, {end:.1f} s are there"
        raise MediaError(path, f"cut short: {claim}; fetch or copy the file again", "cut short")


def _claimed_seconds(container: InputContainer, stream: VideoStream) -> float:
    """The length that the header claims for the video, 0 where it makes no claim of its own.

    With a frame count or a length of the stream the index is the better witness; except in .avi, which counts
    dropped frames too, so that its count is a length. Of a file with several streams the length may be that
    of its sound, but .mkv and .webm often write one a stream, as text.
    """
    if container.format.name == "avi":
        return float(stream.frames * (stream.time_base or 0))
    # In .mkv and .webm no stream has a length of its own: of a single frame FFmpeg takes the file's for it.
    if stream.frames or (stream.duration and "matroska" not in container.format.name):
        return 0.0
    written = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if written:
        hours, minutes, seconds = (float(part) for part in written.groups())
        return 3600 * hours + 60 * minutes + seconds
    if len(container.streams) > 1 or not container.duration:
        return 0.0
    return container.duration / av.time_base


def seconds_from(first: int, ticks: Iterable[int], stream: VideoStream) -> list[float]:
    """Times in seconds, that of `first` 0.

    Worked example at 25 ticks a second: 50 51 53 from 50 gives 0.0 0.04 0.12.
    """
    base = stream.time_base or Fraction(0)
    # Not `tick * base`: arithmetic on fractions would take as long as demuxing the file.
    return [(tick - first) * base.numerator / base.denominator for tick in ticks]


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans (start, stop) in order, those that overlap made one.

    Worked example: (0, 5) (3, 9) (9, 12) gives (0, 9) (9, 12).
    """
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _upright_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        # Pillow would clip at 255 and give white.
        return PIL.Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8)).convert("RGB")
    if upright.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {upright.mode} have no known range; save it with 8 bits a channel")
    return upright.convert("RGB")


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise MediaError(path, "a folder, not a file; name a file in it")
    if not path.is_file():
        raise MediaError(path, "no such file; check the path", "missing")
    if path.stat().st_size == 0:
        raise MediaError(path, "the file is empty (0 bytes); fetch or copy it again", "empty")


def _check_claims(path: Path, data: bytes | None) -> None:
    with path.open("rb") if data is None else io.BytesIO(data) as file:
        try:
            claimed = claimed_samples(file)
        except ValueError as error:
            raise MediaError(path, f"{error}; encode it again") from None
    if claimed > MAX_SAMPLES:
        raise MediaError(path, f"its header claims {claimed} samples, the limit is {MAX_SAMPLES}; cut it up")


def _check_size(path: Path, width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limit = f"{MAX_SIDE} a side and {MAX_PIXELS} in all"
        raise MediaError(path, f"claims {width}x{height} pixels, the limit is {limit}; scale it down")


def _check_indices(path: Path, indices: Sequence[int], num_frames: int) -> None:
    if not len(indices):
        raise DataError(f"{path}: no frame was asked for; give at least one index")
    low, high = min(indices), max(indices)
    if low < 0 or high >= num_frames:
        wrong = low if low < 0 else high
        raise DataError(f"{path}: frame {wrong} is outside 0..{num_frames - 1}; sample within num_frames")


def _changed_size(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    sizes = f"{before[1]}x{before[0]} to {after[1]}x{after[0]}"
    return f"its frames change size from {sizes}; encode it again at one size"


@contextmanager
def _decoder_faults(path: Path) -> Iterator[None]:
    """Turns what FFmpeg raises into MediaError."""
    try:
        yield
    except FFmpegError as error:
        problem = f"cannot be read as a video ({error.strerror}); fetch or encode it again"
        raise MediaError(path, problem) from error


@contextmanager
def _pillow_faults(path: Path) -> Iterator[None]:
    """Turns what Pillow raises into MediaError."""
    try:
        yield
    except Exception as error:  # On damaged files Pillow's readers raise nearly every kind there is.
        # Only Pillow's words tell a file that ends early from one that was never a picture.
        fault: Fault = "cut short" if "truncated" in str(error) else "unreadable"
        raise MediaError(path, f"cannot be read as an image ({error}); fetch or save it again", fault) from error
