"""Classifiers on a frozen encoder, fitted in seconds to features that are computed once."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.encoders.encoder import Encoder
from texthead.errors import DataError, EncoderError
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import lead_interval
from texthead.features.frozen import FrozenEncoder, FrozenItems
from texthead.models.head_rows import text_rows
from texthead.models.heads import Head, ProbeHead, Prompts, text_head
from texthead.recipes import MethodName, Recipe
from texthead.transfer.closed_form import TextEvidence, class_center, logistic_head, text_evidence, text_probe_head
from texthead.transfer.transductive import refined_head

# Fewest items per class for cross-validation.
MIN_ITEMS = 3


# What each method uses, for the line under a table.
USES: dict[MethodName, str] = {
    "text-probe": "class names and labelled items",
    "probe": "labelled items alone",
    "zero-shot": "class names alone",
    "zero-shot-centred": "class names, and features minus the mean of the labelled items",
}

# Fits a head to items.
Fit = Callable[[FrozenItems], Head]


def fit_head(
    name: MethodName,
    encoder: Encoder,
    names: Sequence[str],
    prompts: Prompts | None,
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
) -> Head:
    """Fit the head of a method.

    Args:
        names: the head's class names.
        prompts: the prompts of each class; not used by "probe".

    Raises:
        EncoderError: the method needs text, and the encoder has none.
    """
    if name == "probe":
        return logistic_head(features, targets, names=names)
    if prompts is None or not encoder.has_text:
        raise EncoderError(f"{encoder.source!r} has no text encoder: use method='probe'")
    if name == "text-probe":
        return text_probe_head(text_rows(encoder, prompts), features, targets, names=names)
    center = class_center(features, targets) if name == "zero-shot-centred" else None
    return text_head(encoder, names, prompts=prompts, center=center)


@dataclass(frozen=True)
class Task:
    """Classes and a frozen encoder: what all methods share.

    Args:
        labels: the labels, in the order of a head's rows.
        names: the class name of each label.
        prompts: the prompts of each class.
        recipe: the recipe of a run that a method makes.
        unlabelled: features of unlabelled files, which refine the fitted probes.
    """

    frozen: FrozenEncoder
    labels: tuple[str, ...]
    names: tuple[str, ...]
    prompts: Prompts
    recipe: Recipe
    unlabelled: Float[Tensor, "files dim"] | None = None

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        return self.frozen.encoder

    @property
    def methods(self) -> tuple[MethodName, ...]:
        """The methods that the encoder allows, the default first; without text only the probe."""
        return get_args(MethodName) if self.encoder.has_text else ("probe",)

    def check_method(self, name: MethodName | None) -> MethodName:
        """Return the method, the default if None.

        Raises:
            DataError: the method does not exist, or needs a text encoder.
        """
        if name is None:
            return self.methods[0]
        if name not in self.methods:
            without = "" if self.encoder.has_text else f"; {self.encoder.source} has no text encoder: add one (text)"
            raise DataError(f"method must be one of {', '.join(self.methods)}, got {name!r}{without}")
        return name

    def fit(self, name: MethodName, items: FrozenItems) -> Head:
        """Fit a method's head to items."""
        head = fit_head(name, self.encoder, self.labels, self.prompts, items.features, items.targets)
        if self.unlabelled is None or not isinstance(head, ProbeHead):
            return head
        return refined_head(head, self.unlabelled, items.features, items.targets)

    def text_evidence(self, items: FrozenItems) -> TextEvidence | None:
        """Measure the text rows on the items; None for an encoder without text."""
        if not self.encoder.has_text:
            return None
        return text_evidence(text_rows(self.encoder, self.prompts), items.features, items.targets)


# --- cross-validation


class Folds(NamedTuple):
    """(training positions, scored positions) of each fold, and whether each group is in one fold."""

    pairs: list[tuple[list[int], list[int]]]
    grouped: bool


def folds(items: FrozenItems, *, seed: int) -> Folds:
    """Return up to five stratified folds, each item scored once; no folds if a class has fewer than three items.

    Groups stay whole unless a fold would then train on fewer than two items of a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    # By name, so that the folds do not depend on the order of the items.
    names = items.data.names
    order = np.array(sorted(range(len(names)), key=names.__getitem__))
    labels, groups = items.targets.numpy()[order], [items.groups[position] for position in order]
    counts = np.bincount(labels)
    if counts.min() < MIN_ITEMS:
        return Folds([], True)
    number = int(min(5, counts.min()))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    keys = [numbers[group] for group in groups]
    group_folds = min(number, len(set(keys)))
    if group_folds >= 2:
        grouped = StratifiedGroupKFold(group_folds, shuffle=True, random_state=seed).split(keys, labels, keys)
        usable = [(train, test) for train, test in grouped if len(test)]
        if all(np.bincount(labels[train], minlength=len(counts)).min() >= 2 for train, _ in usable):
            return Folds(_sorted(usable, order), True)
    plain = StratifiedKFold(number, shuffle=True, random_state=seed).split(keys, labels)
    return Folds(_sorted(plain, order), False)


def _sorted(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], order: Int[np.ndarray, " items"]
) -> list[tuple[list[int], list[int]]]:
    """Return the folds of items that were put into an order, as ascending positions in their own order."""
    return [(np.sort(order[train]).tolist(), np.sort(order[test]).tolist()) for train, test in pairs]


@torch.inference_mode()
def evaluation_of(head: Head, items: FrozenItems) -> Evaluation:
    """Evaluate a head on features; intervals take groups into account."""
    scores = head.eval()(items.features.to(head.weight.device)).cpu()
    paths = [item.path for item in items.data.items]
    return Evaluation(head.names, paths, items.targets, scores, list(items.skipped), items.groups)


def cross_validated(
    fit: Fit, items: FrozenItems, pairs: Sequence[tuple[list[int], list[int]]], step: Callable[[], None] = lambda: None
) -> Bool[np.ndarray, " items"]:
    """Return whether each item is correct when the head is fitted without its fold."""
    right = np.zeros(len(items.data), dtype=bool)
    for train_positions, scored in pairs:
        right[scored] = evaluation_of(fit(items.pick(train_positions)), items.pick(scored)).right
        step()
    return right


def check_unlabelled(task: Task, items: FrozenItems) -> tuple[Task, str]:
    """Return (the task, without its unlabelled files if they do not help; a line on the result).

    They help if the default method gets as many labelled items right with them as without, cross-validated. With too
    few labelled items for folds they are used, since they gain most there.
    """
    assert task.unlabelled is not None
    files = f"{len(task.unlabelled)} unlabelled files"
    pairs = folds(items, seed=task.recipe.seed).pairs
    if not pairs:
        return task, f"{files} are used; there are too few labelled items to check whether they help"
    without = replace(task, unlabelled=None)
    used, plain = (cross_validated(partial(each.fit, each.methods[0]), items, pairs).mean() for each in (task, without))
    line = (
        f"with {files} {100 * used:.1f} % of the labelled items are correct, without {100 * plain:.1f} % "
        "(cross-validated)"
    )
    if used >= plain:
        return task, f"{line}; they are used"
    return without, f"{line}; they are not used"


class Lead(NamedTuple):
    """The lead of a rival over the default method in points, with a 95 % interval that takes groups into account."""

    rival: str
    points: float
    low: float
    high: float


def best_rival(right: Mapping[str, Bool[np.ndarray, " items"]], groups: Sequence[Hashable]) -> Lead | None:
    """Return the lead of the best rival of the first method; None if no rival is ahead.

    Args:
        right: the items that each method gets right.
    """
    default, *rivals = right
    best = max(rivals, key=lambda name: int(right[name].sum()), default=default)
    first, second = right[best], right[default]
    if first.sum() <= second.sum():
        return None
    low, high = lead_interval(first & ~second, second & ~first, groups)
    return Lead(best, 100 * float(first.mean() - second.mean()), low, high)
