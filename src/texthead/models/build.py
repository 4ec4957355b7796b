"""Build the parts of a model from a recipe: head and temporal module."""

import json
from typing import Any

import torch

from texthead.encoders.encoder import VisualEncoder
from texthead.errors import DataError, RunError
from texthead.extensions import Extension
from texthead.models.head_rows import RowInputs, RowKind
from texthead.models.head_table import head_kind
from texthead.models.heads import FrozenHead, Head, TrainableHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, Temporal, as_temporal
from texthead.recipes import Recipe, named, temporal_sizes

# The most steps, rows and columns of features that attentive pooling sees.
ATTENDED = (8, 4, 4)


def make_head(kind: str, inputs: RowInputs, *, trainable: bool = False) -> Head:
    """Return a head of this kind for the labels, before training.

    Args:
        trainable: train the rows of a kind that otherwise keeps them fixed.

    Source: Sec. 2.2; Eq. 1, 4, 5, 6; Table 1.

    Raises:
        DataError: the kind decides what it trains, and `trainable` is given.
        RunError: an unknown kind.
    """
    encoder = inputs.encoder
    rows, entry = head_kind(kind)
    if isinstance(rows, type):
        if trainable:
            raise DataError(f"head {kind} decides what it trains, so `train_head` does not apply; remove it")
        with entry.errors():
            head = rows.from_inputs(inputs)
        if not entry.ours:
            _check_head(head, entry, inputs)
        return head
    options: dict[str, Any] = inputs.options | {"kind": kind}
    if rows.needs_text:
        options |= {"prompts": inputs.prompts, "text_source": encoder.text_source, "text_map": encoder.text_map}
    make = TrainableHead if trainable or rows.trained else FrozenHead
    with entry.errors():
        weight = rows.make(inputs)
    shape, expected = tuple(getattr(weight, "shape", ())), (len(inputs.labels), encoder.dim)
    if shape != expected:
        kind = f"rows of shape {shape}" if shape else f"a {type(weight).__name__}"
        raise RunError(entry.broken(f"returned {kind} instead of a tensor {expected}, classes and dimensions"))
    return make(torch.as_tensor(weight), **options)


def _check_head(head: Any, entry: Extension, inputs: RowInputs) -> None:
    """Raise RunError unless a package's head can be saved and made again, and gives a score for each class."""
    classes, dim = len(inputs.labels), inputs.encoder.dim
    with torch.no_grad(), entry.errors():
        again = type(head).from_config(json.loads(json.dumps(head.config())), head.names, dim=dim)
        again.load_state_dict(head.state_dict())
        shape = tuple(getattr(again.eval()(torch.zeros(2, dim)), "shape", ()))
    if shape != (2, classes):
        raise RunError(entry.broken(f"returned scores of shape {shape} for 2 features, not {(2, classes)}"))


def make_recognizer(kind: str, inputs: RowInputs, *, trainable: bool = False) -> Recognizer:
    """Return the model before training: the encoder, the recipe's temporal module, a head of this kind.

    Raises:
        DataError, RunError: as `make_head` and `make_temporal_for`.
    """
    visual = with_grid_for(inputs.recipe.temporal, inputs.encoder.visual)
    temporal = make_temporal_for(inputs.recipe, visual)
    return Recognizer(visual, temporal, make_head(kind, inputs, trainable=trainable))


def with_grid_for(temporal: str, visual: VisualEncoder) -> VisualEncoder:
    """Return the encoder; one of clips gives attentive pooling a grid of features, other modules one feature a step."""
    return visual.with_grid(
        ATTENDED if temporal_sizes(temporal)[0] in ("attentive", "vjepa2") else (visual.spec.grid[0], 1, 1)
    )


def takes_sentences(kind: str) -> bool:
    """Return whether the rows of a head of this kind are text, so that a class may have its own sentence."""
    rows, _ = head_kind(kind)
    return isinstance(rows, RowKind) and rows.needs_text


def make_temporal_for(recipe: Recipe, visual: VisualEncoder) -> Temporal:
    """Return the recipe's temporal module, initialised from its seed; for clips of one frame always `MeanPool`.

    Raises:
        RunError: the module does not fit the encoder.
    """
    if recipe.frames == 1:
        return MeanPool()
    entry = named("temporal", temporal_sizes(recipe.temporal)[0])
    kind = entry.load()
    with entry.errors():
        return as_temporal(kind.from_recipe(recipe, visual))
