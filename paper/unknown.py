"""Unknown classes: softmax maximum, entropy, and softmax maximum at the temperature of `texthead calibrate`.

Command: python -m paper unknown RUN --data DATA/k400 --unknown DATA/k600-1
Needs:   a run trained on Kinetics-400; videos of Kinetics-600's classes that Kinetics-400 has not: k600-1 is the first
         of the published code's three lists of 160 classes
Issue:   how well a model with text rows tells videos of none of its classes
Answer:  area under the ROC curve, known against unknown items; and for a limit that accepts at most 5 % of unknown
         items, the share of known items that are accepted with the right class; at our temperature, the limit is the
         threshold of `texthead calibrate`. Items are halved by group; the limits and our temperature for one half come
         from the other. Items of DATA whose class RUN lacks are unknown too, in all splits.
Here:    not run at full scale: the videos are not here. Without RUN: moving drawings; 12 of 48 classes, all motions
         of two things, were left out of training.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

import texthead as th
from paper.questions import Inputs, folds, lead, percent, rate
from paper.section import Section, Table
from texthead.errors import DataError
from texthead.evaluation import Unknown, calibrate, grouped_interval, standard_error

ACCEPTED = 0.05
SOFTMAX, ENTROPY, OURS = "softmax maximum", "entropy", "softmax maximum at our temperature"


def confidence(scores: Tensor, method: str, calibration: th.Calibration) -> Tensor:
    """Return a number per item that is higher for known ones: the best probability, or minus the entropy."""
    probabilities = (calibration.apply(scores) if method == OURS else scores.double()).softmax(-1)
    return -torch.special.entr(probabilities).sum(-1) if method == ENTROPY else probabilities.amax(-1)


def placements(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the share (0-1) of the others that each value exceeds; ties count half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, side="right")) / (2 * len(others))


def area(
    known: np.ndarray, unknown: np.ndarray, known_groups: list[str], unknown_groups: list[str]
) -> tuple[float, float, float]:
    """Return the area under the ROC curve in percent and its 95 % interval, which takes groups of items into account.

    Args:
        known: `placements` of known items among unknown ones, or differences of two methods'.
        unknown: 1 minus those of unknown items among known ones, or differences.

    Source: DeLong et al. 1988; with the cluster-robust standard error of each mean.
    """
    half = 1.96 * math.hypot(standard_error(known, known_groups), standard_error(unknown, unknown_groups))
    mean = float(known.mean())
    return 100 * mean, 100 * (mean - half), 100 * (mean + half)


def judge(
    method: str, scores: tuple[Tensor, Tensor], targets: Tensor, halves: tuple[np.ndarray, np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return (confidences, whether they are above the limit) of known and of unknown items.

    Args:
        scores, halves: of known items and of unknown ones. One half sets the temperature and limit of the other.
        targets: the class of each known item.

    Raises:
        DataError: too few unknown items for the limit.
    """
    confidences, accepted = ([np.zeros(len(each), kind) for each in scores] for kind in (float, bool))
    for half in (0, 1):
        known, unknown = (each == half for each in halves)
        fitted = scores[0][known], targets[known]
        calibration = calibrate(*fitted, unknown=Unknown(scores[1][unknown]), false_accept=ACCEPTED, coverage=None)
        values = [confidence(each, method, calibration).numpy() for each in scores]
        # The rank that `texthead calibrate` takes: a new unknown item exceeds it at most at this rate.
        limit = np.sort(values[1][unknown])[math.ceil((unknown.sum() + 1) * (1 - ACCEPTED) - 1e-9) - 1]
        for i, own in enumerate((known, unknown)):
            above = calibration.accepts(scores[i]).numpy() if method == OURS else values[i] > limit
            confidences[i][~own], accepted[i][~own] = values[i][~own], above[~own]
    return confidences, accepted


def answer(inputs: Inputs) -> Section:
    """Compare three ways to tell items of unknown classes.

    Raises:
        DataError: no item is unknown, or one of `--unknown` is of a class of the run.
    """
    (run,) = inputs.runs
    known, more = inputs.known(inputs.scored), inputs.unknown.items if inputs.unknown else ()
    if wrong := [item.label for item in more if item.label in run.labels]:
        raise DataError(f"--unknown: {len(wrong)} items have a class of {run.folder} ({wrong[0]!r}); leave them out")
    others = replace(inputs.data, items=(*(i for i in inputs.data.items if i.label not in run.labels), *more))
    if not len(others):
        raise DataError(f"{run.folder} has all classes of {inputs.data.source}; give items of others with --unknown")
    targets = known.targets(run.labels)
    scores, groups = (inputs.scores(run, known), inputs.scores(run, others)), (known.groups, others.groups)
    right, rows, every, notes = (scores[0].argmax(1) == targets).numpy(), [], {}, []

    def over(method: str, other: str) -> tuple[float, float, float]:
        inside, outside = (a - b for a, b in zip(every[method], every[other], strict=True))
        return area(inside, outside, *groups)

    for method in (SOFTMAX, ENTROPY, OURS):
        (inside, outside), accepted = judge(method, scores, targets, (folds(groups[0], 2), folds(groups[1], 2)))
        every[method] = places = placements(inside, outside), 1 - placements(outside, inside)
        cells = percent(*area(*places, *groups)), lead(*over(method, SOFTMAX)) if rows else "-"
        accepts = rate(accepted[0], groups[0]), rate(accepted[0] & right, groups[0]), rate(accepted[1], groups[1])
        rows.append([method, *cells, *accepts])
        low, high = grouped_interval(accepted[1], groups[1])
        if not low <= 100 * ACCEPTED <= high:
            notes.append(
                f"By {method}, {accepts[2]} % of unknown items are accepted, not {100 * ACCEPTED:g} %: the limit comes "
                f"from the other half of {len(set(groups[1]))} groups, and its error is not in the interval."
            )
    best, *rest = sorted(every, key=lambda method: every[method][0].mean(), reverse=True)
    rival = min(rest, key=lambda method: over(best, method)[1])
    title = f"Best is {best}" if over(best, rival)[1] > 0 else f"No score is clearly ahead; {best} has the largest area"
    unknown = [f"{len(others) - len(more)} items of DATA"] * (len(others) > len(more))
    unknown += [f"{len(more)} of --unknown"] * bool(more)
    caption = (
        f"Percent; 95 % intervals. Known: {len(known)} items of {len(known.classes)} classes, {inputs.where}. Unknown: "
        f"{' and '.join(unknown)}, of {len(others.classes)} classes, all splits"
    )
    notes.append(
        "Area under the ROC curve: how often a known item scores above an unknown one; 50 % is chance. Accepted: above "
        f"a limit for {100 * ACCEPTED:g} % of unknown items, which comes from the other half of the groups."
    )
    headers = ["score", "area under ROC", f"minus {SOFTMAX}", "known: accepted", "and right", "unknown: accepted"]
    title += f": {lead(*over(best, rival))} points over {rival}."
    return Section("unknown", title, notes, [Table(caption, headers, rows)])
