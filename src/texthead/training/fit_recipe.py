"""A recipe fitted to the data and the encoder, and a line for each value that was changed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from texthead.data.dataset import Dataset
from texthead.encoders.encoder import Encoder, VisualSpec
from texthead.errors import RunError
from texthead.models.build import keeps_templates_apart
from texthead.recipes import Recipe
from texthead.text.class_names import mirrored_names

FEW_STEPS = 40


def suit(
    make: Callable[..., Recipe], overrides: Mapping[str, Any], train_set: Dataset, encoder: Encoder
) -> tuple[Recipe, list[str]]:
    """Return the recipe as the data and the encoder need it, and a line for each value that they changed.

    Args:
        make: the recipe, as a function of the values that it is to have.
        overrides: values that win over those that data and encoder need.
        train_set: the items that it trains on.
        encoder: the encoder that it trains.

    Raises:
        RunError: an override that the data cannot have.
    """
    recipe, spec = make(**overrides), encoder.visual.spec
    values: dict[str, Any] = {}
    notes: list[str] = []
    if spec.unit == "clip" and recipe.frames != spec.frames and "frames" not in overrides:
        values["frames"] = spec.frames
        notes.append(f"{spec.source} sees {spec.frames} frames at once: frames {recipe.frames} -> {spec.frames}")
    elif spec.unit == "clip" and recipe.frames % spec.frames:
        raise RunError(
            f"frames {recipe.frames}: {spec.source} sees {spec.frames} frames at once: take them or a multiple"
        )
    if spec.stride and "stride" not in overrides:
        values["stride"] = spec.stride
        notes.append(
            f"{spec.source} was trained on frames {spec.stride} apart: stride {recipe.stride} -> {spec.stride}"
        )
    if recipe.stride and recipe.freeze_encoder and spec.unit == "frame":
        raise RunError(
            f"stride {recipe.stride}: frames of a frozen encoder are encoded once, evenly over the video: leave out "
            "stride or freeze_encoder"
        )
    if spec.unit == "frame" and train_set.only_images and recipe.frames > 1:
        if "frames" in overrides:
            raise RunError(f"frames {recipe.frames}: all items are images, a clip of one frame; leave it out")
        values["frames"] = 1
        notes.append("all items are images: 1 frame a clip, mean pooling")
    if recipe.temporal != "mean" and values.get("frames", recipe.frames) == 1:
        if "temporal" in overrides:
            raise RunError(f"temporal {recipe.temporal}: clips have one frame, which has no neighbours; leave it out")
        values["temporal"] = "mean"
    if recipe.size not in (None, spec.size) and not spec.any_size and "size" not in overrides:
        values["size"] = spec.size
        notes.append(f"{spec.source} takes {spec.size} pixels only: size {recipe.size} -> {spec.size}")
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
    """Return the recipe without a margin around the crop if the encoder takes more pixels than `resize`.

    Source: published code: 224 pixels of 256, 336 of 336.
    """
    none = recipe.size is None and recipe.resize is not None and recipe.resize < spec.size
    return replace(recipe, resize=spec.size) if none else recipe


def check_overrides_are_used(make: Callable[..., Recipe], overrides: Mapping[str, Any], head: str) -> None:
    """Raise RunError if an override does nothing beside the other values and the kind of the head."""
    recipe = make(**overrides)
    if head == "text":
        keeps_templates_apart(recipe)
    rules = {
        "conv_start": (recipe.temporal in ("conv", "token-conv"), "temporal=conv or token-conv"),
        "width": (recipe.temporal in ("transformer", "attentive"), "temporal=transformer or attentive"),
        "layers": (recipe.temporal == "transformer", "temporal=transformer"),
        "context": (head == "prompt", "head=prompt"),
        "template_use": (head == "text", "head=text"),
        "template_pooling": (head == "text", "head=text"),
    }
    for name, (used, what) in rules.items():
        if name in overrides and not used:
            raise RunError(f"{name} does nothing without {what}: give it too, or leave both out")
    if recipe.tune == "none" and overrides.get("freeze_encoder") is False:
        raise RunError("tune none is freeze_encoder, which is off: leave one out")
    for name, changed in (
        ("grad_checkpointing", recipe.grad_checkpointing),
        ("patch_dropout", recipe.patch_dropout),
        ("mix", recipe.mix != 1),
    ):
        if changed and recipe.freeze_encoder:
            raise RunError(f"{name} does nothing with freeze_encoder, which needs no backward pass through the encoder")
