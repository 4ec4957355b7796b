"""Mean average precision, the metric of ActivityNet, with and without the published code's second softmax."""

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from sklearn.metrics import average_precision_score
from torch import Tensor


def mean_average_precision(
    probabilities: Float[Tensor, "items classes"], targets: Int[Tensor, " items"], *, double_softmax: bool = False
) -> float:
    """Return the mean over classes of the average precision of their probabilities, in percent.

    Args:
        targets: the label of each item.
        double_softmax: rank by the softmax of the probabilities, as the published test code does. This keeps the order
            of the classes of an item, and so top-1, but not the order of the items of a class: the denominator of the
            second softmax differs between items. For the first class, 0.5 0.5 0 and 0.5 0.25 0.25 are tied; after a
            second softmax they are 0.384 and 0.391.

    Differs: double precision, so that small probabilities are not tied; classes without an item are left out, where the
        published code counts their precision as 0.
    """
    ranked = probabilities.cpu().double()
    if double_softmax:
        ranked = ranked.softmax(-1)
    hot, scores = F.one_hot(targets.cpu().long(), ranked.shape[1]).numpy(), ranked.numpy()
    present = np.flatnonzero(hot.any(0))
    return 100 * float(np.mean([average_precision_score(hot[:, label], scores[:, label]) for label in present]))
