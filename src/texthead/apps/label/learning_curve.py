"""Estimate the accuracy of a classifier from few labels, and the gain of more labels."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from texthead.apps.label.selection import class_probabilities
from texthead.evaluation import fit_temperature, grouped_interval, lead_interval

_FOLDS = 5

# Fewest labels for a meaningful curve.
MIN_CURVE_ITEMS = 10

# Lower bound of probabilities before the logarithm.
MIN_PROBABILITY = 1e-9


class LearningCurve(NamedTuple):
    """Cross-validated accuracy on labelled files, and its extrapolation to more labels.

    Attributes:
        items: number of labelled files, each scored once.
        top1, low, high: accuracy in percent, and its 95 % interval.
        gain, least_gain, most_gain: expected gain of `more` further labels in points, extrapolated, and its 95 %
            interval; all at least 0, since more labels do not hurt on average.
        temperature: fitted to the log-probabilities of these files.
        probabilities: cross-validated probabilities of each file, before the temperature.
    """

    items: int
    top1: float
    low: float
    high: float
    more: int
    gain: float
    least_gain: float
    most_gain: float
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
    more: int = 10,
    seed: int = 0,
) -> LearningCurve | None:
    """Cross-validate `class_probabilities` on labelled files, with full and with half training folds.

    The model of accuracy is a - b / sqrt(labels); the two sizes give b. Returns None for fewer than ten labels or a
    single class.

    Args:
        rows: text rows; None for an encoder without text.
        groups: the group of each item (a scene, a person); a group stays in one fold, unless there are fewer groups
            than folds.
        more: number of further labels.
        seed: random seed of folds and halves.
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
    by_full, by_half = torch.zeros(count, classes), torch.zeros(count, classes)
    sizes: list[tuple[int, int]] = []
    for number in range(fold.max() + 1):
        scored, full = np.flatnonzero(fold == number), rng.permutation(np.flatnonzero(fold != number))
        half = full[: (len(full) + 1) // 2]
        sizes.append((len(full), len(half)))
        for train, probabilities in ((full, by_full), (half, by_half)):
            picked = features[[*train, *scored]]
            fold_guesses = class_probabilities(rows, picked, range(len(train)), targets[train], classes=classes)
            probabilities[scored] = fold_guesses[len(train) :].float()
    right, right_half = ((probabilities.argmax(-1) == targets).numpy() for probabilities in (by_full, by_half))
    large, small = np.mean(sizes, axis=0)
    scale = (count**-0.5 - (count + more) ** -0.5) / float(small**-0.5 - large**-0.5)
    low, high = lead_interval(right & ~right_half, right_half & ~right, keys)
    gain, low, high = (
        max(0.0, scale * points) for points in (100 * float((right - 1.0 * right_half).mean()), low, high)
    )
    interval = grouped_interval(right, keys)
    temperature = fit_temperature(by_full.clamp(min=MIN_PROBABILITY).log(), targets)
    return LearningCurve(count, 100 * float(right.mean()), *interval, more, gain, low, high, temperature, by_full)
