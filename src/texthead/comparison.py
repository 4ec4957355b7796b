"""A run's result beside the simple things on the same items: zero-shot, and a probe on frozen features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from texthead import datasets, evaluation, features
from texthead.datasets import Dataset, Pixels
from texthead.encoders import zero_shot_note
from texthead.errors import MediaError
from texthead.files import read_json
from texthead.frame_order import OrderTest
from texthead.heads import class_correlation, text_head
from texthead.how_sure import HowSure
from texthead.intervals import lead_interval
from texthead.recipes import Recipe
from texthead.recognizer import Recognizer
from texthead.run_report import Edit, Strip, run_report
from texthead.runs import saved_classes
from texthead.sampling import Views
from texthead.terminal import bar, notes, results
from texthead.towers import Encoder
from texthead.view_features import readable_items

FEW_ITEMS = 2000


@dataclass(frozen=True)
class Division:
    """Who trains, who is looked at after each epoch, and who is scored at the end."""

    train: Dataset
    val: Dataset | None
    scored: Dataset
    scored_name: str


@dataclass(frozen=True)
class Pretrained:
    """What the pretrained encoder makes of the training items: the ground for centers, LDA and the probe."""

    encoder: Encoder
    pixels: Pixels
    frames: int
    origin: Any
    cache: features.FeatureCache
    workers: int

    def features(self, dataset: Dataset, *, skip: bool, title: str) -> tuple[torch.Tensor, list[int], list[MediaError]]:
        """(one mean feature a readable item, their positions, the errors of the others)."""
        with bar(title, "files") as progress:
            return readable_items(
                self.encoder.visual,
                dataset,
                frames=self.frames,
                pixels=self.pixels,
                views=Views(origin=self.origin),
                skip=skip,
                cache=self.cache,
                workers=self.workers,
                progress=progress,
            )


def are_few(baselines: str, items: int) -> bool:
    """Whether zero-shot and probe are shown beside a result: "always", "never", or where the training items are few."""
    return baselines == "always" or (baselines == "auto" and items <= FEW_ITEMS)


class Comparison:
    """Scores of several methods on the same items, best printed as such, whichever it is."""

    def __init__(self, parts: Division, labels: Sequence[str]):
        self.parts = parts
        self.labels = labels
        self.rows: list[tuple[str, evaluation.Evaluation]] = []
        self.lines: list[str] = []

    def add(self, method: str, result: evaluation.Evaluation) -> None:
        """One more method."""
        self.rows.append((method, result))

    def pairs(self) -> list[tuple[str, str]]:
        """(method, its result) as text, for the report."""
        return [(method, f"{r.top1:.1f} % of {r.count} (95 % interval {_interval(r)})") for method, r in self.rows]

    def show(self) -> None:
        """Print the table, what was skipped, and a word where a simple method is ahead."""
        # Of five classes or fewer, all are among the best five.
        many = any(len(r.names) > 5 for _, r in self.rows)
        headers = ["method", "top-1", "95 % interval", *["top-5"] * many, "ECE", "items"]
        table = Table(*headers, title=f"{self.parts.scored_name} items")
        for method, r in self.rows:
            top5 = [f"{r.top5:.1f}"] if many else []
            table.add_row(method, f"{r.top1:.1f}", _interval(r), *top5, f"{r.calibration_error:.1f}", str(r.count))
        results().print(table)
        results().print("ECE: expected calibration error, in points")
        groups = self.parts.scored.groups
        if len(set(groups)) < len(groups):
            results().print(f"the intervals take the {len(set(groups))} groups of these items into account")
        skipped = {str(error.path): error for _, r in self.rows for error in r.skipped}
        for error in skipped.values():
            notes().print(f"skipped: {error}")
        if skipped:
            results().print(f"{len(skipped)} items could not be read and are not counted")
        *others, (_, own) = self.rows
        ahead = max(others, key=lambda row: row[1].top1, default=None)
        # As they are shown: of many items one alone is no lead to speak of.
        if ahead and round(ahead[1].top1, 1) > round(own.top1, 1):
            results().print(_lead(*ahead, own))
        for line in self.lines:
            results().print(line)


def _interval(result: evaluation.Evaluation) -> str:
    low, high = result.interval
    return f"{low:.1f}-{high:.1f}"


def _lead(method: str, ahead: evaluation.Evaluation, own: evaluation.Evaluation) -> str:
    """How far a method is ahead of the run, and how sure that is where both were scored on the same items."""
    told = f"{method} is ahead of this run by {round(ahead.top1, 1) - round(own.top1, 1):.1f} points on these items"
    if ahead.paths != own.paths:
        return told
    low, high = lead_interval(ahead.right & ~own.right, own.right & ~ahead.right, own.groups or range(own.count))
    return f"{told} (95 % interval {low:.1f} to {high:.1f}{', so perhaps by chance' if low <= 0 else ''})"


def scored_features(ground: Pretrained, table: Comparison, *, skip: bool) -> tuple[torch.Tensor, evaluation.Evaluation]:
    """Pretrained features of the scored items, and an evaluation of them that waits for its scores."""
    tests, positions, errors = ground.features(table.parts.scored, skip=skip, title="encode scored items")
    kept = table.parts.scored.pick(positions)
    truth = torch.tensor(datasets.label_indices(kept, table.labels))
    none = torch.zeros(len(kept), len(table.labels))
    paths = [item.path for item in kept.items]
    return tests, evaluation.Evaluation(tuple(table.labels), paths, truth, none, errors, kept.groups)


@torch.inference_mode()
def on_features(head: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """The head's scores of pretrained features."""
    return head.eval()(features.to(next(head.parameters()).device)).cpu()


def baselines(
    ground: Pretrained,
    table: Comparison,
    names: Sequence[str],
    recipe: Recipe,
    found: torch.Tensor,
    targets: torch.Tensor,
    *,
    skip: bool,
    prompts: Sequence[str | Sequence[str]] | None = None,
) -> None:
    """Put zero-shot and a logistic probe on the pretrained encoder's features of the same items into the table.

    Zero-shot reads the recipe's template with `names`, or `prompts` where they are given.
    """
    tests, result = scored_features(ground, table, skip=skip)
    if ground.encoder.has_text:
        center = found.mean(0) if recipe.center else None
        title = "zero-shot, features centred on the training items" if recipe.center else "zero-shot"
        head = text_head(ground.encoder, names, template=recipe.template, center=center, prompts=prompts)
        table.add(title, replace(result, scores=on_features(head, tests)))
    probe = evaluation.logistic_probe(found, targets, tests, classes=len(table.labels))
    table.add("logistic probe, frozen features", replace(result, scores=probe))
    note = zero_shot_note(ground.encoder.source)
    if note:
        table.lines.append(note)


def write_report(
    path: Path,
    folder: Path,
    model: Recognizer,
    records: Sequence[dict],
    table: Comparison,
    strips: Sequence[Strip],
    order: OrderTest | str,
    sure: HowSure | None,
) -> None:
    """The report of the run in `folder`, whole or not at all; the last row of the table is the run's own score."""
    about, classes = read_json(folder / "recipe.json"), saved_classes(folder)
    shown = {entry["label"]: entry["prompt"] for entry in classes["classes"] if entry["prompt"]}
    strings = {label: prompt if isinstance(prompt, str) else " | ".join(prompt) for label, prompt in shown.items()}
    weight = model.head.weight.detach().cpu()  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    own = table.rows[-1][1] if table.rows else None
    report = run_report(
        folder.resolve().name,
        _settings(about),
        records,
        own.confusion() if own else None,
        class_correlation(weight).numpy(),
        model.names,
        table.pairs(),
        strips,
        strings,
        interval=own.interval if own else None,
        classes=own.classes if own else (),
        rows_are_text=about["head"]["kind"] == "text" and about["head"]["type"] != "TrainableHead",
        order=order,
        sure=sure,
        edits=[_edit(**entry) for entry in classes.get("history", [])],
    )
    report.write(path)


def _settings(about: Mapping[str, Any]) -> dict[str, object]:
    """What a run was made with: its encoder and head, and what of its items and names was typed, before its recipe."""
    typed = about.get("command") or {}
    made: dict[str, object] = {"encoder": about["encoder"]["source"], "head": about["head"]["kind"]}
    made |= {key: typed[key] for key in ("text", "train_head", "names", "k", "held_out") if key in typed}
    return made | about["recipe"]


def _edit(date: str, action: str, arguments: Mapping[str, object], **_: object) -> Edit:
    told = "; ".join(f"{key}: {_listed(value)}" for key, value in arguments.items() if value not in (None, [], False))
    return Edit(date, action, told)


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
