"""How a package's own processor resizes and crops images, measured with a picture whose colours are its coordinates."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.data.protocol import Pixels
from texthead.data.transforms import view_crops
from texthead.encoders.spec import square_side
from texthead.errors import EncoderError

# A 3:2 picture: where a processor keeps the aspect ratio, it does not show every column.
_HEIGHT, _WIDTH = 240, 360

# Most grey levels by which the processor's picture and ours may differ on average, and one scale from another.
_MAX_DIFFERENCE = 1.0
_MAX_STRETCH = 0.02


def coordinate_picture() -> UInt8[Tensor, "3 240 360"]:
    """Return the picture: red grows from left to right, green from top to bottom, blue falls along the diagonal."""
    down, across = torch.linspace(0, 255, _HEIGHT)[:, None], torch.linspace(0, 255, _WIDTH)[None]
    red, green = across.expand(_HEIGHT, _WIDTH), down.expand(_HEIGHT, _WIDTH)
    return torch.stack([red, green, 255 - (red + green) / 2]).round().to(torch.uint8)


def measured_geometry(
    levels: Float[Tensor, "3 height width"], interpolation: Literal["bilinear", "bicubic"], source: str
) -> tuple[int, float, bool]:
    """Return (size, crop, squash) as in `VisualSpec`, with which `view_crops` gives what a processor gave.

    Args:
        levels: what a processor of transformers made of `coordinate_picture`, as grey levels from 0 to 255.

    Raises:
        EncoderError: it is not square, or neither a central crop nor a squashed picture.
    """
    height = square_side(source, levels.shape[-2:])
    # The width and height of the resized picture before its crop, from how fast the colours change in the middle.
    middle = slice(height // 4, height - height // 4)
    lines = levels[0].mean(0)[middle], levels[1].mean(1)[middle]
    slopes = [float(np.polyfit(range(len(line)), line.numpy(), 1)[0]) for line in lines]
    sides = (_WIDTH, _HEIGHT)
    resized = [255 * side / (side - 1) / max(slope, 1e-6) for slope, side in zip(slopes, sides, strict=True)]
    squash = abs(resized[0] / resized[1] - 1) < _MAX_STRETCH
    differences = {}
    around = 2 + round(0.005 * height)
    for short in range(round(min(resized)) - around, round(min(resized)) + around + 1):
        if height <= short <= 4 * height:
            pixels = Pixels(height, short, interpolation, squash, floor=True)
            ours = view_crops(coordinate_picture()[None], pixels)[0, 0]
            differences[short] = (ours - levels).abs().mean().item()
    if not differences or min(differences.values()) > _MAX_DIFFERENCE:
        raise EncoderError(
            f"{source}: its processor neither crops the center of an image nor resizes it to a square: use another"
        )
    return height, height / min(differences, key=differences.__getitem__), squash
