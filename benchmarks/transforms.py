"""Training transforms of a clip of 8 frames to 224 pixels: texthead's and torchvision's v2; and the published pipeline.

    python -m benchmarks transforms [--rounds 5]

One thread, frames in a decoder's memory layout, results in uint8. The published pipeline, which `reading` measures
behind its decoder, works picture by picture with Pillow: resize the whole frame to a short side of 256, one random
resized crop for all frames, flip, gray, normalised floats.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.rounds import Row, Section, interleaved, timed
from texthead.data.protocol import Pixels
from texthead.data.transforms import augment
from texthead.parallel import keep_freed_memory
from texthead.recipes import Recipe

FRAMES, SIZE, RESIZE, CLIPS = 8, 224, 256, 50
PIXELS = Pixels(SIZE, RESIZE, "bicubic")
TRAIN = Recipe("benchmark", crop="text4vis", flip=0.5)
RATIO, GRAY = (3 / 4, 4 / 3), 0.2
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def published_train(pictures: Sequence[Image.Image], rng: np.random.Generator) -> Float[Tensor, "frames 3 224 224"]:
    """Apply the published training pipeline."""
    short, bilinear = min(pictures[0].size), Image.Resampling.BILINEAR
    width, height = (side * RESIZE // short for side in pictures[0].size)
    box = _box(width, height, rng)
    pictures = [picture.resize((width, height), Image.Resampling.BICUBIC) for picture in pictures]
    pictures = [picture.crop(box).resize((SIZE, SIZE), bilinear) for picture in pictures]
    flip, gray = rng.random(2)
    if flip < TRAIN.flip:
        pictures = [ImageOps.mirror(picture) for picture in pictures]
    if gray < GRAY:
        pictures = [ImageOps.grayscale(picture).convert("RGB") for picture in pictures]
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)
    return stacked.float().div_(255).sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))


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


def section(rounds: int, _: Path, clips: int = CLIPS) -> Section:
    """Measure both libraries on the same frames."""
    torch.set_num_threads(1)
    keep_freed_memory()  # As the commands do.
    rng = np.random.default_rng(0)
    # Rows of RGB triples in memory, as decoders return them.
    frames = torch.from_numpy(rng.integers(0, 256, (FRAMES, 256, 340, 3), np.uint8)).permute(0, 3, 1, 2)
    bicubic = v2.InterpolationMode.BICUBIC
    crop = v2.RandomResizedCrop(SIZE, scale=TRAIN.area, ratio=RATIO, interpolation=bicubic, antialias=True)
    train = v2.Compose([crop, v2.RandomHorizontalFlip(TRAIN.flip), v2.RandomGrayscale(GRAY)])
    chains = {
        "texthead": lambda: [augment(frames, PIXELS, TRAIN, rng) for _ in range(clips)],
        "torchvision v2": lambda: [train(frames) for _ in range(clips)],
    }
    costs = interleaved({title: timed(chain, clips) for title, chain in chains.items()}, rounds)
    return Section(costs, [Row("training transforms, 340x256", "torchvision v2", "texthead", "torchvision v2")])
