"""Predict classes for videos and images with the exported model beside this file: python predict.py clip.mp4 photo.png

It needs numpy, pillow, av and onnxruntime, not texthead.

This program chooses frames and scales them, as preprocessing.json says, to the same pixels as `texthead predict`. The
model crops, normalises and averages the views. Its input is uint8 RGB with the axes batch, clips, frames, height,
width, channels; its output is one score per class. The probabilities are softmax(scores / temperature). If a file
can have several classes, they are sigmoid(scores / temperature), and it has those with scores from their thresholds on.
"""

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, dropwhile
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.stream import Disposition

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
IMAGES = {".avif", ".bmp", ".heic", ".heif", ".jfif"}
IMAGES |= {".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# What is read of a folder.
VIDEOS = {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"}
VIDEOS |= {".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}

# Only containers: playlists and text files can make FFmpeg open other files, even over the network.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,gif,ogg,h264,hevc,m4v,ivf,mjpeg,dv,mxf,nut"

# Limits on the size that a file may claim; Pillow has the same on pixels.
MAX_PIXELS, MAX_RATIO = 89_478_485, 1000

NONE = "none of these"

# The package onnxruntime-gpu has the first, which computes in float32 then.
PROVIDERS = (("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider")


class Refused(ValueError):
    """A file that cannot be read completely, or not to the same pixels as in texthead."""


# ---- file -> frames


def frame_indices(length: int, settings: dict) -> list[list[int]]:
    """Return the frame indices of each clip, counted from 0, for a video with `length` frames."""
    frames, clips, origin = settings["frames"], settings["views"]["clips"], settings["views"]["origin"]
    stride, count = settings["views"]["stride"], frames * clips
    if 0 < frames * stride <= length:
        return windows(length, frames, clips, stride, frames * stride)
    if origin == "dense":
        return windows(length, frames, clips, 128 // frames, 128)
    if origin == "first":
        shifts = [k * max(0, length - frames) // (frames * max(1, clips - 1)) for k in range(clips)]
        return [[shift + i * length // frames for i in range(frames)] for shift in shifts]
    if origin == "center":
        indices = [int(i * (length / count) + length / count / 2) for i in range(count)]
    elif count == 1:
        indices = [length // 2]
    else:
        indices = [(2 * i * length + max(0, length - count)) // (2 * count) for i in range(count)]
    return [indices[k::clips] for k in range(clips)]


def windows(length: int, frames: int, clips: int, stride: int, window: int) -> list[list[int]]:
    """Return frames that are `stride` apart, from `clips` windows spread over the video."""
    room = max(0, length - window)
    starts = [k * (room // (clips - 1)) for k in range(clips)] if clips > 1 else [room // 2]
    return [[(start + i * stride) % length for i in range(frames)] for start in starts]


def read_image(path: Path, min_short_side: int) -> np.ndarray:
    """Return the picture as upright RGB; a JPEG at 1/2, 1/4 or 1/8 if that gives whole sides of `min_short_side`."""
    import PIL.Image  # Here, since videos do without: it takes 23 ms of CPU time.
    import PIL.ImageOps

    with warnings.catch_warnings(action="ignore"):
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        image = PIL.Image.open(path, formats=FORMATS)
    with warnings.catch_warnings(action="ignore"), image:
        if min_short_side:
            common, short = math.gcd(*image.size), min(image.size)
            scale = max(
                scale
                for scale in (1, 2, 4, 8)
                if common % scale == 0 and scale * min_short_side <= max(short, min_short_side)
            )
            image.draft(None, (image.width // scale, image.height // scale))  # Only JPEG has this.
        upright = PIL.ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # Pillow would clip values at 255, to white.
            tags = getattr(image, "tag_v2", {})  # In TIFF, 258 are the bits, and 262 is 0 if zero is white.
            grey = np.asarray(upright) >> tags.get(258, (16,))[0] - 8
            upright = PIL.Image.fromarray((grey ^ 255 * (tags.get(262) == 0)).astype(np.uint8))
        if upright.mode in ("I", "F"):
            raise Refused(f"pixels of mode {upright.mode} have no known range; save it with 8 bits per channel")
        return np.asarray(upright.convert("RGB"))


def open_video(path: Path) -> tuple[Any, Any]:
    """Return the open file and its best video stream, set to decode in one thread."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    container = av.open(str(path.absolute()), options=options)  # Absolute, so that "http:x.mp4" is a file.
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None or stream.disposition & Disposition.attached_pic:
        container.close()
        raise Refused("no video stream that this FFmpeg can decode; remove the file or encode it as h264")
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return container, stream


def read_video(path: Path, settings: dict) -> tuple[list[list[int]], dict[int, np.ndarray]]:
    """Return (frame indices of each clip, pictures by frame index).

    Some packets give no frame of their own. If another number of frames decodes than expected, choose frames again.
    """
    container, stream = open_video(path)
    with container:
        packets = [packet.is_corrupt for packet in container.demux(stream) if packet.size]
        if not packets or len(stream.index_entries) > len(packets) or packets[-1]:
            raise Refused("cut short: its header lists more frames than it has; download or copy it again")
    expected = len(packets)
    while True:
        clips = frame_indices(expected, settings)
        needed, pictures, count = set(chain(*clips)), {}, 0
        for count, frame in enumerate(decoded(path), 1):
            if count - 1 in needed:
                pictures[count - 1] = upright(frame)
        if count == expected:
            return clips, pictures
        if not count:
            raise Refused("no frame of its video stream decodes; download or encode it again")
        expected = count


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    """Yield the frames of a video in presentation order, from the first keyframe on."""
    container, stream = open_video(path)
    with container:
        for packet in dropwhile(lambda packet: packet.size and not packet.is_keyframe, container.demux(stream)):
            for frame in stream.codec_context.decode(packet if packet.size else None):
                if frame.is_corrupt:
                    raise Refused(f"the frame at {frame.time} s is damaged; download or encode the file again")
                yield frame


def upright(frame: av.VideoFrame) -> np.ndarray:
    """Return the frame as RGB, turned and mirrored as the container says."""
    picture = frame.to_ndarray(format="rgb24")
    if Type.DISPLAYMATRIX not in frame.side_data:
        return picture
    if abs(frame.rotation - 90 * round(frame.rotation / 90)) > 1:
        raise Refused(f"rotated by {frame.rotation} degrees, not a multiple of 90; encode it upright")
    # A point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(frame.side_data[Type.DISPLAYMATRIX], np.int32)[:5].tolist()  # pyright: ignore[reportGeneralTypeIssues]
    across, down = (a, d) if abs(a) > abs(b) else (c, b)
    picture = picture if abs(a) > abs(b) else picture.swapaxes(0, 1)
    return picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


# ---- frames -> clips. Pillow's resize differs from torch's by 1 in a few pixels, which an encoder may amplify.


def scaled(frame: np.ndarray, height: int, width: int, bicubic: bool) -> np.ndarray:
    """Resize the frame as torch does, antialiased: first the width, then the height."""
    for axis, new in ((1, width), (0, height)):
        if frame.shape[axis] != new:
            frame = np.moveaxis(resized(np.moveaxis(frame, axis, 0), new, bicubic), 0, axis)
    return frame


def resized(rows: np.ndarray, new: int, bicubic: bool) -> np.ndarray:
    """Resize uint8 `rows` along the first axis to `new` entries, antialiased, with integer weights."""
    old, scale = len(rows), len(rows) / new
    wide = max(scale, 1.0)
    support = (2.0 if bicubic else 1.0) * wide
    centers = scale * (np.arange(new) + 0.5)
    taps = (centers - support + 0.5).astype(np.int64) + np.arange(int(2 * support) + 2)[:, None]
    x = np.abs((taps - centers + 0.5) / wide)
    far = ((5 - x) * x - 8) * x / 2 + 2
    cubic = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, far, 0))
    weights = (cubic if bicubic else np.maximum(1 - x, 0)) * ((taps >= 0) & (taps < old))
    weights /= weights.sum(0)
    bits = next(b for b in range(23) if b == 22 or int(0.5 + weights.max() * 2 ** (b + 1)) >= 2**15)
    integers = np.trunc(weights * 2**bits + np.copysign(0.5, weights)).astype(np.int32)
    total = np.full((new, *rows.shape[1:]), 2 ** (bits - 1), np.int32)
    for indices, factors in zip(taps.clip(0, old - 1), integers, strict=True):
        total += factors[:, None, None] * rows[indices]
    return (total >> bits).clip(0, 255).astype(np.uint8)


def read_clips(path: Path, settings: dict) -> np.ndarray:
    """Return the model's input for a file, (clips, frames, height, width, channels), with short side `resize`."""
    if path.is_dir() or not path.exists():
        raise Refused("is a folder without videos and images" if path.is_dir() else "does not exist; check the path")
    try:
        if path.suffix.lower() in IMAGES:
            clips, pictures = frame_indices(1, settings), {0: read_image(path, settings["enough"])}
        else:
            clips, pictures = read_video(path, settings)
    except Refused:
        raise
    except Exception as error:  # On damaged files, FFmpeg and Pillow raise many types.
        unknown = type(error).__name__ == "UnidentifiedImageError"  # Its message would be the path again.
        reason = "its format is unknown" if unknown else getattr(error, "strerror", None) or error
        raise Refused(f"cannot be read ({reason}); download or encode it again") from error
    if len({picture.shape for picture in pictures.values()}) > 1:
        raise Refused("its frames change size; encode it again at one size")
    height, width, _ = next(iter(pictures.values())).shape
    side, short = settings["resize"], min(height, width)
    if max(height, width) > MAX_RATIO * short:
        raise Refused(f"{width}x{height} pixels, one side more than {MAX_RATIO} times the other; crop it")
    size = (side, side) if settings["squash"] else (side * height // short, side * width // short)
    bicubic = settings["interpolation"] == "bicubic"
    small = {index: scaled(picture, *size, bicubic) for index, picture in pictures.items()}
    return np.array([[small[index] for index in clip] for clip in clips])


def files_of(path: Path) -> list[Path]:
    """Return the videos and images in a folder and its subfolders, sorted; a file, or an empty folder, as it is."""
    files = sorted(each for each in path.rglob("*") if each.suffix.lower() in IMAGES | VIDEOS and each.is_file())
    return [each for each in files if "/." not in f"/{each.relative_to(path).as_posix()}"] or [path]


# ---- clips -> classes


# (batch, clips, frames, height, width, channels) -> scores (batch, classes).
Model = Callable[[np.ndarray], np.ndarray]


def load_model(file: Path) -> Model:
    """Load the model of the folder."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # It contacts an address when it is imported otherwise.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # Errors are also raised as exceptions.
    with warnings.catch_warnings(action="ignore"):  # Without the first provider, onnxruntime warns and takes the next.
        session = onnxruntime.InferenceSession(file, options, providers=PROVIDERS)
    return lambda clips: np.asarray(session.run(None, {"clips": clips})[0])


class Predictor:
    """Predict classes with the model of an exported folder."""

    # For multi-label data, the smallest log-odds at which a file has each class.
    several: np.ndarray | None = None

    def __init__(self, folder: Path):
        names = ("preprocessing", "classes", "thresholds")
        self.settings, classes, self.thresholds = (
            json.loads((folder / f"{name}.json").read_text("utf-8")) for name in names
        )
        if self.settings["format"] != 1:
            raise ValueError(f"preprocessing.json must have format 1, got {self.settings['format']}")
        self.names = [entry["label"] for entry in classes["classes"]]
        if several := self.thresholds.get("several"):
            self.several = np.array([float(several[name]) for name in self.names])
        frame_indices(1, self.settings)  # So that damaged settings are no fault of a file.
        self.model = load_model(folder / self.settings["model"])

    def probabilities(self, scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return the probability of each class from the scores of files, in the last axis."""
        if self.several is not None:
            return 0.5 + 0.5 * np.tanh(0.5 * scores / temperature)
        odds = np.exp((scores - scores.max(-1, keepdims=True)) / temperature)
        return odds / odds.sum(-1, keepdims=True)

    def ranked(self, scores: np.ndarray) -> tuple[list[int], int]:
        """Return the classes, best first, and how many of them a file has: one, or for multi-label data any number."""
        order = np.argsort(-scores, kind="stable")
        if self.several is None:
            return order.tolist(), 1
        chosen = scores[order] >= self.several[order]
        return [*order[chosen].tolist(), *order[~chosen].tolist()], int(chosen.sum())

    def predict(self, path: Path, top: int) -> dict:
        """Return the top classes of a file, and the answer and prediction set if the run has been calibrated for them.

        For multi-label data, `labels` are all classes of the file, which come first in `top`.

        Raises:
            Refused: the file cannot be read completely, or not to the pixels of `texthead predict`.
        """
        clips = read_clips(path, self.settings)[None]
        scores = self.model(clips).astype(np.float64)
        if scores.shape != (1, len(self.names)) or not np.isfinite(scores.max()):
            raise ValueError(f"the model must give a score for each of {len(self.names)} classes, got {scores}")
        (scores,) = scores
        values = self.probabilities(scores, self.thresholds["temperature"])
        order, count = self.ranked(scores)
        coverage, chosen, members = self.thresholds["coverage"], [self.names[i] for i in order[:count]], []
        if coverage is not None:
            members = [self.names[i] for i in order if scores[i] >= scores.max() - coverage["quantile"]]
        best = order[: max(top, count, len(members))]
        pairs = [{"name": self.names[i], "probability": round(float(values[i]), 6)} for i in best]
        result: dict[str, Any] = {"path": str(path), "top": pairs}
        if self.several is not None:
            result["labels"] = chosen
        threshold = self.thresholds["threshold"]
        if threshold is not None:
            result["answer"] = self.names[order[0]] if values.max() > threshold["probability"] else NONE
        if coverage is not None:
            result["set"] = members
        return result


def as_text(result: dict) -> str:
    """Return the printed lines for a file, with invisible and control characters in names as `\\u202e`.

    Joiners are the only invisible characters that stay: emoji and some scripts need them.
    """
    lines = [f"  {100 * pair['probability']:5.1f} %  {pair['name']}" for pair in result.get("top", ())]
    if "error" in result:
        lines = [f"  not read: {result['error']}"]
    if "labels" in result:
        lines = [f"  {'yes' if i < len(result['labels']) else 'no '}{line}" for i, line in enumerate(lines)]
    if result.get("answer") == NONE:
        lines[0] = f"  {NONE} (best: {lines[0].strip()})"
    lines = [result["path"], *lines]
    plain = ("".join(c if c.isprintable() or c in "\u200c\u200d" else ascii(c)[1:-1] for c in line) for line in lines)
    return "\n".join(plain)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return 0, or 2 if a file or the folder cannot be read."""
    parser = argparse.ArgumentParser(prog="predict.py", description="Predict classes for videos and images.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--top", type=int, default=5, help="classes per file (default: 5)")
    parser.add_argument("--json", action="store_true", help="JSON, one line per file")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="exported folder")
    options = parser.parse_args(argv)
    code = 0
    try:
        predictor = Predictor(options.model)
        for path in chain.from_iterable(map(files_of, options.files)):
            try:
                result = predictor.predict(path, max(1, options.top))
            except Refused as error:
                code, result = 2, {"path": str(path), "error": str(error)}
            print(json.dumps(result, ensure_ascii=False) if options.json else as_text(result), flush=True)
        return code
    except (ImportError, BrokenPipeError):
        raise
    except Exception as error:  # onnxruntime has an exception type for each error code.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"predict.py: {options.model}: cannot be used ({reason[:300]}); export it again", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
