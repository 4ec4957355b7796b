"""The HTML report of a run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from texthead.evaluation.classes import ClassRow
from texthead.evaluation.intervals import Rate
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.files import read_json
from texthead.report.class_maps import plot_confusion, plot_correlations
from texthead.report.figures import plot_curves, without_glyph
from texthead.report.html import render
from texthead.runs.scores import read_scores
from texthead.text.prompts import flat

# The values of a recipe that a run without training steps uses.
PROBE_VALUES = (
    *("frames", "size", "test_size", "resize", "origin", "stride", "pooling", "crops_along"),
    *("center", "template", "class_shares", "seed"),
)


def run_html(
    names: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    scored: Evaluation | None,
    correlation: Float[np.ndarray, "classes classes"],
    **values: Any,
) -> str:
    """Render the page of a run; `values` are the other variables of templates/run.html."""
    multilabel = isinstance(scored, MultiLabelEvaluation)
    rows: list[tuple[ClassRow, Rate | None]] = []
    if scored:
        precisions = scored.class_ap if isinstance(scored, MultiLabelEvaluation) else [None] * len(names)
        rows = list(zip(scored.classes, precisions, strict=True))
        # Unknown ones last.
        rows.sort(key=lambda row: (row[1] if multilabel else row[0].recall) or (math.inf,))
    speeds = [speed for record in records if isinstance(speed := record.get("clips_per_second"), int | float)]
    return render(
        "run.html",
        **values,
        names=names,
        multilabel=multilabel,
        speed=float(np.median(speeds)) if speeds else None,
        curves=plot_curves(records),
        confusion=plot_confusion(scored.confusion(), names) if scored and not multilabel else None,
        rows=plot_correlations(correlation, names),
        missing_glyphs=without_glyph(names),
        classes=rows,
    )


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
