"""Classifiers on a frozen encoder, fitted in seconds to features that are computed once."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError, MediaError
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import lead_interval
from texthead.features.cache import FeatureCache
from texthead.models.head_rows import text_rows
from texthead.models.heads import ProbeHead, Prompts, text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.recipes import Recipe
from texthead.transfer.closed_form import TextWorth, class_center, logistic_head, text_probe_head, text_worth
from texthead.transfer.transductive import refined_head

# Fewest items per class for cross-validation.
FEWEST = 3


@dataclass(frozen=True)
class FrozenItems:
    """Labelled files with the pretrained features of their frames under the test protocol.

    Args:
        skipped: errors of unreadable files, which are not among the items.
    """

    data: Dataset
    frames: Float[Tensor, "items frames dim"]
    targets: Int[Tensor, " items"]
    skipped: tuple[MediaError, ...] = ()

    @property
    def features(self) -> Float[Tensor, "items dim"]:
        """The mean feature of each item."""
        return self.frames.mean(1)

    @property
    def groups(self) -> list[str]:
        """The group of each item; a group must stay on one side of a split."""
        return self.data.groups

    def pick(self, positions: Sequence[int]) -> "FrozenItems":
        """Return the items at these positions."""
        return FrozenItems(self.data.pick(positions), self.frames[positions], self.targets[positions])


@dataclass(frozen=True)
class Ground:
    """Everything that the methods of a comparison share.

    Args:
        prompts: the prompts of each class.
        protocol: frames, sizes and views of the items.
        unlabelled: features of unlabelled files, which refine the fitted heads.
    """

    encoder: Encoder
    labels: tuple[str, ...]
    names: tuple[str, ...]
    prompts: Prompts
    recipe: Recipe
    protocol: Protocol
    cache: FeatureCache
    unlabelled: Float[Tensor, "files dim"] | None = None

    def text_worth(self, items: FrozenItems) -> TextWorth | None:
        """Measure the text rows on the items; None for an encoder without text."""
        if not self.encoder.has_text:
            return None
        return text_worth(text_rows(self.encoder, self.prompts), items.features, items.targets)


# What each method uses, for the line under a table.
USES = {
    "text-probe": "class names and labelled items",
    "probe": "labelled items alone",
    "zero-shot": "class names alone",
    "zero-shot-centred": "class names, and features minus the mean of the labelled items",
}


@dataclass(frozen=True)
class Method:
    """A method that fits a classifier to labelled features.

    Args:
        name: the name on the command line, in Python, JSON and tables.
        head: fits a head to the mean features of items.
    """

    name: str
    head: Callable[[FrozenItems], nn.Module]

    def fit(self, items: FrozenItems) -> Recognizer:
        """Return a fitted model whose clips are frame features."""
        return Recognizer(nn.Identity(), MeanPool(), self.head(items))


def methods(ground: Ground) -> list[Method]:
    """Return the methods to compare, the default first; an encoder without text has only the probe."""

    def refined(head: ProbeHead, items: FrozenItems) -> ProbeHead:
        if ground.unlabelled is None:
            return head
        return refined_head(head, ground.unlabelled, items.features, items.targets)

    def probe(items: FrozenItems) -> nn.Module:
        return refined(logistic_head(items.features, items.targets, names=ground.labels), items)

    def text_probe(items: FrozenItems) -> nn.Module:
        rows = text_rows(ground.encoder, ground.prompts)
        return refined(text_probe_head(rows, items.features, items.targets, names=ground.labels), items)

    def zero_shot(center: Tensor | None = None) -> nn.Module:
        return text_head(ground.encoder, ground.names, labels=ground.labels, prompts=ground.prompts, center=center)

    without_text = [Method("probe", probe)]
    if not ground.encoder.has_text:
        return without_text
    return [
        Method("text-probe", text_probe),
        *without_text,
        Method("zero-shot", lambda _: zero_shot()),
        Method(
            "zero-shot-centred",
            lambda items: zero_shot(class_center(items.features, items.targets)),
        ),
    ]


def pick_method(every: Sequence[Method], name: str | None) -> Method:
    """Return the method of this name, the default if None.

    Raises:
        DataError: there is no such method.
    """
    if name is None:
        return every[0]
    for method in every:
        if method.name == name:
            return method
    raise DataError(f"method {name!r} is not one of {', '.join(method.name for method in every)}")


# --- cross-validation


class Folds(NamedTuple):
    """(training positions, scored positions) of each fold, and whether all groups stay whole."""

    pairs: list[tuple[list[int], list[int]]]
    whole: bool


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
    if counts.min() < FEWEST:
        return Folds([], True)
    number = int(min(5, counts.min()))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    keys = [numbers[group] for group in groups]
    group_folds = min(number, len(set(keys)))
    if group_folds >= 2:
        grouped = StratifiedGroupKFold(group_folds, shuffle=True, random_state=seed).split(keys, labels, keys)
        whole = [(train, test) for train, test in grouped if len(test)]
        if all(np.bincount(labels[train], minlength=len(counts)).min() >= 2 for train, _ in whole):
            return Folds(_sorted(whole, order), True)
    plain = StratifiedKFold(number, shuffle=True, random_state=seed).split(keys, labels)
    return Folds(_sorted(plain, order), False)


def _sorted(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], order: Int[np.ndarray, " items"]
) -> list[tuple[list[int], list[int]]]:
    """Return the folds of items that were put into an order, as ascending positions in their own order."""
    return [(np.sort(order[train]).tolist(), np.sort(order[test]).tolist()) for train, test in pairs]


def evaluation_of(model: Recognizer, items: FrozenItems) -> Evaluation:
    """Evaluate the model on frame features; intervals take groups into account."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        scores = model.eval()(items.frames.to(device)).cpu()
    paths = [item.path for item in items.data.items]
    return Evaluation(model.names, paths, items.targets, scores, list(items.skipped), items.groups)


def cross_validated(
    method: Method, items: FrozenItems, parts: Sequence[tuple[list[int], list[int]]], step: Callable[[], None]
) -> Bool[np.ndarray, " items"]:
    """Return whether each item is correct when the method is fitted without its fold."""
    right = np.zeros(len(items.data), dtype=bool)
    for train_positions, scored in parts:
        model = method.fit(items.pick(train_positions))
        right[scored] = evaluation_of(model, items.pick(scored)).right
        step()
    return right


def check_unlabelled(ground: Ground, items: FrozenItems) -> tuple[Ground, str]:
    """Return (the ground, without its unlabelled files if they do not help; a line on the result).

    They help if the default method gets as many labelled items right with them as without, cross-validated. With too
    few labelled items for folds they are used, since they gain most there.
    """
    assert ground.unlabelled is not None
    files = f"{len(ground.unlabelled)} unlabelled files"
    pairs = folds(items, seed=ground.recipe.seed).pairs
    if not pairs:
        return ground, f"{files} are used; there are too few labelled items to check whether they help"
    without = replace(ground, unlabelled=None)
    own, plain = (cross_validated(methods(each)[0], items, pairs, lambda: None).mean() for each in (ground, without))
    line = (
        f"with {files} {100 * own:.1f} % of the labelled items are correct, without {100 * plain:.1f} % "
        "(cross-validated)"
    )
    if own >= plain:
        return ground, f"{line}; they are used"
    return without, f"{line}; they are not used"


class Lead(NamedTuple):
    """The lead of a rival over the chosen method in points, with a 95 % interval that takes groups into account."""

    rival: Method
    points: float
    low: float
    high: float


def best_rival(
    every: Sequence[Method], chosen: Method, right: dict[str, Bool[np.ndarray, " items"]], groups: Sequence[Hashable]
) -> Lead | None:
    """Return the lead of the best rival; None if no rival is ahead."""
    rivals = [method for method in every if method is not chosen]
    best = max(rivals, key=lambda method: int(right[method.name].sum()), default=None)
    if best is None or right[best.name].sum() <= right[chosen.name].sum():
        return None
    first, second = right[best.name], right[chosen.name]
    low, high = lead_interval(first & ~second, second & ~first, groups)
    return Lead(best, 100 * float(first.mean() - second.mean()), low, high)
