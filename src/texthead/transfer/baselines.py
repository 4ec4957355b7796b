"""Baselines of a run on the same items: zero-shot, and a probe on frozen features."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from texthead.data import dataset as datasets
from texthead.data.dataset import Dataset, Item
from texthead.data.division import Division
from texthead.data.protocol import Protocol, Views
from texthead.encoders.load import zero_shot_note
from texthead.evaluation import evaluate
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.reading import Reading
from texthead.features.views import Pretrained
from texthead.media.shard import is_there
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import gather_list, rank
from texthead.parallel.progress import Bar, no_bar
from texthead.recipes import Recipe
from texthead.runs import run as runs
from texthead.runs.folder import saved_split
from texthead.text import prompts
from texthead.transfer.closed_form import logistic_probe

FEW_ITEMS = 2000

# When to compute baselines; auto: with at most FEW_ITEMS training items.
When = Literal["auto", "always", "never"]


def are_few(when: When, items: int) -> bool:
    """Return whether to compute baselines for so many training items."""
    return when == "always" or (when == "auto" and items <= FEW_ITEMS)


class Comparison:
    """Scores of several methods on the same items."""

    def __init__(self, division: Division, labels: Sequence[str]):
        self.division = division
        self.labels = labels
        self.rows: list[tuple[str, evaluate.Evaluation]] = []
        self.lines: list[str] = []

    def add(self, method: str, result: evaluate.Evaluation) -> None:
        """Add the result of a method."""
        self.rows.append((method, result))

    def pairs(self) -> list[tuple[str, str]]:
        """Return (method, result as text) pairs for the report."""
        return [(method, f"{r.top1:.1f} % of {r.count} (95 % interval {r.interval_text})") for method, r in self.rows]


def scored_features(ground: Pretrained, table: Comparison) -> tuple[torch.Tensor, evaluate.Evaluation]:
    """Return the pretrained features of the scored items, and an evaluation of them whose scores are still zeros."""
    tests, positions, errors = ground.features(table.division.scored, "encode scored items")
    scored = table.division.scored.pick(positions)
    truth = torch.tensor(datasets.label_indices(scored, table.labels))
    zeros = torch.zeros(len(scored), len(table.labels))
    paths = [item.path for item in scored.items]
    return tests, evaluate.Evaluation(tuple(table.labels), paths, truth, zeros, errors, scored.groups)


@torch.inference_mode()
def on_features(head: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Return the head's scores of pretrained features."""
    return head.eval()(features.to(next(head.parameters()).device)).cpu()


def baselines(
    ground: Pretrained,
    table: Comparison,
    names: Sequence[str],
    recipe: Recipe,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    prompts: Sequence[str | Sequence[str]] | None = None,
) -> None:
    """Add zero-shot and a logistic probe on the pretrained encoder's features to the table.

    Args:
        names: class names for the recipe's template.
        features, targets: features and labels of the training items.
        prompts: prompts of the classes in place of names and template.
    """
    tests, result = scored_features(ground, table)
    if ground.encoder.has_text:
        center = features.mean(0) if recipe.center else None
        title = "zero-shot-centred" if recipe.center else "zero-shot"
        head = text_head(ground.encoder, names, template=recipe.template, center=center, prompts=prompts)
        table.add(title, replace(result, scores=on_features(head, tests)))
    probe = logistic_probe(features, targets, tests, classes=len(table.labels))
    table.add("probe", replace(result, scores=probe))
    note = zero_shot_note(ground.encoder.source, names)
    if note:
        table.lines.append(note)


def _pretrained(run: runs.Run, cache: Path | None, reading: Reading, bar: Bar) -> Pretrained:
    """Return the run's pretrained encoder, with its own feature cache."""
    encoder = run.encoder()
    encoder.visual.to(next(run.model.parameters()).device)
    reading = replace(reading, cache=FeatureCache(encoder_key(encoder.visual, run.pixels), cache))
    protocol = Protocol(run.recipe.frames, run.pixels, Views.of(run.recipe))
    return Pretrained(encoder, protocol, reading, bar)


def before_training(
    run: runs.Run,
    model: Recognizer,
    parts: Division,
    labels: Sequence[str],
    when: When,
    cache: Path | None,
    reading: Reading,
    bar: Bar = no_bar,
) -> Comparison:
    """Score the pretrained encoder with the same head rows: "w/o train" in Tables 9 and 11.

    The table is empty for imported runs, whose pretrained encoder is not known, and for too many items.
    """
    table = Comparison(parts, labels)
    if run.carries_encoder or not are_few(when, len(parts.scored)):
        return table
    ground = _pretrained(run, cache, reading, bar)
    features, result = scored_features(ground, table)
    table.add("zero-shot, before training", replace(result, scores=on_features(model.head, features)))
    return table


def eval_baselines(
    run: runs.Run, parts: Division, when: When, cache: Path | None, reading: Reading, bar: Bar = no_bar
) -> Comparison:
    """Score zero-shot and a probe on the evaluated items, if the training items are few and still exist."""
    table = Comparison(parts, run.labels)
    assert run.classes is not None
    split = saved_split(run.folder)
    # A probe needs the labels of the training items.
    pairs = zip(split["train"], split["train_labels"], strict=True)
    known = [(Path(path), label) for path, label in pairs if label in run.labels]
    paths = [path for path, _ in known]
    if not paths or not are_few(when, len(paths)):
        return table  # All trained classes may have been removed.
    missing = gather_list([path for path in paths if not is_there(path)] if rank() == 0 else [])
    if missing:
        table.lines.append(
            f"zero-shot and probe are left out: {len(missing)} training files are missing (the first: {missing[0]})"
        )
        return table
    ground = _pretrained(run, cache, reading, bar)
    training = replace(ground, reading=replace(ground.reading, skip_unreadable=False))
    items = tuple(Item(path, label) for path, label in known)
    trained = Dataset(items, split["source"])
    features, _, _ = training.features(trained, "encode training items")
    targets = torch.tensor(datasets.label_indices(trained, run.labels))
    entries = run.classes["classes"]
    names = [entry["name"] for entry in entries]
    # The recorded prompts of a learned template have placeholders that other encoders cannot read.
    own_prompts = [None if run.head.learned_template else entry["prompt"] for entry in entries]
    filled = prompts.class_prompts(run.recipe.template, names, own_prompts)
    baselines(ground, table, run.labels, run.recipe, features, targets, prompts=filled)
    return table
