"""What to label next: files that stand for many others, and that what is known so far does not tell apart."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from texthead.errors import DataError
from texthead.transfer.closed_form import class_center, text_probe_head, text_worth

# Width of the similarity, as a part of the median squared distance. LOG.md, 2026-11-27, has what was tried.
WIDTH = 0.2

# Files whose features have a higher cosine, once centred, are near copies: one of them is enough.
COPY = 0.97

# So many files stand for all: the similarities of more would not fit into memory.
MOST = 5000

# Logit scale of text rows on centred features before anything is labelled.
SCALE = 10.0


def guesses(
    rows: Float[Tensor, "classes dim"] | None,
    features: Float[Tensor, "files dim"],
    labelled: Sequence[int],
    targets: Int[Tensor, " items"],
    *,
    classes: int,
) -> Float[Tensor, "files classes"]:
    """Return the probability of each class for each file, from class names and the labels so far.

    Classes with a label are told apart by the fit of text rows and labelled files (`text_probe_head`); those without
    have what text gives them, weighed by what it is worth on the labelled files. Without labels text decides alone;
    without text and with less than two classes labelled all are alike.

    Args:
        rows: text rows; None of an encoder without text.
        labelled: positions of the labelled files; `targets` are their classes.
    """
    present, places = targets.unique(return_inverse=True)
    if rows is None:
        rows = torch.zeros(classes, features.shape[1])
    picked = features[list(labelled)]
    scale = SCALE
    if len(present) > 1:
        worth = text_worth(rows, picked, targets)
        scale = worth.weight * worth.scale
    center = features.mean(0) if len(present) < 2 else class_center(picked, targets)
    text = (scale * F.normalize(features - center, dim=-1) @ F.normalize(rows, dim=-1).T).softmax(-1)
    if len(present) < 2:
        return text
    head = text_probe_head(rows[present], picked, places, names=[str(int(place)) for place in present])
    found = text.clone()
    known = text[:, present].sum(1, keepdim=True)
    found[:, present] = head(features).detach().softmax(-1) * known
    return found


def doubt(probabilities: Float[Tensor, "files classes"]) -> Float[Tensor, " files"]:
    """Return how little the best class is ahead of the second, 0-1: 1 where both are as likely, or with no second."""
    if probabilities.shape[1] < 2:
        return torch.ones(len(probabilities))
    best = probabilities.topk(2, dim=-1).values
    return 1 - (best[:, 0] - best[:, -1])


class Coverage:
    """How much each file stands for the others: made once for some files, asked again after every label.

    Args:
        features: of all files.
        labelled: positions that need not stand for others where there are more than 5,000 files.
        groups: a scene or a person of each file; each file its own if None.
        seed: draws 5,000 files to stand for all where there are more.
    """

    def __init__(
        self,
        features: Float[Tensor, "files dim"],
        labelled: Sequence[int] = (),
        *,
        groups: Sequence[Hashable] | None = None,
        seed: int = 0,
    ):
        self._units = F.normalize(features - features.mean(0), dim=-1).float().numpy()
        self._groups = groups
        self.pool = np.arange(len(features))
        if len(features) > MOST:
            drawn = np.random.default_rng(seed).permutation(np.setdiff1d(self.pool, labelled))[:MOST]
            self.pool = np.sort(drawn)
        own = self._units[self.pool]
        near = own @ own.T
        self._copies = near > COPY
        self._width = 2 * WIDTH * max(2 - 2 * float(np.median(near)), 1e-9)
        self._near = self._nearness(near)
        self._place = {int(position): index for index, position in enumerate(self.pool)}

    def _nearness(self, cosines: Float[np.ndarray, "some files"]) -> Float[np.ndarray, "some files"]:
        """Return exp(-distance^2 / width), 1 of a file with itself."""
        return np.exp((2 * cosines - 2) / self._width)

    def next(
        self,
        probabilities: Float[Tensor, "files classes"],
        labelled: Sequence[int],
        count: int,
        *,
        without: Sequence[int] = (),
    ) -> list[int]:
        """Return the positions of up to `count` files, as `next_to_label` does, and none of those left out."""
        groups = self._groups
        taken = [self._place[position] for position in labelled if position in self._place]
        others = (
            self._units[[position for position in labelled if position not in self._place]] @ self._units[self.pool].T
        )
        covered = np.zeros(len(self.pool), dtype=self._near.dtype)
        copies = np.zeros(len(self.pool), dtype=bool)
        for near, copy in ((self._near[taken], self._copies[taken]), (self._nearness(others), others > COPY)):
            covered = np.maximum(covered, near.max(0, initial=0))
            copies |= copy.any(0)
        weight = doubt(probabilities[self.pool]).clamp(min=0).sqrt().numpy()
        used = Counter[Hashable](groups[position] for position in labelled) if groups else Counter[Hashable]()
        free = np.ones(len(self.pool), dtype=bool)
        free[[*taken, *(self._place[position] for position in without if position in self._place)]] = False
        found: list[int] = []
        while free.any() and len(found) < count:
            gain = np.maximum(self._near - covered, 0) @ weight
            left = np.flatnonzero(free).tolist()
            rank = [
                (used[groups[self.pool[index]]] if groups else 0, bool(copies[index]), -float(gain[index]), index)
                for index in left
            ]
            best = min(rank)[-1]
            found.append(int(self.pool[best]))
            free[best] = False
            if groups:
                used[groups[self.pool[best]]] += 1
            covered, copies = np.maximum(covered, self._near[best]), copies | self._copies[best]
        return found


def next_to_label(
    features: Float[Tensor, "files dim"],
    probabilities: Float[Tensor, "files classes"],
    labelled: Sequence[int],
    count: int,
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> list[int]:
    """Return the positions of the files to label next, first the one that would teach most.

    Each is the file that covers most doubt: over all files, the root of the doubt times how much nearer this file lies
    than any labelled or chosen one, by exp(-distance^2 / (2 x WIDTH x the median of it)). So a file stands for many.
    Near copies, and files of a group that has more labelled or chosen files than another, come last.

    Args:
        probabilities: of what is known so far, as `guesses` gives them.
        groups: a scene or a person of each file; each file its own if None.
        seed: draws 5,000 files to stand for all where there are more.

    Source: facility location (Wei, Iyer and Bilmes, ICML 2015), greedily.

    Raises:
        DataError: count below 1.
    """
    if count < 1:
        raise DataError(f"count must be at least 1, got {count}")
    return Coverage(features, labelled, groups=groups, seed=seed).next(probabilities, labelled, count)
