"""What a model is asked about each file: which of the classes it has."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.errors import DataError, listed

# The index of each item's class, or whether it has each class.
Targets = Int[Tensor, " items"] | Bool[Tensor, "items classes"]


@dataclass(frozen=True)
class Task:
    """The classes, and whether a file has any number of them, each a yes-or-no question; else it has exactly one."""

    names: Sequence[str]
    multilabel: bool = False

    def targets(self, sets: Sequence[tuple[str, ...]], source: str = "") -> Targets:
        """Return the targets of items.

        Args:
            sets: the labels of each item.
            source: of the items, for the error.

        Raises:
            DataError: a label is not among the classes.
        """
        number_of = {name: number for number, name in enumerate(self.names)}
        wrong = [own for own in sets if not (number_of.keys() >= {*own} and (own or self.multilabel))]
        if wrong:
            unknown = sorted({name for own in wrong for name in own} - number_of.keys())
            some = f"{len(wrong)} of {len(sets)} items have labels that are not among the {len(number_of)} classes"
            remedy = "make a new head for other class names (`classes`), rename the labels, or leave these items out"
            raise DataError(f"{source}: {some} ({listed(unknown)}); {remedy}")
        if not self.multilabel:
            return torch.tensor([number_of[name] for (name,) in sets], dtype=torch.long)
        hot = torch.zeros(len(sets), len(number_of), dtype=torch.bool)
        hot[[row for row, own in enumerate(sets) for _ in own], [number_of[name] for own in sets for name in own]] = (
            True
        )
        return hot

    def loss(self, scores: Float[Tensor, "items classes"], targets: Targets) -> Float[Tensor, ""]:
        """Return the summed loss of items: their cross-entropy, or the binary cross-entropies of all classes."""
        if self.multilabel:
            return F.binary_cross_entropy_with_logits(scores, targets.float(), reduction="sum")
        return F.cross_entropy(scores, targets, reduction="sum")
