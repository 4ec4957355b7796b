"""How accurate a recogniser of few labels is, and what more of them would bring."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from texthead.evaluation.calibration import fit_temperature
from texthead.evaluation.intervals import grouped_interval, lead_interval
from texthead.transfer.selection import guesses

FOLDS = 5

# With fewer labels a curve says nothing.
FEWEST = 10

# Of a probability whose logarithm is taken.
LEAST = 1e-9


class LearningCurve(NamedTuple):
    """What fits of four fifths of some labelled files say of the others.

    Attributes:
        items: labelled files, each scored once.
        top1, low, high: accuracy in percent, and its 95 % interval.
        gain, least_gain, most_gain: points that `more` further labels bring, extrapolated, and the 95 % interval. None
            is negative: labels do not hurt in the mean.
        temperature: of the logarithm of probabilities, so that they are calibrated on these files.
        probabilities: each file's, by a fit without it.
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
        """Return the probabilities of other files, as sure as these files allow."""
        return (probabilities.clamp(min=LEAST).log() / self.temperature).softmax(-1)


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
    """Cross-validate `guesses` on labelled files, with whole and with half training parts.

    Accuracy is taken as a - b / sqrt(labels); the two sizes give b. None for less than ten labels or one class. Groups
    are divided where there are fewer than folds.

    Args:
        rows: text rows; None of an encoder without text.
        groups: a scene or a person of each item, which folds keep whole.
        more: further labels.
        seed: draws the folds and the halves.
    """
    count = len(targets)
    if count < FEWEST or len(targets.unique()) < 2:
        return None
    if groups is not None and len(set(groups)) < FOLDS:
        groups = None
    rng = np.random.default_rng(seed)
    fold = _folds(targets.tolist(), range(count) if groups is None else groups, rng)
    whole, half = torch.zeros(count, classes), torch.zeros(count, classes)
    sizes: list[tuple[int, int]] = []
    for number in range(fold.max() + 1):
        scored, kept = np.flatnonzero(fold == number), rng.permutation(np.flatnonzero(fold != number))
        few = kept[: (len(kept) + 1) // 2]
        sizes.append((len(kept), len(few)))
        for train, found in ((kept, whole), (few, half)):
            picked = features[[*train, *scored]]
            own = guesses(rows, picked, range(len(train)), targets[train], classes=classes)
            found[scored] = own[len(train) :].float()
    right, right_half = ((found.argmax(-1) == targets).numpy() for found in (whole, half))
    keys = list(range(count)) if groups is None else list(groups)
    large, small = np.mean(sizes, axis=0)
    scale = (count**-0.5 - (count + more) ** -0.5) / float(small**-0.5 - large**-0.5)
    low, high = lead_interval(right & ~right_half, right_half & ~right, keys)
    gain, low, high = (
        max(0.0, scale * points) for points in (100 * float((right - 1.0 * right_half).mean()), low, high)
    )
    interval = grouped_interval(right, keys)
    temperature = fit_temperature(whole.clamp(min=LEAST).log(), targets)
    return LearningCurve(count, 100 * float(right.mean()), *interval, more, gain, low, high, temperature, whole)


def _folds(targets: Sequence[int], groups: Sequence[Hashable], rng: np.random.Generator) -> Int[np.ndarray, " items"]:
    """Return the fold of each item: groups are dealt out whole, in the order of their first item's class."""
    first = list(dict(zip(reversed(groups), reversed(targets), strict=True)).items())
    order = sorted(rng.permutation(len(first)).tolist(), key=lambda place: first[place][1])
    of = {first[place][0]: number % FOLDS for number, place in enumerate(order)}
    return np.array([of[group] for group in groups])
