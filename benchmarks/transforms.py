"""The published training transforms of a clip, which `reading` measures behind their decoder.

They work picture by picture with Pillow: resize the whole frame to a short side of 256, one random resized crop for all
frames, flip, gray, normalised floats. `PIXELS` and `TRAIN` are what texthead does in their place.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from texthead.data.protocol import Pixels
from texthead.recipes import Recipe

SIZE, RESIZE = 224, 256
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
