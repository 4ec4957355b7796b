"""One crop box per clip, the same random draws for any output, and exact pixels without scaling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from texthead.data import transforms
from texthead.data.protocol import Pixels
from texthead.data.transforms import augment, view_crops
from texthead.recipes import Recipe

PLAIN = {"flip": 0.0}


def spec_of(size: int, resize: int, crop: str = "random", *, interpolation: str = "bicubic", **values):
    """Return the sizes and the recipe of training clips."""
    return Pixels(size, resize, interpolation), Recipe("test", crop=crop, **{"flip": 0.5, **values})


def square(size: int, resize: int | None = None, *, squash: bool = False) -> Pixels:
    return Pixels(size, resize or size, "bicubic", squash)


def clip(height: int = 60, width: int = 80, frames: int = 3, same: bool = False) -> torch.Tensor:
    """Return noise, so that every crop differs; with `same`, one picture repeated."""
    pictures = np.random.default_rng(0).integers(0, 256, (1 if same else frames, height, width, 3), np.uint8)
    return torch.from_numpy(pictures.repeat(frames if same else 1, axis=0)).permute(0, 3, 1, 2)


def gradient(height: int, width: int) -> torch.Tensor:
    """Return a picture with its columns in red and rows in green, so that a crop shows its position."""
    red = torch.arange(width).expand(height, width)
    green = torch.arange(height)[:, None].expand(height, width)
    return torch.stack([red, green, torch.zeros_like(red)])[None].to(torch.uint8)


@pytest.mark.parametrize("crop", ["random", "resized", "square", "text4vis"])
@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (20, 90), (33, 33), (1, 1)])
def test_shape_type_and_memory(crop, shape):
    # Without scaling, the crop of a single frame is a view of the input and must be copied.
    for frames, spec in ((3, spec_of(32, 40, crop)), (1, spec_of(min(shape), min(shape), crop, **PLAIN))):
        out = augment(clip(*shape, frames), *spec, np.random.default_rng(0))
        assert (out.shape, out.dtype) == ((frames, 3, spec[0].size, spec[0].size), torch.uint8)
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert out.untyped_storage().nbytes() == out.numel()


@pytest.mark.parametrize("crop", ["random", "resized", "square", "text4vis"])
def test_frames_share_crop_from_generator(crop):
    spec = spec_of(32, 40, crop)
    rng = np.random.default_rng(0)
    for _ in range(10):
        out = augment(clip(same=True), *spec, rng)
        assert (out == out[:1]).all()
    frames = clip()
    one, other = (augment(frames, *spec, np.random.default_rng(seed)) for seed in (7, 8))
    # The input is unchanged, and its order in memory does not matter.
    assert torch.equal(one, augment(frames.contiguous(), *spec, np.random.default_rng(7)))
    assert torch.equal(frames, clip())
    assert not torch.equal(one, other)


@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    crop=st.sampled_from(["random", "resized", "square", "text4vis"]),
    flip=st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_every_call_takes_the_same_draws(height, width, crop, flip):
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    augment(clip(height, width, 1), *spec_of(8, 8, crop, flip=flip), rng)
    augment(clip(10, 10, 1), *spec_of(8, 8), other)
    assert rng.random() == other.random()


def test_nothing_to_do_changes_nothing():
    frames = clip(48, 48)
    rng = np.random.default_rng(0)
    assert torch.equal(augment(frames, *spec_of(48, 48, **PLAIN), rng), frames)
    whole = spec_of(48, 48, "square", area=(1.0, 1.0), **PLAIN)
    assert torch.equal(augment(frames, *whole, rng), frames)
    assert torch.equal(view_crops(frames, square(48))[0], frames)


def test_random_boxes_reach_every_place():
    rng, how = np.random.default_rng(0), spec_of(8, 10, **PLAIN)
    corners = {tuple(augment(gradient(10, 12), *how, rng)[0, :2, 0, 0].tolist()) for _ in range(400)}
    assert corners == {(x, y) for x in range(5) for y in range(3)}


def test_resized_boxes_keep_to_area_and_ratio():
    rng = np.random.default_rng(0)
    spec = spec_of(64, 64, "resized", area=(0.2, 0.5), **PLAIN)
    for _ in range(50):
        out = augment(gradient(200, 250), *spec, rng)[0].int()
        # The span between the outermost pixel centers is 63/64 of the box, up to rounding.
        width, height = (int(c.max() - c.min()) * 64 / 63 for c in out[:2])
        assert 0.17 < width * height / (200 * 250) < 0.55
        assert 0.7 < width / height < 1.42
    # A box that never fits becomes the largest square.
    spec = spec_of(10, 10, "square", area=(1.0, 1.0), **PLAIN)
    out = augment(gradient(10, 40), *spec, rng)[0]
    assert out[1].tolist() == gradient(10, 10)[0, 1].tolist()
    assert (out[0].diff(dim=1) == 1).all()


@pytest.mark.parametrize("crop", ["random", "resized", "square", "text4vis"])
def test_flip_mirrors(crop):
    plain, flipped = (
        augment(clip(), *spec_of(32, 40, crop, flip=flip), np.random.default_rng(5)) for flip in (0.0, 1.0)
    )
    assert torch.equal(flipped, plain.flip(-1))


def test_a_fifth_of_the_clips_are_gray(monkeypatch):
    rng = np.random.default_rng(0)
    clips = [augment(clip(40, 40, 1), *spec_of(8, 40, "text4vis"), rng) for _ in range(300)]
    assert abs(sum(bool((each == each[:, :1]).all()) for each in clips) - 60) < 28, "four standard deviations"
    plain, gray = [], []
    for share, made in ((0.0, plain), (1.0, gray)):
        monkeypatch.setattr(transforms, "_GRAY", share)
        made.append(augment(clip(), *spec_of(32, 40, "text4vis"), np.random.default_rng(5)))
    weighted = (plain[0] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    assert torch.equal(gray[0], gray[0][:, :1].expand_as(gray[0]))
    assert (gray[0][:, 0] - weighted).abs().max() <= 0.501


def test_flips_come_as_often_as_asked():
    rng = np.random.default_rng(0)
    flipped = sum(int(augment(gradient(8, 8), *spec_of(8, 8, flip=0.3), rng)[0, 0, 0, 0] == 7) for _ in range(300))
    assert 63 < flipped < 117


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_scaling_is_torchvisions(interpolation):
    for shape, size in [((90, 120), 32), ((120, 90), 32), ((20, 31), 32), ((1, 7), 9)]:
        expected = resize(clip(*shape), [size], InterpolationMode(interpolation), antialias=True)
        ours = view_crops(clip(*shape), Pixels(size, size, interpolation))[0]
        x, y = (round((side - size) / 2) for side in (expected.shape[-1], expected.shape[-2]))
        assert torch.equal(ours, expected[..., y : y + size, x : x + size])


def test_a_squashed_picture_is_whole_and_square():
    """As open_clip preprocesses for SigLIP and similar models."""
    frames = clip(40, 64)
    squashed = view_crops(frames, square(32, squash=True))
    assert torch.equal(squashed[0], resize(frames, [32, 32], InterpolationMode.BICUBIC, antialias=True))
    assert not torch.equal(squashed, view_crops(frames, square(32)))
    assert torch.equal(view_crops(frames, square(32, squash=True), 3), squashed.expand(3, -1, -1, -1, -1))


def test_three_crops_along_the_long_side_cover_the_picture():
    """As in ViFi-CLIP: the crop's side is the short side, so nothing of it is lost."""
    frames = clip(60, 40)
    first, last, middle = view_crops(frames, square(40, 50), 3, "long-side")
    assert torch.equal(first, frames[..., :40, :])
    assert torch.equal(last, frames[..., 20:, :])
    assert torch.equal(middle, frames[..., 10:50, :])
    assert view_crops(frames, square(40, 50), 1, "long-side").shape == (1, 3, 3, 40, 40)


def test_rand_augment_is_torchvisions_drawn_once_a_clip():
    frames = clip(40, 40, 4)
    spec = spec_of(40, 40, **PLAIN, augment="rand-augment")
    out = augment(frames, *spec, np.random.default_rng(3))
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.default_rng(3).integers(2**63)))
        expected = v2.RandAugment(2, 9)(frames)
    assert torch.equal(out, expected)
    still = augment(clip(40, 40, 4, same=True), *spec, np.random.default_rng(3))
    assert (still == still[:1]).all()
    before = torch.random.get_rng_state()
    different = [augment(frames, *spec, np.random.default_rng(seed)) for seed in range(6)]
    assert torch.equal(before, torch.random.get_rng_state())
    assert len({tuple(one.flatten()[:200].tolist()) for one in different}) > 1


def test_box_interpolation_differs_from_frame(monkeypatch):
    monkeypatch.setattr(transforms, "_GRAY", 0.0)
    box = {"area": (0.5, 0.5), "flip": 0.0}
    bicubic, bilinear, all_bilinear = (
        augment(clip(40, 40, 1), *spec_of(20, 40, crop, **box, **more), np.random.default_rng(0))
        for crop, more in (("resized", {}), ("text4vis", {}), ("resized", {"interpolation": "bilinear"}))
    )
    assert not torch.equal(bicubic, bilinear)
    assert torch.equal(bilinear, all_bilinear)
