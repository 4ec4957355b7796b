"""Answers with broader names: the most specific name of a tree whose probability reaches a level.

A name's probability is the sum of those of its classes. Names count from 0: first the classes, then the broader names.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.evaluation.classes import rate_among
from texthead.evaluation.intervals import Rate, rate_of
from texthead.text.class_names import NONE

# The positions of the classes below each broader name, as `ClassTree.broader` returns them.
Broader = Mapping[str, Sequence[int]]


def members(broader: Broader, classes: int) -> Bool[Tensor, "names classes"]:
    """Return which classes belong to each name; a class belongs to itself."""
    table = torch.zeros(classes + len(broader), classes, dtype=torch.bool)
    table[:classes].fill_diagonal_(True)
    for row, below in zip(table[classes:], broader.values(), strict=True):
        row[list(below)] = True
    return table


def name_probabilities(probabilities: Float[Tensor, "items classes"], broader: Broader) -> Float[Tensor, "items names"]:
    """Return the probability of each name, 0-1."""
    return probabilities.double() @ members(broader, probabilities.shape[1]).double().T


def answers(
    probabilities: Float[Tensor, "items classes"],
    broader: Broader,
    at_least: float,
    broader_at_least: float | None = None,
) -> Int[Tensor, " items"]:
    """Return the name that answers for each item: of those that reach `at_least` the most specific; -1 if none does.

    The most specific name has the fewest classes; of several with as many, it is the most probable. The names that
    reach a level above 0.5 are below each other. Example: dog 0.5 and cat 0.4 at 0.8 give their broader name animal.

    Args:
        broader_at_least: the level of broader names; None for that of classes.
    """
    classes = probabilities.shape[1]
    values, sizes = name_probabilities(probabilities, broader), members(broader, classes).sum(1)
    levels = torch.full((values.shape[1],), at_least if broader_at_least is None else broader_at_least).double()
    levels[:classes] = at_least
    # Probabilities differ by at most 1, sizes by at least 1.
    ranks = (values - 2 * sizes).masked_fill(values < levels, -torch.inf)
    best = ranks.max(1)
    return best.indices.masked_fill(best.values.isinf(), -1)


def best_wrong(
    probabilities: Float[Tensor, "items classes"], right: Bool[Tensor, "items names"], broader: Broader
) -> tuple[Float[Tensor, " items"], Float[Tensor, " items"]]:
    """Return the highest probability (of a class, of a broader name) that is not right for the item, 0 if all are.

    At a higher level no answer is wrong.
    """
    wrong, classes = name_probabilities(probabilities, broader).masked_fill(right, 0.0), probabilities.shape[1]
    # A column of zeros, since there may be no broader name.
    return wrong[:, :classes].amax(1), F.pad(wrong[:, classes:], (0, 1)).amax(1)


class AnswerRow(NamedTuple):
    """The answers of one kind.

    Attributes:
        answer: "class", "broader name", "2 steps broader" ..., "none of these", or all with a right answer.
        items: number of items with such an answer.
        fraction: percentage of all items, with its interval.
        correct: percentage of these answers that are the item's class or a name above it; None if there are none.
    """

    answer: str
    items: int
    fraction: Rate
    correct: Rate | None = None


class Answers(NamedTuple):
    """The answers to some items, by kind, and the rule that they follow."""

    rule: str
    rows: Sequence[AnswerRow]


def answer_rows(
    given: Int[Tensor, " items"],
    targets: Int[Tensor, " items"],
    broader: Broader,
    classes: int,
    groups: Sequence[Hashable] | None = None,
) -> list[AnswerRow]:
    """Return how many items are answered at each level of the tree, and how many of these answers are right."""
    table = members(broader, classes)
    right = table[given, targets.long()] & (given >= 0)
    steps = steps_up(table)
    most, own_steps = int(steps.max()), steps[given].where(given >= 0, -1)
    titles = ["class", "broader name", *(f"{step} steps broader" for step in range(2, most + 1))]
    kinds = [(titles[step], own_steps == step) for step in range(most + 1)]
    rows = []
    for name, chosen in (*kinds, ("any answer", given >= 0), (NONE, given < 0)):
        rate = rate_among(right.numpy(), chosen.numpy(), groups) if name != NONE else None
        rows.append(AnswerRow(name, int(chosen.sum()), rate_of(chosen.numpy(), groups), rate))
    rows.append(AnswerRow("correct answer", int(right.sum()), rate_of(right.numpy(), groups)))
    return rows


def steps_up(table: Bool[Tensor, "names classes"]) -> Int[Tensor, " names"]:
    """Return how many names, each below the next, are below each name: 0 for a class."""
    sizes, steps = table.sum(1), torch.zeros(len(table), dtype=torch.long)
    for index in sizes.argsort().tolist():
        below = ((table & ~table[index]).sum(1) == 0) & (sizes < sizes[index])
        steps[index] = steps[below].max() + 1 if below.any() else 0
    return steps
