"""A run's result beside the simple things on the same items: zero-shot, and a probe on frozen features."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from texthead.commands.console import notes, results
from texthead.data import dataset as datasets
from texthead.data.dataset import Dataset, Item
from texthead.data.division import Division
from texthead.encoders.load import zero_shot_note
from texthead.evaluation import evaluate
from texthead.evaluation.intervals import lead_interval
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.views import Pretrained
from texthead.media.shard import is_there
from texthead.models.head_rows import text_head
from texthead.models.prompt_head import PromptHead
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import gather_list, rank
from texthead.recipes import Recipe
from texthead.runs import run as runs
from texthead.runs.class_edits import followed_split
from texthead.text import prompts
from texthead.transfer.closed_form import logistic_probe

FEW_ITEMS = 2000


def are_few(baselines: str, items: int) -> bool:
    """Whether zero-shot and probe are shown beside a result: "always", "never", or where the training items are few."""
    return baselines == "always" or (baselines == "auto" and items <= FEW_ITEMS)


class Comparison:
    """Scores of several methods on the same items, best printed as such, whichever it is."""

    def __init__(self, parts: Division, labels: Sequence[str]):
        self.parts = parts
        self.labels = labels
        self.rows: list[tuple[str, evaluate.Evaluation]] = []
        self.lines: list[str] = []

    def add(self, method: str, result: evaluate.Evaluation) -> None:
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


def _interval(result: evaluate.Evaluation) -> str:
    low, high = result.interval
    return f"{low:.1f}-{high:.1f}"


def _lead(method: str, ahead: evaluate.Evaluation, own: evaluate.Evaluation) -> str:
    """How far a method is ahead of the run, and how sure that is where both were scored on the same items."""
    told = f"{method} is ahead of this run by {round(ahead.top1, 1) - round(own.top1, 1):.1f} points on these items"
    if ahead.paths != own.paths:
        return told
    low, high = lead_interval(ahead.right & ~own.right, own.right & ~ahead.right, own.groups or range(own.count))
    return f"{told} (95 % interval {low:.1f} to {high:.1f}{', so perhaps by chance' if low <= 0 else ''})"


def scored_features(ground: Pretrained, table: Comparison, *, skip: bool) -> tuple[torch.Tensor, evaluate.Evaluation]:
    """Pretrained features of the scored items, and an evaluation of them that waits for its scores."""
    tests, positions, errors = ground.features(table.parts.scored, skip=skip, title="encode scored items")
    kept = table.parts.scored.pick(positions)
    truth = torch.tensor(datasets.label_indices(kept, table.labels))
    none = torch.zeros(len(kept), len(table.labels))
    paths = [item.path for item in kept.items]
    return tests, evaluate.Evaluation(tuple(table.labels), paths, truth, none, errors, kept.groups)


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
    probe = logistic_probe(found, targets, tests, classes=len(table.labels))
    table.add("logistic probe, frozen features", replace(result, scores=probe))
    note = zero_shot_note(ground.encoder.source)
    if note:
        table.lines.append(note)


def listed_values(value: object) -> str:
    """Return a value as text, a list with commas."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _pretrained(run: runs.Run, options: Any) -> Pretrained:
    """The run's encoder as it was before training."""
    encoder = run.encoder()
    encoder.visual.to(next(run.model.parameters()).device)
    cache = FeatureCache(encoder_key(encoder.visual, run.pixels), options.cache and Path(options.cache))
    return Pretrained(encoder, run.pixels, run.recipe.frames, run.recipe.origin, cache, options.workers)


def before_training(
    run: runs.Run, model: Recognizer, parts: Division, labels: Sequence[str], options: Any
) -> Comparison:
    """What the same rows get from the encoder before training: "w/o train" in Tables 9 and 11.

    Of an imported run that carries its encoder, there is no encoder before training.
    """
    table = Comparison(parts, labels)
    if run.carries_encoder or not are_few(options.baselines, len(parts.scored)):
        return table
    ground = _pretrained(run, options)
    found, result = scored_features(ground, table, skip=options.skip_unreadable)
    table.add("zero-shot, before training", replace(result, scores=on_features(model.head, found)))
    return table


def eval_baselines(run: runs.Run, parts: Division, options: Any) -> Comparison:
    """Zero-shot and probe beside an evaluation, where the training items are few and still there."""
    table = Comparison(parts, run.labels)
    assert run.classes is not None
    split = followed_split(run.folder, run.classes.get("history", []))
    pairs = zip(split["train"], split["train_labels"], strict=True)
    known = [(Path(path), label) for path, label in pairs if label in run.labels]
    paths = [path for path, _ in known]
    if not paths or not are_few(options.baselines, len(paths)):
        return table  # A run of which all trained classes were removed has nothing to probe.
    gone = gather_list([path for path in paths if not is_there(path)] if rank() == 0 else [])
    if gone:
        notes().print(f"note: zero-shot and probe are not shown: {len(gone)} training files are gone ({gone[0]})")
        return table
    ground = _pretrained(run, options)
    items = tuple(Item(path, label) for path, label in known)
    trained = Dataset(items, split["source"])
    found, _, _ = ground.features(trained, skip=False, title="encode training items")
    targets = torch.tensor(datasets.label_indices(trained, run.labels))
    entries = run.classes["classes"]
    names = [entry["name"] for entry in entries]
    # What stands for learned vectors is no prompt that another encoder could read.
    learned = isinstance(run.model.head, PromptHead)
    given = [None if learned else entry["prompt"] for entry in entries]
    shown = prompts.class_prompts(run.recipe.template, names, given)
    baselines(ground, table, run.labels, run.recipe, found, targets, skip=options.skip_unreadable, prompts=shown)
    return table
