"""Calibration: probabilities that are reliable, "none of these", and sets that hold the label.

All of it is learned from items that the model was not trained on, and from their scores alone. The temperature is
fitted; the threshold and the sets are ranks among those items, so that what they promise holds for few of them too,
provided that new items are exchangeable with them, as items drawn from the same source by the same means are.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.errors import DataError
from texthead.evaluation.reliability import Reliability, confidences, group_places, reliability
from texthead.text.class_names import NONE

FORMAT = 1


# Above what last bits differ by when an item is encoded again: of log-odds, and as a share of the largest score.
_HAIR_OF_ODDS, _HAIR = 1e-4, 1e-6

# Beyond these, probabilities are all or nothing, or all alike.
COLDEST, HOTTEST = 1e-3, 1e3


class Threshold(NamedTuple):
    """An answer is given where the best probability is above `probability`.

    `false_accept` (0-1) is the promised rate of answers to items of no class, `unknown_items` how many it is set by.
    """

    false_accept: float
    probability: float
    unknown_items: int


class Coverage(NamedTuple):
    """A set holds the labels whose scores are within `quantile` of the best; a share `level` (0-1) holds the truth."""

    level: float
    quantile: float


class Measured(NamedTuple):
    """What a calibration does to some items.

    Attributes:
        before, after: the temperature.
        named: how many unknown items get a name, and of how many; None without a threshold or such items.
        turned_away: how many items of the classes get none; None without a threshold.
        held: how many sets hold the label; None without sets.
        labels: how many labels a set has on average.
    """

    before: Reliability
    after: Reliability
    named: tuple[int, int] | None = None
    turned_away: int | None = None
    held: int | None = None
    labels: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The same in what JSON knows."""
        return {**self._asdict(), "before": self.before._asdict(), "after": self.after._asdict()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Measured":
        """What stands in a file.

        Raises:
            ValueError: a number out of range.
        """
        before, after = (Reliability.from_json(value[key]) for key in ("before", "after"))
        named, labels = value["named"], value["labels"]
        named = None if named is None else (int(named[0]), int(named[1]))
        away, held = (None if value[key] is None else int(value[key]) for key in ("turned_away", "held"))
        labels = None if labels is None else float(labels)
        sound = all(0 <= (count or 0) <= before.items for count in (away, held))
        sound = sound and (named is None or 0 <= named[0] <= named[1] > 0)
        if not sound or not (labels is None or (math.isfinite(labels) and labels >= 1)):
            raise ValueError(f"counts out of range: {dict(value)}")
        return cls(before, after, named, away, held, labels)


@dataclass(frozen=True)
class Calibration:
    """What was learned of a model's scores from items that it was not trained on.

    Args:
        temperature: scores are divided by it; above 1 the model was too sure of itself.
        items: how many items it was learned from, of which `content` has the fingerprints.
        classes: a digest of the head's rows.
        protocol: how the items were looked at, views and sizes.
        source: where the items came from.
        measured: what it does to these items, each by a temperature that was fitted to others; None if not measured.
    """

    temperature: float
    items: int
    threshold: Threshold | None = None
    coverage: Coverage | None = None
    classes: str = ""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    content: frozenset[str] = frozenset()
    measured: Measured | None = None

    def apply(self, scores: Float[Tensor, "*items classes"]) -> Float[Tensor, "*items classes"]:
        """The scores over the temperature, in double precision, in which no two become one: no ranking changes."""
        return scores.double() / self.temperature

    def is_known(self, scores: Float[Tensor, "items classes"]) -> Bool[Tensor, " items"]:
        """Whether each item gets an answer: all do without a threshold."""
        if self.threshold is None:
            return torch.ones(len(scores), dtype=torch.bool)
        return confidences(self.apply(scores)) > self.threshold.probability

    def sets(self, scores: Float[Tensor, "items classes"]) -> Bool[Tensor, "items classes"]:
        """Which labels are in each item's set.

        Raises:
            DataError: no coverage was asked for when it was made.
        """
        if self.coverage is None:
            raise DataError("this calibration has no label sets: make it anew with a coverage")
        return label_sets(scores, self.coverage.quantile)

    def holds(self, scores: Float[Tensor, "items classes"], targets: Int[Tensor, " items"]) -> Bool[Tensor, " items"]:
        """Whether each item's set holds its label.

        Raises:
            DataError: as of `sets`.
        """
        return self.sets(scores).gather(1, targets[:, None].long())[:, 0]

    def without_promises(self) -> "Calibration":
        """The temperature alone."""
        return replace(self, threshold=None, coverage=None, measured=None)

    def to_json(self, *, with_items: bool = True) -> dict[str, Any]:
        """What `calibration.json` holds; without the items' fingerprints and what was measured on them, if so asked."""
        items: dict[str, Any] = {"content": sorted(self.content)} if with_items else {}
        if with_items and self.measured is not None:
            items["measured"] = self.measured.to_json()
        return {
            "format": FORMAT,
            "classes": self.classes,
            "items": self.items,
            "source": self.source,
            "temperature": self.temperature,
            "threshold": None if self.threshold is None else self.threshold._asdict(),
            "coverage": None if self.coverage is None else self.coverage._asdict(),
            "look": dict(self.protocol),
            **items,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Calibration":
        """The calibration that `to_json` wrote.

        Raises:
            ValueError: anything else, in a line.
        """
        if value.get("format") != FORMAT:
            raise ValueError(f"format {value.get('format')!r}, this version reads {FORMAT}")
        try:
            threshold, coverage = value["threshold"], value["coverage"]
            found = cls(
                float(value["temperature"]),
                int(value["items"]),
                None if threshold is None else Threshold(*(threshold[key] for key in Threshold._fields)),
                None if coverage is None else Coverage(*(coverage[key] for key in Coverage._fields)),
                classes=str(value["classes"]),
                protocol=dict(value["look"]),
                source=str(value["source"]),
                content=frozenset(map(str, value["content"])),
                # Not in the files of earlier versions.
                measured=Measured.from_json(value["measured"]) if "measured" in value else None,
            )
            numbers = [found.temperature, *(found.threshold or ()), *(found.coverage or ())]
            sound = all(math.isfinite(number) and number >= 0 for number in numbers)
            sound = sound and 0.9 * COLDEST < found.temperature < 1.1 * HOTTEST
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"holds what no calibration has ({type(error).__name__}: {error})") from None
        if not sound:
            raise ValueError(f"holds a number out of range ({numbers})")
        return found


def calibrate(
    scores: Float[Tensor, "items classes"],
    targets: Int[Tensor, " items"],
    *,
    unknown: Float[Tensor, "unknown classes"] | None = None,
    false_accept: float = 0.05,
    coverage: float | None = 0.9,
    classes: str = "",
    protocol: Mapping[str, Any] | None = None,
    source: str = "",
) -> Calibration:
    """Temperature, threshold and sets from scores of items that the model was not trained on.

    Args:
        unknown: scores of items that are of none of the classes; without them there is no threshold.
        false_accept: the rate (0-1) at which such items may get an answer.
        coverage: the rate (0-1) at which the sets shall hold the label; None for no sets.
        classes, protocol, source: as of `Calibration`, which also takes the content.

    Raises:
        DataError: too few items for what is asked; `fewest` says how many it needs.
    """
    temperature = fit_temperature(scores, targets)
    threshold, sets = None, None
    if unknown is not None:
        limit = threshold_for(confidences(unknown.double() / temperature), false_accept=false_accept)
        threshold = Threshold(false_accept, limit, len(unknown))
    if coverage is not None:
        sets = Coverage(coverage, conformal_quantile(scores, targets, coverage=coverage))
    return Calibration(temperature, len(scores), threshold, sets, classes, protocol or {}, source)


def measure(
    made: Calibration,
    scores: Float[Tensor, "items classes"],
    targets: Int[Tensor, " items"],
    *,
    after: Float[Tensor, "items classes"] | None = None,
    unknown: Float[Tensor, "unknown classes"] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> Measured:
    """What a calibration does to items.

    On the items that it was learned from, threshold and sets keep what they promise by construction: only others tell.

    Args:
        after: the scores after a temperature; after that of the calibration if None. For items that it was learned
            from `cross_fitted` gives them.
        unknown: scores of items that are of none of the classes.
        groups: as of `reliability`.
    """
    after = made.apply(scores) if after is None else after
    before, later = (reliability(each, targets, groups=groups) for each in (scores, after))
    named = away = held = labels = None
    if made.threshold:
        away = int((~made.is_known(scores)).sum())
        named = None if unknown is None else (int(made.is_known(unknown).sum()), len(unknown))
    if made.coverage:
        held = int(made.holds(scores, targets).sum())
        labels = float(made.sets(scores).sum(1).double().mean())
    return Measured(before, later, named, away, held, labels)


# ---- temperature


def fit_temperature(scores: Float[Tensor, "items classes"], targets: Int[Tensor, " items"]) -> float:
    """The temperature T under which the labels are most likely: the least mean cross-entropy of scores / T.

    That is a convex problem in 1/T. Where every item is named rightly it has no answer, colder is always better: then 1
    comes back, since nothing tells how sure to be. T is between 0.001 and 1000.

    Source: Guo et al., On Calibration of Modern Neural Networks, Sec. 4.2.

    Raises:
        DataError: no item, or a label that scores minus infinity.
    """
    if not len(scores):
        raise DataError("no item to fit a temperature to: give at least one")
    table = scores.double()
    own = table.gather(1, targets[:, None].long())[:, 0]
    if not own.isfinite().all():
        raise DataError(f"label {int(targets[~own.isfinite()][0])} can never be named (its score is {own.min()})")
    if bool((table.argmax(1) == targets).all()):
        return 1.0
    # What is never named has no part in a mean of scores, and infinity times zero is no number.
    finite = torch.where(table.isfinite(), table, 0.0)

    def slope(logarithm: float) -> float:
        """Of the mean cross-entropy over 1/T: it grows with 1/T."""
        expected = ((table * math.exp(logarithm)).softmax(-1) * finite).sum(-1)
        return float((expected - own).mean())

    from scipy.optimize import brentq

    low, high = math.log(1 / HOTTEST), math.log(1 / COLDEST)
    if slope(low) >= 0:
        return HOTTEST
    if slope(high) <= 0:
        return COLDEST
    return math.exp(-float(brentq(slope, low, high, xtol=1e-10)))  # pyright: ignore[reportArgumentType]


def cross_fitted(
    scores: Float[Tensor, "items classes"],
    targets: Int[Tensor, " items"],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Float[Tensor, "items classes"]:
    """Each score over a temperature that was fitted to the other folds: what the temperature does to unseen items.

    Args:
        groups: what must stay in one of the five folds, one an item.

    Raises:
        DataError: fewer than two items.
    """
    if len(scores) < 2:
        raise DataError(
            f"a temperature is judged by items that it was not fitted to: give at least 2, got {len(scores)}"
        )
    places = group_places(groups, len(scores))
    order = np.random.default_rng(seed).permutation(places.max() + 1)
    fold = torch.from_numpy(order % 5)[torch.from_numpy(places)]
    found = scores.double().clone()
    for number in fold.unique().tolist():
        out = fold == number
        found[out] /= fit_temperature(scores[~out], targets[~out])
    return found


# ---- ranks that promise


def fewest(rate: float) -> int:
    """So many items a promise needs that fails at this rate (0-1): 19 for 0.05, 9 for 0.1."""
    return math.ceil(1 / rate - 1 - 1e-9)


def check_promises(items: int, unknown: int, *, false_accept: float, coverage: float) -> tuple[bool, bool, list[str]]:
    """Return (whether so many items allow a threshold, whether they allow sets, a line for each that they do not).

    Raises:
        DataError: a rate that is not between 0 and 1.
    """
    for name, rate in (("false_accept", false_accept), ("coverage", coverage)):
        if not 0 < rate < 1:
            raise DataError(f"{name} must lie between 0 and 1, got {rate:g}")
    threshold, sets = unknown >= fewest(false_accept), items >= fewest(1 - coverage)
    lines: list[str] = []
    if not unknown:
        lines.append(f"no threshold for {NONE!r}: it is set by items of no class of the run; name some (unknown)")
    elif not threshold:
        lines.append(
            f"no threshold for {NONE!r}: {100 * false_accept:g} % needs at least {fewest(false_accept)} unknown items, "
            f"got {unknown}, which can promise {100 / (unknown + 1):.1f} %"
        )
    if not sets:
        lines.append(
            f"no label sets: a coverage of {100 * coverage:g} % needs at least {fewest(1 - coverage)} items, "
            f"got {items}"
        )
    return threshold, sets, lines


def _rank(items: int, rate: float, what: str) -> int:
    """Which of so many sorted values, from 1, a new one is above at the rate at most: ceil((items + 1)(1 - rate)).

    19 items and 0.05: the last of them. 18 are too few: with them 1 in 19 is the lowest that can be promised.

    Raises:
        DataError: the rate is none, or lower than what so many items can promise.
    """
    if not 0 < rate < 1:
        raise DataError(f"{what} must be a rate between 0 and 1, got {rate:g}")
    if items < fewest(rate):
        raise DataError(
            f"{what} of {rate:g} needs at least {fewest(rate)} items, got {items}: the lowest that {items} can promise "
            f"is {1 / (items + 1):.3f}"
        )
    return math.ceil((items + 1) * (1 - rate) - 1e-9)


def threshold_for(unknown: Float[Tensor, " items"], *, false_accept: float) -> float:
    """The threshold of the best probability: where it is above, an answer is given.

    A further item of no class, exchangeable with these, gets an answer at the rate `false_accept` at most. That is the
    rate over draws of these items too; with the ones at hand it may be higher: `worst_false_accept` says how much.
    It is a hair above the best probability of one of these items, whose last bits may differ when it is seen again.

    Args:
        unknown: the best probabilities of items that are of none of the classes.
        false_accept: the promised rate, 0-1.

    Raises:
        DataError: too few items for that rate.
    """
    rank = _rank(len(unknown), false_accept, "a false-accept rate")
    return float((unknown.double().sort().values[rank - 1].logit() + _HAIR_OF_ODDS).sigmoid())


def worst_false_accept(items: int, false_accept: float, *, sure: float = 0.9) -> float:
    """The rate (0-1) that the threshold of `threshold_for` keeps in the part `sure` of all draws of so many items."""
    from scipy.stats import beta

    rank = _rank(items, false_accept, "a false-accept rate")
    return float(beta.ppf(sure, items + 1 - rank, rank))


def conformal_quantile(
    scores: Float[Tensor, "items classes"], targets: Int[Tensor, " items"], *, coverage: float
) -> float:
    """How far below the best score a label may be and still be in the set.

    Of the gaps between the best score and the label's the ceil((n + 1) coverage)-th smallest; a further item's set,
    exchangeable with these n, holds its label at the rate `coverage` at least. Gaps of scores keep their order under
    any temperature, so the temperature can be fitted to the same items.

    Source: Vovk et al., split conformal prediction.
    Differs: usual sets hold the labels above one probability, and can be empty; these hold the best label always.

    Raises:
        DataError: too few items for that coverage.
    """
    rank = _rank(len(scores), 1 - coverage, "sets that miss the label at a rate")
    table = scores.double()
    gaps = table.amax(1) - table.gather(1, targets[:, None].long())[:, 0]
    found = float(gaps.sort().values[rank - 1])
    if not math.isfinite(found):
        raise DataError(f"no sets of coverage {coverage:g}: too many labels can never be named (minus infinity)")
    # The label that sets it belongs to its set when it is seen again, with other last bits.
    return found + _HAIR * float(table[table.isfinite()].abs().max())


def label_sets(scores: Float[Tensor, "items classes"], quantile: float) -> Bool[Tensor, "items classes"]:
    """Which labels are in each item's set: those whose score is within the quantile of the best."""
    table = scores.double()
    return table.amax(1, keepdim=True) - table <= quantile
