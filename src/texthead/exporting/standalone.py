"""Names what is in videos and images, by the exported model beside this file: python predict.py clip.mp4 photo.png

It needs numpy, av, and onnxruntime (or torch, for a model.pt2), and nothing of texthead. Pictures other than PNG and
BMP need pillow too: FFmpeg decodes JPEG and WebP to slightly other colours. Frames, crops and their pixels are those of
`texthead predict`, to the bit; preprocessing.json beside this file says what they are.

Frames are chosen and scaled here and normalised in the model: its input is uint8 RGB, axes batch, views, frames,
channels, height, width; its output one score a class. softmax(scores / temperature) are the probabilities.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# Without pillow: stored without loss, and converted by FFmpeg to the same pixels.
PLAIN_IMAGES = frozenset({".bmp", ".png"})

PLAIN_FORMATS = frozenset({"rgb24", "bgr24", "rgba", "bgra", "bgr0", "gray", "pal8"})

# Playlists and plain text can make FFmpeg open other files, even over the network: containers only.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,gif,ogg,h264,hevc,m4v,ivf,mjpeg,dv,mxf,nut"

# A picture's header can claim any size.
MAX_SIDE, MAX_PIXELS, MAX_RATIO = 16_384, 89_478_485, 1000

PILLOW_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

NONE = "none of these"

Clips = list[list[int]]

Choose = Callable[[int], Clips]


class Refused(ValueError):
    """A file that cannot be read whole, or not to the pixels that the model was tested with."""


# ---- which frames and which crops


def clips_of(length: int, settings: dict) -> Clips:
    """The frames of each clip of a video of `length` frames, counted from 0."""
    frames, clips, origin = settings["frames"], settings["views"]["clips"], settings["views"]["origin"]
    if origin == "centre":
        parts = [(2 * i + 1) * length // (2 * frames * clips) for i in range(frames * clips)]
        return [parts[k::clips] for k in range(clips)]
    if origin == "dense":
        room, stride = max(0, length - 128), 128 // frames
        starts = [k * (room // (clips - 1)) for k in range(clips)] if clips > 1 else [room // 2]
        return [[(start + i * stride) % length for i in range(frames)] for start in starts]
    shifts = [k * max(0, length - frames) // (frames * max(1, clips - 1)) for k in range(clips)]
    return [[shift + i * length // frames for i in range(frames)] for shift in shifts]


def crops_of(width: int, height: int, settings: dict) -> list[tuple[int, int, bool]]:
    """(x, y, mirrored) of each crop of a scaled picture."""
    size, crops = settings["size"], settings["views"]["crops"]
    across, down = width - size, height - size
    if crops == 1:
        return [(round(across / 2), round(down / 2), False)]
    if crops == 3 and settings["views"]["along"] == "long-side":
        x, y = across // 2, down // 2
        return [(x * k, y, False) if width >= height else (x, y * k, False) for k in (0, 2, 1)]
    x, y = across // 4, down // 4
    places = [(0, 2), (4, 2), (2, 2)] if crops == 3 else [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
    corners = [(x * i, y * j) for i, j in places]
    return [(*corner, mirrored) for mirrored in ((False, True) if crops == 10 else (False,)) for corner in corners]


# ---- file -> frames


def read_frames(path: Path, choose: Choose) -> tuple[np.ndarray, Clips]:
    """(each frame that is needed, once: frames height width RGB uint8; the places of each clip's frames among them)."""
    if path.suffix.lower() in IMAGES:
        found = {0: read_image(path)}
        clips = choose(1)
    else:
        clips, found = read_video(path, choose)
    place = {index: i for i, index in enumerate(sorted(found))}
    pictures = [found[index] for index in sorted(found)]
    if len({picture.shape for picture in pictures}) > 1:
        raise Refused("its frames change size; encode it again at one size")
    return np.stack(pictures), [[place[index] for index in clip] for clip in clips]


def read_image(path: Path) -> np.ndarray:
    """The picture, upright, RGB."""
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
                raise Refused(f"pixels of mode {upright.mode} have no known range; save it with 8 bits a channel")
            return np.asarray(upright.convert("RGB"))
    except (Refused, OSError):
        raise
    except Exception as error:  # On damaged files Pillow's readers raise nearly every kind there is.
        raise Refused(f"cannot be read as an image ({error}); fetch or save it again") from error


def check_size(width: int, height: int) -> None:
    """Nothing, if `texthead predict` reads a picture of so many pixels."""
    short, long = sorted((width, height))
    if long > MAX_SIDE or width * height > MAX_PIXELS or long > MAX_RATIO * short:
        raise Refused(f"claims {width}x{height} pixels, too many or too long to be read; scale it down or cut it")


def read_plain_image(path: Path) -> np.ndarray:
    """The picture of a PNG or BMP without pillow, where FFmpeg is sure to give the same pixels."""
    if path.suffix.lower() not in PLAIN_IMAGES or b"eXIf" in path.read_bytes():
        raise Refused("this kind of picture needs pillow (pip install pillow): FFmpeg decodes it to other pixels")
    with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
        frame = next(container.decode(video=0))
    check_size(frame.width, frame.height)
    if frame.format.name not in PLAIN_FORMATS:
        raise Refused(f"pixels of format {frame.format.name} need pillow (pip install pillow)")
    return frame.to_ndarray(format="rgb24")


def open_video(path: Path) -> tuple[Any, Any]:
    """(the open file, its best video stream), decoding in one thread."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    container = av.open(str(path.absolute()), options=options)
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None or stream.disposition & Disposition.attached_pic:
        container.close()
        raise Refused("no video stream that this FFmpeg decodes; leave it out or encode it as h264")
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return container, stream


def read_video(path: Path, choose: Choose) -> tuple[Clips, dict[int, np.ndarray]]:
    """(the frames of each clip, the picture of each of them), decoded in order from the first keyframe."""
    times = frame_times(path)
    clips = choose(len(times))
    wanted = {index for clip in clips for index in clip}
    found: dict[int, np.ndarray] = {}
    reformatter = VideoReformatter()
    for index, frame in enumerate(decoded(path)):
        if index in wanted:
            if frame.pts != times[index]:
                raise Refused(f"frame {index} is shown at another time than listed; encode it again")
            check_size(frame.width, frame.height)
            found[index] = upright(reformatter.reformat(frame, format="rgb24", threads=1), frame.rotation)
        if len(found) == len(wanted):
            return clips, found
    raise Refused(f"frame {min(wanted - set(found))} of {len(times)} is listed but does not decode; encode it again")


class Listed(NamedTuple):
    """What stays known of a packet."""

    pts: int | None
    is_key: bool
    is_shown: bool
    is_whole: bool


def frame_times(path: Path) -> Sequence[int | None]:
    """When each frame is shown, in ticks: from the packets if they tell it, else by decoding all of them."""
    container, stream = open_video(path)
    with container:
        codec = stream.codec_context
        listed = [as_listed(packet, codec.name) for packet in container.demux(stream) if packet.size]
        if not any(packet.is_shown for packet in listed):
            raise Refused("its video stream shows no frame; export it again")
        if len(stream.index_entries) > len(listed) or not listed[-1].is_whole:
            raise Refused("cut short: its header lists more frames than are there; fetch or copy it again")
        # An .avi stores no presentation times: FFmpeg guesses them, wrongly where frames are reordered.
        guessed = container.format.name == "avi" and codec.has_b_frames
    first = next((i for i, packet in enumerate(listed) if packet.is_key), 0)
    ticks = [packet.pts for packet in listed[first:] if packet.pts is not None]
    shown = [packet.pts for packet in listed[first:] if packet.is_shown and packet.pts is not None]
    # Of two frames at one time, or one before the first keyframe, only decoding tells which are shown.
    unique = len(ticks) == len(listed) - first and len(set(shown)) == len(shown) > 0
    sure = unique and not guessed and min(shown) >= ticks[0]
    return sorted(shown) if sure else [frame.pts for frame in decoded(path)]


def as_listed(packet: av.Packet, codec: str) -> Listed:
    """What to know of a packet; vp8 says by a bit of its own that a picture is never shown."""
    hidden = packet.is_discard or (codec == "vp8" and not memoryview(packet)[0] & 0x10)
    return Listed(packet.pts, packet.is_keyframe, not hidden, not packet.is_corrupt)


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    """The frames of a video in the order that they are shown, from the first keyframe on."""
    container, stream = open_video(path)
    with container:
        begun = False
        for packet in container.demux(stream):
            begun = begun or packet.is_keyframe
            if not begun and packet.size:
                continue
            for frame in stream.codec_context.decode(packet if packet.size else None):
                if frame.is_corrupt:
                    raise Refused(f"the frame at {frame.time} s is damaged; fetch or encode the file again")
                yield frame


def upright(frame: av.VideoFrame, degrees: int) -> np.ndarray:
    """The picture, turned as the container says."""
    turns = round(degrees / 90)
    if abs(degrees - 90 * turns) > 1:
        raise Refused(f"rotated by {degrees} degrees, not a multiple of 90; encode it upright")
    return np.rot90(frame.to_ndarray(), turns)


# ---- frames -> views


def resize_matrix(old: int, new: int, bicubic: bool) -> tuple[np.ndarray, int]:
    """(new x old whole numbers, their bits): an antialiased resize along one side.

    The same whole numbers as torch's and Pillow's, so that pixels are the same to the bit.
    """
    scale = old / new
    wide = max(scale, 1.0)
    support = (2.0 if bicubic else 1.0) * wide
    centres = scale * (np.arange(new) + 0.5)
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support + 0.5).astype(np.int64), old)
    pixels = np.arange(old)
    raw = (_cubic if bicubic else _triangle)(np.abs((pixels - centres[:, None] + 0.5) / wide))
    raw[(pixels < first[:, None]) | (pixels >= last[:, None])] = 0
    weights = raw / raw.sum(1, keepdims=True)
    bits = next(b for b in range(23) if b == 22 or int(0.5 + weights.max() * 2 ** (b + 1)) >= 2**15)
    return np.trunc(weights * 2**bits + np.where(weights < 0, -0.5, 0.5)), bits


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - x, 0)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def scaled(frame: np.ndarray, height: int, width: int, bicubic: bool) -> np.ndarray:
    """A frame of another size: first along the width, then along the height, each time rounded to uint8."""
    for axis, new in ((1, width), (0, height)):
        if frame.shape[axis] != new:
            matrix, bits = resize_matrix(frame.shape[axis], new, bicubic)
            rows = np.moveaxis(frame, axis, 0)
            # Whole numbers below 2^53, so that the sums are exact in any order.
            total = banded(matrix, rows.reshape(len(rows), -1).astype(np.float64)) / 2**bits
            made = np.floor(total + 0.5).clip(0, 255).astype(np.uint8)
            frame = np.moveaxis(made.reshape(new, *rows.shape[1:]), 0, axis)
    return frame


def banded(matrix: np.ndarray, values: np.ndarray, together: int = 16) -> np.ndarray:
    """matrix @ values, of a matrix whose rows are zero but for a stretch that moves on."""
    parts = []
    for start in range(0, len(matrix), together):
        rows = matrix[start : start + together]
        used = np.flatnonzero(rows.any(0))
        parts.append(rows[:, used[0] : used[-1] + 1] @ values[used[0] : used[-1] + 1])
    return np.concatenate(parts)


def views_of(path: Path, settings: dict) -> np.ndarray:
    """The model's input for a file: views frames channels height width; clip by clip, crops inside."""
    frames, clips = read_frames(path, lambda length: clips_of(length, settings))
    height, width = frames.shape[1:3]
    size, short, views = settings["size"], min(height, width), settings["views"]
    resize = size if views["crops"] == 3 and views["along"] == "long-side" else settings["resize"]
    new = (resize, resize) if settings["squash"] else (resize * height // short, resize * width // short)
    frames = np.stack([scaled(frame, *new, settings["interpolation"] == "bicubic") for frame in frames])
    crops = []
    for x, y, mirrored in crops_of(frames.shape[2], frames.shape[1], settings):
        crop = frames[:, y : y + size, x : x + size]
        crops.append(crop[:, :, ::-1] if mirrored else crop)
    views = [crop[clip] for clip in clips for crop in crops]
    return np.ascontiguousarray(np.stack(views).transpose(0, 1, 4, 2, 3))


# ---- views -> names


def load_model(folder: Path, settings: dict) -> Callable[[np.ndarray], np.ndarray]:
    """The model as a function: batch views frames channels height width -> batch classes."""
    file = folder / settings["model"]
    if file.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda clips: np.asarray(session.run(None, {"clips": clips})[0])
    import torch

    program = torch.export.load(file).module()
    return lambda clips: program(torch.from_numpy(clips)).detach().numpy()


class Predictor:
    """The model of an exported folder, ready to name files."""

    def __init__(self, folder: Path):
        read = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("preprocessing", "classes")}
        self.settings = read["preprocessing"]
        self.names = [entry["label"] for entry in read["classes"]["classes"]]
        self.thresholds = json.loads((folder / "thresholds.json").read_text("utf-8"))
        self.model = load_model(folder, self.settings)

    def scores(self, path: Path) -> np.ndarray:
        """One score a class.

        Raises:
            Refused: a file that cannot be read whole, or not to the pixels of `texthead predict`.
        """
        if path.is_dir():
            raise Refused("is a folder; name the files in it")
        try:
            return self.model(views_of(path, self.settings)[None])[0].astype(np.float64)
        except (FFmpegError, OSError, StopIteration) as error:
            why = getattr(error, "strerror", None) or error
            raise Refused(f"cannot be read ({why}); fetch or encode it again") from error

    def named(self, path: Path, top: int) -> dict:
        """The best names of a file; of a calibrated model also its answer and its label set, where it has them."""
        scores = self.scores(path)
        odds = np.exp((scores - scores.max()) / self.thresholds["temperature"])
        values = odds / odds.sum()
        order = np.argsort(-scores, kind="stable")
        pairs = [{"name": self.names[i], "probability": round(float(values[i]), 6)} for i in order[:top]]
        found = {"path": str(path), "top": pairs}
        threshold, coverage = self.thresholds["threshold"], self.thresholds["coverage"]
        if threshold is not None:
            found["answer"] = self.names[order[0]] if values.max() > threshold["probability"] else NONE
        if coverage is not None:
            found["set"] = [self.names[i] for i in order if scores[i] >= scores.max() - coverage["quantile"]]
        return found


def shown(found: dict) -> str:
    """What is said of a file, for people."""
    if "error" in found:
        return f"{found['path']}\n  not read: {found['error']}"
    lines = [f"  {100 * pair['probability']:5.1f} %  {pair['name']}" for pair in found["top"]]
    note = [f"  {NONE}"] if found.get("answer") == NONE else []
    return "\n".join([found["path"], *note, *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 where a file cannot be read."""
    parser = argparse.ArgumentParser(prog="predict.py", description="Name what is in videos and images.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--top", type=int, default=5, help="names a file (default: 5)")
    parser.add_argument("--json", action="store_true", help="JSON, one line a file")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="the exported one")
    options = parser.parse_args(argv)
    predictor, failed = Predictor(options.model), False
    for path in options.files:
        try:
            found = predictor.named(path, max(1, options.top))
        except Refused as error:
            failed, found = True, {"path": str(path), "error": str(error)}
        print(json.dumps(found, ensure_ascii=False) if options.json else shown(found), flush=True)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
