"""Calibrate a run on labelled items that it was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.data.dataset import Dataset, Split
from texthead.data.labels import are_unbalanced, item_weights
from texthead.data.protocol import Protocol
from texthead.errors import DataError, OpenShare, plural
from texthead.evaluation.broader_names import Answers, Broader
from texthead.evaluation.calibration import (
    Calibration,
    Measured,
    calibrate,
    check_guarantees,
    checked_temperature,
    effective_items,
    measure,
    min_items,
    with_level,
)
from texthead.evaluation.evaluate import score
from texthead.features.reading import Reading
from texthead.media.paths import fingerprints
from texthead.parallel.progress import Reporter
from texthead.runs.folder import rows_digest
from texthead.runs.hub import check_own
from texthead.runs.run import Run, save_calibration
from texthead.runs.scored_items import CalibrationPlan as CalibrationPlan
from texthead.runs.scored_items import calibration_items, held_out_items


class RunCalibration(NamedTuple):
    """A calibration, and the items that it was fitted to.

    Attributes:
        calibration: it is saved with the run.
        measured: its effect on these items, cross-fitted.
        items: the readable items of the run's classes.
        split: name of the items.
        scores: the run's scores of these.
        targets: their label indices.
        unscaled: why the temperature is 1; "" if it is fitted.
        lines: how the items are weighted, and which guarantee their number does not allow.
        answers: the answers to these items at the level; None without one.
    """

    calibration: Calibration
    measured: Measured
    items: Dataset
    split: str
    scores: Float[Tensor, "items classes"]
    targets: Int[Tensor, " items"]
    unscaled: str
    lines: list[str]
    answers: Answers | None

    def __repr__(self) -> str:
        return f"RunCalibration({self.calibration}, {self.split} items of {self.items})"


def calibrate_run(
    run: Run,
    dataset: Dataset | None = None,
    others: Dataset | None = None,
    protocol: Protocol | None = None,
    reading: Reading = Reading(),
    *,
    split: Split | None = None,
    false_accept: OpenShare = 0.05,
    coverage: OpenShare = 0.9,
    wrong: OpenShare = 0.05,
    reporter: Reporter = Reporter(),
) -> RunCalibration:
    """Fit a temperature, a rejection threshold and prediction sets, and write them into the run, as `calibrate` does.

    A temperature that does not lower the cross-validated calibration error is not used: it stays 1.
    A run with a tree (`Run.with_tree`) also gets a level for broader names, and the tree is written too.

    Args:
        dataset: labelled items; None for those that the run held out.
        others: items that belong to no class of the run, besides those in `dataset`.
        protocol: frames, views and sizes; None for the run's own.
        split: split of the data to fit on; None for val, else test, else the items that the run held out.
        false_accept: share of unknown items that may get a class, 0-1.
        coverage: share of prediction sets that must contain the correct class, 0-1.
        wrong: share of items that may get a wrong answer if the run has a tree, 0-1.
        reporter: gets progress, messages, skipped files, and as an event the `CalibrationPlan`.

    Raises:
        DataError: a rate is out of range, no such split, or the run was trained on the items.
        MediaError: an item cannot be read and `reading` does not skip such items.
        RunError: the run is in the hub's cache.
    """
    rates = {"false_accept": false_accept, "coverage": coverage, "wrong": wrong}
    if run.model.several:
        raise DataError(
            f"{run.folder}: calibrate is for runs with one label per file; the probabilities and thresholds of this "
            "one come from its cross-validated training items"
        )
    check_own(run.folder)
    dataset, protocol = held_out_items(run) if dataset is None else dataset, protocol or run.protocol
    plan = calibration_items(run, dataset, others, split)
    reporter.event(plan)

    def scored(items: Dataset, title: str) -> tuple[Tensor, Dataset]:
        result = score(run.model, [item.path for item in items.items], protocol, reading, reporter, title)
        for error in result.skipped:
            reporter.skipped(error)
        return result.scores, items.pick(result.positions)

    scores, items = scored(plan.items, "score items")
    unknown = scored(plan.unknown, "score unknown items") if len(plan.unknown) else None
    targets = items.targets(run.labels)
    weights = torch.from_numpy(item_weights(run.recipe.class_shares, len(run.labels), targets.numpy()))
    temperature, after, unscaled = checked_temperature(scores, targets, weights, groups=items.groups)
    fitted, lines = _fitted(run, temperature, scores, targets, weights, items.groups, unknown, rates)
    measured = measure(fitted, scores, targets, after=after, unknown=unknown and unknown[0], groups=items.groups)
    fitted = replace(
        fitted,
        protocol=protocol.to_json(),
        source=f"{items.source} ({plan.split})",
        content=frozenset(fingerprints([item.path for item in (*items.items, *plan.unknown.items)])) - {""},
        measured=measured,
    )
    save_calibration(run, fitted)
    answers = fitted.answered(scores, targets, items.groups)
    return RunCalibration(fitted, measured, items, plan.split, scores, targets, unscaled, lines, answers)


def _fitted(
    run: Run,
    temperature: float,
    scores: Float[Tensor, "items classes"],
    targets: Int[Tensor, " items"],
    weights: Float[Tensor, " items"],
    groups: Sequence[str],
    unknown: tuple[Float[Tensor, "unknown classes"], Dataset] | None,
    rates: Mapping[str, float],
) -> tuple[Calibration, list[str]]:
    """Return (what the number of items allows; how they are weighted, and what their number does not allow)."""
    worth, others = effective_items(weights, groups), unknown[1].groups if unknown else []
    counts = _of_groups(groups), _of_groups(others)
    threshold, sets, lines = check_guarantees(worth, len(set(others)), **rates, counts=counts)
    wrong = rates["wrong"]
    broader = None if run.tree is None else run.tree.broader(run.labels)
    if broader is not None and worth < min_items(wrong):
        lines.append(
            f"no level for broader names: at most {100 * wrong:g} % wrong answers need at least {min_items(wrong)} "
            f"items, got {worth}{counts[0]}"
        )
        broader = None
    sizes, alike = targets.bincount()[targets.bincount() > 0].tolist(), effective_items(weights)
    if alike < len(targets) and (not sets or are_unbalanced(sizes)):
        lines.insert(
            0,
            f"temperature and sets count classes as `class_shares` says ({run.recipe.class_shares}), not as in these "
            f"items ({min(sizes)} to {max(sizes)} a class): for the sets, the {len(targets)} items are worth {alike}",
        )
    made = calibrate(
        scores,
        targets,
        unknown=unknown[0] if unknown and threshold else None,
        false_accept=rates["false_accept"],
        coverage=rates["coverage"] if sets else None,
        temperature=temperature,
        weights=weights,
        groups=groups,
        unknown_groups=others,
        classes=rows_digest(run.head.weight),
    )
    if broader is None:
        return made, lines
    strange = unknown and (unknown[0], _right_names(run, broader, unknown[1].labels))
    own = {"weights": weights, "groups": groups, "unknown": strange, "unknown_groups": others}
    return with_level(made, scores, targets, broader, wrong=wrong, **own), lines


def _of_groups(groups: Sequence[str]) -> str:
    """Return the words that follow a number of independent items; empty if each item is its own group."""
    count = len(set(groups))
    return f" ({len(groups)} items of {plural(count, 'group')})" if count < len(groups) else ""


def _right_names(run: Run, broader: Broader, labels: Sequence[str]) -> Bool[Tensor, "items names"]:
    """Return which names are above each label of an unknown item; no class of the run is right for it."""
    tree = run.tree
    assert tree is not None
    ancestors = {label: tree.ancestors(label) for label in set(labels)}
    rows = {
        label: [*[False] * len(run.labels), *(name in above for name in broader)] for label, above in ancestors.items()
    }
    return torch.tensor([rows[label] for label in labels])
