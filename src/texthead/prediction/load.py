"""Load a run from its folder, or make one of class names; graphs of encoders, with which no network is built."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from texthead.data.protocol import Pixels
from texthead.encoders.encoder import build_visual
from texthead.encoders.lazy import SMALL, LazyVisualEncoder, store_digest, stored_metadata, weights_digest
from texthead.encoders.load import AnyEncoder, EncoderOptions, keeps_graph
from texthead.encoders.spec import VisualSpec
from texthead.errors import RunError, check_types, line_of, raising
from texthead.evaluation.calibration import Calibration
from texthead.features.engine import DIGEST_BYTES, graph_path, make_graph
from texthead.files import MAX_BYTES_OF_LISTS, read_json
from texthead.models.head_table import head_of_json
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, Temporal
from texthead.prediction.run import Run
from texthead.recipes import Recipe, check_clip_size
from texthead.runs.folder import CALIBRATION, HERE, RUN_FORMAT, WEIGHTS, load_weights, saved_split
from texthead.runs.hub import local_run
from texthead.runs.saved import check_run, classes_file, in_file
from texthead.runs.split import RunSplit
from texthead.text.class_names import clean_names
from texthead.text.class_tree import ClassTree
from texthead.text.prompts import class_prompts, flat


def load_run(folder: str | Path, *, allow_download: bool = False) -> Run:
    """Load a run, ready to predict. Needs no text encoder and no pretrained weights.

    Args:
        folder: the run folder, or `hub:ORG/NAME[@REVISION]`, which is downloaded unless it is in the hub's cache.
        allow_download: whether the run's pretrained encoder may be downloaded if new classes or mixed weights need it
            and it is not on this machine.

    Raises:
        RunError: the folder is not a finished run, its files do not fit together, or the hub cannot be read.
        EncoderError: the installed libraries do not know its encoder.
    """
    return run_in(local_run(folder), allow_download=allow_download)


def run_in(folder: Path, model: Recognizer | None = None, *, allow_download: bool = False) -> Run:
    """Return the run in a folder.

    Args:
        model: its model, if it is in memory.
        allow_download: as for `load_run`.

    Raises: as `load_run`.
    """
    check_run(folder)
    about, classes, split = read_json(folder / "recipe.json"), classes_file(folder), saved_split(folder)
    written_as = about.get("format")
    if written_as != RUN_FORMAT:
        raise RunError(
            f"{folder}: format {written_as!r}, this version reads {RUN_FORMAT}: use the version that made it"
        )
    # On damaged values, timm, open_clip and torch raise errors of nearly any type.
    problem, remedy = "recipe.json, classes.json or split.json is damaged", "restore them from a copy"
    with raising(RunError, f"{folder}: {problem}", remedy, Exception):
        with in_file(folder / "recipe.json"):
            spec, recipe = VisualSpec.from_json(about["encoder"]), Recipe.from_json(about["recipe"])
            check_types(Pixels, about["pixels"])
            pixels = Pixels(**about["pixels"])
            check_clip_size(recipe.frames, pixels.size, pixels.resize)
        # Runs can be moved.
        spec = replace(spec, source=spec.source.replace(HERE, str(folder)))
        model = model or _load_model(folder, about, classes, spec, pixels)
        ClassTree.from_json(classes.get("tree"))  # Raises an error for a damaged one.
        tuned = (about.get("objective") or {}).get("trains_text") is True
    return Run(
        model.eval(),
        recipe,
        pixels,
        RunSplit(folder, split),
        classes,
        text_tuned=tuned,
        calibration=_saved_calibration(folder),
        allow_download=allow_download,
    )


def _saved_calibration(folder: Path) -> Calibration | None:
    """Read `calibration.json`; None if there is none."""
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration.from_json(read_json(path, most=MAX_BYTES_OF_LISTS))
    except ValueError as error:
        reason = line_of(error).removeprefix(f"{path}: ")
        raise RunError(f"{path}: {reason}; remove it and run `texthead calibrate` again") from None


def zero_shot(
    labels: Sequence[str],
    encoder: AnyEncoder = "mini",
    *,
    names: Sequence[str] | None = None,
    prompts: Sequence[str | Sequence[str] | None] | None = None,
) -> Run:
    """Return a zero-shot run: mean-pooled frame features and a text head. It has no folder.

    The less the text encoder knows the names, the closer are the probabilities.

    Args:
        labels: the classes.
        encoder: an encoder, its name, or options with its template and device.
        names: the name of each class for the text encoder; those that `clean_names` makes of the labels if None.
        prompts: for each class a prompt, several whose rows are averaged, or None for the template.

    Raises:
        DataError: there is no class, or lists differ in length.
        EncoderError: the encoder is unknown, or has no text encoder.
    """
    options = EncoderOptions.from_encoder(encoder)
    names = clean_names(labels) if names is None else names
    filled = class_prompts(options.template or "{}", names, prompts)
    loaded = options.load(filled)
    # Rounded, since text embeddings differ in the last bits with the prompts of their batch.
    lengths = loaded.familiarity_scaled_rows(names, [flat([prompt]) for prompt in filled]).norm(dim=1)
    known = max(round(float(lengths.mean()), 2), 0.01)
    head = text_head(loaded, names, labels=labels, prompts=filled, scale=loaded.scale * known)
    return Run.from_model(Recognizer(loaded.visual, MeanPool(), head.to(loaded.visual.mean.device)))


# ---- models whose network is not built where a graph of the encoder is saved


def _load_model(
    folder: Path, about: dict[str, Any], classes: dict[str, Any], spec: VisualSpec, pixels: Pixels
) -> Recognizer:
    """Load the model of a run; if a graph of its encoder is saved, the network is not built until needed."""
    weights = folder / WEIGHTS
    digest = stored_metadata(_files(folder)).get("weights")
    if digest is not None and _has_graph(graph_path(digest, pixels.size)):
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


def _has_graph(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > DIGEST_BYTES


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
    path = graph_path(digest, side)
    if not path.is_file() and sum(weight.numel() for weight in visual.parameters()) <= SMALL:
        noise = torch.randint(256, (8, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        make_graph(path, visual, noise)
    if _has_graph(path):
        store_digest(_files(folder), digest)
