"""Linear classifiers on frozen features: a logistic probe, and text rows combined with labelled items.

Both center the features on the training items and normalise them to length 1. Neither needs a learning rate, a number
of steps or a validation set.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from texthead.models.heads import TEXT_AND_ITEMS, ProbeHead

# Inverse penalty of a logistic regression on unit features, as scikit-learn's C. LOG.md, 2026-11-27, has the grid
# searches behind these constants.
STRENGTH = 10.0

# Penalty of the least-squares fit on unit features.
RIDGE = 0.4

# Fraction of its best scale that the text prior has in both fits, and weight of the least-squares fit in their sum.
TEXT_SHARE, RIDGE_SHARE = 0.5, 0.5

# Log-likelihood in nats that one scale >= 0 gains by chance: half the mean of a chi-squared, half of the time.
BY_CHANCE = 0.25

# Upper bound of the logit scale.
MOST_SCALE = 100.0


def class_center(features: Float[Tensor, "items dim"], targets: Int[Tensor, " items"]) -> Float[Tensor, " dim"]:
    """Return the mean of the class means, which does not depend on how many items each class has."""
    return torch.stack([features[targets == label].mean(0) for label in targets.unique()]).mean(0)


class TextEvidence(NamedTuple):
    """How well text rows alone (zero-shot) classify the labelled items.

    Args:
        right: number of items that zero-shot classifies correctly.
        items: number of items.
        classes: number of classes.
        scale: the maximum-likelihood logit scale.
        weight: shrinkage factor of the scale (0-1), which discounts the evidence expected by chance.
    """

    right: int
    items: int
    classes: int
    scale: float
    weight: float

    def __str__(self) -> str:
        share = f"{100 * self.right / self.items:.0f} % of the {self.items} training items"
        chance = f"chance {100 / self.classes:.0f} %"
        summary = f"the class names (zero-shot-centred) classify {share} correctly ({chance})"
        if not self.weight:
            return f"{summary}: no better than chance, so the names are not used"
        return f"{summary}; weight of the names: {self.weight:.2f} (0: unused, 1: full)"


def text_evidence(
    rows: Float[Tensor, "classes dim"], features: Float[Tensor, "items dim"], targets: Int[Tensor, " items"]
) -> TextEvidence:
    """Measure zero-shot with centred features on labelled items.

    Only the scale is fitted. With L its log-likelihood ratio to scale 0, the weight is (L - BY_CHANCE) / L, at least 0
    (the form of a James-Stein estimate).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    x, w, labels = _units(features - class_center(features, targets)), _units(rows), targets.numpy()
    scores, items = x @ w.T, np.arange(len(labels))

    def loss(scale: float) -> float:
        return -float(log_softmax(scale * scores, axis=1)[items, labels].sum())

    result: Any = minimize_scalar(loss, bounds=(0, MOST_SCALE), method="bounded")
    scale = float(result.x)
    evidence = loss(0.0) - loss(scale)
    weight = max(0.0, 1 - BY_CHANCE / evidence) if evidence > 0 else 0.0
    right = int((scores.argmax(1) == labels).sum())
    return TextEvidence(right, len(labels), len(w), scale, weight)


def logistic_head(
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
    strength: float = STRENGTH,
) -> ProbeHead:
    """Fit a logistic regression, the baseline. A class without a training item scores minus infinity.

    Args:
        strength: scikit-learn's C for features of length 1.
    """
    center = class_center(features, targets)
    x = _units(features - center)
    weight, bias = np.zeros((len(names), x.shape[1])), np.full(len(names), -np.inf)
    present, numbers = np.unique(targets.numpy(), return_inverse=True)
    weight[present], bias[present] = _logistic(x, numbers, weight[present], strength)
    return _probe(weight, bias, center, names, "logistic")


def text_probe_head(
    rows: Float[Tensor, "classes dim"],
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
) -> ProbeHead:
    """Fit a head to text rows and labelled items, the default for few labels.

    It is the sum of two linear classifiers with the text rows t_c as a prior:

        logistic: minimise cross-entropy + |W - s t|^2 / (2 STRENGTH), s = TEXT_SHARE x weight x scale
        ridge:    minimise |Y - r x t - x A|^2 + RIDGE |A|^2, r = TEXT_SHARE x weight x least-squares slope of Y on x t

    where x are the features, Y the one-hot labels, weight and scale those of `text_evidence`, and the scores of both
    are scaled to the same spread. So text decides when items are few, counts less with each item, and not at all if its
    weight is 0.

    Args:
        rows: text rows, of any length; they are normalised.
        targets: labels, with each class at least once.

    Source: the residual of a text prior is that of ProKeR (Bendou et al., CVPR 2025), with a linear kernel.
    """
    center, labels = class_center(features, targets), targets.numpy()
    x, text = _units(features - center), _units(rows)
    evidence = text_evidence(rows, features, targets)
    text_weight = TEXT_SHARE * evidence.weight
    weight, bias = _logistic(x, labels, text_weight * evidence.scale * text, STRENGTH)
    text = text - text.mean(0)
    hot = np.eye(len(text))[labels]
    prior = x @ text.T
    slope = max(0.0, float((hot * prior).sum() / max((prior * prior).sum(), 1e-12)))
    residual = hot - hot.mean(0) - text_weight * slope * prior
    ridge = text_weight * slope * text + np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x)), residual).T @ x
    ratio = _spread(x @ weight.T + bias) / max(_spread(x @ ridge.T), 1e-12)
    return _probe(weight + RIDGE_SHARE * ratio * ridge, bias, center, names, TEXT_AND_ITEMS if text_weight else "items")


def _spread(scores: np.ndarray) -> float:
    """Return the standard deviation of the scores around each item's mean."""
    return float((scores - scores.mean(1, keepdims=True)).std())


def _units(vectors: Tensor) -> np.ndarray:
    return F.normalize(vectors.double(), dim=-1).numpy()


def _probe(weight: np.ndarray, bias: np.ndarray, center: Tensor, names: Sequence[str], kind: str) -> ProbeHead:
    return ProbeHead(torch.from_numpy(weight), bias=torch.from_numpy(bias), center=center, names=names, kind=kind)


def _logistic(x: np.ndarray, labels: np.ndarray, prior: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression with the penalty |weights - prior|^2 / (2 strength); return (weights, biases).

    The weights differ from the prior only in the span of the items. Along the eigenvectors of the items' Gram matrix,
    each scaled by the inverse root of its curvature, the problem is well conditioned: about 30 steps solve it.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax
    from threadpoolctl import threadpool_limits

    values, vectors = np.linalg.eigh(x @ x.T)
    nonzero = values > 1e-9 * values[-1]
    values, vectors = values[nonzero], vectors[:, nonzero]
    classes, rank, items = len(prior), len(values), np.arange(len(x))
    curvature = 2 * (classes - 1) / classes**2
    step = 1 / np.sqrt(curvature * values + 1 / strength)
    step_of_bias = 1 / np.sqrt(max(curvature, 1e-3) * len(x))
    z, penalty = vectors * np.sqrt(values) * step, step**2 / strength
    prior_scores, hot = x @ prior.T, np.eye(classes)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        u, bias = flat[: classes * rank].reshape(classes, rank), flat[classes * rank :] * step_of_bias
        logs = log_softmax(prior_scores + z @ u.T + bias, axis=1)
        error = np.exp(logs) - hot
        value = (penalty * u * u).sum() / 2 - logs[items, labels].sum()
        return float(value), np.concatenate([(error.T @ z + penalty * u).ravel(), error.sum(0) * step_of_bias])

    zeros, options = np.zeros(classes * rank + classes), {"maxiter": 500, "ftol": 1e-10, "gtol": 1e-4}
    # Products this small gain nothing from threads, which only spin: `compare` on 716 photos of 20 classes takes 13
    # CPU-seconds with one thread and 36 with several.
    with threadpool_limits(1, "blas"):
        solution = minimize(loss, zeros, jac=True, method="L-BFGS-B", options=options).x
    u = solution[: classes * rank].reshape(classes, rank) * step
    return prior + u @ (vectors / np.sqrt(values)).T @ x, solution[classes * rank :] * step_of_bias
