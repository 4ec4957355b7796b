"""Transforms of a clip of 8 frames to 224 pixels: texthead's, torchvision's v2, and the published pipeline.

    python -m benchmarks transforms [--rounds 5]

One thread, frames in a decoder's memory layout. texthead's end in uint8, which the device turns into normalised floats;
the published pipeline makes floats itself. So texthead's and torchvision's are measured with and without floats.

The published pipeline (training: random resized crop, flip, gray; testing: center crop) processes picture by picture
with Pillow, and first resizes the whole frame to a short side of 256, which changes nothing for 340x256.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from benchmarks.rounds import Row, Section, interleaved, judge, milliseconds, own_peak_mb, ratios, table, timed
from texthead.data.protocol import Pixels
from texthead.data.transforms import augment, view_crops
from texthead.parallel import keep_freed_memory
from texthead.recipes import Recipe

FRAMES, SIZE, RESIZE = 8, 224, 256
SIDES = ((340, 256), (427, 320))
PIXELS = Pixels(SIZE, RESIZE, "bicubic")
TRAIN = Recipe("benchmark", crop="text4vis", flip=0.5)
RATIO, GRAY = (3 / 4, 4 / 3), 0.2
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_MEAN, _STD = (255 * torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
OURS, TORCHVISION, PUBLISHED = "texthead", "torchvision v2", "published pipeline (Pillow)"


def normalised(frames: UInt8[Tensor, "*frames 3 height width"]) -> Float[Tensor, "*frames 3 height width"]:
    """Normalise with CLIP's mean and deviation, as the encoder does on the device."""
    return frames.float().sub_(_MEAN).div_(_STD)


def published_train(pictures: Sequence[Image.Image], rng: np.random.Generator) -> Float[Tensor, "frames 3 224 224"]:
    """Apply the training pipeline: resize, one random resized crop for all frames (bilinear), flip, gray, floats."""
    pictures = _resized(pictures)
    box = _box(*pictures[0].size, rng)
    pictures = [picture.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for picture in pictures]
    flip, gray = rng.random(2)
    if flip < TRAIN.flip:
        pictures = [ImageOps.mirror(picture) for picture in pictures]
    if gray < GRAY:
        pictures = [ImageOps.grayscale(picture).convert("RGB") for picture in pictures]
    return _floats(pictures)


def published_test(pictures: Sequence[Image.Image]) -> Float[Tensor, "frames 3 224 224"]:
    """Apply the test pipeline: resize, center crop, floats."""
    pictures = _resized(pictures)
    left, top = ((side - SIZE) // 2 for side in pictures[0].size)
    return _floats([picture.crop((left, top, left + SIZE, top + SIZE)) for picture in pictures])


def _resized(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Resize whole frames to a short side of 256, bicubic."""
    short = min(pictures[0].size)
    size = tuple(side * RESIZE // short for side in pictures[0].size)
    return [picture.resize(size, Image.Resampling.BICUBIC) for picture in pictures]  # pyright: ignore[reportArgumentType]


def _box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a box of 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3; the largest square if none fits."""
    for _ in range(10):
        area, shape = width * height * rng.uniform(*TRAIN.area), rng.uniform(*RATIO)
        across, down = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if rng.random() < 0.5:
            across, down = down, across
        if across <= width and down <= height:
            break
    else:
        across = down = min(width, height)
    left, top = int(rng.integers(width - across + 1)), int(rng.integers(height - down + 1))
    return left, top, left + across, top + down


def _floats(pictures: Sequence[Image.Image]) -> Float[Tensor, "frames 3 224 224"]:
    """Stack, divide by 255, subtract the mean, divide by the deviation."""
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
    return stacked.float().div_(255).sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))


def chains(frames: UInt8[Tensor, "frames 3 height width"]) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """Return each pipeline on the same frames, for training and for testing."""
    from torchvision.transforms import v2

    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(picture) for picture in frames.permute(0, 2, 3, 1).contiguous().numpy()]
    bicubic = v2.InterpolationMode.BICUBIC
    crop = v2.RandomResizedCrop(SIZE, scale=TRAIN.area, ratio=RATIO, interpolation=bicubic, antialias=True)
    train = v2.Compose([crop, v2.RandomHorizontalFlip(TRAIN.flip), v2.RandomGrayscale(GRAY)])
    test = v2.Compose([v2.Resize(RESIZE, interpolation=bicubic, antialias=True), v2.CenterCrop(SIZE)])
    return {
        "training": {
            OURS: lambda: augment(frames, PIXELS, TRAIN, rng),
            f"{OURS}, floats": lambda: normalised(augment(frames, PIXELS, TRAIN, rng)),
            TORCHVISION: lambda: train(frames),
            f"{TORCHVISION}, floats": lambda: normalised(train(frames)),
            PUBLISHED: lambda: published_train(pictures, rng),
        },
        "testing": {
            OURS: lambda: view_crops(frames, PIXELS),
            f"{OURS}, floats": lambda: normalised(view_crops(frames, PIXELS)),
            TORCHVISION: lambda: test(frames),
            f"{TORCHVISION}, floats": lambda: normalised(test(frames)),
            PUBLISHED: lambda: published_test(pictures),
        },
    }


def measure(rounds: int, clips: int, sides: Sequence[tuple[int, int]] = SIDES) -> Section:
    """Return the table of milliseconds per clip and of the ratio to texthead; the first size is in the first table."""
    rng = np.random.default_rng(0)
    rows, first = [], []
    for width, height in sides:
        # Rows of RGB triples in memory, as decoders return them.
        frames = torch.from_numpy(rng.integers(0, 256, (FRAMES, height, width, 3), np.uint8)).permute(0, 3, 1, 2)
        for use, chain in chains(frames).items():
            ways = {title: timed(repeated(run, clips), per=clips) for title, run in chain.items()}
            costs = interleaved(ways, rounds)
            for title in chain:
                base = f"{OURS}, floats" if "floats" in title or title == PUBLISHED else OURS
                times = judge(ratios(costs, title, base))[0] if title != base else "1"
                rows.append([f"{use}, {width}x{height}", title, *milliseconds(costs[title], 2), times])
            if not first:
                first.append(Row(f"{use} transforms, {width}x{height}", TORCHVISION, ratios(costs, TORCHVISION, OURS)))
    heads = ["frames", "pipeline", "ms per clip", "CPU-ms per clip", "CPU time / texthead's"]
    return Section(table(heads, rows), first)


def repeated(run: Callable[[], object], count: int) -> Callable[[], object]:
    """Return a function that calls `run` several times."""
    return lambda: [run() for _ in range(count)] and None


def section(rounds: int, _: Path) -> Section:
    """Measure all pipelines."""
    torch.set_num_threads(1)
    keep_freed_memory()  # As the commands do.
    text, rows = measure(rounds, clips=50)
    about = (
        f"## Transforms\n\n{FRAMES} frames to {SIZE} pixels, one thread. Pipelines end in uint8, or in normalised "
        'floats if marked "floats". The published pipeline ends in floats; its ratio is to texthead with floats.'
    )
    return Section(f"{about}\n\n{text}\n\nPeak memory of the script: {own_peak_mb():.0f} MB.", rows)
