"""Adapt a recipe to the data and the encoder, with a message for each changed value."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from texthead.data.dataset import Dataset
from texthead.encoders.spec import VisualSpec
from texthead.errors import RunError
from texthead.recipes import Recipe
from texthead.text.class_names import mirrored_names

FEW_STEPS = 40


def adapt_recipe(
    make: Callable[..., Recipe], overrides: Mapping[str, Any], train_set: Dataset, spec: VisualSpec
) -> tuple[Recipe, list[str]]:
    """Return the recipe adapted to the data and the encoder, and a message for each changed value.

    Args:
        make: returns the recipe with given values.
        overrides: values to use in any case.
        train_set: the training items.
        spec: the encoder.

    Raises:
        RunError: an override does not fit the data or the encoder.
    """
    recipe = make(**overrides)
    values: dict[str, Any] = {}
    notes: list[str] = []
    if spec.unit == "clip" and recipe.frames != spec.frames and "frames" not in overrides:
        values["frames"] = spec.frames
        notes.append(f"{spec.source} takes clips of {spec.frames} frames: frames {recipe.frames} -> {spec.frames}")
    elif spec.unit == "clip" and recipe.frames % spec.frames:
        raise RunError(
            f"`frames={recipe.frames}`: {spec.source} takes clips of {spec.frames} frames: use a multiple of that"
        )
    if spec.stride and "stride" not in overrides:
        values["stride"] = spec.stride
        notes.append(
            f"{spec.source} was trained on frames {spec.stride} apart: stride {recipe.stride} -> {spec.stride}"
        )
    if recipe.stride and recipe.frozen and spec.unit == "frame":
        why = "with a frozen encoder, frames are spread evenly over the video"
        raise RunError(f"`stride={recipe.stride}`: {why}: remove `stride` or `tune=none`")
    if spec.unit == "frame" and train_set.only_images and recipe.frames > 1:
        if "frames" in overrides:
            raise RunError(f"`frames={recipe.frames}`: all items are images, of one frame; remove `frames`")
        values["frames"] = 1
        notes.append("all items are images: 1 frame per clip, mean pooling")
    if recipe.temporal != "mean" and values.get("frames", recipe.frames) == 1:
        if "temporal" in overrides:
            raise RunError(f"`temporal={recipe.temporal}`: clips have only one frame; remove `temporal`")
        values["temporal"] = "mean"
    if recipe.size not in (None, spec.size) and not spec.any_size and "size" not in overrides:
        values["size"] = spec.size
        notes.append(f"{spec.source} takes only {spec.size} pixels: size {recipe.size} -> {spec.size}")
    resize = with_margin(recipe, spec).resize
    if resize != recipe.resize and "resize" not in overrides:
        values["resize"] = resize
        notes.append(f"{spec.source} takes {resize} pixels, more than resize {recipe.resize}: resize -> {resize}")
    sided = mirrored_names(train_set.classes)
    if sided and recipe.flip and "flip" not in overrides:
        values["flip"] = 0.0
        notes.append(f"flips are off: {len(sided)} class names say left or right ({sided[0]!r})")
    steps = math.ceil(len(train_set) / recipe.batch)
    if recipe.name == "small" and steps * recipe.epochs < FEW_STEPS and "epochs" not in overrides:
        epochs = math.ceil(FEW_STEPS / steps)
        values |= {"epochs": epochs, "warmup": recipe.with_epochs(epochs).warmup}
        notes.append(f"few items: epochs {recipe.epochs} -> {epochs}, for at least {FEW_STEPS} steps")
    return make(**{**values, **overrides}), notes


def with_margin(recipe: Recipe, spec: VisualSpec) -> Recipe:
    """Return the recipe with `resize` raised to the encoder's input size if it is below, which leaves no margin.

    Source: published code: crops of 224 pixels from 256, of 336 from 336.
    """
    too_small = recipe.size is None and recipe.resize is not None and recipe.resize < spec.size
    return replace(recipe, resize=spec.size) if too_small else recipe
