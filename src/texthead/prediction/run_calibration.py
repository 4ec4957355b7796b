"""Fit the calibration of a run to scored items that it was not trained on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from texthead.data.dataset import Dataset
from texthead.data.labels import are_unbalanced, item_weights
from texthead.data.protocol import Protocol
from texthead.errors import plural
from texthead.evaluation.calibration import (
    Calibration,
    Rates,
    Unknown,
    calibrate,
    check_guarantees,
    checked_temperature,
    effective_items,
    measure,
    min_items,
    with_level,
)
from texthead.evaluation.evaluate import ItemScores
from texthead.media.paths import fingerprints
from texthead.models.head_table import as_head
from texthead.models.recognizer import Recognizer
from texthead.recipes import ClassShares
from texthead.runs.folder import rows_digest
from texthead.runs.split import CalibrationPlan
from texthead.text.class_tree import ClassTree


class RunCalibration(NamedTuple):
    """A calibration, and the items that it was fitted to.

    Attributes:
        calibration: it is saved with the run, and has its cross-fitted effect on these items.
        items: the readable items of the run's classes.
        split: name of the items.
        scores: the run's scores of these.
        targets: their label indices.
        errors: the calibration error before the temperature, after it and by chance, in points, cross-validated, with
            items weighted as for the temperature.
        unscaled: why the temperature is 1; "" if it is fitted.
        lines: how the items are weighted, and which guarantee their number does not allow.
    """

    calibration: Calibration
    items: Dataset
    split: str
    scores: Float[Tensor, "items classes"]
    targets: Int[Tensor, " items"]
    errors: tuple[float, float, float]
    unscaled: str
    lines: list[str]

    def __repr__(self) -> str:
        return f"RunCalibration({self.calibration}, {self.split} items of {self.items})"


def fit_calibration(
    model: Recognizer,
    plan: CalibrationPlan,
    known: ItemScores,
    unknown: ItemScores | None,
    *,
    protocol: Protocol,
    tree: ClassTree | None,
    shares: ClassShares,
    rates: Rates,
) -> RunCalibration:
    """Fit a temperature and what the number of items allows of a threshold, prediction sets and a level.

    Args:
        known, unknown: the readable items of the plan.
        tree: the broader names above the classes.
        shares: how frequent classes are in what will be predicted.
    """
    scores, items = known.scores, known.items
    targets = items.targets(model.names)
    weights = torch.from_numpy(item_weights(shares, len(model.names), targets.numpy()))
    temperature, after, errors, unscaled = checked_temperature(scores, targets, weights, groups=items.groups)
    worth, others = effective_items(weights, items.groups), unknown.items.groups if unknown else []
    counts = _of_groups(items.groups), _of_groups(others)
    threshold, sets, lines = check_guarantees(worth, len(set(others)), rates, counts)
    broader = None if tree is None else tree.broader(model.names)
    if broader is not None and worth < min_items(rates.wrong):
        lines.append(
            f"no level for broader names: at most {100 * rates.wrong:g} % wrong answers need at least "
            f"{min_items(rates.wrong)} items, got {worth}{counts[0]}"
        )
        broader = None
    sizes, alike = targets.bincount()[targets.bincount() > 0].tolist(), effective_items(weights)
    if alike < len(targets) and (not sets or are_unbalanced(sizes)):
        lines.insert(
            0,
            f"temperature and sets count classes as `class_shares` says ({shares}), not as in these items "
            f"({min(sizes)} to {max(sizes)} a class): for the sets, the {len(targets)} items are worth {alike}",
        )
    strange = None
    if unknown and threshold:
        above = [tree.ancestors(label) if tree else () for label in unknown.items.labels]
        # No class of the run is right for them.
        classes = [False] * len(model.names)
        rows = [[*classes, *(name in names for name in broader or ())] for names in above]
        strange = Unknown(unknown.scores, others, torch.tensor(rows) if broader else None)
    fitted = calibrate(
        scores,
        targets,
        unknown=strange,
        false_accept=rates.false_accept,
        coverage=rates.coverage if sets else None,
        temperature=temperature,
        weights=weights,
        groups=items.groups,
    )
    if broader is not None:
        own = {"weights": weights, "groups": items.groups, "unknown": strange}
        fitted = with_level(fitted, scores, targets, broader, wrong=rates.wrong, **own)
    fitted = replace(
        fitted,
        classes=rows_digest(as_head(model.head).weight),
        protocol=protocol.to_json(),
        source=f"{items.source} ({plan.split})",
        content=frozenset(fingerprints([item.path for item in (*items.items, *plan.unknown.items)])) - {""},
        measured=measure(fitted, scores, targets, after=after, unknown=unknown and unknown.scores, groups=items.groups),
    )
    return RunCalibration(fitted, items, plan.split, scores, targets, errors, unscaled, lines)


def _of_groups(groups: Sequence[str]) -> str:
    """Return the words that follow a number of independent items; empty if each item is its own group."""
    count = len(set(groups))
    return f" ({len(groups)} items of {plural(count, 'group')})" if count < len(groups) else ""
