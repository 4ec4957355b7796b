"""Import a classifier of clips in transformers' format as a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from texthead.encoders import fill, load_classifier
from texthead.errors import DataError, EncoderError, RunError
from texthead.files import locked
from texthead.models import Recognizer, heads, make_temporal
from texthead.recipes import Recipe
from texthead.runs import is_run, write_run
from texthead.text import clean_names

# Largest difference from transformers' own logits for a clip of noise.
_MOST_ERROR = 1e-3


def import_classifier(
    source: str, out: Path, labels: Sequence[str] | None = None, *, clean: bool = False
) -> tuple[str, list[str]]:
    """Write a `...ForVideoClassification` of transformers as a run, and return (its title, the labels).

    The run has the model's own pooling, on the grid of all tokens unless it is a mean, and a linear head with a bias.

    Args:
        source: `hf:FOLDER` or `hf:ORG/NAME[@REVISION]`.
        labels: the labels, in the order of the classifier's rows; the model's own if None.
        clean: write the class names, as a text encoder reads them, as words: horse_riding as horse riding.

    Raises:
        RunError: the folder already holds a run.
        EncoderError: it is no classifier of clips, or its pooling is unknown.
        DataError: the labels differ from the classifier's rows in number.
    """
    if is_run(out):
        raise RunError(f"{out}: already holds a run; choose another folder")
    visual, config, tensors, clip, logits = load_classifier(source)
    own = [name for _, name in sorted(config.id2label.items())]
    labels = own if labels is None else labels
    names = clean_names(labels) if clean else labels
    if len(labels) != len(own):
        raise DataError(f"{len(labels)} class names for the {len(own)} classes of {source}; give one per class")
    pooling = _pooling(config, visual.spec.dim, source)
    if "mean" in str(pooling["kind"]):
        visual = visual.with_grid((visual.spec.grid[0], 1, 1))
    temporal = make_temporal(pooling, visual)
    head = heads.LinearHead(visual.spec.dim, names=labels, bias=True)
    fill(head, _renamed(tensors, "classifier.", ""), source)
    fill(temporal, _renamed(tensors, "pooler.", "") | _renamed(tensors, "fc_norm.", "norm."), source)
    model = Recognizer(visual, temporal, head).eval()
    with torch.no_grad():
        error = float((model(clip) - logits).abs().max())
    if not error < _MOST_ERROR * max(1.0, float(logits.abs().max())):
        raise EncoderError(f"{source}: scores differ from transformers' by {error:.1e}; please report this model")
    recipe = Recipe(
        name=f"imported, {config.model_type}",
        frames=visual.spec.frames,
        origin="centre",
        pooling="probabilities",
        temporal="vjepa2" if config.model_type == "vjepa2" else "mean",
    )
    with locked(out):
        write_run(out, model, recipe, visual.spec.pixels(), names, {"source": f"imported from {source}"})
    return f"{source}: {config.architectures[0]}, {visual.spec.frames} frames, {len(labels)} classes", [*labels]


def _pooling(config: Any, dim: int, source: str) -> dict[str, object]:
    """Return the config of the temporal module that pools like the model.

    Raises:
        EncoderError: texthead has none.
    """
    kind = config.model_type
    if kind == "vjepa2":
        return {"kind": kind, "dim": dim, "layers": config.num_pooler_layers, "heads": config.num_attention_heads}
    if kind == "videomae":
        return {"kind": "normed-mean", "dim": dim} if config.use_mean_pooling else {"kind": "first-token"}
    if kind in ("timesformer", "vivit"):  # Their towers give the class token.
        return {"kind": "mean"}
    raise EncoderError(f"{source}: the pooling of a {config.architectures[0]} is not supported; use it as an encoder")


def _renamed(tensors: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `old`, with `new` in its place."""
    return {new + name.removeprefix(old): value for name, value in tensors.items() if name.startswith(old)}
