"""Linear classifiers on frozen features: a logistic probe, and text rows combined with labelled items.

Both center the features on the training items and normalise them to length 1. Neither needs a learning rate, a number
of steps or a validation set.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits
from torch import Tensor

from texthead.evaluation.classes import class_weights
from texthead.models.heads import TEXT_AND_ITEMS, ProbeHead

# Inverse penalty of a logistic regression on unit features, as scikit-learn's C. docs/decisions.md, 2026-11-27, has
# the choice of these constants.
STRENGTH = 10.0

# Penalty of the least-squares fit on unit features.
RIDGE = 0.4

# Fraction of its scale that the text prior has in both fits, and weight of the least-squares fit in their sum.
TEXT_SHARE, RIDGE_SHARE = 0.5, 0.5

# Probability that names help if the text encoder knows all of them, and the scales that are then as likely.
HELPFUL, SCALES = 0.8, np.geomspace(4, 64, 9)


# Products of a few hundred items gain nothing from threads, which only spin: on two cores, `train` on 180 cached photos
# took 4.6 to 9.6 CPU-seconds, and with one thread in the fits 2.2.
one_thread = threadpool_limits.wrap(limits=1)


def class_center(features: Float[Tensor, "items dim"], targets: Int[Tensor, " items"]) -> Float[Tensor, " dim"]:
    """Return the mean of the class means, which does not depend on how many items each class has."""
    return torch.stack([features[targets == label].mean(0) for label in targets.unique()]).mean(0)


class TextEvidence(NamedTuple):
    """How far labelled items support the text rows.

    Args:
        scale: the expected logit scale if the names help.
        weight: the probability (0-1) that they help.
    """

    scale: float
    weight: float


@one_thread
def text_evidence(
    rows: Float[Tensor, "classes dim"], features: Float[Tensor, "items dim"], targets: Int[Tensor, " items"]
) -> TextEvidence:
    """Weigh zero-shot with centered features against names that tell nothing, on labelled items.

    Before any item, names help with the probability HELPFUL x the squared mean length of the rows, at one of SCALES. So
    a few items that fit by chance do not make unknown names count, nor do a few that do not fit discredit known ones.

    Args:
        rows: as in `text_probe_head`.
    """
    from scipy.special import log_softmax

    x, text, labels = units(features - class_center(features, targets)), short_rows(rows), targets.numpy()
    weights, scores, items = class_weights(labels), x @ text.T, np.arange(len(labels))
    return weigh_scales(text, lambda scale: (weights * log_softmax(scale * scores, axis=1)[items, labels]).sum())


def weigh_scales(text: Float[np.ndarray, "classes dim"], log_likelihood: Callable[[float], float]) -> TextEvidence:
    """Weigh SCALES of the text rows by the log-likelihood of the labels at each, against that at scale 0.

    Args:
        text: as from `short_rows`.
    """
    from scipy.special import logsumexp

    logs = np.array([log_likelihood(scale) for scale in (0.0, *SCALES)])
    helpful = HELPFUL * float(np.linalg.norm(text, axis=1).mean()) ** 2
    with np.errstate(divide="ignore"):
        logs = logs + np.log([1 - helpful, *np.full(len(SCALES), helpful / len(SCALES))])
    probabilities = np.exp(logs - logsumexp(logs))
    weight = float(probabilities[1:].sum())
    return TextEvidence(float(probabilities[1:] @ SCALES) / max(weight, 1e-12), weight)


@one_thread
def logistic_head(
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
    penalty: float = 1.0,
) -> ProbeHead:
    """Fit a logistic regression, the baseline, for classes that are equally frequent whatever their labels.

    A class without a training item scores minus infinity.

    Args:
        penalty: factor of the penalty; 1 is scikit-learn's C = STRENGTH on features of length 1.

    Source: logit-adjusted loss (Menon et al., ICLR 2021).
    """
    center = class_center(features, targets)
    x = units(features - center)
    weight, bias = np.zeros((len(names), x.shape[1])), np.full(len(names), -np.inf)
    present, numbers = np.unique(targets.numpy(), return_inverse=True)
    weight[present], bias[present] = _logistic(*span(x), numbers, weight[present], STRENGTH / penalty)
    return probe_of(weight, bias, center, names, "logistic")


@one_thread
def text_probe_head(
    rows: Float[Tensor, "classes dim"],
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
    penalty: float = 1.0,
) -> ProbeHead:
    """Fit a head to text rows and labelled items, the default for few labels.

    It is the sum of two linear classifiers with the text rows t_c as a prior:

        logistic: minimise cross-entropy + |W - s t|^2 / (2 STRENGTH), s = TEXT_SHARE x weight x scale
        ridge:    minimise |Y - r x t - x A|^2 + RIDGE |A|^2, r = TEXT_SHARE x weight x least-squares slope of Y on x t

    where x are the features, Y the one-hot labels, weight and scale those of `text_evidence`, and the scores of both
    are scaled to the same spread. So text decides when items are few, counts less with each item, and not at all if its
    weight is 0.

    The scores are those of classes that are equally frequent, whatever their numbers of labels: the cross-entropy is
    that of logits plus log(label frequency), and in the squares the items of each class weigh the same.

    Args:
        rows: text rows. A length below 1 says how well the text encoder knows the name (`familiarity_scaled_rows`);
            longer rows count as 1.
        targets: labels, with each class at least once.
        penalty: factor of both penalties.

    Source: the residual of a text prior is that of ProKeR (Bendou et al., CVPR 2025), with a linear kernel; the
        logit-adjusted loss of Menon et al. (ICLR 2021).
    """
    center, labels = class_center(features, targets), targets.numpy()
    x, text = units(features - center), short_rows(rows)
    evidence = text_evidence(rows, features, targets)
    text_weight = TEXT_SHARE * evidence.weight
    z, axes = span(x)
    weight, bias = _logistic(z, axes, labels, text_weight * evidence.scale * text, STRENGTH / penalty)
    text = text - text.mean(0)
    item_weights, one_hot = class_weights(labels), np.eye(len(text))[labels]
    prior = x @ text.T
    slope = max(0.0, float((item_weights @ (one_hot * prior)).sum() / max((item_weights @ prior**2).sum(), 1e-12)))
    residual = one_hot - item_weights @ one_hot / len(one_hot) - text_weight * slope * prior
    weighted = item_weights * z.T
    squares = weighted @ z + penalty * RIDGE * np.eye(len(axes))
    ridge = text_weight * slope * text + np.linalg.solve(squares, weighted @ residual).T @ axes
    ratio = _spread(x @ weight.T + bias) / max(_spread(x @ ridge.T), 1e-12)
    # Rows of new names fit the head only if its own names probably help.
    kind = TEXT_AND_ITEMS if evidence.weight > 0.5 else "items"
    return probe_of(weight + RIDGE_SHARE * ratio * ridge, bias, center, names, kind)


def short_rows(rows: Float[Tensor, "classes dim"]) -> Float[np.ndarray, "classes dim"]:
    """Return text rows, shortened to length 1."""
    double = rows.double()
    return (double / double.norm(dim=-1, keepdim=True).clamp(min=1)).numpy()


def _spread(scores: np.ndarray) -> float:
    """Return the standard deviation of the scores around each item's mean."""
    return float((scores - scores.mean(1, keepdims=True)).std())


def units(vectors: Float[Tensor, "items dim"]) -> Float[np.ndarray, "items dim"]:
    """Return vectors, normalised to length 1."""
    return F.normalize(vectors.double(), dim=-1).numpy()


def probe_of(weight: np.ndarray, bias: np.ndarray, center: Tensor, names: Sequence[str], kind: str) -> ProbeHead:
    """Return a head of these numbers."""
    return ProbeHead(torch.from_numpy(weight), bias=torch.from_numpy(bias), center=center, names=names, kind=kind)


def span(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (coordinates of the items, orthogonal unit axes of their span), by the smaller of the Gram matrices."""
    few = len(x) <= x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if few else x.T @ x)
    nonzero = values > 1e-9 * values[-1]
    values, vectors = values[nonzero], vectors[:, nonzero]
    axes = (vectors / np.sqrt(values)).T @ x if few else vectors.T
    return x @ axes.T, axes


def _logistic(
    z: np.ndarray, axes: np.ndarray, labels: np.ndarray, prior: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression with the penalty |weights - prior|^2 / (2 strength); return (weights, biases).

    The loss is that of the scores plus log(label frequency), so the scores are those of equally frequent classes.

    The weights differ from the prior only in the span of the items. Along its axes, each scaled by the inverse root of
    its curvature, the problem is well conditioned: about 30 steps solve it.

    Args:
        z, axes: as from `span`.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    classes, rank, items = len(prior), len(axes), np.arange(len(z))
    curvature = 2 * (classes - 1) / classes**2
    step = 1 / np.sqrt(curvature * (z**2).sum(0) + 1 / strength)
    step_of_bias = 1 / np.sqrt(max(curvature, 1e-3) * len(z))
    one_hot = np.eye(classes)[labels]
    shifted = z @ (prior @ axes.T).T + np.log(classes * one_hot.mean(0))
    z, penalty = z * step, step**2 / strength

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        u, bias = flat[: classes * rank].reshape(classes, rank), flat[classes * rank :] * step_of_bias
        logs = log_softmax(shifted + z @ u.T + bias, axis=1)
        error = np.exp(logs) - one_hot
        value = (penalty * u * u).sum() / 2 - logs[items, labels].sum()
        return float(value), np.concatenate([(error.T @ z + penalty * u).ravel(), error.sum(0) * step_of_bias])

    zeros, options = np.zeros(classes * rank + classes), {"maxiter": 500, "ftol": 1e-10, "gtol": 1e-4}
    solution = minimize(loss, zeros, jac=True, method="L-BFGS-B", options=options).x
    u = solution[: classes * rank].reshape(classes, rank) * step
    return prior + u @ axes, solution[classes * rank :] * step_of_bias
