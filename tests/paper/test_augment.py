"""RandAugment per frame: its operations are Pillow's, and every frame has its own."""

import numpy as np
import PIL.Image
import pytest
import torch
from PIL import ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image

from paper.augment import _operations
from texthead.data import Pixels
from texthead.data.transforms import augment
from texthead.recipes import Recipe

RECIPE = Recipe("test", augment="rand-augment-frames")

# With less contrast than the original, which AutoContrast would not change.
PHOTO = ImageEnhance.Contrast(PIL.Image.fromarray(load_sample_image("china.jpg")).resize((341, 256))).enhance(0.7)


def pixels_of(picture: PIL.Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


def moved(*terms: float) -> PIL.Image.Image:
    return PHOTO.transform(PHOTO.size, PIL.Image.Transform.AFFINE, terms)


# The operations of the package as Pillow has them.
WITH_PILLOW = {
    "AutoContrast": lambda _: ImageOps.autocontrast(PHOTO),
    "Equalize": lambda _: ImageOps.equalize(PHOTO),
    "Invert": lambda _: ImageOps.invert(PHOTO),
    "Rotate": PHOTO.rotate,
    "Posterize": lambda bits: ImageOps.posterize(PHOTO, max(1, int(bits))),
    "Solarize": lambda least: ImageOps.solarize(PHOTO, least),
    "SolarizeAdd": lambda added: ImageOps.solarize(PHOTO.point(lambda value: min(255, value + int(added))), 128),
    "Color": lambda factor: ImageEnhance.Color(PHOTO).enhance(factor),
    "Contrast": lambda factor: ImageEnhance.Contrast(PHOTO).enhance(factor),
    "Brightness": lambda factor: ImageEnhance.Brightness(PHOTO).enhance(factor),
    "Sharpness": lambda factor: ImageEnhance.Sharpness(PHOTO).enhance(factor),
    "ShearX": lambda slope: moved(1, slope, 0, 0, 1, 0),
    "ShearY": lambda slope: moved(1, 0, 0, slope, 1, 0),
    "TranslateX": lambda pixels: moved(1, 0, -pixels, 0, 1, 0),
    "TranslateY": lambda pixels: moved(1, 0, 0, 0, 1, -pixels),
}


@pytest.mark.parametrize("name", WITH_PILLOW)
def test_an_operation_per_frame_is_pillows(name):
    least, most, operation = _operations()[name]
    for magnitude in (0, 9, 30):
        value = least + (most - least) * magnitude / 30
        actual, expected = operation(pixels_of(PHOTO), value, 0.5, 0.5), pixels_of(WITH_PILLOW[name](value))
        assert actual.dtype == torch.uint8
        # At the edges of a turned picture, one pixel of a thousand is another's neighbour.
        assert ((actual.int() - expected.int()).abs() > 1).float().mean() < 2e-3
        same = magnitude == 0 and name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
        assert torch.equal(actual, pixels_of(PHOTO)) == (same or (name, magnitude) == ("Solarize", 30))


def test_cutout_covers_a_square_that_may_reach_over_the_edge():
    assert set(_operations()) == {*WITH_PILLOW, "Cutout"}
    least, most, cut_out = _operations()["Cutout"]
    assert (least, most) == (0, 40)
    photo = pixels_of(PHOTO)
    for place, down, across in ((0.5, slice(108, 148), slice(150, 190)), (1.0, slice(236, 256), slice(321, 341))):
        expected = photo.clone()
        expected[..., down, across] = torch.tensor([125, 123, 114])[:, None, None]
        assert torch.equal(cut_out(photo, 40.0, place, place), expected)
    assert torch.equal(cut_out(photo, 0.0, 0.5, 0.5), photo)


def test_every_frame_is_drawn_anew():
    frames, sizes = pixels_of(PHOTO).expand(12, -1, -1, -1), Pixels(256, 256, "bicubic")
    out = augment(frames, sizes, RECIPE, np.random.default_rng(0))
    # Two of 16 operations, some with a sign or a place: equal pairs are rare.
    assert len({frame.numpy().tobytes() for frame in out}) >= 11
    # A clip that comes in parts has the same draws.
    each = np.random.default_rng(0).spawn(1)[0]
    parts = [augment(part, sizes, RECIPE, np.random.default_rng(0), each) for part in frames.split([5, 1, 6])]
    assert torch.equal(torch.cat(parts), out)
