"""Choose the files to label next: representative of many others, and uncertain so far."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.transfer import class_center, multilabel_head, text_evidence, text_probe_head

# Width of the similarity, relative to the median squared distance. docs/decisions.md, 2026-11-27, has the alternatives.
KERNEL_WIDTH = 0.2

# Files whose centered features have a higher cosine are near copies, of which one is enough.
COPY = 0.97

# Larger sets are sampled down to this size, since the similarities of more files would not fit into memory.
MAX_FILES = 5000

# Logit scale of text rows on centered features before there are labels.
SCALE = 10.0


def class_probabilities(
    rows: Float[Tensor, "classes dim"] | None,
    features: Float[Tensor, "files dim"],
    labelled: Sequence[int],
    targets: Int[Tensor, " items"] | Bool[Tensor, "items classes"],
    *,
    classes: int,
) -> Float[Tensor, "files classes"]:
    """Return the probability of each class for each file, from class names and the labels so far.

    For multi-label data, each class is a binary label, which `multilabel_head` predicts; before the first
    label, the probabilities are zero-shot ones.

    Among classes with labels, `text_probe_head` decides; classes without labels get their zero-shot probability, with
    text weighted by `text_evidence`. With fewer than two labelled classes, zero-shot decides alone, and without text
    the probabilities are uniform. Labels are chosen actively, so classes count as equally frequent, whatever their
    numbers of labels.

    Args:
        rows: text rows; None for an encoder without text.
        labelled: positions of the labelled files; `targets` are their classes.
    """
    if targets.ndim == 2 and len(targets) and classes:
        picked, names = features[list(labelled)], [str(index) for index in range(classes)]
        return multilabel_head(rows, picked, targets, names=names)(features).detach().sigmoid()
    present, numbers = targets.unique(return_inverse=True)
    if rows is None:
        rows = torch.zeros(classes, features.shape[1])
    picked = features[list(labelled)]
    scale = SCALE
    if len(present) > 1:
        evidence = text_evidence(rows, picked, targets)
        scale = evidence.weight * evidence.scale
    center = features.mean(0) if len(present) < 2 else class_center(picked, targets)
    # Names that the text encoder does not know have short rows.
    text = scale * F.normalize(features - center, dim=-1) @ (rows / rows.norm(dim=-1, keepdim=True).clamp(min=1)).T
    text = text.softmax(-1)
    if len(present) < 2:
        return text
    head = text_probe_head(rows[present], picked, numbers, names=[str(int(index)) for index in present])
    probabilities = text.clone()
    labelled_mass = text[:, present].sum(1, keepdim=True)
    probabilities[:, present] = head(features).detach().softmax(-1) * labelled_mass
    return probabilities


def margin_uncertainty(
    probabilities: Float[Tensor, "files classes"], *, multilabel: bool = False
) -> Float[Tensor, " files"]:
    """Return 1 minus the margin between the two best classes (0-1); 1 if there is only one class.

    Args:
        multilabel: take the margin between yes and no instead, of the least certain class.
    """
    if multilabel and probabilities.shape[1]:
        return 1 - (2 * probabilities - 1).abs().amin(-1)
    if probabilities.shape[1] < 2:
        return torch.ones(len(probabilities))
    best = probabilities.topk(2, dim=-1).values
    return 1 - (best[:, 0] - best[:, -1])


class Similarities:
    """Similarities between files, computed once and used again after every label.

    Args:
        features: features of all files.
        labelled: positions to leave out of the sample if there are more than 5,000 files.
        groups: the group of each file (a scene, a person); None if each file is its own.
        multilabel: whether a file may have several labels, each with a probability of its own.
        seed: random seed of the sample of 5,000 files, if there are more.
    """

    def __init__(
        self,
        features: Float[Tensor, "files dim"],
        labelled: Sequence[int] = (),
        *,
        groups: Sequence[Hashable] | None = None,
        multilabel: bool = False,
        seed: int = 0,
    ):
        self._multilabel = multilabel
        self._units = F.normalize(features - features.mean(0), dim=-1).float().numpy()
        self._groups = groups
        self.pool = np.arange(len(features))
        if len(features) > MAX_FILES:
            drawn = np.random.default_rng(seed).permutation(np.setdiff1d(self.pool, labelled))[:MAX_FILES]
            self.pool = np.sort(drawn)
        pooled = self._units[self.pool]
        near = pooled @ pooled.T
        self._copies = near > COPY
        self._width = 2 * KERNEL_WIDTH * max(2 - 2 * float(np.median(near)), 1e-9)
        self._near = self._nearness(near)
        self._index_of = {int(position): index for index, position in enumerate(self.pool)}

    def _nearness(self, cosines: Float[np.ndarray, "some files"]) -> Float[np.ndarray, "some files"]:
        """Return exp(-distance^2 / width); 1 for a file and itself."""
        return np.exp((2 * cosines - 2) / self._width)

    def suggest(
        self,
        probabilities: Float[Tensor, "files classes"],
        labelled: Sequence[int],
        count: int,
        *,
        without: Sequence[int] = (),
    ) -> list[int]:
        """Return the positions of up to `count` files to label next, most informative first, except those in `without`.

        Each choice maximises, summed over all files, the root of their uncertainty times the increase of their
        similarity to the nearest labelled or chosen file; the similarity is exp(-distance^2 / (2 x KERNEL_WIDTH x
        median distance^2)). So the chosen files represent many others. Near copies, and files of groups that already
        have more labelled or chosen files than others, come last.

        Args:
            probabilities: current class probabilities, as from `class_probabilities`.

        Source: facility location (Wei, Iyer and Bilmes, ICML 2015), greedy.
        """
        groups = self._groups
        taken = [self._index_of[position] for position in labelled if position in self._index_of]
        others = (
            self._units[[position for position in labelled if position not in self._index_of]]
            @ self._units[self.pool].T
        )
        covered = np.zeros(len(self.pool), dtype=self._near.dtype)
        copies = np.zeros(len(self.pool), dtype=bool)
        for near, copy in ((self._near[taken], self._copies[taken]), (self._nearness(others), others > COPY)):
            covered = np.maximum(covered, near.max(0, initial=0))
            copies |= copy.any(0)
        weight = margin_uncertainty(probabilities[self.pool], multilabel=self._multilabel).clamp(min=0).sqrt().numpy()
        used = Counter[Hashable](groups[position] for position in labelled) if groups else Counter[Hashable]()
        free = np.ones(len(self.pool), dtype=bool)
        free[[*taken, *(self._index_of[position] for position in without if position in self._index_of)]] = False
        chosen: list[int] = []
        while free.any() and len(chosen) < count:
            gain = np.maximum(self._near - covered, 0) @ weight
            left = np.flatnonzero(free).tolist()
            rank = [
                (used[groups[self.pool[index]]] if groups else 0, bool(copies[index]), -float(gain[index]), index)
                for index in left
            ]
            best = min(rank)[-1]
            chosen.append(int(self.pool[best]))
            free[best] = False
            if groups:
                used[groups[self.pool[best]]] += 1
            covered, copies = np.maximum(covered, self._near[best]), copies | self._copies[best]
        return chosen
