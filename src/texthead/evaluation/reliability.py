"""Reliability of probabilities: confidence bins, the expected calibration error, and its value by chance."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

_BINS, _DRAWS = 10, 1000
_Numbers = Float[np.ndarray, " items"]
_Hits = Bool[np.ndarray, " items"]
_Groups = Sequence[Hashable] | None


# (items, mean confidence, accuracy) of each bin; the last two are 0-1, or None if the bin is empty.
_Rows = tuple[tuple[int, float | None, float | None], ...]


class Reliability(NamedTuple):
    """Reliability of the probabilities of some items.

    Attributes:
        rows: the bins, as from `reliability_bins`.
        low, high: the 95 % interval of the expected calibration error, in points 0-100.
        chance: the error, in points, of perfectly calibrated predictions (`chance_error`).
    """

    rows: _Rows
    low: float
    high: float
    chance: float

    @property
    def items(self) -> int:
        """Number of items."""
        return sum(row[0] for row in self.rows)

    @property
    def error(self) -> float:
        """The expected calibration error, in points 0-100."""
        return 100 * sum(n * abs((mean or 0) - (right or 0)) for n, mean, right in self.rows) / self.items


def confidences(scores: Float[Tensor, "items classes"]) -> Float[Tensor, " items"]:
    """Return the best probability (0-1) of each item."""
    return scores.softmax(-1).amax(-1)


def reliability(
    scores: Float[Tensor, "items classes"], targets: Int[Tensor, " items"], *, groups: _Groups = None
) -> Reliability:
    """Measure the reliability of the best probabilities of the items.

    Args:
        groups: the group of each item; the bootstrap resamples whole groups.
    """
    right, confidence = (scores.argmax(1) == targets).numpy(), confidences(scores.double()).numpy()
    low, high = error_interval(confidence, right, groups=groups)
    return Reliability(reliability_bins(confidence, right), low, high, chance_error(confidence))


def reliability_bins(confidences: _Numbers, correct: _Hits) -> _Rows:
    """Return (items, mean confidence, accuracy) of each bin of equal width, which includes its upper edge."""
    bin_of = _bin(confidences)
    counts = np.bincount(bin_of, minlength=_BINS).tolist()
    sums = (np.bincount(bin_of, values, _BINS).tolist() for values in (confidences, correct.astype(float)))
    return tuple((n, x / n, y / n) if n else (0, None, None) for n, x, y in zip(counts, *sums, strict=True))


def _bin(confidences: Float[np.ndarray, " items"]) -> Int[np.ndarray, " items"]:
    """Return the bin of each item: of 10 bins, 0.1 is in the first and 0.1001 in the second."""
    return (np.ceil(confidences * _BINS) - 1).clip(0, _BINS - 1).astype(np.int64)


def expected_calibration_error(confidences: _Numbers, correct: _Hits, weights: _Numbers | None = None) -> float:
    """Return the expected calibration error in points 0-100: the mean gap of confidence and accuracy over bins.

    Bins are weighted by their items. With few items the error is above zero by chance alone (see `chance_error`).

    Args:
        weights: what each item counts; None if all count the same.

    Source: Guo et al., Eq. 3.
    """
    return _error(_bin(confidences), correct - confidences, np.ones(len(correct)) if weights is None else weights)


def _error(bin_of: np.ndarray, gaps: np.ndarray, weights: np.ndarray) -> float:
    return 100 * float(np.abs(np.bincount(bin_of, weights * gaps, _BINS)).sum() / weights.sum())


def error_interval(
    confidences: _Numbers,
    correct: _Hits,
    groups: _Groups = None,
) -> tuple[float, float]:
    """Return the 95 % interval of the expected calibration error, in points 0-100.

    It is the error +- 1.96 bootstrap standard deviations, clipped at 0. The bootstrap resamples items, or groups if
    given. The error by chance (`chance_error`) is not subtracted.
    """
    bin_of, gaps, group = _bin(confidences), correct - confidences, group_numbers(groups, len(correct))
    generator, count = np.random.default_rng(0), int(group.max()) + 1
    errors = []
    for _ in range(_DRAWS):
        times = np.bincount(generator.integers(0, count, count), minlength=count)
        errors.append(_error(bin_of, gaps, times[group]))
    error, half = expected_calibration_error(confidences, correct), 1.96 * float(np.std(errors))
    return max(0.0, error - half), min(100.0, error + half)


def chance_error(confidences: _Numbers, weights: _Numbers | None = None) -> float:
    """Return the mean expected calibration error, in points, that perfectly calibrated predictions would have."""
    generator = np.random.default_rng(0)
    drawn = (generator.random(len(confidences)) < confidences for _ in range(_DRAWS))
    return float(np.mean([expected_calibration_error(confidences, right, weights) for right in drawn]))


def group_numbers(groups: Sequence[Hashable] | None, items: int) -> np.ndarray:
    """Return the group number of each item; with fewer than two groups, each item is its own group."""
    number = {group: index for index, group in enumerate(dict.fromkeys(groups or ()))}
    return np.array([number[group] for group in groups or ()]) if len(number) > 1 else np.arange(items)
