"""Recognisers on a frozen encoder, fitted in seconds on features that are encoded once."""

from collections.abc import Callable, Hashable, Sequence
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

# With fewer items of a class than this there is nothing to cross-validate with.
FEWEST = 3


@dataclass(frozen=True)
class FrozenItems:
    """Labelled files with the pretrained features of their frames, as testing takes them.

    Args:
        skipped: errors of files that could not be read and are not among the items.
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
        """What must stay on one side of a split, of each item."""
        return self.data.groups

    def pick(self, positions: Sequence[int]) -> "FrozenItems":
        """The items at the given positions."""
        return FrozenItems(self.data.pick(positions), self.frames[positions], self.targets[positions])


@dataclass(frozen=True)
class Ground:
    """What all recognisers of a comparison share.

    Args:
        prompts: what the text encoder reads for each class.
        protocol: how items are looked at.
        unlabelled: features of files without labels, which refine the fitted heads.
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
        """Return what the text rows are worth on the items; None of an encoder without text."""
        if not self.encoder.has_text:
            return None
        return text_worth(text_rows(self.encoder, self.prompts), items.features, items.targets)


@dataclass(frozen=True)
class Method:
    """A way from labelled features to a recogniser.

    Args:
        name: as the command line, Python, JSON and tables call it.
        head: items -> a head on their mean features.
    """

    name: str
    head: Callable[[FrozenItems], nn.Module]

    def fit(self, items: FrozenItems) -> Recognizer:
        """Return a recogniser whose clips are frame features."""
        return Recognizer(nn.Identity(), MeanPool(), self.head(items))


def methods(ground: Ground) -> list[Method]:
    """Return the recognisers that are compared, the default first; an encoder without text has the probe alone."""

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

    found = [Method("probe", probe)]
    if not ground.encoder.has_text:
        return found
    return [
        Method("text-probe", text_probe),
        *found,
        Method("zero-shot", lambda _: zero_shot()),
        Method(
            "zero-shot-centred",
            lambda items: zero_shot(class_center(items.features, items.targets)),
        ),
    ]


def pick_method(every: Sequence[Method], name: str | None) -> Method:
    """Return the method of that name, the default if None.

    Raises:
        DataError: there is none.
    """
    if name is None:
        return every[0]
    for method in every:
        if method.name == name:
            return method
    raise DataError(f"method {name!r} is not one of {', '.join(method.name for method in every)}")


# --- cross-validation


class Folds(NamedTuple):
    """(training positions, scored positions) of each fold, and whether groups are kept whole in all of them."""

    pairs: list[tuple[list[int], list[int]]]
    whole: bool


def folds(items: FrozenItems, *, seed: int) -> Folds:
    """Up to five stratified folds, each item scored once; none where a class has fewer than three items.

    Groups stay whole unless a fold would then train on fewer than two items of a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels, groups = items.targets.numpy(), items.groups
    counts = np.bincount(labels)
    if counts.min() < FEWEST:
        return Folds([], True)
    number = int(min(5, counts.min()))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    keys = [numbers[group] for group in groups]
    apart = min(number, len(set(keys)))
    if apart >= 2:
        grouped = StratifiedGroupKFold(apart, shuffle=True, random_state=seed).split(keys, labels, keys)
        whole = [(train.tolist(), test.tolist()) for train, test in grouped if len(test)]
        if all(np.bincount(labels[train], minlength=len(counts)).min() >= 2 for train, _ in whole):
            return Folds(whole, True)
    plain = StratifiedKFold(number, shuffle=True, random_state=seed).split(keys, labels)
    return Folds([(train.tolist(), test.tolist()) for train, test in plain], False)


def evaluation_of(model: Recognizer, items: FrozenItems) -> Evaluation:
    """The scores of the items, whose intervals take their groups into account."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        scores = model.eval()(items.frames.to(device)).cpu()
    paths = [item.path for item in items.data.items]
    return Evaluation(model.names, paths, items.targets, scores, list(items.skipped), items.groups)


def cross_validated(
    method: Method, items: FrozenItems, parts: Sequence[tuple[list[int], list[int]]], step: Callable[[], None]
) -> Bool[np.ndarray, " items"]:
    """Whether each item is named rightly by the method fitted without its fold."""
    right = np.zeros(len(items.data), dtype=bool)
    for train_positions, scored in parts:
        model = method.fit(items.pick(train_positions))
        right[scored] = evaluation_of(model, items.pick(scored)).right
        step()
    return right


def check_unlabelled(ground: Ground, items: FrozenItems) -> tuple[Ground, str]:
    """Return (the ground, without its unlabelled files where they do not help, a line that says so).

    They help if the default names as many labelled items rightly with them as without, cross-validated. With too few
    labelled items for folds they are used: it is there that they gain most.
    """
    assert ground.unlabelled is not None
    files = f"{len(ground.unlabelled)} unlabelled files"
    pairs = folds(items, seed=ground.recipe.seed).pairs
    if not pairs:
        return ground, f"{files} are used: too few labelled items to check what they are worth"
    without = replace(ground, unlabelled=None)
    own, plain = (cross_validated(methods(each)[0], items, pairs, lambda: None).mean() for each in (ground, without))
    line = f"with {files} {100 * own:.1f} % of the labelled items, without {100 * plain:.1f} % (cross-validated)"
    if own >= plain:
        return ground, f"{line}; they are used"
    return without, f"{line}; they are not used"


class Lead(NamedTuple):
    """By how many points a rival is ahead of the chosen method, with a 95 % interval that takes groups into account."""

    rival: Method
    points: float
    low: float
    high: float


def best_rival(
    every: Sequence[Method], chosen: Method, right: dict[str, Bool[np.ndarray, " items"]], groups: Sequence[Hashable]
) -> Lead | None:
    """Return the lead of the rival that is right most often, None if no rival is ahead."""
    rivals = [method for method in every if method is not chosen]
    best = max(rivals, key=lambda method: int(right[method.name].sum()), default=None)
    if best is None or right[best.name].sum() <= right[chosen.name].sum():
        return None
    first, second = right[best.name], right[chosen.name]
    low, high = lead_interval(first & ~second, second & ~first, groups)
    return Lead(best, 100 * float(first.mean() - second.mean()), low, high)
