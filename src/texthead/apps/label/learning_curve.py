"""Estimate the accuracy of a classifier from few labels."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from texthead.apps.label.selection import class_probabilities
from texthead.evaluation import fit_temperature, grouped_interval

_FOLDS = 5

# Fewest labels for a meaningful accuracy.
MIN_CURVE_ITEMS = 10

# Lower bound of probabilities before the logarithm.
MIN_PROBABILITY = 1e-9


class LearningCurve(NamedTuple):
    """Cross-validated accuracy on labelled files.

    Attributes:
        items: number of labelled files, each scored once.
        top1, low, high: accuracy in percent, and its 95 % interval.
        temperature: fitted to the log-probabilities of these files.
        probabilities: cross-validated probabilities of each file, before the temperature.
    """

    items: int
    top1: float
    low: float
    high: float
    temperature: float
    probabilities: Float[Tensor, "items classes"]

    def calibrated(self, probabilities: Float[Tensor, "files classes"]) -> Float[Tensor, "files classes"]:
        """Apply the temperature to probabilities of other files."""
        return (probabilities.clamp(min=MIN_PROBABILITY).log() / self.temperature).softmax(-1)


def learning_curve(
    rows: Float[Tensor, "classes dim"] | None,
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    classes: int,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> LearningCurve | None:
    """Cross-validate `class_probabilities` on labelled files; None for fewer than ten labels or a single class.

    Args:
        rows: text rows; None for an encoder without text.
        groups: the group of each item (a scene, a person); a group stays in one fold, unless there are fewer groups
            than folds.
        seed: random seed of the folds.
    """
    count = len(targets)
    if count < MIN_CURVE_ITEMS or len(targets.unique()) < 2:
        return None
    if groups is not None and len(set(groups)) < _FOLDS:
        groups = None
    rng = np.random.default_rng(seed)
    # Whole groups are assigned to folds in turn, in the order of their first item's class.
    keys = list(range(count)) if groups is None else list(groups)
    first = list(dict(zip(reversed(keys), reversed(targets.tolist()), strict=True)).items())
    order = sorted(rng.permutation(len(first)).tolist(), key=lambda index: first[index][1])
    fold_of = {first[index][0]: number % _FOLDS for number, index in enumerate(order)}
    fold = np.array([fold_of[key] for key in keys])
    probabilities = torch.zeros(count, classes)
    for number in range(fold.max() + 1):
        train, scored = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        picked = features[np.concatenate([train, scored])]
        guesses = class_probabilities(rows, picked, range(len(train)), targets[train], classes=classes)
        probabilities[scored] = guesses[len(train) :].float()
    right = (probabilities.argmax(-1) == targets).numpy()
    temperature = fit_temperature(probabilities.clamp(min=MIN_PROBABILITY).log(), targets)
    return LearningCurve(count, 100 * float(right.mean()), *grouped_interval(right, keys), temperature, probabilities)
