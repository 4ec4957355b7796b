"""A recipe fitted to the data and the encoder, and a line for each value that was changed."""

import math
from dataclasses import replace

from texthead.data.dataset import Dataset
from texthead.encoders.encoder import Encoder
from texthead.errors import RunError
from texthead.models.build import keeps_templates_apart
from texthead.recipes import Recipe
from texthead.text.class_names import mirrored_names

FEW_STEPS = 40


def suit(recipe: Recipe, train_set: Dataset, encoder: Encoder, *, given: frozenset[str]) -> tuple[Recipe, list[str]]:
    """The recipe as the data and the encoder need it, and a line for each thing that was changed.

    What the user gave (`given`, names of recipe values) is never changed.
    """
    said: list[str] = []
    spec = encoder.visual.spec
    if train_set.only_images and recipe.frames > 1 and "frames" in given:
        raise RunError(f"--frames {recipe.frames}: all items are images, a clip of one frame; leave out --frames")
    if train_set.only_images and recipe.frames > 1:
        recipe = replace(recipe, frames=1)
        said.append("all items are images: 1 frame a clip, mean pooling")
    if recipe.temporal != "mean" and recipe.frames == 1:
        if "temporal" in given:
            raise RunError(f"--temporal {recipe.temporal}: clips have one frame, which has no neighbours; leave it out")
        recipe = replace(recipe, temporal="mean")
    if recipe.size not in (None, spec.size) and not spec.any_size and "size" not in given:
        said.append(f"{spec.source} takes {spec.size} pixels only: size {recipe.size} -> {spec.size}")
        recipe = replace(recipe, size=spec.size)
    sided = mirrored_names(train_set.classes)
    if sided and recipe.flip and "flip" not in given:
        said.append(f"flips are off: {len(sided)} class names say left or right ({sided[0]!r})")
        recipe = replace(recipe, flip=0.0)
    steps = math.ceil(len(train_set) / recipe.batch)
    if recipe.name == "small" and steps * recipe.epochs < FEW_STEPS and "epochs" not in given:
        epochs = math.ceil(FEW_STEPS / steps)
        said.append(f"few items: epochs {recipe.epochs} -> {epochs}, for at least {FEW_STEPS} steps")
        recipe = replace(recipe, epochs=epochs) if "warmup" in given else recipe.with_epochs(epochs)
    return recipe, said


def check_given_is_used(recipe: Recipe, head: str, *, given: frozenset[str]) -> None:
    """Nothing, unless an option is given that the other options make useless.

    Raises:
        RunError: such an option.
    """
    if head == "text":
        keeps_templates_apart(recipe)
    rules = {
        "conv_start": (recipe.temporal in ("conv", "token-conv"), "--temporal conv or token-conv"),
        "width": (recipe.temporal == "transformer", "--temporal transformer"),
        "layers": (recipe.temporal == "transformer", "--temporal transformer"),
        "context": (head == "prompt", "--head prompt"),
        "template_use": (head == "text", "--head text"),
        "template_pooling": (head == "text", "--head text"),
    }
    for name, (used, what) in rules.items():
        if name in given and not used:
            raise RunError(f"--{name.replace('_', '-')} does nothing without {what}: give it too, or leave both out")
    for option, on in (("grad-checkpointing", recipe.grad_checkpointing), ("patch-dropout", recipe.patch_dropout)):
        if on and recipe.freeze_encoder:
            raise RunError(f"--{option} does nothing with --freeze-encoder, which needs no backward pass through it")
