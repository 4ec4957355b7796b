"""Average precision: how well scores rank the items of each class before the others."""

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.errors import DataError


def mean_average_precision(
    scores: Float[Tensor, "items classes"],
    targets: Int[Tensor, " items"] | Bool[Tensor, "items classes"],
    *,
    double_softmax: bool = False,
) -> float:
    """Return the mean average precision over classes, in percent 0-100.

    The average precision is scikit-learn's: items with equal scores share a rank.

    Args:
        scores: the values that rank the items of each class, usually probabilities.
        targets: each item's label, or a mask of its labels.
        double_softmax: rank by the softmax of the given probabilities, as the published code does. This keeps the order
            of the classes of an item, and so top-1, but not the order of the items of a class: the denominator
            of the second softmax differs between items. For the first class, 0.5 0.5 0 and 0.5 0.25 0.25 are tied;
            after a second softmax they are 0.384 and 0.391.

    Source: the metric of ActivityNet; double softmax as in the published test code.
    Differs: double precision, so that small probabilities are not tied; classes without an item are left out, where the
        published code counts their precision as 0.

    Raises:
        DataError: no item, a label out of range, scores that are not finite, or `double_softmax` of values that are
            not probabilities.
    """
    ranked, hot = scores.cpu().double(), _multi_hot(targets.cpu(), scores.shape[1])
    if not ranked.isfinite().all():
        raise DataError("scores to rank must be finite numbers: pass probabilities, scores.softmax(-1)")
    if double_softmax:
        total = ranked.sum(-1)
        if ranked.min() < 0 or (total - 1).abs().max() > 1e-3:
            raise DataError(
                f"double_softmax needs probabilities, got rows that sum to {total.min():.3g} to {total.max():.3g}: "
                "pass scores.softmax(-1)"
            )
        ranked = ranked.softmax(-1)
    present = hot.any(0).nonzero().flatten().tolist()
    precisions = [average_precision(ranked[:, label].numpy(), hot[:, label].numpy())[0] for label in present]
    return 100 * float(np.mean(precisions))


def _multi_hot(targets: Int[Tensor, " items"] | Bool[Tensor, "items classes"], classes: int) -> Bool[Tensor, "items _"]:
    """Return a mask of the labels of each item.

    Raises:
        DataError: no item has a label, or a label is out of range.
    """
    hot = targets
    if targets.ndim == 1 and len(targets):
        check_labels(targets, classes)
        hot = F.one_hot(targets.long(), classes).bool()
    if not hot.any():
        raise DataError("no item has a label: average precision needs at least one")
    return hot


def check_labels(labels: Int[Tensor, " items"], classes: int) -> None:
    """Raise DataError if a label, of at least one, is not the number of a class."""
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataError(
            f"`targets` must be from 0 to {classes - 1} for scores of {classes} classes, got targets from "
            f"{int(labels.min())} to {int(labels.max())}"
        )


def average_precision(
    scores: Float[np.ndarray, " items"], hot: Bool[np.ndarray, " items"]
) -> tuple[float, Float[np.ndarray, " items"]]:
    """Return the average precision (0-1) of one class, and the influence of each item on it.

    It is scikit-learn's: items with equal scores share a rank. The influence is the derivative with respect to the
    item's weight, which is 1; all sum to 0.

    Args:
        hot: which items have the class, at least one.
    """
    order, total = np.argsort(-scores, kind="stable"), hot.sum()
    ends = np.flatnonzero(np.diff(scores[order], append=np.inf))
    rank = np.empty(len(order), int)
    rank[order] = np.searchsorted(ends, np.arange(len(order)))
    seen, found = ends + 1, np.cumsum(hot[order])[ends]
    precision, own = found / seen, np.diff(found, prepend=0)
    value = float((own * precision).sum() / total)
    # An item counts at its own rank and at all later ones.
    gain, loss = (np.cumsum((each / seen)[::-1])[::-1] for each in (own, own * precision))
    influence = hot * (precision[rank] + gain[rank] - value) - loss[rank]
    return value, influence / total
