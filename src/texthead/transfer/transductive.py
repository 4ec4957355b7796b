"""Transductive inference: refine the scores of a batch of unlabelled files by the clusters of their features.

The prediction for a file depends on the other files. Files are softly assigned to classes by their scores. The means
and a shared diagonal covariance of the assignments give each class a Gaussian, whose log-density is added to the scores
of the fitted head. This repeats for some rounds. Labelled items keep their label.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from texthead.errors import DataError
from texthead.models.heads import ProbeHead

EM_STEPS = 10  # As in TransCLIP (NeurIPS 2024).

# Spread of the scores before the softmax of the assignments, which makes these nearly hard: 3 and 8 work as well, hard
# assignments gain less.
SHARPNESS = 5.0

# Files that each class has in advance when shares are estimated, spread of the scores there, and rounds.
SHARE_FILES, SHARE_SHARPNESS, SHARE_STEPS = 2.0, 3.0, 30

# Weight of the densities if only the head's own predictions can check them: 1 loses more where the head is good.
UNCHECKED = 0.5


class Refined(NamedTuple):
    """The refined scores of the files, and the linear classifier on unit features that was added to the head."""

    scores: Float[Tensor, "files classes"]
    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"]


def refine(
    scores: Float[Tensor, "files classes"],
    features: Float[Tensor, "files dim"],
    labelled: Float[Tensor, "items dim"] | None = None,
    targets: Int[Tensor, " items"] | None = None,
) -> Refined:
    """Refine the scores of a batch of unlabelled files.

    The log-densities are scaled to the spread of the head's scores, and multiplied by two factors: the share of
    unlabelled files among all items, and the accuracy above chance of the Gaussians on the labelled items
    (leave-one-out). So with many labelled items, or classes that do not form clusters, the head decides. Without
    labelled items, the files and the head's predictions take the place of items and labels, and the first factor is
    one half.

    Args:
        scores: scores of any head; minus infinity for classes that are never predicted.
        features: centred and of length 1, as from `Head.directions`.
        labelled: features of labelled items, likewise; `targets` are their labels.

    Source: the Gaussians of TransCLIP (NeurIPS 2024).
    Differs: it multiplies densities as they are, in which each of a thousand dependent numbers counts in full, and adds
        agreement with the three nearest neighbours, which gained nothing here (LOG.md).

    Raises:
        DataError: no file.
    """
    if not len(scores):
        raise DataError("no unlabelled file: give at least one")
    finite = scores.isfinite().all(0)
    head, x = scores[:, finite].double(), features.double()
    y = torch.zeros(0, dtype=torch.long) if targets is None else (finite.cumsum(0) - 1)[targets]
    items = x[:0] if labelled is None else labelled.double()
    hot, all_features = F.one_hot(y, head.shape[1]).double(), torch.cat([x, items])
    checks, answers = (slice(len(x), None), y) if len(items) else (slice(None), head.argmax(1))
    most_weight = len(x) / len(all_features) if len(items) else UNCHECKED
    refined, squares = head, all_features.square().sum(0)
    weight, bias = torch.zeros(head.shape[1], x.shape[1]).double(), torch.zeros(head.shape[1]).double()
    for _ in range(EM_STEPS):
        weights = torch.cat([(SHARPNESS / _spread(refined) * refined).softmax(1), hot])
        counts = weights.sum(0)[:, None]
        means = weights.T @ all_features / counts.clamp(min=1e-9)
        variance = (squares - (counts * means.square()).sum(0)) / len(all_features)
        # Unit features of 1,000 dimensions have variances of about 0.001.
        variance = variance.clamp(min=1e-6)
        weight, bias = means / variance, -(means.square() / variance).sum(1) / 2
        weight, bias = weight - weight.mean(0), bias - bias.mean()
        share = weights[checks].gather(1, answers[:, None])
        skill = _skill(all_features[checks], answers, share, means, variance, counts)
        factor = most_weight * skill * _spread(head) / _spread(x @ weight.T + bias)
        weight, bias = factor * weight, factor * bias
        refined = head + x @ weight.T + bias
    result = scores.clone()
    result[:, finite] = refined.to(scores.dtype)
    all_weight, all_bias = torch.zeros(len(finite), x.shape[1]), torch.zeros(len(finite))
    all_weight[finite], all_bias[finite] = weight.float(), bias.float()
    return Refined(result, all_weight, all_bias)


def estimate_shares(scores: Float[Tensor, "files classes"]) -> Float[Tensor, " classes"]:
    """Return the estimated share of each class among unlabelled files; the shares sum to 1.

    Each class starts with `SHARE_FILES` files, so the estimate from a small batch stays near equal shares.

    Args:
        scores: scores of the files by a head that assumes equal shares; minus infinity for classes that are never
            predicted, whose share is 0.

    Source: expectation maximisation of Saerens et al. (Neural Computation 2002).
    Differs: the scores are scaled to one spread, because few labels make probabilities that are far too flat; a
        Dirichlet prior.

    Raises:
        DataError: no file.
    """
    if not len(scores):
        raise DataError("no unlabelled file: give at least one")
    finite = scores.isfinite().all(0)
    head = scores[:, finite].double()
    logits, shares = SHARE_SHARPNESS / _spread(head) * head, torch.full((head.shape[1],), 1 / head.shape[1]).double()
    for _ in range(SHARE_STEPS):
        counts = (logits + shares.log()).softmax(1).sum(0) + SHARE_FILES
        shares = counts / counts.sum()
    return torch.zeros(len(finite)).masked_scatter(finite, shares.float())


def _spread(scores: Float[Tensor, "files classes"]) -> Tensor:
    """Return the standard deviation of the scores around each file's mean."""
    return (scores - scores.mean(1, keepdim=True)).square().mean().sqrt().clamp(min=1e-6)


def _skill(
    items: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    share: Float[Tensor, "items 1"],
    means: Float[Tensor, "classes dim"],
    variance: Float[Tensor, " dim"],
    counts: Float[Tensor, "classes 1"],
) -> Tensor:
    """Return the mean class accuracy of the Gaussians, rescaled: 0 at chance, 1 if all are correct.

    Args:
        share: the weight of each item in the mean of its class, which is left out when the item is scored.
    """
    scores = items @ (means / variance).T - (means.square() / variance).sum(1) / 2
    without = (means[targets] * counts[targets] - share * items) / (counts[targets] - share).clamp(min=1e-6)
    alone = ((items * without - without.square() / 2) / variance).sum(1, keepdim=True)
    hits = (scores.scatter(1, targets[:, None], alone).argmax(1) == targets).double()
    rate = torch.stack([hits[targets == label].mean() for label in targets.unique()]).mean()
    chance = 1 / len(means)
    return ((rate - chance) / (1 - chance + 1e-9)).clamp(min=0)


def refined_head(
    head: ProbeHead,
    unlabelled: Float[Tensor, "files dim"],
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
) -> ProbeHead:
    """Return the head with the correction of `refine`, which then scores new files one by one.

    Args:
        head: a head fitted to the labelled items.
        unlabelled: the encoder's features of the unlabelled files.
        features: the encoder's features of the labelled items.
    """
    with torch.no_grad():
        x = head.directions(unlabelled)
        added = refine(head(unlabelled), x, head.directions(features), targets)
    assert head.center is not None
    weight, bias = head.weight + added.weight, head.bias + added.bias
    return ProbeHead(weight, bias=bias, center=head.center, names=head.names, kind=f"{head.kind}, unlabelled files")
