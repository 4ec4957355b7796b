"""RandAugment that is drawn anew for every frame, as the published logs of Kinetics-400 print it.

`texthead train DATA --recipe text4vis --set augment=rand-augment-frames` uses it; no row of a table does.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

# As in the logs.
OPERATIONS, MAGNITUDE = 2, 9

# Operations whose value has a random sign, and the colour of Cutout's square.
_SIGNED = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}
_CUT_OUT = (125, 123, 114)


def rand_augment_frames(
    frames: UInt8[Tensor, "frames 3 height width"], _: np.random.Generator, frame_rng: np.random.Generator
) -> UInt8[Tensor, "frames 3 height width"]:
    """Return the clip with each frame after its own draws of two operations of strength 9, with replacement.

    Source: the published logs of Kinetics-400, which print a transform of single frames.
    """
    operations = list(_operations().items())

    def change(frame: Tensor) -> Tensor:
        for choice, sign, across, down in frame_rng.random((OPERATIONS, 4)):
            name, (*ends, operation) = operations[int(choice * len(operations))]
            value = ends[0] + (ends[1] - ends[0]) * MAGNITUDE / 30
            frame = operation(frame, -value if name in _SIGNED and sign < 0.5 else value, across, down)
        return frame

    return torch.cat([change(frame) for frame in frames.split(1)])


@cache
def _operations() -> dict[str, tuple[float, float, Callable[[Tensor, float, float, float], Tensor]]]:
    """Return 16 operations by name: values at magnitudes 0 and 30, and a function of (frame, value, across, down).

    `across` and `down` are in 0..1 and place the square of Cutout. Geometric operations take the nearest pixel and
    leave the rest black.

    Source: the older stand-alone package for PyTorch (github.com/ildoonet/pytorch-randaugment), inferred to be that of
    the published logs.
    """
    from torchvision.transforms.v2 import functional as F

    def shear(frame: Tensor, x: float = 0.0, y: float = 0.0) -> Tensor:
        degrees = [math.degrees(math.atan(each)) for each in (x, y)]
        return F.affine(frame, angle=0, translate=[0, 0], scale=1, shear=degrees, center=[0, 0])

    def move(frame: Tensor, x: float = 0.0, y: float = 0.0) -> Tensor:
        return F.affine(frame, angle=0, translate=[x, y], scale=1, shear=[0, 0])

    def cut_out(frame: Tensor, side: float, across: float, down: float) -> Tensor:
        height, width = frame.shape[-2:]
        left, top = (max(0, round(share * of - side / 2)) for share, of in ((across, width), (down, height)))
        right, bottom = round(across * width + side / 2), round(down * height + side / 2)
        colour = torch.tensor(_CUT_OUT, dtype=torch.uint8)[:, None, None]
        return F.erase(frame, top, left, bottom - top, right - left, colour)

    def solarize_add(frame: Tensor, added: float) -> Tensor:
        return F.solarize((frame.float() + added).clamp(0, 255).to(torch.uint8), 128)

    return {
        "AutoContrast": (0.0, 1.0, lambda frame, *_: F.autocontrast(frame)),
        "Equalize": (0.0, 1.0, lambda frame, *_: F.equalize(frame)),
        "Invert": (0.0, 1.0, lambda frame, *_: F.invert(frame)),
        "Rotate": (0.0, 30.0, lambda frame, degrees, *_: F.rotate(frame, degrees)),
        "Posterize": (0.0, 4.0, lambda frame, bits, *_: F.posterize(frame, max(1, int(bits)))),
        # torchvision refuses a threshold above 255, which changes nothing.
        "Solarize": (0.0, 256.0, lambda frame, least, *_: F.solarize(frame, least) if least <= 255 else frame),
        "SolarizeAdd": (0.0, 110.0, lambda frame, added, *_: solarize_add(frame, added)),
        "Color": (0.1, 1.9, lambda frame, factor, *_: F.adjust_saturation(frame, factor)),
        "Contrast": (0.1, 1.9, lambda frame, factor, *_: F.adjust_contrast(frame, factor)),
        "Brightness": (0.1, 1.9, lambda frame, factor, *_: F.adjust_brightness(frame, factor)),
        "Sharpness": (0.1, 1.9, lambda frame, factor, *_: F.adjust_sharpness(frame, factor)),
        "ShearX": (0.0, 0.3, lambda frame, slope, *_: shear(frame, x=slope)),
        "ShearY": (0.0, 0.3, lambda frame, slope, *_: shear(frame, y=slope)),
        "Cutout": (0.0, 40.0, cut_out),
        "TranslateX": (0.0, 100.0, lambda frame, pixels, *_: move(frame, x=pixels)),
        "TranslateY": (0.0, 100.0, lambda frame, pixels, *_: move(frame, y=pixels)),
    }
