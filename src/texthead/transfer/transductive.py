"""Unlabelled files help: scores of a whole batch of files, refined by how the features of the batch lie together.

A batch method: what a file is called depends on the other files. Each file is assigned to the classes in part, by its
scores; the class means and one diagonal covariance of the assignments give each class a Gaussian; its density is added
to the scores of the fitted head; and again. Labelled items keep their label.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from texthead.errors import DataError
from texthead.models.heads import ProbeHead

ROUNDS = 10  # As TransCLIP (NeurIPS 2024) has it.

# How far scores spread where they become assignments, nearly hard ones: 3 and 8 do as well, hard ones gain less.
SHARPNESS = 5.0

# How loud the densities are beside the head if only the head's own answers check them: 1 loses more where it is good.
UNCHECKED = 0.5


class Refined(NamedTuple):
    """The refined scores of the files, and the linear scores of unit features that were added to the head's."""

    scores: Float[Tensor, "files classes"]
    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"]


def refine(
    scores: Float[Tensor, "files classes"],
    features: Float[Tensor, "files dim"],
    labelled: Float[Tensor, "items dim"] | None = None,
    targets: Int[Tensor, " items"] | None = None,
) -> Refined:
    """Return the scores of unlabelled files, refined in one batch.

    The densities are put to the spread of the head's scores, so that the scale of neither counts, and multiplied with
    two shares: of the files among all items, and of the labelled items that the Gaussians name rightly, above chance,
    each without its own part in the means. So many labelled items, or classes that are no clusters, leave the answers
    to the head. Without labelled items the files take their place, the head's answers are the labels, and the first
    share is a half.

    Args:
        scores: those of any head; minus infinity for a class that is never named.
        features: centred and of length 1, as `Head.directions` makes them.
        labelled: features of labelled items, likewise; `targets` are their labels.

    Source: the Gaussians of TransCLIP (NeurIPS 2024).
    Differs: it multiplies densities as they are, in which each of a thousand dependent numbers counts in full, and adds
        agreement with the three nearest neighbours, which gained nothing here (LOG.md).

    Raises:
        DataError: no file.
    """
    if not len(scores):
        raise DataError("no unlabelled file: give one at least")
    named = scores.isfinite().all(0)
    head, x = scores[:, named].double(), features.double()
    y = torch.zeros(0, dtype=torch.long) if targets is None else (named.cumsum(0) - 1)[targets]
    seen = x[:0] if labelled is None else labelled.double()
    hot, every = F.one_hot(y, head.shape[1]).double(), torch.cat([x, seen])
    checks, answers = (slice(len(x), None), y) if len(seen) else (slice(None), head.argmax(1))
    loudest = len(x) / len(every) if len(seen) else UNCHECKED
    found, squares = head, every.square().sum(0)
    weight, bias = torch.zeros(head.shape[1], x.shape[1]).double(), torch.zeros(head.shape[1]).double()
    for _ in range(ROUNDS):
        parts = torch.cat([(SHARPNESS / _spread(found) * found).softmax(1), hot])
        counts = parts.sum(0)[:, None]
        means = parts.T @ every / counts.clamp(min=1e-9)
        variance = (squares - (counts * means.square()).sum(0)) / len(every)
        # Unit features of a thousand numbers have variances of about a thousandth.
        variance = variance.clamp(min=1e-6)
        weight, bias = means / variance, -(means.square() / variance).sum(1) / 2
        weight, bias = weight - weight.mean(0), bias - bias.mean()
        own = parts[checks].gather(1, answers[:, None])
        skill = _skill(every[checks], answers, own, means, variance, counts)
        loud = loudest * skill * _spread(head) / _spread(x @ weight.T + bias)
        weight, bias = loud * weight, loud * bias
        found = head + x @ weight.T + bias
    refined = scores.clone()
    refined[:, named] = found.to(scores.dtype)
    whole = torch.zeros(len(named), x.shape[1]), torch.zeros(len(named))
    whole[0][named], whole[1][named] = weight.float(), bias.float()
    return Refined(refined, *whole)


def _spread(scores: Float[Tensor, "files classes"]) -> Tensor:
    """Return the standard deviation of the scores around each file's mean."""
    return (scores - scores.mean(1, keepdim=True)).square().mean().sqrt().clamp(min=1e-6)


def _skill(
    items: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
    own: Float[Tensor, "items 1"],
    means: Float[Tensor, "classes dim"],
    variance: Float[Tensor, " dim"],
    counts: Float[Tensor, "classes 1"],
) -> Tensor:
    """Return how many items the Gaussians name rightly, as a mean over classes: 0 at chance, 1 for all.

    Args:
        own: the part that each item has in the mean of its class; it is taken out.
    """
    scores = items @ (means / variance).T - (means.square() / variance).sum(1) / 2
    without = (means[targets] * counts[targets] - own * items) / (counts[targets] - own).clamp(min=1e-6)
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
    """Return the head with the scores of `refine`; it scores files seen later in the same way, each by itself.

    Args:
        head: fitted to the labelled items.
        unlabelled: features of the unlabelled files, as they come out of the encoder.
        features: those of the labelled items.
    """
    with torch.no_grad():
        x = head.directions(unlabelled)
        added = refine(head(unlabelled), x, head.directions(features), targets)
    assert head.center is not None
    weight, bias = head.weight + added.weight, head.bias + added.bias
    return ProbeHead(weight, bias=bias, center=head.center, names=head.names, kind=f"{head.kind}, unlabelled files")
