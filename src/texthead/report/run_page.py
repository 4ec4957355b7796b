"""The HTML report of a run."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from texthead.evaluation.classes import ClassRow, Confusion, wrong_pairs
from texthead.evaluation.intervals import Rate
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.files import read_json
from texthead.media.paths import MediaPath
from texthead.report.examples import Thumbnails
from texthead.report.figures import plot_curves
from texthead.report.html import render
from texthead.runs.scores import read_scores
from texthead.text.prompts import flat

# The values of a recipe that a run without training steps uses.
PROBE_VALUES = (
    *("frames", "size", "test_size", "resize", "origin", "stride", "pooling", "crops_along"),
    *("center", "template", "class_shares", "seed"),
)


# Most classes of a square table, and rows of the list in its place; listed items of a cell.
MAX_SQUARE, _MAX_PAIRS, _MAX_ITEMS = 40, 30, 24


def run_html(
    names: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    scored: Evaluation | None,
    correlation: Float[np.ndarray, "classes classes"],
    thumbnails: Thumbnails | None = None,
    **values: Any,
) -> str:
    """Render the page of a run; `values` are the other variables of templates/run.html."""
    multilabel, thumbnails = isinstance(scored, MultiLabelEvaluation), thumbnails or Thumbnails()
    rows: list[tuple[int, ClassRow, Rate | None]] = []
    confusion, cell_items = [], []
    if scored:
        rates = scored.class_ap if isinstance(scored, MultiLabelEvaluation) else [row.recall for row in scored.classes]
        rows = list(zip(range(len(names)), scored.classes, rates, strict=True))
        # Unknown ones last.
        rows.sort(key=lambda row: row[2] or (math.inf,))
        if not multilabel:
            confusion, cell_items = _confusion(scored, thumbnails)
    speeds = [speed for record in records if isinstance(speed := record.get("clips_per_second"), int | float)]
    return render(
        "run.html",
        **values,
        names=names,
        multilabel=multilabel,
        speed=float(np.median(speeds)) if speeds else None,
        curves=plot_curves(records),
        result=scored.rate if scored else None,
        metric=scored.metric if scored else "",
        confusion=confusion,
        cell_items=cell_items,
        rows=_similar(correlation, names),
        classes=rows,
        thumbnails=thumbnails.classes,
    )


def _confusion(scored: Evaluation, thumbnails: Thumbnails) -> tuple[list[Any], list[tuple[str, str, list[Any], int]]]:
    """Return (the rows of the square table, or of the list of confused pairs, the items of their cells)."""
    counts, names = scored.confusion(), scored.names
    items = defaultdict[tuple[int, int], list[int]](list)
    for item, pair in enumerate(zip(scored.targets.tolist(), scored.predicted.tolist(), strict=True)):
        items[pair].append(item)
    if len(names) <= MAX_SQUARE:
        keys = {pair: f"items-{pair[0]}-{pair[1]}" for pair in items}
        rows = _square(counts, keys)
    else:
        pairs = wrong_pairs(counts)[:_MAX_PAIRS]
        keys = {(y, x): f"items-{y}-{x}" for y, x, _ in pairs}
        rows = [(names[y], names[x], count, keys[y, x]) for y, x, count in pairs]
    cell_items = []
    for (y, x), key in keys.items():
        own = sorted(items[y, x], key=lambda item: item not in thumbnails.items)
        files = ["/".join(Path(MediaPath(scored.paths[item]).original).parts[-2:]) for item in own[:_MAX_ITEMS]]
        heading = f"{names[y]}, predicted as {names[x]}: {len(own)}" if y != x else f"{names[y]}, correct: {len(own)}"
        shown = list(zip(files, map(thumbnails.items.get, own), strict=False))
        cell_items.append((key, heading, shown, max(0, len(own) - _MAX_ITEMS)))
    return rows, cell_items


def _square(counts: Confusion, keys: Mapping[tuple[int, int], str] = MappingProxyType({})) -> list[list[tuple]]:
    """Return the rows of a confusion matrix for the macro `matrix`.

    Args:
        keys: of the items of the cells.
    """
    shares = (counts / np.maximum(counts.sum(1, keepdims=True), 1)).tolist()
    return [
        [(count or "·", shares[y][x], keys.get((y, x), "")) for x, count in enumerate(row)]
        for y, row in enumerate(counts.tolist())
    ]


def _similar(correlation: Float[np.ndarray, "classes classes"], names: Sequence[str]) -> list[Any]:
    """Return the rows of the square table of correlations, or of the list of the most similar pairs."""
    if len(names) <= MAX_SQUARE:
        scale = max(0.05, float(np.abs(correlation)[~np.eye(len(names), dtype=bool)].max(initial=0.0)))
        clipped = (np.where(np.eye(len(names)), 0, correlation) / scale).tolist()
        texts = np.char.mod("%.2f", correlation.round(2) + 0.0).tolist()
        return [[(*cell, "") for cell in zip(*pair, strict=True)] for pair in zip(texts, clipped, strict=True)]
    first, second = np.triu_indices(len(names), 1)
    order = np.argsort(-correlation[first, second], kind="stable")[:_MAX_PAIRS]
    pairs = zip(first[order].tolist(), second[order].tolist(), strict=True)
    return [(names[y], names[x], f"{correlation[y, x]:.2f}") for y, x in pairs]


def saved_values(folder: Path, *, trained: bool) -> dict[str, Any]:
    """Return the values for `run_html` that come from the files of a run.

    Args:
        trained: whether the run has training steps.
    """
    about, classes = read_json(folder / "recipe.json"), read_json(folder / "classes.json")
    edits = classes.get("edited")
    edited = f"The classes of run {Path(edits['run']).name} were edited: {'; '.join(edits['edits'])}." if edits else ""
    prompts = {entry["label"]: " | ".join(flat([entry["prompt"]])) for entry in classes["classes"] if entry["prompt"]}
    values = {"name": folder.resolve().name, "methods": read_scores(folder), "edited": edited, "prompts": prompts}
    return {**values, "recipe": settings(about, trained=trained).items()}


def settings(about: Mapping[str, Any], *, trained: bool) -> dict[str, object]:
    """Return the encoder, the head, the options for items and names, and the values of the recipe that were used."""
    typed, recipe = about.get("command"), about["recipe"]
    made: dict[str, object] = {"encoder": about["encoder"]["source"], "head": about["head"]["kind"]}
    if isinstance(typed, dict):
        made |= {key: typed[key] for key in ("text", "train_head", "names", "k", "held_out") if key in typed}
    made |= recipe if trained else {key: recipe[key] for key in PROBE_VALUES if key in recipe}
    return {key: value for key, value in made.items() if value is not None}
