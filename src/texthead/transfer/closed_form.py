"""Classifiers on frozen features that are fitted in one go: text rows with class means, a probe, tuned projections.

Each centers the features on the training items and gives them length 1. None needs a rate or steps to be chosen.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from texthead.models.heads import ProbeHead

# The largest of 1/4, 1/2, 3/4, 1, 3/2, 2 that is not seen to be worse than the best on drawn videos with one and two
# items a class: `python -m benchmarks.choosing --weigh`.
TEXT_WEIGHT = 0.5


def class_center(features: Float[Tensor, "items dim"], targets: Int[Tensor, " items"]) -> Float[Tensor, " dim"]:
    """The mean of the class means: a class with more items than others does not pull it."""
    return torch.stack([features[targets == label].mean(0) for label in targets.unique()]).mean(0)


def text_and_means(
    rows: Float[Tensor, "classes dim"],
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
    scale: float,
    text_weight: float = TEXT_WEIGHT,
) -> ProbeHead:
    """Each class's row is its mean direction over the items plus `text_weight` times its text row.

    Cosines with text rows and with means have sizes of their own, which differ from encoder to encoder and from data to
    data. So both are first divided by how far their scores of the training items spread over the wrong classes: with
    weight 1 either can outvote the other.

    Args:
        rows: text rows, of any length.
        targets: each class at least once.
        scale: what the scores are multiplied with, relative to those of the means.
    """
    center = class_center(features, targets)
    seen, text = F.normalize(features - center, dim=-1), F.normalize(rows, dim=-1)
    means = F.normalize(torch.zeros_like(text).index_add(0, targets, seen), dim=-1)
    ratio = _spread(seen @ means.T, targets) / _spread(seen @ text.T, targets)
    weight = scale * (means + text_weight * ratio * text)
    return ProbeHead(weight, bias=torch.zeros(len(rows)), center=center, names=names, kind="text and means")


def _spread(scores: Float[Tensor, "items classes"], targets: Int[Tensor, " items"]) -> float:
    """How far the scores of an item's wrong classes are from each other; of two classes, how far from all others."""
    wrong = scores[torch.ones_like(scores).scatter(1, targets[:, None], 0.0).bool()].view(len(scores), -1)
    around = wrong.mean(1, keepdim=True) if wrong.shape[1] > 1 else wrong.mean()
    return float((wrong - around).square().mean().sqrt().clamp(min=1e-6))


def logistic_head(
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
    strength: float = 1000.0,
) -> ProbeHead:
    """A logistic regression: the simple thing to beat. A class without a training item scores minus infinity.

    Args:
        strength: scikit-learn's C for features of length 1.
    """
    from sklearn.linear_model import LogisticRegression

    center = features.mean(0)
    weight, bias = torch.zeros(len(names), features.shape[1]), torch.full((len(names),), -torch.inf)
    present = targets.unique()
    if len(present) == 1:
        bias[present] = 0.0
        return ProbeHead(weight, bias=bias, center=center, names=names, kind="logistic")
    # At length 10 its penalty and its tolerance suit each other.
    fit = LogisticRegression(C=strength / 100, max_iter=2000)
    with warnings.catch_warnings():
        # One item a class is enough here.
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        fit.fit(10 * F.normalize(features - center, dim=-1).numpy(), targets.numpy())
    found, offset = 10 * torch.from_numpy(fit.coef_).float(), torch.from_numpy(fit.intercept_).float()
    if len(present) == 2:
        found, offset = torch.cat([-found, found]), torch.cat([-offset, offset])
    weight[present], bias[present] = found, offset
    return ProbeHead(weight, bias=bias, center=center, names=names, kind="logistic")


def tuned_projection(
    rows: Float[Tensor, "classes dim"],
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    *,
    names: Sequence[str],
    scale: float,
    strength: float = 1000.0,
) -> ProbeHead:
    """Frozen rows behind a projection of the features that starts at the identity and is pulled back to it.

    scores = scale x rows P n(features - center), with the P that has the least

        sum of the cross-entropies + scale^2 |P - 1|^2 / (2 strength).

    That is a convex problem with one answer. With U of as many rows as there are classes, P - 1 is rows^T G^-1/2 U and
    |P - 1| = |U| (G = rows rows^T), so that it has no more unknowns than a probe has. For orthogonal rows it is a
    logistic regression that is pulled to these rows instead of to zero.

    Args:
        rows: of any length; they are normalised.
        scale: the logit scale, above 0.
        strength: small keeps the projection near the identity.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    center = class_center(features, targets)
    w = F.normalize(rows, dim=-1).double().numpy()
    x = F.normalize(features - center, dim=-1).double().numpy()
    values, vectors = np.linalg.eigh(w @ w.T)
    root = vectors * np.sqrt(values.clip(min=0))
    start = scale * x @ w.T
    hot = np.eye(len(w))[targets.numpy()]
    # Off the span of the items U stays zero: few items leave few unknowns.
    span, z = np.linalg.qr(x.T)
    z = z.T

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        u = flat.reshape(len(w), -1)
        logs = log_softmax(start + z @ u.T @ root.T, axis=1)
        slope = root.T @ (np.exp(logs) - hot).T @ z + u / strength
        return float((u * u).sum() / (2 * strength) - (hot * logs).sum()), slope.ravel()

    none = np.zeros(len(w) * z.shape[1])
    found = minimize(loss, none, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 4000})
    weight = torch.from_numpy(scale * w + root @ found.x.reshape(len(w), -1) @ span.T).float()
    return ProbeHead(weight, bias=torch.zeros(len(w)), center=center, names=names, kind="tuned projection")


def logistic_probe(
    train: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    test: Float[Tensor, "tests dim"],
    *,
    classes: int,
) -> Float[Tensor, "tests classes"]:
    """Scores of a logistic regression on frozen features: the simple thing to beat.

    A class without a training item scores minus infinity.
    """
    return logistic_head(train, targets, names=[str(place) for place in range(classes)])(test).detach()
