"""Labels that look wrong, by how well each item's features fit the other items of its class."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax
from torch import Tensor

from texthead.transfer import class_center

# Penalty of the least-squares fit on unit features. docs/decisions.md, 2026-11-29, has the choice of these constants.
PENALTY = 1.0

# Fewest items of a class whose labels are judged.
MIN_JUDGED = 3

# Fewest labels, as a share, that the other items must predict. Below it, background and pose decide, not the class.
MIN_AGREEMENT = 0.6

# A label is listed above this probability of being wrong, which errs low when similar classes are confused.
CUT = 0.25

# Mean of the exponential prior of the error rate. Without it, hard items of small sets pass for wrong labels.
USUAL_ERRORS = 0.05

# Agreement above which labels are also listed if more items are far on the side of another class than near the middle.
CLEAR_AGREEMENT = 0.9

# How far such an item is on the wrong side, in half medians of the margins, if others are near the middle.
CLEARLY_WRONG = 1.75

# Gain in log-posterior, in nats, that the assumption of wrong labels must bring before any label is listed.
MIN_EVIDENCE = 4.0


class SuspiciousLabel(NamedTuple):
    """A label that may be wrong.

    Args:
        item: position of the item.
        better: the class that fits best among the others.
        fits: probability (0-1) of each class, predicted from the other items.
    """

    item: int
    better: int
    fits: Float[np.ndarray, " classes"]

    def comparison(self, classes: Sequence[str], own: str) -> str:
        """Return which class fits better than its own, in words; no class is certain (1 to 99 %)."""
        better, fit = (round(100 * self.fits[index].clip(0.01, 0.99)) for index in (self.better, classes.index(own)))
        return f"fits {classes[self.better]} better ({better} % against {fit} %)"


@dataclass(frozen=True)
class JudgedLabels:
    """The labels of a dataset, judged by its features.

    Attributes:
        ranked: all judged labels, the most suspicious first.
        listed: the labels worth checking, of which at least two in three should be wrong; often none.
        agreement: fraction of the judged labels that the other items predict.
        unjudged: why some or all labels are not judged; may be "".
    """

    ranked: tuple[SuspiciousLabel, ...] = ()
    listed: tuple[SuspiciousLabel, ...] = ()
    agreement: float = 0.0
    unjudged: str = ""


def suspicious_labels(
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    groups: Sequence[Hashable] | None = None,
    positions: Sequence[int] | None = None,
) -> JudgedLabels:
    """Return how suspicious each label is, given the features and labels of all other items.

    Each item is scored by a ridge regression without its group, in closed form. One temperature and one error rate are
    fitted to all labels by maximum a posteriori: each label is the item's class, or with the error rate any other one.
    Clean labels of hard classes make the temperature high and the error rate 0, so that nothing is listed. A label is
    the more suspicious the better another class fits than its own, each measured against its own level: the mean
    probability of the class on its own items.

    An error that all near copies of an item share cannot be found.

    Source: the levels are the thresholds of confident learning (Northcutt, Jiang and Chuang, JAIR 2021, eq. 2).

    Args:
        features: of any length; they are centered and normalised.
        targets: class index of each item.
        groups: the group of each item (a scene, a person); None if each item is its own.
        positions: what the result calls each item; None for its number.
    """
    labels = targets.numpy()
    counts = np.bincount(labels, minlength=1)
    classes, judged = np.flatnonzero(counts >= MIN_JUDGED), np.flatnonzero(counts[labels] >= MIN_JUDGED)
    if len(classes) < 2:
        return JudgedLabels(unjudged=f"labels are not judged: that needs two classes with {MIN_JUDGED} or more items")
    x = F.normalize((features - class_center(features, targets)).double(), dim=-1).numpy()
    keys = range(len(labels)) if groups is None else groups
    scores = _scores_by_others(x, np.eye(len(counts))[labels], keys)[np.ix_(judged, classes)]
    own, rows = np.searchsorted(classes, labels[judged]), np.arange(len(judged))
    logs, error_odds, evidence = _calibrate(scores, own)
    levels = [np.exp(logs[own == index, index]).mean() for index in range(len(classes))]
    leads = logs - np.log(levels)
    leads -= leads[rows, own][:, None]
    leads[rows, own] = -np.inf
    best, fits = leads.argmax(1), np.zeros((len(judged), len(counts)))
    fits[:, classes] = np.exp(logs)
    margins = scores[rows, own] - np.where(np.arange(len(classes)) == own[:, None], -np.inf, scores).max(1)
    agreement, middle = float((margins > 0).mean()), np.median(margins) / 2
    listed = expit(leads[rows, best] + error_odds) > (CUT if evidence >= MIN_EVIDENCE else 1)
    if agreement >= CLEAR_AGREEMENT:
        clear = (margins < -middle).sum() > (abs(margins) <= middle).sum()
        listed |= margins < -middle * (1 if clear else CLEARLY_WRONG)
    order = (-leads[rows, best]).argsort(kind="stable").tolist()
    where = (np.arange(len(labels)) if positions is None else np.asarray(positions))[judged].tolist()
    ranked = [SuspiciousLabel(where[row], int(classes[best[row]]), fits[row]) for row in order]
    unjudged = ""
    if agreement < MIN_AGREEMENT:
        listed[:] = False
        unjudged = (
            f"labels are not judged: the features of other items predict {100 * agreement:.0f} % of them, "
            f"{100 * MIN_AGREEMENT:.0f} % are needed; another encoder may tell the classes apart"
        )
    elif len(judged) < len(labels):
        few = len(labels) - len(judged)
        unjudged = f"{few:,} labels are not judged: their classes have fewer than {MIN_JUDGED} items"
    worth = tuple(label for label, row in zip(ranked, order, strict=True) if listed[row])
    return JudgedLabels(tuple(ranked), worth, agreement, unjudged)


def _scores_by_others(
    x: Float[np.ndarray, "items dim"], hot: Float[np.ndarray, "items classes"], groups: Sequence[Hashable]
) -> Float[np.ndarray, "items classes"]:
    """Return the scores of each item by a ridge regression on the items of other groups (exact, in closed form)."""
    few, hot = len(x) <= x.shape[1], hot - hot.mean(0)
    inverse = np.linalg.inv((x @ x.T if few else x.T @ x) + PENALTY * np.eye(min(x.shape)))
    smoother = inverse @ x if few else x @ inverse
    errors = hot - smoother @ (x.T @ hot)
    members = defaultdict[Hashable, list[int]](list)
    for item, group in enumerate(groups):
        members[group].append(item)
    for own in members.values():
        errors[own] = np.linalg.solve(np.eye(len(own)) - smoother[own] @ x[own].T, errors[own])
    return hot - errors


def _calibrate(scores: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return (log-probabilities of the classes, log-odds of one particular wrong label, evidence in nats)."""
    rows, others = np.arange(len(own)), scores.shape[1] - 1

    def loss(log_scale: float, error: float) -> float:
        right = np.exp(log_softmax(np.exp(log_scale) * scores, axis=1)[rows, own])
        likely = np.log((1 - error) * right + error / others * (1 - right) + 1e-300).sum()
        return error / USUAL_ERRORS - float(likely)

    scales = (-3.0, 6.0)
    fit: Any = minimize(
        lambda both: loss(both[0], expit(both[1])), [1.5, -3.0], method="Nelder-Mead", bounds=[scales, (-40.0, 0.0)]
    )
    clean: Any = minimize_scalar(lambda log_scale: loss(log_scale, 0.0), bounds=scales, method="bounded")
    odds = float(fit.x[1]) - np.log(others)
    return log_softmax(np.exp(fit.x[0]) * scores, axis=1), odds, max(0.0, float(clean.fun - fit.fun))
