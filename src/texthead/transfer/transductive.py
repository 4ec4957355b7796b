"""Transductive inference: refine the scores of a batch of unlabelled files by the clusters of their features.

The prediction for a file depends on the other files. Files are softly assigned to classes by their scores. The means
and a shared diagonal covariance of the assignments give each class a Gaussian, whose log-density is added to the scores
of the fitted head. This repeats for some rounds. Labelled items keep their label. Two things keep a class that does not
occur from taking files of a similar one: its mean is pulled to where the head expects it, and its estimated share is
small.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from texthead.models.heads import ProbeHead

# docs/decisions.md, 2026-11-29, has the searches behind these constants.
EM_STEPS = 5

# Spread of the scores before the softmax of the assignments, which makes these nearly hard.
SHARPNESS = 5.0

# Weight of the densities without labelled items.
UNCHECKED = 0.5

# Files per class that occurs below which a batch is not used, and at which the weight of the densities is halved.
MIN_FILES = 3.0

# Number of files that the mean which the head expects is worth, and how many more if few classes occur.
ANCHOR, MORE_ANCHOR = 3.0, 7.0

# Effective fraction of the classes below which their shares count, and at which they count in full. Heads fitted to few
# labels prefer some classes by mistake, so shares that differ a little mean nothing.
ALL_OCCUR, FEW_OCCUR = 0.8, 0.5


class Refined(NamedTuple):
    """The refined scores of the files, and the linear classifier on unit features that was added to the head.

    Args:
        scores: with the log shares of the classes in the batch, which are not part of the classifier.
        weight, bias: zero if the files cannot help; the scores are then those of the head.
        trust: how far the shares of the classes count (0-1); 0 if all classes seem to occur.
    """

    scores: Float[Tensor, "files classes"]
    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"]
    trust: float

    def note(self) -> str:
        """Return what a user should know about the batch; empty if it is used and all classes seem to occur."""
        files, classes = self.scores.shape
        if not self.weight.any():
            return (
                f"{files} files are too few or too scattered to help with {classes} classes: each is predicted without "
                "the others"
            )
        if self.trust:
            seen = len(self.scores.argmax(1).unique())
            return f"{seen} of {classes} classes seem to occur in the {files} files; rare ones count as less likely"
        return ""


def refine(
    scores: Float[Tensor, "files classes"],
    features: Float[Tensor, "files dim"],
    rows: Float[Tensor, "classes dim"],
    labelled: Float[Tensor, "items dim"] | None = None,
    targets: Int[Tensor, " items"] | None = None,
) -> Refined:
    """Refine the scores of a batch of unlabelled files.

    The log-densities are scaled to the spread of the head's scores, and multiplied by three factors: the share of
    unlabelled files among all items (`UNCHECKED` without labelled items); m / (m + MIN_FILES) for m files per class
    that occurs; and F - 1, at most 1, for the F ratio of the variances among and within classes, which is about 1 if
    the classes are not clusters. So with many labelled items, few files or no clusters, the head decides.

    Args:
        scores: scores of any head, at least one row; minus infinity for classes that are never predicted.
        features: centered and of length 1, as from `Head.directions`.
        rows: the head's rows, of any length: directions in which it expects the classes.
        labelled: features of labelled items, likewise; `targets` are their labels.

    Source: the Gaussians of TransCLIP (NeurIPS 2024), with the statistical anchor of StatA (CVPR 2025).
    Differs: these multiply densities as they are, in which each of a thousand dependent numbers counts in full;
        TransCLIP adds agreement with the three nearest neighbours, which gained nothing here (docs/decisions.md). StatA
        anchors the covariance too, and does not estimate shares.
    """
    finite = scores.isfinite().all(0)
    head, x, rows = scores[:, finite].double(), features.double(), rows[finite].double()
    y = torch.zeros(0, dtype=torch.long) if targets is None else (finite.cumsum(0) - 1)[targets]
    items = x[:0] if labelled is None else labelled.double()
    hot, all_features = F.one_hot(y, head.shape[1]).double(), torch.cat([x, items])
    most_weight = len(x) / len(all_features) if len(items) else UNCHECKED
    anchor, squares = _expected_means(head, x, rows), all_features.square().sum(0)
    weight, bias = torch.zeros_like(rows), torch.zeros(len(rows)).double()
    refined, prior, trust = head, bias, 0.0
    for _ in range(EM_STEPS):
        assigned = _assigned(refined, prior)
        counts = assigned.sum(0) + 1  # One more file in each class keeps small batches near equal shares.
        logs = (counts / counts.sum()).log()
        # The effective number of classes that occur: the exponential of the entropy of their shares.
        present = float((-(logs.exp() * logs).sum()).exp())
        trust = min(max((ALL_OCCUR - present / len(rows)) / (ALL_OCCUR - FEW_OCCUR), 0.0), 1.0)
        prior = trust * logs
        weights = torch.cat([assigned, hot])
        counts, pull = weights.sum(0)[:, None], ANCHOR + MORE_ANCHOR * trust
        means = weights.T @ all_features / counts.clamp(min=1e-9)
        variance = (squares - (counts * means.square()).sum(0)) / len(all_features)
        # Unit features of 1,000 dimensions have variances of about 0.001.
        variance = variance.clamp(min=1e-6)
        means = (counts * means + pull * anchor) / (counts + pull)
        weight, bias = means / variance, -(means.square() / variance).sum(1) / 2
        weight, bias = weight - weight.mean(0), bias - bias.mean()
        files = len(x) / present
        factor = most_weight * files / (files + MIN_FILES) if files >= MIN_FILES else 0.0
        within, among = variance.sum(), (squares / len(all_features) - all_features.mean(0).square() - variance).sum()
        ratio = among / max(present - 1, 1e-9) * (len(all_features) - present) / within
        factor = factor * (ratio - 1).clamp(0, 1) * _spread(head) / _spread(x @ weight.T + bias)
        weight, bias = factor * weight, factor * bias
        refined = head + x @ weight.T + bias
    result = scores.clone()
    if weight.any():
        refined = refined + _spread(refined) / SHARPNESS * prior
    result[:, finite] = refined.to(scores.dtype)
    all_weight, all_bias = torch.zeros(len(finite), x.shape[1]), torch.zeros(len(finite))
    all_weight[finite], all_bias[finite] = weight.float(), bias.float()
    return Refined(result, all_weight, all_bias, trust)


def _expected_means(
    head: Float[Tensor, "files classes"], x: Float[Tensor, "files dim"], rows: Float[Tensor, "classes dim"]
) -> Float[Tensor, "classes dim"]:
    """Return the means that the head expects: the mean of all files plus a multiple of its rows, by least squares."""
    center, rows, weights = x.mean(0), rows - rows.mean(0), _assigned(head)
    along = (weights * ((x - center) @ rows.T)).sum()
    return center + (along / (weights.sum(0) * rows.square().sum(1)).sum().clamp(min=1e-12)).clamp(min=0) * rows


def _assigned(
    scores: Float[Tensor, "files classes"], prior: Float[Tensor, " classes"] | float = 0.0
) -> Float[Tensor, "files classes"]:
    """Return the nearly hard assignment of the files to classes with such a log prior."""
    return (SHARPNESS / _spread(scores) * scores + prior).softmax(1)


def _spread(scores: Float[Tensor, "files classes"]) -> Tensor:
    """Return the standard deviation of the scores around each file's mean."""
    return (scores - scores.mean(1, keepdim=True)).square().mean().sqrt().clamp(min=1e-6)


def refined_head(
    head: ProbeHead,
    unlabelled: Float[Tensor, "files dim"],
    features: Float[Tensor, "items dim"],
    targets: Int[Tensor, " items"],
) -> ProbeHead:
    """Return the head with the correction of `refine`, which then scores new files one by one.

    It is the head itself if the files cannot help. The shares of the classes among the files are not part of it.

    Args:
        head: a head fitted to the labelled items.
        unlabelled: the encoder's features of the unlabelled files.
        features: the encoder's features of the labelled items.
    """
    with torch.no_grad():
        x = head.directions(unlabelled)
        added = refine(head(unlabelled), x, head.weight, head.directions(features), targets)
    assert head.center is not None
    if not added.weight.any():
        return head
    weight, bias = head.weight + added.weight, head.bias + added.bias
    return ProbeHead(weight, bias=bias, center=head.center, names=head.names, kind=f"{head.kind}, unlabelled files")
