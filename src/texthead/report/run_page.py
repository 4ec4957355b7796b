"""The HTML report of a run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from texthead.evaluation.broader_names import Answers
from texthead.evaluation.confusions import ClassRow
from texthead.evaluation.intervals import Rate
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.files import read_json
from texthead.models.head_table import as_head
from texthead.models.recognizer import Recognizer
from texthead.report.class_maps import plot_confusion, plot_correlations
from texthead.report.figures import plot_curves, without_glyph
from texthead.report.html import render, write_html
from texthead.report.probabilities import CalibrationReport
from texthead.report.strips import Strip
from texthead.runs.scores import read_scores
from texthead.transfer.baselines import ScoreTable

# The values of a recipe that a run without training steps uses.
PROBE_VALUES = (
    *("frames", "size", "test_size", "resize", "origin", "stride", "pooling", "crops_along"),
    *("center", "template", "class_shares", "seed"),
)


def write_report(
    path: Path,
    folder: Path,
    model: Recognizer,
    records: Sequence[Mapping[str, Any]],
    table: ScoreTable,
    *,
    strips: Sequence[Strip] = (),
    calibration_report: CalibrationReport | None = None,
    answers: Answers | None = None,
) -> None:
    """Write the report of the run in `folder` to `path`, also with what `train` scored it beside.

    Args:
        records: the lines of `metrics.jsonl`.
        table: the scores, the run's own last.
        strips: example clips.
        calibration_report: how reliable the probabilities are.
        answers: how many items are answered with a class, and with broader names.
    """
    about, classes = read_json(folder / "recipe.json"), read_json(folder / "classes.json")
    prompts = {entry["label"]: entry["prompt"] for entry in classes["classes"] if entry["prompt"]}
    edited = ""
    if edits := classes.get("edited"):
        edited = f"The classes of run {Path(edits['run']).name} were edited: {'; '.join(edits['edits'])}."
    html = run_html(
        model.names,
        records,
        table.result if table.rows else None,
        torch.corrcoef(as_head(model.head).weight.detach().cpu().double()).numpy(),
        name=folder.resolve().name,
        summary=table.summary() if table.rows else (),
        methods=read_scores(folder),
        recipe=settings(about, trained=any(record.get("kind") == "train" for record in records)).items(),
        edited=edited,
        prompts={label: text if isinstance(text, str) else " | ".join(text) for label, text in prompts.items()},
        strips=strips,
        calibration_report=calibration_report,
        answers=answers,
    )
    write_html(path, html)


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
        rows=plot_correlations({"": correlation}, names),
        missing_glyphs=without_glyph(names),
        classes=rows,
    )


def settings(about: Mapping[str, Any], *, trained: bool) -> dict[str, object]:
    """Return the encoder, the head, the options for items and names, and the values of the recipe that were used."""
    typed, recipe = about.get("command"), about["recipe"]
    made: dict[str, object] = {"encoder": about["encoder"]["source"], "head": about["head"]["kind"]}
    if isinstance(typed, dict):
        made |= {key: typed[key] for key in ("text", "train_head", "names", "k", "held_out") if key in typed}
    made |= recipe if trained else {key: recipe[key] for key in PROBE_VALUES if key in recipe}
    return {key: value for key, value in made.items() if value is not None}
