"""Predict classes for videos and images with the exported model beside this file: python predict.py clip.mp4 photo.png

It needs numpy, av and onnxruntime (torch for a model.pt2), not texthead. Images other than PNG and BMP also need
pillow: FFmpeg decodes JPEG and WebP to slightly different colours.

This program chooses frames and scales them, as preprocessing.json says, to the same pixels as `texthead predict`. The
model crops, normalises and averages the views. Its input is uint8 RGB with the axes batch, clips, frames, height,
width, channels; its output is one score per class. The probabilities are softmax(scores / temperature).
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
PILLOW_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

# Formats that need no pillow: lossless, and FFmpeg converts them to the same pixels.
PLAIN_IMAGES = frozenset({".bmp", ".png"})
PLAIN_FORMATS = frozenset({"rgb24", "bgr24", "rgba", "bgra", "bgr0", "gray", "pal8"})

# Only containers: playlists and text files can make FFmpeg open other files, even over the network.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,gif,ogg,h264,hevc,m4v,ivf,mjpeg,dv,mxf,nut"

# Limits on the size that an image header may claim.
MAX_SIDE, MAX_PIXELS, MAX_RATIO = 16_384, 89_478_485, 1000

NONE = "none of these"


class Refused(ValueError):
    """A file that cannot be read completely, or not to the same pixels as in texthead."""


class Unusable(ValueError):
    """An exported folder with a file that breaks a rule."""


# ---- files of the folder

# A check of a value, and the rule in words.
Rule = tuple[Callable[[Any], bool], str]


def whole(least: int) -> Rule:
    """Return a rule for whole numbers."""
    return lambda value: type(value) is int and value >= least, f"a whole number of at least {least}"


def number(low: float, high: float) -> Rule:
    """Return a rule for numbers; NaN breaks it."""
    return lambda value: type(value) in (int, float) and low <= value <= high, f"a number from {low:g} to {high:g}"


def one_of(*choices: object) -> Rule:
    """Return a rule for a fixed set of values, which compares types too: 1 is not true."""
    texts = [json.dumps(choice) for choice in choices]
    return lambda value: (type(value), value) in [(type(each), each) for each in choices], f"one of {', '.join(texts)}"


def optional(rule: Rule, key: str | None = None) -> Rule:
    """Return a rule for null or a value that follows `rule`; with `key`, for an object whose `key` does."""
    holds, text = rule
    if key is None:
        return lambda value: value is None or holds(value), f"null or {text}"
    return lambda value: value is None or (isinstance(value, dict) and holds(value.get(key))), (
        f"null, or an object whose {key} is {text}"
    )


RULES: dict[str, dict[str, Rule]] = {
    "preprocessing": {
        "format": one_of(1),
        "model": one_of("model.onnx", "model.pt2"),
        "input.most_frames": optional(whole(1)),
        "frames": whole(1),
        "views.clips": whole(1),
        "views.crops": one_of(1, 3, 5, 10),
        "views.origin": one_of("first", "centre", "middle", "dense"),
        "views.along": one_of("width", "long-side"),
        "views.stride": whole(0),
        "resize": whole(1),
        "squash": one_of(True, False),
        "interpolation": one_of("bilinear", "bicubic"),
        "antialias": one_of(True, False),
        "in_the_model.size": whole(1),
    },
    "classes": {"classes": (lambda value: isinstance(value, list) and bool(value), "a non-empty list")},
    "thresholds": {
        "temperature": number(1e-4, 1e4),
        "threshold": optional(number(0.0, 1.0), "probability"),
        "coverage": optional(number(0.0, 1e9), "quantile"),
    },
}

# An ONNX model is one protobuf message, which cannot be larger.
MOST_BYTES = 2**31 - 1


def check_values(file: Path, values: dict) -> None:
    """Raise Unusable if a value in a file of the folder breaks its rule."""
    for key, (holds, rule) in RULES[file.stem].items():
        value: Any = values
        *parents, last = key.split(".")
        for parent in parents:
            value = value.get(parent) if isinstance(value, dict) else None
        present = isinstance(value, dict) and last in value
        if present and holds(value[last]):
            continue
        got = json.dumps(value[last])[:80] if present else "nothing"
        raise Unusable(f"{file}: {key} must be {rule}, got {got}; export it again")


def labels_of(file: Path, classes: list[Any]) -> list[str]:
    """Return the labels of classes.json; raise Unusable if one is not a line of text, or occurs twice."""
    labels: dict[str, None] = {}
    for place, entry in enumerate(classes, 1):
        label: Any = entry.get("label") if isinstance(entry, dict) else None
        line = isinstance(label, str) and bool(label.strip()) and len(label.splitlines()) == 1
        if not line or label.encode(errors="ignore").decode() != label or label in labels:
            raise Unusable(
                f"{file}: label {place} must be a unique, non-empty line of text, got {label!r:.80}; export it again"
            )
        labels[label] = None
    return [*labels]


def read_json(file: Path) -> Any:
    """Read a JSON file of the folder."""
    return json.loads(file.read_text("utf-8"))


def check_model_file(file: Path) -> None:
    """Raise Unusable unless the model is a regular file: reading a pipe would block, a device would never end."""
    if not file.is_file():
        raise Unusable(f"{file}: missing, or not a regular file; export it again")
    if file.suffix == ".onnx" and file.stat().st_size > MOST_BYTES:
        raise Unusable(
            f"{file}: has {file.stat().st_size:,} bytes, but an ONNX model has at most {MOST_BYTES:,}; export it again"
        )


# ---- file -> frames


def frame_indices(length: int, settings: dict) -> list[list[int]]:
    """Return the frame indices of each clip, counted from 0, for a video with `length` frames."""
    frames, clips, origin = settings["frames"], settings["views"]["clips"], settings["views"]["origin"]
    stride = settings["views"]["stride"]
    if 0 < frames * stride <= length:
        return _windows(length, frames, clips, stride)
    if origin == "centre":
        parts = [(2 * i + 1) * length // (2 * frames * clips) for i in range(frames * clips)]
        return [parts[k::clips] for k in range(clips)]
    if origin == "middle":
        count = frames * clips
        long = length > count
        parts = [(2 * i * length + (length - count) * long) // (2 * count) for i in range(count)]
        return [parts[k::clips] for k in range(clips)]
    if origin == "dense":
        return _windows(length, frames, clips, 128 // frames, 128)
    shifts = [k * max(0, length - frames) // (frames * max(1, clips - 1)) for k in range(clips)]
    return [[shift + i * length // frames for i in range(frames)] for shift in shifts]


def _windows(length: int, frames: int, clips: int, stride: int, window: int = 0) -> list[list[int]]:
    room = max(0, length - (window or frames * stride))
    starts = [k * (room // (clips - 1)) for k in range(clips)] if clips > 1 else [room // 2]
    return [[(start + i * stride) % length for i in range(frames)] for start in starts]


def read_image(path: Path) -> np.ndarray:
    """Return the picture as upright RGB."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        return read_plain_image(path)
    try:
        with PIL.Image.open(path, formats=PILLOW_FORMATS) as image:
            check_size(*image.size)
            upright = PIL.ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                upright = PIL.Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            if upright.mode in ("I", "F"):
                raise Refused(f"pixels of mode {upright.mode} have no known range; save it with 8 bits per channel")
            return np.asarray(upright.convert("RGB"))
    except (Refused, OSError):
        raise
    except Exception as error:  # On damaged files, Pillow raises many types.
        raise Refused(f"cannot be read as an image ({error}); download or save it again") from error


def check_size(width: int, height: int) -> None:
    """Raise Refused if the picture exceeds the limits of `texthead predict`."""
    short, long = sorted((width, height))
    if long > MAX_SIDE or width * height > MAX_PIXELS or long > MAX_RATIO * short:
        raise Refused(f"claims {width}x{height} pixels, too many or too long; scale it down or crop it")


def read_plain_image(path: Path) -> np.ndarray:
    """Return the picture of a PNG or BMP without pillow, if FFmpeg decodes it to the same pixels."""
    if path.suffix.lower() not in PLAIN_IMAGES or b"eXIf" in path.read_bytes():
        raise Refused(
            "this image format needs pillow (pip install pillow), because FFmpeg decodes it to different pixels"
        )
    with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
        frame = next(container.decode(video=0))
    check_size(frame.width, frame.height)
    if frame.format.name not in PLAIN_FORMATS:
        raise Refused(
            f"pixel format {frame.format.name} needs pillow (pip install pillow): FFmpeg decodes it to other pixels"
        )
    return frame.to_ndarray(format="rgb24")


def open_video(path: Path) -> tuple[Any, Any]:
    """Return the open file and its best video stream, set to decode in one thread."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    container = av.open(str(path.absolute()), options=options)
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None or stream.disposition & Disposition.attached_pic:
        container.close()
        raise Refused("no video stream that this FFmpeg can decode; leave it out or encode it as h264")
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return container, stream


def read_video(path: Path, settings: dict) -> tuple[list[list[int]], dict[int, np.ndarray]]:
    """Return (frame indices of each clip, pictures by frame index), decoding from the first keyframe on."""
    times = frame_times(path)
    clips = frame_indices(len(times), settings)
    wanted = set(itertools.chain(*clips))
    pictures: dict[int, np.ndarray] = {}
    reformatter, turns = VideoReformatter(), dict[float, tuple[bool, slice, slice]]()
    for index, frame in enumerate(decoded(path)):
        if index in wanted:
            if frame.pts != times[index]:
                raise Refused(f"frame {index} has another time than listed; encode it again")
            check_size(frame.width, frame.height)
            if frame.rotation not in turns:  # Cached, because reading a frame's side data keeps the frame in memory.
                turns[frame.rotation] = turn(frame)
            picture = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            transposed, *mirrored = turns[frame.rotation]
            pictures[index] = (picture.swapaxes(0, 1) if transposed else picture)[tuple(mirrored)]
        if len(pictures) == len(wanted):
            return clips, pictures
    raise Refused(f"frame {min(wanted - set(pictures))} of {len(times)} is listed but does not decode; encode it again")


def frame_times(path: Path) -> Sequence[int | None]:
    """Return the time of each shown frame, in ticks: from the packets if unambiguous, else by decoding."""
    container, stream = open_video(path)
    with container:
        codec = stream.codec_context
        packets = [
            (packet.pts, packet.is_keyframe, is_shown(packet, codec.name), packet.is_corrupt)
            for packet in container.demux(stream)
            if packet.size
        ]
        if not any(visible for _, _, visible, _ in packets):
            raise Refused("its video stream has no visible frame; export it again")
        if len(stream.index_entries) > len(packets) or packets[-1][3]:
            raise Refused("cut short: its header lists more frames than it has; download or copy it again")
        # An .avi has no presentation times: FFmpeg guesses them, wrongly if frames are reordered.
        guessed = container.format.name == "avi" and codec.has_b_frames
    first = next((i for i, packet in enumerate(packets) if packet[1]), 0)
    ticks = [pts for pts, *_ in packets[first:]]
    shown = [pts for pts, _, visible, _ in packets[first:] if visible]
    # With two frames at one time, or one before the first keyframe, only decoding tells which are shown.
    if guessed or None in ticks or not 0 < len(set(shown)) == len(shown) or min(shown) < ticks[0]:
        return [frame.pts for frame in decoded(path)]
    return sorted(shown)


def is_shown(packet: av.Packet, codec: str) -> bool:
    """Return whether players show the packet's frame; vp8 has a separate bit for hidden frames."""
    return not (packet.is_discard or (codec == "vp8" and not memoryview(packet)[0] & 0x10))


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    """Yield the frames of a video in presentation order, from the first keyframe on."""
    container, stream = open_video(path)
    with container:
        for packet in itertools.dropwhile(lambda p: p.size and not p.is_keyframe, container.demux(stream)):
            for frame in stream.codec_context.decode(packet if packet.size else None):
                if frame.is_corrupt:
                    raise Refused(f"the frame at {frame.time} s is damaged; download or encode the file again")
                yield frame


def turn(frame: av.VideoFrame) -> tuple[bool, slice, slice]:
    """Return how the container rotates a frame: (transposed?, row slice, column slice), slices after transposing."""
    if Type.DISPLAYMATRIX not in frame.side_data:
        return False, slice(None), slice(None)
    if abs(frame.rotation - 90 * round(frame.rotation / 90)) > 1:
        raise Refused(f"rotated by {frame.rotation} degrees, not a multiple of 90; encode it upright")
    # A point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(frame.side_data[Type.DISPLAYMATRIX], np.int32)[:5].tolist()  # pyright: ignore[reportGeneralTypeIssues]
    transposed = abs(a) <= abs(b)
    across, down = (c, b) if transposed else (a, d)
    return transposed, slice(None, None, -1 if down < 0 else 1), slice(None, None, -1 if across < 0 else 1)


# ---- frames -> clips


def resized(rows: np.ndarray, new: int, bicubic: bool) -> np.ndarray:
    """Resize uint8 `rows` along the first axis to `new` entries, antialiased.

    The integer weights are those of torch and Pillow, so that pixels are bit-identical.
    """
    old, scale = len(rows), len(rows) / new
    wide = max(scale, 1.0)
    support = (2.0 if bicubic else 1.0) * wide
    centres = scale * (np.arange(new) + 0.5)
    taps = (centres - support + 0.5).astype(np.int64) + np.arange(int(2 * support) + 2)[:, None]
    weights = kernel(np.abs((taps - centres + 0.5) / wide), bicubic) * ((taps >= 0) & (taps < old))
    weights /= weights.sum(0)
    bits = next(b for b in range(23) if b == 22 or int(0.5 + weights.max() * 2 ** (b + 1)) >= 2**15)
    whole = np.trunc(weights * 2**bits + np.copysign(0.5, weights)).astype(np.int32)
    total = np.full((new, *rows.shape[1:]), 2 ** (bits - 1), np.int32)
    for places, factors in zip(taps.clip(0, old - 1), whole, strict=True):
        total += factors[:, None, None] * rows[places]
    return (total >> bits).clip(0, 255).astype(np.uint8)


def kernel(x: np.ndarray, bicubic: bool) -> np.ndarray:
    """Return the weight of a pixel at distance `x`: triangle, or cubic with a = -0.5."""
    if not bicubic:
        return np.maximum(1 - x, 0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def scaled(frame: np.ndarray, height: int, width: int, bicubic: bool) -> np.ndarray:
    """Resize the frame, antialiased: first the width, then the height, rounding to uint8 each time."""
    for axis, new in ((1, width), (0, height)):
        if frame.shape[axis] != new:
            frame = np.moveaxis(resized(np.moveaxis(frame, axis, 0), new, bicubic), 0, axis)
    return frame


def plain(frame: np.ndarray, height: int, width: int, bicubic: bool) -> np.ndarray:
    """Resize the frame without antialiasing, in floats, rounding once at the end."""
    values = frame.astype(np.float32)
    for axis, new in ((1, width), (0, height)):
        rows, old = np.moveaxis(values, axis, 0), values.shape[axis]
        places = np.float32(old / new) * (np.arange(new, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
        if not bicubic:
            places = places.clip(0)
        below = np.floor(places).astype(np.int64)
        taps = (-1, 0, 1, 2) if bicubic else (0, 1)
        # Without antialiasing, torch's cubic has a = -0.75.
        weights = [sharp(np.abs(places - below - tap)) if bicubic else 1 - np.abs(places - below - tap) for tap in taps]
        parts = [w[:, None, None] * rows[(below + tap).clip(0, old - 1)] for w, tap in zip(weights, taps, strict=True)]
        values = np.moveaxis(np.sum(parts, axis=0), 0, axis)
    return np.rint(values).clip(0, 255).astype(np.uint8)


def sharp(x: np.ndarray) -> np.ndarray:
    """Return the weight of a pixel at distance `x`: cubic with a = -0.75."""
    near = (1.25 * x - 2.25) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.75
    return np.where(x < 1, near, np.where(x < 2, far, 0.0)).astype(np.float32)


def read_clips(path: Path, settings: dict) -> np.ndarray:
    """Return the model's input for a file, (clips, frames, height, width, channels), with short side `resize`."""
    if path.suffix.lower() in IMAGES:
        clips, pictures = frame_indices(1, settings), {0: read_image(path)}
    else:
        clips, pictures = read_video(path, settings)
    if len({picture.shape for picture in pictures.values()}) > 1:
        raise Refused("its frames change size; encode it again at one size")
    height, width, _ = next(iter(pictures.values())).shape
    side, short, bicubic = settings["resize"], min(height, width), settings["interpolation"] == "bicubic"
    size = (side, side) if settings["squash"] else (side * height // short, side * width // short)
    scale = scaled if settings["antialias"] else plain
    small = {index: scale(picture, *size, bicubic) for index, picture in pictures.items()}
    return np.array([[small[index] for index in clip] for clip in clips])


# ---- clips -> classes


# (batch, clips, frames, height, width, channels) -> scores (batch, classes).
Model = Callable[[np.ndarray], np.ndarray]


def load_model(file: Path, classes: int) -> Model:
    """Load the model of the folder."""
    check_model_file(file)
    if file.suffix != ".pt2":
        return onnx_model(file, classes)
    import torch

    program = torch.export.load(file).module()
    return checked(file, classes, lambda clips: program(torch.from_numpy(clips)).detach().numpy())


def onnx_model(
    file: Path, classes: int, content: bytes | None = None, settings: Iterable[tuple[str, str]] = ()
) -> Model:
    """Load an ONNX model.

    Args:
        content: content of the file; None to read it.
        settings: configuration entries of the session.

    Raises:
        Unusable: the model declares another number of classes.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # It contacts an address when it is imported otherwise.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # Errors are also raised as exceptions.
    for name, value in settings:
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(content or str(file), options, providers=["CPUExecutionProvider"])
    shape = session.get_outputs()[0].shape
    if shape and isinstance(shape[-1], int) and shape[-1] != classes:
        raise Unusable(f"{file}: gives {shape[-1]} scores, but classes.json has {classes} classes; export it again")
    return checked(file, classes, lambda clips: np.asarray(session.run(None, {"clips": clips})[0]))


def checked(file: Path, classes: int, model: Model) -> Model:
    """Wrap the model: raise Unusable unless it returns one score per item and class."""

    def scores_of(clips: np.ndarray) -> np.ndarray:
        scores = model(clips)
        if scores.shape != (len(clips), classes) or scores.dtype.kind != "f":
            raise Unusable(
                f"{file}: gives {scores.dtype} {scores.shape} for {len(clips)} items and {classes} classes, "
                "expected one float score for each; export it again"
            )
        return scores

    return scores_of


class Predictor:
    """Predict classes with the model of an exported folder.

    Args:
        read: reads a JSON file.
        load: loads the model, given its file and the number of classes.

    Raises:
        Unusable: a file of the folder breaks a rule.
    """

    def __init__(
        self,
        folder: Path,
        read: Callable[[Path], Any] = read_json,
        load: Callable[[Path, int], Model] = load_model,
    ):
        files = [folder / f"{name}.json" for name in RULES]
        self.settings, classes, self.thresholds = (read(file) for file in files)
        for file, values in zip(files, (self.settings, classes, self.thresholds), strict=True):
            check_values(file, values)
        self.file, self.names = folder / self.settings["model"], labels_of(files[1], classes["classes"])
        self.model = load(self.file, len(self.names))

    def predict(self, path: Path, top: int) -> dict:
        """Return the top classes of a file, and the answer and prediction set if the run has been calibrated for them.

        Raises:
            Refused: the file cannot be read completely, or not to the pixels of `texthead predict`.
            Unusable: the model's scores are invalid.
        """
        if path.is_dir():
            raise Refused("is a folder; give the files in it")
        if "#t=" in path.name and not path.is_file():
            raise Refused(
                "is a part of a video, but exports read only whole files; cut it out, or predict with the run"
            )
        try:
            clips = read_clips(path, self.settings)
        except (FFmpegError, OSError, StopIteration) as error:
            reason = getattr(error, "strerror", None) or error
            raise Refused(f"cannot be read ({reason}); download or encode it again") from error
        scores = self.model(clips[None])[0].astype(np.float64)
        if not np.isfinite(scores.max()):
            raise Unusable(f"{self.file}: its scores for {path} are not finite; export it again")
        odds = np.exp((scores - scores.max()) / self.thresholds["temperature"])
        values = odds / odds.sum()
        order = np.argsort(-scores, kind="stable")
        pairs = [{"name": self.names[i], "probability": round(float(values[i]), 6)} for i in order[:top]]
        result = {"path": str(path), "top": pairs}
        threshold, coverage = self.thresholds["threshold"], self.thresholds["coverage"]
        if threshold is not None:
            result["answer"] = self.names[order[0]] if values.max() > threshold["probability"] else NONE
        if coverage is not None:
            result["set"] = [self.names[i] for i in order if scores[i] >= scores.max() - coverage["quantile"]]
        return result


def as_text(result: dict) -> str:
    """Return the printed lines for a file."""
    if "error" in result:
        return f"{result['path']}\n  not read: {result['error']}"
    lines = [f"  {100 * pair['probability']:5.1f} %  {pair['name']}" for pair in result["top"]]
    if result.get("answer") == NONE:
        lines[0] = f"  {NONE} (best: {lines[0].strip()})"
    return "\n".join([result["path"], *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return 0, or 2 if a file or the folder cannot be read."""
    parser = argparse.ArgumentParser(prog="predict.py", description="Predict classes for videos and images.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--top", type=int, default=5, help="classes per file (default: 5)")
    parser.add_argument("--json", action="store_true", help="JSON, one line per file")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="exported folder")
    options = parser.parse_args(argv)
    try:
        return predict_all(Predictor(options.model), options)
    except Unusable as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2


def predict_all(predictor: Predictor, options: argparse.Namespace) -> int:
    """Print the prediction of each file; return the exit code."""
    failed = False
    for path in options.files:
        try:
            result = predictor.predict(path, max(1, options.top))
        except Refused as error:
            failed, result = True, {"path": str(path), "error": str(error)}
        print(json.dumps(result, ensure_ascii=False) if options.json else as_text(result), flush=True)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
