"""Videos to measure with: drawn, or joined from real clips; 340x256 pixels, 30 frames a second, h264."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

import texthead as th
from texthead.apps.demo import drawn_videos
from texthead.media.paths import MediaPath

WIDTH, HEIGHT, FPS = 340, 256, 30
# Sets of real clips below a data folder; videos alternate between them.
REAL = ("video/skate_tricks/clips.csv", "video/airborne/clips.csv")
Frames = UInt8[np.ndarray, "frames height width 3"]


def drawn(seconds: int, seed: int) -> Frames:
    """Draw a thing that grows over a background, with grain."""
    rng = np.random.default_rng(seed)
    sprite = Image.new("RGBA", (96, 96), (*rng.integers(0, 256, 3).tolist(), 255))
    clip = drawn_videos.animate(sprite, "growing", frames=seconds * FPS, size=WIDTH, rng=rng)[:, :HEIGHT]
    grain = rng.integers(-6, 7, (8, HEIGHT, WIDTH, 1))
    return np.stack([np.clip(frame + grain[i % 8], 0, 255).astype(np.uint8) for i, frame in enumerate(clip)])


def has_real(data: Path) -> bool:
    """Return whether the real clips are below the folder."""
    return all((data / name).is_file() for name in REAL)


def joined(data: Path, seconds: int, seed: int) -> Frames:
    """Join real clips of one set in random order; each frame is scaled and cropped to the size."""
    items = th.read_dataset(data / REAL[seed % len(REAL)]).items
    frames: list[np.ndarray] = []
    for index in np.random.default_rng(seed).permutation(len(items)):
        frames += whole(items[index].path)
        if len(frames) >= seconds * FPS:
            break
    pictures = (Image.fromarray(frame) for frame in frames[: seconds * FPS])
    return np.stack([np.asarray(ImageOps.fit(picture, (WIDTH, HEIGHT))) for picture in pictures])


def whole(path: Path) -> Sequence[UInt8[np.ndarray, "height width 3"]]:
    """Return all frames of a file."""
    with MediaPath(path).open() as media:
        return list(media.frames_at(range(media.num_frames)).permute(0, 2, 3, 1).numpy())


def encode(path: Path, frames: Frames, gop: int, crf: int = 23) -> Path:
    """Write the frames as h264 with x264's defaults (medium, CRF 23), with a key frame every `gop` frames."""
    options = {"crf": str(crf), "g": str(gop), "keyint_min": str(gop), "sc_threshold": "0", "threads": "1"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_frames(folder: Path, frames: Sequence[UInt8[np.ndarray, "height width 3"]], short: int) -> Path:
    """Write every frame as a JPEG with that short side into a folder, as frame folders are made."""
    folder.mkdir()
    for number, frame in enumerate(frames, start=1):
        picture = Image.fromarray(frame)
        size = picture.width * short // min(picture.size), picture.height * short // min(picture.size)
        picture.resize(size, Image.Resampling.BICUBIC).save(folder / f"img_{number:05d}.jpg", quality=90)
    return folder
