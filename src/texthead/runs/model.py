"""Load the model of a run, without building its network where a graph of its encoder is saved."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from texthead.data.protocol import Pixels
from texthead.encoders.encoder import build_visual
from texthead.encoders.lazy import SMALL, LazyVisualEncoder, store_digest, stored_metadata, weights_digest
from texthead.encoders.load import keeps_graph
from texthead.encoders.spec import VisualSpec
from texthead.features.engine import StoredGraph
from texthead.models.head_table import head_of_json
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import Temporal
from texthead.runs.folder import WEIGHTS, load_weights
from texthead.runs.saved import in_file


def load_model(
    folder: Path, about: dict[str, Any], classes: dict[str, Any], spec: VisualSpec, pixels: Pixels
) -> Recognizer:
    """Load the model of a run; if a graph of its encoder is saved, the network is not built until needed."""
    weights = folder / WEIGHTS
    digest = stored_metadata(_files(folder)).get("weights")
    if digest is not None and StoredGraph.for_weights(digest, pixels.size).graph.is_file():
        visual = LazyVisualEncoder(spec, partial(_network, weights, spec), digest, weights)
    else:
        visual = build_visual(spec)
    names, prompts = ([entry[key] for entry in classes["classes"]] for key in ("label", "prompt"))
    with in_file(folder / "recipe.json"):
        head = head_of_json(about["head"], names, dim=spec.dim, prompts=None if None in prompts else prompts)
    model = Recognizer(visual, Temporal.from_config(about["temporal"], visual), head)
    if isinstance(visual, LazyVisualEncoder):
        rest = nn.ModuleDict({"temporal": model.temporal, "head": model.head})
        load_weights(weights, rest, lambda key: not key.startswith("visual."))
    else:
        load_weights(weights, model)
    return model


def _network(weights: Path, spec: VisualSpec) -> nn.Module:
    """Return the network of a run's encoder with its weights."""
    visual = build_visual(spec)
    load_weights(weights, nn.ModuleDict({"visual": visual}), lambda key: key.startswith("visual."))
    return visual.net


def _files(folder: Path) -> list[Path]:
    """Return the files that define the encoder."""
    return [folder / WEIGHTS, folder / "recipe.json"]


def cache_encoder_graph(folder: Path, model: Recognizer, side: int) -> None:
    """Save a graph of a run's encoder if it can be exported, so that the run loads without building the network.

    For large encoders only an existing graph is used, since exporting takes seconds.

    Args:
        side: of the frames, in pixels.
    """
    visual = model.visual_encoder
    if not model.encodes_frames_independently or model.device.type != "cpu" or not keeps_graph(visual.spec.source):
        return
    digest = weights_digest(visual)
    if digest == stored_metadata(_files(folder)).get("weights"):
        return
    saved = StoredGraph.for_weights(digest, side)
    record = saved.record()
    if record is None and sum(weight.numel() for weight in visual.parameters()) <= SMALL:
        noise = torch.randint(256, (8, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        record = saved.make(visual, noise)
    if record is not None and record["exact"]:
        store_digest(_files(folder), digest)
