"""The HTML report of a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from texthead.evaluation.broader_names import Answers
from texthead.evaluation.confusions import ClassRow
from texthead.evaluation.frame_order import OrderTest
from texthead.evaluation.intervals import Rate
from texthead.evaluation.results import Evaluation, SeveralEvaluation
from texthead.files import read_json
from texthead.models.head_rows import class_correlation
from texthead.models.head_table import as_head
from texthead.models.recognizer import Recognizer
from texthead.report.class_maps import plot_confusion, plot_correlations
from texthead.report.figures import drawn_keys, plot_curves, without_glyph
from texthead.report.html import render, write_html
from texthead.report.probabilities import CalibrationReport
from texthead.report.strips import plot_saliency, plot_strip
from texthead.transfer.baselines import ScoreTable

if TYPE_CHECKING:
    import matplotlib.figure


# The values of a recipe that a run without training steps uses.
PROBE_VALUES = (
    *("frames", "size", "test_size", "resize", "origin", "stride", "pooling", "crops_along"),
    *("center", "template", "template_pooling", "class_shares", "seed"),
)


class Strip(NamedTuple):
    """One clip of the report.

    Attributes:
        name: file name.
        frames: as the model gets them.
        top: the predicted classes and the next ones, best first; followed by true classes that rank lower.
        truth: the true classes, if known.
        rank: rank of the only true class by probability, from 1.
        said: how many classes are predicted, the first of `top`.
        heats: saliency maps by title.
        note: text below the heat maps.
    """

    name: str
    frames: UInt8[np.ndarray, "frames height width 3"]
    top: Sequence[tuple[str, float]]
    truth: Sequence[str] | None = None
    rank: int | None = None
    said: int = 1
    heats: Mapping[str, Float[np.ndarray, "frames rows columns"]] = MappingProxyType({})
    note: str = ""

    @property
    def is_mistake(self) -> bool:
        """Whether the predicted classes are not the true ones."""
        return self.truth is not None and {name for name, _ in self.top[: self.said]} != set(self.truth)

    def picture(self) -> "matplotlib.figure.Figure":
        """Draw the frames and the most probable classes."""
        return plot_strip(self.frames, self.top, truth=self.truth, rank=self.rank, said=self.said)

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
        summary: the result in sentences, the most important first.
        comparisons: pairs of a method and its result, as text.
        correlation: correlations between the rows of the head.
        calibration_report: how reliable the probabilities are.
        answers: how many items are answered with a class, and with broader names.
        order: a test of frame order.
        strips: example clips.
        settings: encoder, head and the values of the recipe that were used.
        edited: the run whose classes were edited, and the edits.
        prompts: the encoded strings of each class.
    """

    name: str
    names: Sequence[str]
    records: Sequence[Mapping[str, Any]] = ()
    scored: Evaluation | None = None
    summary: Sequence[str] = ()
    comparisons: Sequence[tuple[str, str]] = ()
    correlation: Float[np.ndarray, "classes classes"] | None = None
    calibration_report: CalibrationReport | None = None
    answers: Answers | None = None
    order: OrderTest | None = None
    strips: Sequence[Strip] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    edited: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """Render the page."""
        several = isinstance(self.scored, SeveralEvaluation)
        speeds = [speed for record in self.records if isinstance(speed := record.get("clips_per_second"), int | float)]
        confusion = None if several or not self.scored else plot_confusion(self.scored.confusion(), self.names)
        return render(
            "run.html",
            **vars(self),
            several=several,
            speed=float(np.median(speeds)) if speeds else None,
            curves=plot_curves(self.records) if drawn_keys(self.records) else None,
            confusion=confusion,
            rows=None if self.correlation is None else plot_correlations({"": self.correlation}, self.names),
            missing_glyphs=without_glyph(self.names),
            classes=_lowest_first(self.scored) if self.scored else (),
            recipe=_flat(self.settings),
        )


def _lowest_first(scored: Evaluation) -> list[tuple[ClassRow, Rate | None]]:
    """Return each class and, with several labels, its average precision, by it or else by recall; unknown ones last."""
    several = isinstance(scored, SeveralEvaluation)
    rows = list(zip(scored.classes, scored.class_ap if several else [None] * len(scored.names), strict=True))
    return sorted(rows, key=lambda row: (row[1] if several else row[0].recall) or (math.inf,))


def _flat(recipe: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Flatten the settings; a nested key becomes `outer.inner`."""
    entries: list[tuple[str, object]] = []
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            entries += _flat({str(inner): value[inner] for inner in value}, f"{prefix}{key}.")
        else:
            entries.append((prefix + key, value))
    return entries


def write_report(
    path: Path, folder: Path, model: Recognizer, records: Sequence[dict], table: ScoreTable, **parts: Any
) -> None:
    """Write the report of the run in `folder` to `path`; the last row of `table` is the run's own score.

    Args:
        parts: further fields of `RunPage`.
    """
    about, classes = read_json(folder / "recipe.json"), read_json(folder / "classes.json")
    prompts = {entry["label"]: entry["prompt"] for entry in classes["classes"] if entry["prompt"]}
    head = as_head(model.head)
    page = RunPage(
        name=folder.resolve().name,
        names=model.names,
        records=records,
        scored=table.rows[-1][1] if table.rows else None,
        summary=table.summary() if table.rows else (),
        comparisons=table.pairs(),
        correlation=class_correlation(head.weight.detach().cpu()).numpy(),
        settings=settings(about, trained=any(record.get("kind") == "train" for record in records)),
        edited=_edited(**classes["edited"]) if "edited" in classes else "",
        prompts={label: text if isinstance(text, str) else " | ".join(text) for label, text in prompts.items()},
        **parts,
    )
    write_html(path, page.html())


def settings(about: Mapping[str, Any], *, trained: bool) -> dict[str, object]:
    """Return the encoder, the head, the options for items and names, and the values of the recipe that were used."""
    typed, recipe = about.get("command"), about["recipe"]
    made: dict[str, object] = {"encoder": about["encoder"]["source"], "head": about["head"]["kind"]}
    if isinstance(typed, dict):
        made |= {key: typed[key] for key in ("text", "train_head", "names", "k", "held_out") if key in typed}
    made |= recipe if trained else {key: recipe[key] for key in PROBE_VALUES if key in recipe}
    return {key: value for key, value in made.items() if value is not None}


def _edited(run: str, edits: Sequence[str]) -> str:
    return f"The classes of run {Path(run).name} were edited: {'; '.join(edits)}."
