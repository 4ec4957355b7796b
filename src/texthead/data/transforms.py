"""Crop, flip and grey a clip; uint8 in, uint8 out.

All frames of a clip are treated alike, except by augmentations of packages. Conversion to float and normalisation
happen on the device, after the crop: there they cost nothing, here several times as much as the crop.
Everything is computed channels-last, the layout that decoding gives and that torch resizes two to three times as fast.
Plain torch gives the same pixels as torchvision, whose import alone takes a second.
"""

import math

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from texthead.data.protocol import Pixels
from texthead.data.sampling import crop_offsets
from texthead.recipes import Along, Recipe, named

_Clip = UInt8[Tensor, "frames 3 height width"]

# Luma weights of red, green and blue in ITU-R BT.601, as in Pillow and torchvision.
_LUMA = (0.299, 0.587, 0.114)

# Limits of width / height of a box, and the share of gray clips in the published code.
_RATIOS = {"resized": (3 / 4, 4 / 3), "text4vis": (3 / 4, 4 / 3), "square": (1.0, 1.0)}
_GRAY = 0.2

# Draws of a box of random area and shape before falling back to a square.
_ATTEMPTS = 10


def augment(
    frames: _Clip,
    pixels: Pixels,
    recipe: Recipe,
    rng: np.random.Generator,
    frame_rng: np.random.Generator | None = None,
) -> UInt8[Tensor, "frames 3 {pixels.size} {pixels.size}"]:
    """Return the clip with the recipe's random crop, flip and gray, drawn from `rng`, the same for all frames.

    The recipe's `augment` is a function of frames, `rng` and `frame_rng`. A clip may come in parts: `rng` begins anew
    for each, while `frame_rng` goes on, from frame to frame. If None, `frame_rng` is a child of `rng`.

    `crop` "random": the short side is scaled to `pixels.resize`, then a box of `pixels.size` is cut at random (Sec.
    4.1). "resized": a box with a fraction `area` of the frame and width / height within 3/4 to 4/3 (or transposed) is
    cut from the frame and scaled to `size`; "square": width equals height; "text4vis": the box is scaled bilinearly,
    and a fifth of the clips are gray.
    `augment` comes first, such as RandAugment (Cubuk et al. 2020). Each call takes the same number of draws from `rng`,
    so that a generator shared by several clips stays in step.

    Source: Sec. 4.1 for "random"; the published code for "text4vis" (how area, shape and position are drawn).
    Differs: the published code scales the whole frame to `resize` before it cuts a "resized" box. That resamples twice
    and takes 8 ms instead of 5 (8 frames of 1280x720, area 0.4). `augment` gets frames scaled to `resize`, not
    full-size ones.
    """
    size = pixels.size
    if recipe.augment != "none":
        frames = _short_side(frames, pixels.resize, pixels.interpolation)
        entry = named("augment", recipe.augment)
        change = entry.load()
        with entry.errors():
            frames = change(frames, rng, frame_rng or rng.spawn(1)[0])
    attempts = rng.random((_ATTEMPTS, 3))
    across, down, flip, gray = rng.random(4)
    if recipe.crop == "random":
        clip = _cut(_short_side(frames, pixels.resize, pixels.interpolation), size, size, across, down)
    else:
        width, height = _box_size(frames.shape[-1], frames.shape[-2], recipe, attempts)
        clip = _cut(frames, width, height, across, down)
    published = recipe.crop == "text4vis"
    clip = _scale(clip, (size, size), "bilinear" if published else pixels.interpolation)
    if flip < recipe.flip:
        clip = clip.flip(-1)
    if published and gray < _GRAY:
        luma = (clip.permute(0, 2, 3, 1).float() @ torch.tensor(_LUMA)).round_().to(torch.uint8)
        clip = luma[:, None].expand(-1, 3, -1, -1)
    # A cut is a view: without a copy, the worker would send the whole clip. A single frame cut only in height counts as
    # contiguous.
    whole = clip.untyped_storage().nbytes() == clip.nbytes and clip.is_contiguous(memory_format=torch.channels_last)
    return clip if whole else clip.clone(memory_format=torch.channels_last)


def short_side(frames: _Clip, most: int) -> UInt8[Tensor, "frames 3 new_height new_width"]:
    """Return the clip with its short side scaled down to `most` pixels; a smaller clip unchanged."""
    return frames if min(frames.shape[-2:]) <= most else _short_side(frames, most, "bicubic")


def view_crops(
    frames: _Clip, pixels: Pixels, crops: int = 1, along: Along = "width"
) -> UInt8[Tensor, "{crops} frames 3 {pixels.size} {pixels.size}"]:
    """Return the `crops` test crops of a clip, in the order of `sampling.crop_offsets`.

    The short side is scaled to `pixels.resize` first, up or down; with `pixels.squash` both sides are. For three crops
    along the long side, the short side is scaled to `pixels.size`, so that the crops cover the picture.

    Source: published code; Sec. 4.1, "center 224x224 crop" and "three 224x224 crops"; ViFi-CLIP for the long side.
    """
    size = pixels.size
    short = size if crops == 3 and along == "long-side" else pixels.resize
    if pixels.squash:
        scaled = _scale(frames, (short, short), pixels.interpolation, pixels.antialias)
    else:
        scaled = _short_side(frames, short, pixels.interpolation, pixels.antialias)
    offsets = crop_offsets(scaled.shape[-1], scaled.shape[-2], size, crops, along, floor=pixels.floor)
    return torch.stack([scaled[..., y : y + size, x : x + size] for x, y in offsets])


def _box_size(width: int, height: int, recipe: Recipe, attempts: np.ndarray) -> tuple[int, int]:
    """Return (width, height) of the first drawn box that fits, or of the largest square if none does."""
    for area, shape, swap in attempts:
        pixels, ratio = (
            low + (high - low) * share for (low, high), share in ((recipe.area, area), (_RATIOS[recipe.crop], shape))
        )
        pixels *= width * height
        across, down = max(1, round(math.sqrt(pixels * ratio))), max(1, round(math.sqrt(pixels / ratio)))
        if swap < 0.5:
            across, down = down, across
        if across <= width and down <= height:
            return across, down
    return min(width, height), min(width, height)


def _cut(
    frames: _Clip, width: int, height: int, across: float, down: float
) -> UInt8[Tensor, "frames 3 {height} {width}"]:
    """Return a view of a box; `across` and `down`, in 0..1, give its position within the margin.

    Worked example, width 10, box 7: x is 0..3, so across 0.5 gives int(0.5 * 4) = 2.
    The four positions are equally likely.
    """
    x = int(across * (frames.shape[-1] - width + 1))
    y = int(down * (frames.shape[-2] - height + 1))
    return frames[..., y : y + height, x : x + width]


def rand_augment(frames: _Clip, rng: np.random.Generator, _: np.random.Generator) -> _Clip:
    """Return the clip after torchvision's RandAugment, two operations of strength 9, drawn once for all frames."""
    from torchvision.transforms import v2

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        return v2.RandAugment()(frames)


def unchanged(frames: Tensor, _: np.random.Generator, __: np.random.Generator) -> Tensor:
    """Return the clip as it is."""
    return frames


def _short_side(
    frames: _Clip, resize: int, interpolation: str, antialias: bool = True
) -> UInt8[Tensor, "frames 3 new_height new_width"]:
    """Return the clip with its short side scaled to `resize`, the long side in proportion, rounded down.

    Worked example, 640x480 to 256: the width is 256 * 640 // 480 = 341.
    480x640 gives 256x341.
    """
    height, width = frames.shape[-2:]
    short = min(height, width)
    return _scale(frames, (resize * height // short, resize * width // short), interpolation, antialias)


def _scale(
    frames: UInt8[Tensor, "frames channels height width"],
    size: tuple[int, int],
    interpolation: str,
    antialias: bool = True,
) -> UInt8[Tensor, "frames channels new_height new_width"]:
    if frames.shape[-2:] == size:
        return frames
    frames = frames.contiguous(memory_format=torch.channels_last)
    if antialias:
        return interpolate(frames, size, mode=interpolation, antialias=True)
    # Interpolate between the 4 or 16 nearest pixels, as OpenCV does. Doubles are rounded first to six digits, so that
    # a half is one for whoever computes it, and its sum may have any order; in uint8 or float32 that decides the pixel.
    doubles = interpolate(frames.double(), size, mode=interpolation, antialias=False)
    return doubles.round_(decimals=6).round_().clamp_(0, 255).to(torch.uint8)
