"""Classifiers on frozen features that are fitted in one go: a logistic probe, and text rows joined with labelled items.

Both center the features on the training items and give them length 1. Neither needs a rate, steps or a validation set.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from texthead.models.heads import TEXT_AND_ITEMS, ProbeHead

# Inverse penalty of a logistic regression on features of length 1, as scikit-learn's C. LOG.md, 2026-11-27, has
# the grids behind these constants.
STRENGTH = 10.0

# Penalty of the least-squares fit on features of length 1.
RIDGE = 0.4

# Part of its best scale that the text prior has in both fits, and part that least squares has in their sum.
TEXT_PART, RIDGE_PART = 0.5, 0.5

# Log-likelihood in nats that one scale >= 0 gains by chance: half the mean of a chi-squared, half of the time.
BY_CHANCE = 0.25

# The largest scale that is tried.
MOST_SCALE = 100.0


def class_center(features: Float[Tensor, "items dim"], targets: Int[Tensor, " items"]) -> Float[Tensor, " dim"]:
    """Return the mean of the class means: a class with more items than others does not pull it."""
    return torch.stack([features[targets == label].mean(0) for label in targets.unique()]).mean(0)


class TextWorth(NamedTuple):
    """What text rows alone are worth on labelled items, which the text encoder has not seen.

    Args:
        right: how many of the items zero-shot names correctly.
        items: how many there are.
        classes: how many classes they are told apart from.
        scale: the logit scale that gives their labels the highest likelihood.
        weight: what is left of that scale once the evidence that chance gives is taken off, 0-1.
    """

    right: int
    items: int
    classes: int
    scale: float
    weight: float

    def __str__(self) -> str:
        known = f"text rows: {100 * self.right / self.items:.0f} % on your {self.items} labelled items"
        chance = f"chance {100 / self.classes:.0f} %"
        if not self.weight:
            return f"{known} ({chance}): no better than chance, so they are not used"
        return f"{known} ({chance}), used with weight {self.weight:.2f}"


def text_worth(
    rows: Float[Tensor, "classes dim"], features: Float[Tensor, "items dim"], targets: Int[Tensor, " items"]
) -> TextWorth:
    """Measure zero-shot with centred features on labelled items.

    The scale is the only number that is fitted. Its log-likelihood ratio to scale 0, minus what chance gives, over that
    ratio is the weight (the form of a James-Stein estimate).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    x, w, labels = _units(features - class_center(features, targets)), _units(rows), targets.numpy()
    scores, places = x @ w.T, np.arange(len(labels))

    def loss(scale: float) -> float:
        return -float(log_softmax(scale * scores, axis=1)[places, labels].sum())

    found: Any = minimize_scalar(loss, bounds=(0, MOST_SCALE), method="bounded")
    scale = float(found.x)
    evidence = loss(0.0) - loss(scale)
    weight = max(0.0, 1 - BY_CHANCE / evidence) if evidence > 0 else 0.0
    right = int((scores.argmax(1) == labels).sum())
    return TextWorth(right, len(labels), len(w), scale, weight)


def logistic_head(
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
    strength: float = STRENGTH,
) -> ProbeHead:
    """Fit a logistic regression: the simple thing to beat. A class without a training item scores minus infinity.

    Args:
        strength: scikit-learn's C for features of length 1.
    """
    center = class_center(features, targets)
    x = _units(features - center)
    weight, bias = np.zeros((len(names), x.shape[1])), np.full(len(names), -np.inf)
    present, places = np.unique(targets.numpy(), return_inverse=True)
    weight[present], bias[present] = _pulled(x, places, weight[present], strength)
    return _probe(weight, bias, center, names, "logistic")


def text_probe_head(
    rows: Float[Tensor, "classes dim"],
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
) -> ProbeHead:
    """Fit text rows and labelled items together: the default for few labels.

    The sum of two linear classifiers that start from the text rows t_c and learn what is left to explain:

        logistic: least cross-entropy + |W - s t|^2 / (2 STRENGTH), s = TEXT_PART x weight x scale of `text_worth`
        ridge:    least |Y - r x t - x A|^2 + RIDGE |A|^2, r = TEXT_PART x weight x the least-squares slope of Y on x t

    where x are the features, Y are one-hot labels and both are put to one spread first. So text decides where items
    are few, counts for less with each item, and for nothing where it does not know the classes.

    Args:
        rows: text rows, of any length; they are normalised.
        targets: each class at least once.

    Source: the residual of a text prior is that of ProKeR (Bendou et al., CVPR 2025), with a linear kernel.
    """
    center, labels = class_center(features, targets), targets.numpy()
    x, text = _units(features - center), _units(rows)
    worth = text_worth(rows, features, targets)
    part = TEXT_PART * worth.weight
    weight, bias = _pulled(x, labels, part * worth.scale * text, STRENGTH)
    text = text - text.mean(0)
    hot = np.eye(len(text))[labels]
    prior = x @ text.T
    slope = max(0.0, float((hot * prior).sum() / max((prior * prior).sum(), 1e-12)))
    left = hot - hot.mean(0) - part * slope * prior
    ridge = part * slope * text + np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x)), left).T @ x
    ratio = _spread(x @ weight.T + bias) / max(_spread(x @ ridge.T), 1e-12)
    return _probe(weight + RIDGE_PART * ratio * ridge, bias, center, names, TEXT_AND_ITEMS if worth.weight else "items")


def _spread(scores: np.ndarray) -> float:
    """How far an item's scores are from each other."""
    return float((scores - scores.mean(1, keepdims=True)).std())


def _units(vectors: Tensor) -> np.ndarray:
    return F.normalize(vectors.double(), dim=-1).numpy()


def _probe(weight: np.ndarray, bias: np.ndarray, center: Tensor, names: Sequence[str], kind: str) -> ProbeHead:
    return ProbeHead(torch.from_numpy(weight), bias=torch.from_numpy(bias), center=center, names=names, kind=kind)


def _pulled(x: np.ndarray, labels: np.ndarray, start: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (weights, biases) of the logistic regression that is pulled to `start`; the biases are free.

    The weights differ from `start` in the span of the items alone. Along the eigenvectors of the items' Gram matrix,
    each divided by the root of its curvature, the problem is round, and some 30 steps solve it.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax
    from threadpoolctl import threadpool_limits

    values, vectors = np.linalg.eigh(x @ x.T)
    kept = values > 1e-9 * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    classes, rank, places = len(start), len(values), np.arange(len(x))
    curvature = 2 * (classes - 1) / classes**2
    step = 1 / np.sqrt(curvature * values + 1 / strength)
    step_of_bias = 1 / np.sqrt(max(curvature, 1e-3) * len(x))
    z, penalty = vectors * np.sqrt(values) * step, step**2 / strength
    begun, hot = x @ start.T, np.eye(classes)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        u, bias = flat[: classes * rank].reshape(classes, rank), flat[classes * rank :] * step_of_bias
        logs = log_softmax(begun + z @ u.T + bias, axis=1)
        off = np.exp(logs) - hot
        value = (penalty * u * u).sum() / 2 - logs[places, labels].sum()
        return float(value), np.concatenate([(off.T @ z + penalty * u).ravel(), off.sum(0) * step_of_bias])

    none, options = np.zeros(classes * rank + classes), {"maxiter": 500, "ftol": 1e-10, "gtol": 1e-4}
    # Products this small gain nothing by threads, which spin between them: 13 CPU-seconds of `compare` instead of 36
    # on 716 photos of 20 classes.
    with threadpool_limits(1, "blas"):
        found = minimize(loss, none, jac=True, method="L-BFGS-B", options=options).x
    u = found[: classes * rank].reshape(classes, rank) * step
    return start + u @ (vectors / np.sqrt(values)).T @ x, found[classes * rank :] * step_of_bias


def logistic_probe(
    train: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    test: Float[Tensor, "tests dim"],
    *,
    classes: int,
) -> Float[Tensor, "tests classes"]:
    """Return the scores of a logistic regression on frozen features: the simple thing to beat.

    A class without a training item scores minus infinity.
    """
    return logistic_head(train, targets, names=[str(place) for place in range(classes)])(test).detach()
