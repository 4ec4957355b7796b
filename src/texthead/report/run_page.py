"""The HTML report of a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from texthead.evaluation import confusions
from texthead.evaluation.broader_names import Answers
from texthead.evaluation.class_sizes import RareClasses
from texthead.evaluation.frame_order import OrderTest
from texthead.evaluation.results import Evaluation, SeveralEvaluation
from texthead.files import read_json
from texthead.models.head_rows import class_correlation
from texthead.models.head_table import as_head
from texthead.models.recognizer import Recognizer
from texthead.report.class_maps import plot_confusion, plot_correlation
from texthead.report.figures import plot_curves, without_glyph
from texthead.report.html import render, write_html
from texthead.report.probabilities import CalibrationReport
from texthead.report.strips import plot_saliency, plot_strip
from texthead.transfer.baselines import ScoreTable

if TYPE_CHECKING:
    import matplotlib.figure


class Strip(NamedTuple):
    """One clip of the report.

    Attributes:
        name: file name.
        frames: as the model gets them.
        top: the most probable classes, best first; followed by the true class if it ranks lower.
        truth: the true class, if known.
        rank: rank of the true class by probability, from 1.
        heats: saliency maps by title.
        note: text below the heat maps.
    """

    name: str
    frames: UInt8[np.ndarray, "frames height width 3"]
    top: Sequence[tuple[str, float]]
    truth: str | None = None
    rank: int | None = None
    heats: Mapping[str, Float[np.ndarray, "frames rows columns"]] = MappingProxyType({})
    note: str = ""

    @property
    def is_mistake(self) -> bool:
        """Whether the most probable class is not the true one."""
        return self.truth not in (None, self.top[0][0])

    def picture(self) -> "matplotlib.figure.Figure":
        """Draw the frames and the most probable classes."""
        return plot_strip(self.frames, self.top, truth=self.truth, rank=self.rank)

    def heat_picture(self) -> "matplotlib.figure.Figure":
        """Draw the frames with their saliency maps."""
        return plot_saliency(self.frames, self.heats)


@dataclass(frozen=True, kw_only=True)
class RunPage:
    """The content of a run's page; parts without data are omitted.

    Attributes:
        name: the run's name.
        names: class names.
        records: the lines of `metrics.jsonl`.
        scored: evaluation of the run.
        comparisons: pairs of a method and its result, as text.
        rare: the run's result on the classes with few training items.
        correlation: correlations between the rows of the head.
        calibration_report: how reliable the probabilities are.
        answers: how many items are answered with a class, and with broader names.
        order: a test of frame order, or the reason why there is none.
        strips: example clips.
        settings: encoder, head and recipe of the run.
        edited: the run whose classes were edited, and the edits.
        prompts: the encoded strings of each class.
    """

    name: str
    names: Sequence[str]
    records: Sequence[Mapping[str, object]] = ()
    scored: Evaluation | None = None
    comparisons: Sequence[tuple[str, str]] = ()
    rare: RareClasses | None = None
    correlation: Float[np.ndarray, "classes classes"] | None = None
    calibration_report: CalibrationReport | None = None
    answers: Answers | None = None
    order: OrderTest | str = ""
    strips: Sequence[Strip] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    edited: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """Render the page.

        Raises: TextheadError if a matrix doesn't match the number of names.
        """
        several = isinstance(self.scored, SeveralEvaluation)
        counts, correlation = None if several or not self.scored else self.scored.confusion(), self.correlation
        both = None if counts is None or correlation is None else (counts, correlation)
        metric = "mean_ap" if several else "top1"
        steps, validations = _with_number(self.records, "train", "loss"), _with_number(self.records, "val", metric)
        speeds = [record["clips_per_second"] for record in _with_number(self.records, "train", "clips_per_second")]
        return render(
            "run.html",
            **vars(self),
            steps=steps,
            validations=validations,
            metric=metric,
            several=several,
            speed=float(np.median(speeds)) if speeds else None,
            curves=plot_curves(self.records) if steps or validations else None,
            confusion=None if counts is None else plot_confusion(counts, self.names, title="Confusion"),
            similarity=None
            if correlation is None
            else plot_correlation(correlation, self.names, "Correlation of the head's rows"),
            missing_glyphs=without_glyph(self.names),
            pairs=confusions.confused_pairs(*both, self.names) if both else (),
            classes=sorted(self.scored.classes, key=_recall) if self.scored else (),
            recipe=_flat(self.settings),
        )


def _with_number(records: Sequence[Mapping[str, object]], kind: str, key: str) -> list[Mapping[str, Any]]:
    """Return the records of one kind that hold a number under `key`; a diverged loss may be stored as null."""
    return [r for r in records if r.get("kind") == kind and isinstance(r.get(key), int | float)]


def _recall(row: confusions.ClassRow) -> float:
    """Return the recall of a class; infinity without items, to sort it last."""
    return row.recall[0] if row.recall else math.inf


def _flat(recipe: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Flatten the settings; a nested key becomes `outer.inner`."""
    entries: list[tuple[str, object]] = []
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            entries += _flat({str(inner): value[inner] for inner in value}, f"{prefix}{key}.")
        else:
            entries.append((prefix + key, value))
    return entries


@dataclass(frozen=True, kw_only=True)
class PageParts:
    """The optional parts of a run's page; see `RunPage`."""

    strips: Sequence[Strip] = ()
    order: OrderTest | str = ""
    calibration_report: CalibrationReport | None = None
    answers: Answers | None = None


def write_report(
    path: Path, folder: Path, model: Recognizer, records: Sequence[dict], table: ScoreTable, parts: PageParts
) -> None:
    """Write the report of the run in `folder` to `path`; the last row of `table` is the run's own score."""
    about, classes = read_json(folder / "recipe.json"), read_json(folder / "classes.json")
    prompts = {entry["label"]: entry["prompt"] for entry in classes["classes"] if entry["prompt"]}
    head = as_head(model.head)
    page = RunPage(
        name=folder.resolve().name,
        names=model.names,
        records=records,
        scored=table.rows[-1][1] if table.rows else None,
        comparisons=table.pairs(),
        rare=table.rare,
        correlation=class_correlation(head.weight.detach().cpu()).numpy(),
        calibration_report=parts.calibration_report,
        answers=parts.answers,
        order=parts.order,
        strips=parts.strips,
        settings=_settings(about),
        edited=_edited(**classes["edited"]) if "edited" in classes else "",
        prompts={label: text if isinstance(text, str) else " | ".join(text) for label, text in prompts.items()},
    )
    write_html(path, page.html())


def _settings(about: Mapping[str, Any]) -> dict[str, object]:
    """Return the encoder, the head, the options for items and names, and the recipe of a run."""
    typed = about.get("command") or {}
    made: dict[str, object] = {"encoder": about["encoder"]["source"], "head": about["head"]["kind"]}
    made |= {key: typed[key] for key in ("text", "train_head", "names", "k", "held_out") if key in typed}
    return made | about["recipe"]


def _edited(run: str, edits: Sequence[str]) -> str:
    return f"The classes of run {Path(run).name} were edited: {'; '.join(edits)}."
