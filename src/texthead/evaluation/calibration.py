"""Calibration: reliable probabilities, a threshold for "none of these", and prediction sets.

Everything is computed from the scores of held-out items. The temperature is fitted. The threshold and the sets are
ranks among the held-out items, so their guarantees hold for small samples too, provided that new items are exchangeable
with these: drawn from the same source in the same way. Items of one group (a film, a person) are not, so a group counts
as one item, and the guarantees are for items of new groups. Where only the shares of the classes differ, items have
weights: the share of their class in new items over that in these.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.errors import DataError, OpenShare, checked, from_json, plural
from texthead.evaluation.broader_names import Answers, Broader, answer_rows, answers, best_wrong, members
from texthead.evaluation.intervals import rate_text
from texthead.evaluation.reliability import (
    Reliability,
    chance_error,
    confidences,
    expected_calibration_error,
    group_numbers,
    reliability,
)
from texthead.text.class_names import NONE

_Scores = Float[Tensor, "items classes"]
_Targets = Int[Tensor, " items"]
_Weights = Float[Tensor, " items"] | None
_Groups = Sequence[Hashable] | None

CALIBRATION_FORMAT = 1


# Margins for scores that differ in the last bits when an item is encoded again: of log-odds, and relative to the
# largest score.
_LOG_ODDS_MARGIN, _SCORE_MARGIN = 1e-4, 1e-6

# The level is set on unknown items too if at least this share of them (0-1) has a place in the tree; else the threshold
# rejects them.
MAX_IN_TREE = 0.5

# Beyond these temperatures, probabilities are one-hot or uniform.
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3


class Threshold(NamedTuple):
    """The rejection threshold: an item is accepted if its best probability is above `probability`.

    `false_accept` (0-1) bounds the rate at which items of unknown classes are accepted; it was set from
    `unknown_items` independent ones, of which a group is one.
    """

    false_accept: float
    probability: float
    unknown_items: int


class Coverage(NamedTuple):
    """Prediction sets: the labels whose scores are within `quantile` of the best hold the truth at rate `level`."""

    level: float
    quantile: float


class Level(NamedTuple):
    """The probability that an answer must reach; a broader name answers where no class does (`answers`).

    Attributes:
        probability: for a class.
        broader_probability: for a broader name.
        broader: positions of the classes below each broader name.
        wrong: bound (0-1) of the expected fraction of wrong answers; None if the level was given, not fitted.
        false_accept: bound of that fraction of unknown items; None if the threshold rejects them.
        unknown_items: number of unknown items that the bound was set on.
    """

    probability: float
    broader_probability: float
    broader: Broader
    wrong: float | None = None
    false_accept: float | None = None
    unknown_items: int = 0


class Unknown(NamedTuple):
    """Items of none of the classes.

    Attributes:
        groups: the group of each, which counts as one item; None if all are independent.
        right: which broader names are above the class of each, after the columns of the classes; None without a tree.
    """

    scores: Float[Tensor, "unknown classes"]
    groups: _Groups = None
    right: Bool[Tensor, "unknown names"] | None = None

    @property
    def worth(self) -> int:
        """The number of independent items."""
        return effective_items(torch.ones(len(self.scores)), self.groups)


class Measured(NamedTuple):
    """The effect of a calibration on some items.

    Attributes:
        before, after: reliability before and after the temperature.
        unknown_accepted: (unknown items accepted, unknown items); None without such items or a threshold that decides.
        known_rejected: number of items of the known classes that are rejected; None without a threshold that decides.
        covered: number of prediction sets that contain the true class; None without sets.
        mean_set_size: mean number of labels in a set; None without sets.
    """

    before: Reliability
    after: Reliability
    unknown_accepted: tuple[int, int] | None = None
    known_rejected: int | None = None
    covered: int | None = None
    mean_set_size: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, under the keys of the file format."""
        return {**self._asdict(), "before": self.before._asdict(), "after": self.after._asdict()}


@dataclass(frozen=True)
class Calibration:
    """A calibration of a model's scores, fitted on held-out items.

    Args:
        temperature: divisor of the scores; above 1 if the model was overconfident.
        items: number of items it was fitted on.
        classes: digest of the head's rows.
        protocol: the views and sizes at which the items were evaluated.
        source: where the items came from.
        content: fingerprints of the items.
        measured: its effect on these items, cross-fitted: each item's temperature was fitted on others; None if not
            measured.
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
    level: Level | None = None

    def __repr__(self) -> str:
        # Not the fingerprints of all items.
        parts = (("threshold", self.threshold), ("sets", self.coverage), ("level", self.level))
        with_ = "".join(f", {name}" for name, part in parts if part is not None)
        return f"Calibration(temperature {self.temperature:.3g} from {self.items} items{with_})"

    def apply(self, scores: Float[Tensor, "*items classes"]) -> Float[Tensor, "*items classes"]:
        """Return the scores divided by the temperature, in double precision so that no two scores become tied."""
        return scores.double() / self.temperature

    @property
    def unknown_text(self) -> str:
        """The unknown items that the threshold was set on: "100 unknown items of 35 groups"."""
        assert self.threshold is not None
        worth = self.threshold.unknown_items
        count = self.measured.unknown_accepted[1] if self.measured and self.measured.unknown_accepted else worth
        return plural(count, "unknown item") + (f" of {plural(worth, 'group')}" if worth < count else "")

    def accepts(self, scores: Float[Tensor, "items classes"]) -> Bool[Tensor, " items"]:
        """Return whether each item is accepted; without a threshold all are."""
        if self.threshold is None:
            return torch.ones(len(scores), dtype=torch.bool)
        return confidences(self.apply(scores)) > self.threshold.probability

    @property
    def answers_differ(self) -> bool:
        """Whether an answer can be another than the best class."""
        return self.threshold is not None or self.level is not None

    def prediction_sets(self, scores: Float[Tensor, "items classes"]) -> Bool[Tensor, "items classes"]:
        """Return which labels are in each item's prediction set, for a calibration with a coverage."""
        assert self.coverage is not None
        table = scores.double()
        return table.amax(1, keepdim=True) - table <= self.coverage.quantile

    def covers(self, scores: Float[Tensor, "items classes"], targets: Int[Tensor, " items"]) -> Bool[Tensor, " items"]:
        """Return whether each item's set contains its label, for a calibration with a coverage."""
        return self.prediction_sets(scores).gather(1, targets[:, None].long())[:, 0]

    def answers(self, scores: Float[Tensor, "items classes"]) -> Int[Tensor, " items"]:
        """Return the answer to each item at the level: a class, after these a name of `level.broader`; -1: none."""
        level = self.level
        assert level is not None
        given = answers(self.apply(scores).softmax(-1), level.broader, level.probability, level.broader_probability)
        return given if level.unknown_items else given.masked_fill(~self.accepts(scores), -1)

    def answered(self, scores: _Scores, targets: _Targets, groups: _Groups = None) -> Answers | None:
        """Return how many items are answered at each level of the tree, and rightly; None without a level."""
        if self.level is None:
            return None
        own, other, broader, wrong, false_accept, _ = self.level
        rule = f"answers that reach {own:.3g}{f' (broader names {other:.3g})' * (own != other)}"
        rule += f": at most {100 * wrong:g} % wrong answers to new items" if wrong else ""
        rule += f", at most {100 * false_accept:g} % to unknown ones" if false_accept else ""
        return Answers(rule, answer_rows(self.answers(scores), targets, broader, scores.shape[1], groups))

    def effects(self, scores: _Scores, targets: _Targets, groups: _Groups = None) -> list[str]:
        """Return lines on what threshold and sets do to items of the classes."""
        lines = list[str]()
        if self.threshold and not self.level:  # A level decides in place of the threshold.
            rejected = ~self.accepts(scores)
            right = int((rejected & (scores.argmax(1) == targets)).sum())
            lines.append(
                f"{NONE}: the threshold rejects {rate_text(rejected, groups)} of the run's own items (best probability "
                f"not above {self.threshold.probability:.3f}); the best name of {right} of them is correct"
            )
        if self.coverage:
            size = float(self.prediction_sets(scores).sum(1).double().mean())
            lines.append(
                f"prediction sets: {rate_text(self.covers(scores, targets), groups)} contain the true class "
                f"(target {100 * self.coverage.level:g} %), {size:.2f} classes on average"
            )
        return lines

    def at_least(self, probability: float, broader: Broader) -> "Calibration":
        """Return a copy that answers with the most specific name that reaches a probability, without a threshold.

        Raises:
            DataError: the probability is not above 0, or above 1.
        """
        if not 0 < probability <= 1:
            raise DataError(f"`at_least` must be a probability above 0 and up to 1, got {probability:g}")
        return replace(self, level=Level(probability, probability, broader), threshold=None)

    def temperature_only(self) -> "Calibration":
        """Return a copy with the temperature alone."""
        return replace(self, threshold=None, coverage=None, measured=None, level=None)

    def to_json(self, *, with_items: bool = True) -> dict[str, Any]:
        """Return the content of `calibration.json`; `with_items=False` omits fingerprints and measurements."""
        measured = None if self.measured is None else self.measured.to_json()
        items = {"content": sorted(self.content), "measured": measured} if with_items else {}
        return {
            "format": CALIBRATION_FORMAT,
            "classes": self.classes,
            "items": self.items,
            "source": self.source,
            "temperature": self.temperature,
            "threshold": None if self.threshold is None else self.threshold._asdict(),
            "coverage": None if self.coverage is None else self.coverage._asdict(),
            "protocol": dict(self.protocol),
            **({} if self.level is None else {"level": self.level._asdict()}),
            **items,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Calibration":
        """Read what `to_json` wrote.

        Raises:
            ValueError: another format, a missing key, or a value of another type.
        """
        if value.get("format") != CALIBRATION_FORMAT:
            raise ValueError(f"has format {value.get('format')!r}, but this version reads format {CALIBRATION_FORMAT}")
        try:
            return from_json(cls, {"level": None, **value})
        except ValueError as error:
            raise ValueError(f"is not a valid calibration ({error})") from None


@checked
def calibrate(
    scores: _Scores,
    targets: _Targets,
    *,
    unknown: Unknown | None = None,
    false_accept: OpenShare = 0.05,
    coverage: OpenShare | None = 0.9,
    temperature: float | None = None,
    weights: _Weights = None,
    groups: _Groups = None,
) -> Calibration:
    """Fit temperature, rejection threshold and prediction sets to the scores of held-out items.

    Args:
        unknown: items of none of the classes; without them no threshold is set.
        false_accept: highest rate (0-1) at which such items may be accepted.
        coverage: lowest rate (0-1) at which the sets must contain the true class; None for no sets.
        temperature: divisor of the scores; None to fit it.
        weights: what each item counts; None if all count the same.
        groups: the group of each item, which counts as one item; None if all are independent.

    Raises:
        DataError: too few items for a rate (see `min_items`).
    """
    temperature = fit_temperature(scores, targets, weights) if temperature is None else temperature
    threshold, sets = None, None
    if unknown is not None:
        sure = confidences(unknown.scores.double() / temperature)
        limit = threshold_for(sure, unknown.groups, false_accept=false_accept)
        threshold = Threshold(false_accept, limit, unknown.worth)
    if coverage is not None:
        sets = Coverage(coverage, conformal_quantile(scores, targets, weights, groups, coverage=coverage))
    return Calibration(temperature, len(scores), threshold, sets)


def with_level(
    made: Calibration,
    scores: _Scores,
    targets: _Targets,
    broader: Broader,
    *,
    wrong: float = 0.05,
    weights: _Weights = None,
    groups: _Groups = None,
    unknown: Unknown | None = None,
) -> Calibration:
    """Return a calibration with a level of answers that is fitted to the same items.

    Args:
        wrong: highest expected fraction (0-1) of items whose answer is neither their class nor a name above it.
        weights, groups: as for `calibrate`.
        unknown: the unknown items that the threshold was set on. If most of them have a name above, the level keeps
            wrong answers to unknown items at the threshold's rate; it needs twice as many items. Else the threshold
            rejects unknown items.

    Raises:
        DataError: too few items for the fraction.
    """
    right = members(broader, scores.shape[1])[:, targets.long()].T
    risky = torch.stack(best_wrong(made.apply(scores).softmax(-1), right, broader)).amax(0)
    if made.threshold and unknown and unknown.right is not None:
        rate, in_tree = made.threshold.false_accept, unknown.right.any(1).double().mean() >= MAX_IN_TREE
        # Half of the wrong answers to unknown items may be classes, half broader names.
        if in_tree and unknown.worth >= min_items(rate / 2):
            limit = risk_limit(risky, weights, groups, wrong=wrong)
            wrong_names = best_wrong(made.apply(unknown.scores).softmax(-1), unknown.right, broader)
            own, other = (max(limit, risk_limit(each, None, unknown.groups, wrong=rate / 2)) for each in wrong_names)
            return replace(made, level=Level(own, other, broader, wrong, rate, len(unknown.scores)))
    limit = risk_limit(risky.masked_fill(~made.accepts(scores), 0.0), weights, groups, wrong=wrong)
    return replace(made, level=Level(limit, limit, broader, wrong))


def measure(
    calibration: Calibration,
    scores: _Scores,
    targets: _Targets,
    *,
    after: _Scores | None = None,
    unknown: Float[Tensor, "unknown classes"] | None = None,
    groups: _Groups = None,
) -> Measured:
    """Measure the effect of a calibration on items.

    On the items that it was fitted on, threshold and sets meet their rates by construction; only other items test them.

    Args:
        after: the scores after a temperature; None for the calibration's own. For items that it was fitted on, use
            `cross_fitted`.
        unknown: scores of items of none of the classes.
        groups: see `reliability`.
    """
    after = calibration.apply(scores) if after is None else after
    before, later = (reliability(each, targets, groups=groups) for each in (scores, after))
    accepted = rejected = covered = size = None
    if calibration.threshold and not calibration.level:  # A level decides in place of the threshold.
        rejected = int((~calibration.accepts(scores)).sum())
        accepted = None if unknown is None else (int(calibration.accepts(unknown).sum()), len(unknown))
    if calibration.coverage:
        covered = int(calibration.covers(scores, targets).sum())
        size = float(calibration.prediction_sets(scores).sum(1).double().mean())
    return Measured(before, later, accepted, rejected, covered, size)


# ---- temperature


def fit_temperature(scores: _Scores, targets: _Targets, weights: _Weights = None) -> float:
    """Fit the temperature T that minimises the mean cross-entropy of scores / T, weighted if items have weights.

    The problem is convex in 1/T. If every item is correct it has no minimum, since a lower T is always better; then
    return 1. T is between 0.001 and 1000.

    Source: Guo et al., On Calibration of Modern Neural Networks, Sec. 4.2.

    Raises:
        DataError: a label with a score of minus infinity.
    """
    table = scores.double()
    true = table.gather(1, targets[:, None].long())[:, 0]
    if not true.isfinite().all():
        raise DataError(
            f"label {int(targets[~true.isfinite()][0])} can never be predicted (its score is {true.min()}); "
            "remove its items"
        )
    if bool((table.argmax(1) == targets).all()):
        return 1.0
    # A class of probability 0 adds nothing to the expected score, but 0 times minus infinity would be NaN.
    finite = torch.where(table.isfinite(), table, 0.0)
    # Equal weights change no bit.
    counted = 1.0 if weights is None or weights.min() == weights.max() else weights.double()

    def slope(logarithm: float) -> float:
        """Return the slope of the mean cross-entropy in 1/T, which grows with 1/T."""
        expected = ((table * math.exp(logarithm)).softmax(-1) * finite).sum(-1)
        return float(((expected - true) * counted).mean())

    from scipy.optimize import brentq

    low, high = math.log(1 / MAX_TEMPERATURE), math.log(1 / MIN_TEMPERATURE)
    if slope(low) >= 0:
        return MAX_TEMPERATURE
    if slope(high) <= 0:
        return MIN_TEMPERATURE
    return math.exp(-float(brentq(slope, low, high, xtol=1e-10)))  # pyright: ignore[reportArgumentType]


def cross_fitted(scores: _Scores, targets: _Targets, weights: _Weights = None, *, groups: _Groups = None) -> _Scores:
    """Return each item's scores divided by a temperature fitted to the other folds (five-fold cross-fitting).

    Args:
        weights: what each item counts in the fits.
        groups: the group of each item; a group stays in one fold.

    Raises:
        DataError: fewer than two items.
    """
    if len(scores) < 2:
        raise DataError(f"cross-validating a temperature needs at least 2 items, got {len(scores)}; pass more")
    # Groups are numbered by their scores, so that neither the order of the items nor that of the classes matters.
    ranked = np.lexsort(scores.double().sort(1).values.T.numpy())
    numbers = np.empty(len(scores), dtype=np.int64)
    numbers[ranked] = group_numbers(groups and [groups[item] for item in ranked], len(scores))
    order = np.random.default_rng(0).permutation(numbers.max() + 1)
    fold = torch.from_numpy(order % 5)[torch.from_numpy(numbers)]
    fitted = scores.double().clone()
    for number in fold.unique().tolist():
        out = fold == number
        fitted[out] /= fit_temperature(scores[~out], targets[~out], None if weights is None else weights[~out])
    return fitted


def checked_temperature(
    scores: _Scores, targets: _Targets, weights: _Weights = None, *, groups: _Groups = None
) -> tuple[float, _Scores, tuple[float, float, float], str]:
    """Return (the temperature, the cross-fitted scores, calibration errors before, after and by chance, why it is 1).

    It is 1 if the fitted one does not lower the calibration error of the cross-fitted scores; else the reason is "".

    Args:
        weights: what each item counts in the fits and in the errors.

    Raises:
        DataError: as `fit_temperature` and `cross_fitted`.
    """
    after = cross_fitted(scores, targets, weights, groups=groups)
    temperature, count = fit_temperature(scores, targets, weights), len(targets)
    right, counted = (scores.argmax(1) == targets).numpy(), None if weights is None else weights.numpy()
    sure = [confidences(each.double()).numpy() for each in (scores, after)]
    before, error = (expected_calibration_error(each, right, counted) for each in sure)
    errors = before, error, chance_error(sure[1], counted)
    if right.all():
        return 1.0, scores, errors, f"all {count} items are correct, so no temperature can be fitted"
    if error < before:
        return temperature, after, errors, ""
    rates = f"{before:.1f} points before, {error:.1f} after, cross-validated"
    problem = f"{temperature:.3g}, fitted on {count} items, does not lower the calibration error ({rates})"
    return 1.0, scores, errors, f"{problem}, so it is not used"


# ---- guarantees from ranks


def min_items(rate: float) -> int:
    """Return how many items a guarantee with this failure rate (0-1) needs: 19 for 0.05, 9 for 0.1."""
    return math.ceil(1 / rate - 1 - 1e-9)


class Rates(NamedTuple):
    """What a calibration promises, each 0-1.

    Attributes:
        false_accept: fraction of unknown items that may get a class.
        coverage: fraction of prediction sets that must contain the true class.
        wrong: fraction of items that may get a wrong answer, with broader names.
    """

    false_accept: float
    coverage: float
    wrong: float


def missing_guarantees(
    items: int, unknown: int, rates: Rates, groups: tuple[Sequence[Hashable], Sequence[Hashable]] = ((), ())
) -> dict[str, str]:
    """Return a line for each part of a calibration ("threshold", "sets", "level") that needs more items.

    Args:
        items, unknown: numbers of independent items, as from `effective_items`.
        groups: the group of each item, and of each unknown one.
    """
    own, others = (
        f" ({len(each)} items of {plural(len(set(each)), 'group')})" if len(set(each)) < len(each) else ""
        for each in groups
    )
    false_accept, coverage, wrong = (100 * rate for rate in rates)
    least, least_unknown = min_items(1 - rates.coverage), min_items(rates.false_accept)
    missing: dict[str, str] = {}
    if not unknown:
        missing["threshold"] = (
            f"no threshold for {NONE!r}: it needs items of other classes than the run's; pass some as `unknown`"
        )
    elif unknown < least_unknown:
        missing["threshold"] = (
            f"no threshold for {NONE!r}: a false-accept rate of {false_accept:g} % needs at least {least_unknown} "
            f"unknown items, got {unknown}{others}: add some, or set "
            f"`false_accept={math.ceil(1000 / (unknown + 1)) / 1000:g}`"
        )
    if items < least:
        missing["sets"] = (
            f"no prediction sets: a coverage of {coverage:g} % needs at least {least} items, got {items}{own}"
        )
    if items < min_items(rates.wrong):
        missing["level"] = (
            f"no level for broader names: at most {wrong:g} % wrong answers need at least "
            f"{min_items(rates.wrong)} items, got {items}{own}"
        )
    return missing


def threshold_for(unknown: Float[Tensor, " items"], groups: _Groups = None, *, false_accept: float) -> float:
    """Return the rejection threshold: items whose best probability is above it are accepted.

    A new item of an unknown class, exchangeable with these, is accepted at most at rate `false_accept`. That rate is an
    average over samples like this one; for a given sample it may be higher (see `worst_false_accept`). A small
    margin is added because recomputed probabilities can differ in the last bits.

    Args:
        unknown: best probabilities of items of none of the classes.
        groups: as for `calibrate`.
        false_accept: the highest rate, 0-1.

    Raises:
        DataError: too few items for that rate.
    """
    limit = torch.tensor(_quantile(unknown.double(), None, groups, false_accept, "a false-accept rate")).double()
    return float((limit.logit() + _LOG_ODDS_MARGIN).sigmoid())


def worst_false_accept(items: int, false_accept: float) -> float:
    """Return the false-accept rate (0-1) that `threshold_for` stays below in nine of ten such samples."""
    from scipy.stats import beta

    rank = math.ceil((items + 1) * (1 - false_accept) - 1e-9)
    return float(beta.ppf(0.9, items + 1 - rank, rank))


def effective_items(weights: Float[Tensor, " items"], groups: _Groups = None) -> int:
    """Return how many items these are worth for a guarantee: as many of the heaviest weigh as much.

    A group weighs as much as the mean of its items: 60 items of 3 groups are worth 3.
    """
    weights = weights.double()  # In float32, two groups of six are worth less than 2.
    return int(float(_shared(weights, groups).sum() / weights.max()) + 1e-9)


def _shared(weights: Float[Tensor, " items"], groups: _Groups) -> Float[Tensor, " items"]:
    """Return the weight of each item over the number of items of its group."""
    sizes = Counter(groups or ())
    return weights if groups is None else weights / torch.tensor([sizes[group] for group in groups])


def conformal_quantile(
    scores: _Scores, targets: _Targets, weights: _Weights = None, groups: _Groups = None, *, coverage: float
) -> float:
    """Return how far below the best score a label may be and still be in the set.

    This is the ceil((n + 1) coverage)-th smallest gap between the best score and the label's. The set of a new item,
    exchangeable with these n, contains its label at least at rate `coverage`. The order of the gaps does not depend on
    the temperature, so the temperature can be fitted to the same items.

    Args:
        weights: what each item counts; None if all count the same. The new item counts as the heaviest of these, since
            its class is not known.
        groups: the group of each item, which counts as one item; the new item is then of a new group.

    Source: Vovk et al., split conformal prediction; with weights, Tibshirani et al. 2019, Podkopaev and Ramdas 2021;
        with groups, Lee, Barber and Willett 2023 (hierarchical conformal prediction).
    Differs: usual sets threshold the probability and can be empty; these always contain the best label.

    Raises:
        DataError: too few items for that coverage.
    """
    table = scores.double()
    gaps = table.amax(1) - table.gather(1, targets[:, None].long())[:, 0]
    quantile = _quantile(gaps, weights, groups, 1 - coverage, "a prediction-set miss rate")
    if not math.isfinite(quantile):
        raise DataError(
            f"`coverage={coverage:g}` needs finite scores, but too many labels score minus infinity; lower it"
        )
    # Keeps the label at the quantile in its set if its recomputed score differs in the last bits.
    return quantile + _SCORE_MARGIN * float(table[table.isfinite()].abs().max())


def _quantile(values: Float[Tensor, " items"], weights: _Weights, groups: _Groups, rate: float, what: str) -> float:
    """Return the value that a new one, which counts as the heaviest, exceeds at most at this rate.

    It is the smallest value that (items + 1)(1 - rate) of the items do not exceed. For 19 items and 0.05 it is the
    largest; 18 items allow no rate below 1 in 19.

    Raises:
        DataError: too few items for that rate.
    """
    weights = torch.ones(len(values)).double() if weights is None else weights.double()
    items = effective_items(weights, groups)
    if items < min_items(rate):
        raise DataError(
            f"{what} of {rate:g} needs at least {min_items(rate)} items, got {items}: the lowest possible with {items} "
            f"is {1 / (items + 1):.3f}"
        )
    ordered, order = values.sort()
    heaviest, weights = weights.max(), _shared(weights, groups)
    reached = weights[order].cumsum(0) >= (1 - rate) * (weights.sum() + heaviest) - 1e-9 * heaviest
    return float(ordered[int(reached.int().argmax())])


def risk_limit(
    best_wrong: Float[Tensor, " items"], weights: _Weights, groups: _Groups = None, *, wrong: float
) -> float:
    """Return the lowest level at which the expected fraction of new items with a wrong answer is at most `wrong`.

    It is 0 to 1, or just above 1 if no answer may be given.

    Above the probability of an item's best wrong name its answer is not wrong: the item's class, a name above it, or
    none of these. So the limit is a rank of these probabilities. The items must be exchangeable with new ones.

    Source: Angelopoulos et al., Conformal Risk Control, ICLR 2024, Theorem 1, for a loss of 0 or 1 that falls with the
    level. Differs: with weights, the new item counts as the heaviest, as in `conformal_quantile`.

    Raises:
        DataError: too few items for that fraction.
    """
    limit = torch.tensor(_quantile(best_wrong, weights, groups, wrong, "a fraction of wrong answers")).double()
    if limit > 1 - 1e-12:
        return 1 + 1e-6  # Which no answer reaches, also not by rounding.
    return float((limit.clamp(min=1e-12).logit() + _LOG_ODDS_MARGIN).sigmoid())
