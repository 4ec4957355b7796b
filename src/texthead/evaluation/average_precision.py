"""Average precision: how well scores rank the items of each class before the others."""

import numpy as np
from jaxtyping import Bool, Float


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
