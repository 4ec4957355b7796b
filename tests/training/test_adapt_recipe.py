"""Fitting a recipe to the data and the encoder, and the options that override it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from made import items
from messages import prints, refuses
from texthead import Dataset, VisualSpec, load_encoder, recipes
from texthead.data import Pixels
from texthead.errors import RunError
from texthead.training.adapt_recipe import adapt_recipe


@pytest.fixture(scope="module")
def mini() -> VisualSpec:
    return load_encoder("mini").visual.spec


def many(count: int, classes: Sequence[str] = "ab", suffix: str = ".mp4") -> Dataset:
    """Return `count` items per class."""
    return items(*((f"{c}{i}", c, "train") for c in classes for i in range(count)), suffix=suffix)


def test_adapt_to_images(mini):
    data = many(100, suffix=".png")
    changed, (note,) = adapt_recipe(recipes.small, {}, data, mini)
    assert changed == recipes.small(frames=1, temporal="mean")
    prints(note, "1 frame", "mean")
    with refuses(RunError, "frames", 4):
        adapt_recipe(recipes.small, {"frames": 4}, data, mini)
    assert adapt_recipe(recipes.small, {"frames": 1}, data, mini)[0] == recipes.small(frames=1, temporal="mean")


def test_adapt_flips_and_keep_fitting_recipe(mini):
    assert adapt_recipe(recipes.small, {}, many(100), mini) == (recipes.small(), [])
    data = many(100, classes=("turn left", "turn right"))
    changed, (note,) = adapt_recipe(recipes.small, {}, data, mini)
    assert changed == recipes.small(flip=0.0)
    prints(note, "flip", 2, "'turn left'")
    assert adapt_recipe(recipes.small, {"flip": 0.5}, data, mini) == (recipes.small(), [])


@pytest.mark.parametrize("make", [recipes.paper, recipes.text4vis])
def test_adapt_to_larger_encoder(mini, make):
    """As in the published code: 224 of 256 pixels, and 336 of 336."""
    large = replace(mini, size=336, any_size=False)
    changed, (note,) = adapt_recipe(make, {}, many(100), large)
    assert (changed.resize, large.pixels(changed).size) == (336, 336)
    prints(note, 336, 256)
    assert adapt_recipe(make, {"resize": 384}, many(100), large)[0].resize == 384
    small = replace(mini, size=224)
    assert small.pixels(make()) == Pixels(224, 256, small.interpolation, decode="exact")


def test_adapt_to_few_items(mini):
    # 10 items make one step (batch 16) per epoch, so 40 steps take 40 epochs; a tenth of them is warm-up.
    changed, (note,) = adapt_recipe(recipes.small, {}, many(5), mini)
    assert (changed.epochs, changed.warmup) == (40, 4.0)
    prints(note, "epochs", 10, 40)
    assert adapt_recipe(recipes.small, {"epochs": 10}, many(5), mini) == (recipes.small(), [])
    changed, _ = adapt_recipe(recipes.small, {"warmup": 2.0}, many(5), mini)
    assert (changed.epochs, changed.warmup) == (40, 2.0)
    assert adapt_recipe(recipes.paper, {}, many(5), mini) == (recipes.paper(), [])
