"""Findings that need an encoder: features of files, near-synonymous class names, swapped names."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

from texthead import Encoder, Item
from texthead.apps.doctor.findings import Finding
from texthead.evaluation import standard_error
from texthead.text import imagenet_texts

# Chosen on ImageNet names and pairs of synonyms: docs/decisions.md, 2026-11-25.
ROWS_ALIKE = 0.7

# Every fiftieth ImageNet name: the mean row of such different things is what all rows have in common.
_REFERENCE_STEP = 50

# A swap is reported if its gain in mean cosine exceeds SWAP_MARGIN, SWAP_GROWTH x log(number of pairs), and ERRORS
# standard errors: among more pairs of right names the largest gain is larger. docs/decisions.md, 2026-12-03.
SWAP_MARGIN, SWAP_GROWTH = 0.05, 0.028

ERRORS = 3.0

OwnSentences = Mapping[str, tuple[str, ...] | None]

Rows = Float[np.ndarray, "items dim"]


@torch.inference_mode()
def rows_of(encoder: Encoder, class_prompts: Sequence[str | Sequence[str]]) -> Float[np.ndarray, "classes dim"]:
    """Return each class's text row minus the mean row of unrelated names, normalised to length 1."""
    reference = encoder.text_rows(imagenet_texts()[0][::_REFERENCE_STEP])
    return F.normalize(encoder.text_rows(class_prompts) - reference.mean(0), dim=-1).numpy()


# ---- swapped names


class Swap(NamedTuple):
    """Two classes, by index, whose items are closer to the other's text row than to their own.

    `gain` is the difference of mean cosines, summed over both classes; `error` is its standard error over groups.
    """

    first: int
    second: int
    gain: float
    error: float


def swaps(
    cosines: Float[np.ndarray, "items classes"], targets: Int[np.ndarray, " items"], groups: Sequence[str]
) -> list[Swap]:
    """Return the swaps whose gain is too large for chance, largest gain first.

    The gain is in mean cosine, from swapping two class names, summed over both classes. Constants added to all cosines
    of a class's items, or of a name, cancel. A class is in at most one swap.

    Args:
        cosines: of each item's centered feature with each class's text row.
        targets: class of each item.
        groups: group of each item, such as a scene.
    """
    members, taken, result = np.asarray(groups), set[int](), list[Swap]()
    means = np.full((cosines.shape[1],) * 2, np.nan)
    for target in np.unique(targets):
        means[target] = cosines[targets == target].mean(0)
    straight = np.diag(means)
    gains = np.nan_to_num(means + means.T - straight[:, None] - straight[None, :], nan=-np.inf)
    margin = max(SWAP_MARGIN, SWAP_GROWTH * math.log(max(1, math.comb(len(gains), 2))))
    pairs = np.argwhere(np.triu(gains > margin, k=1)).tolist()
    for first, second in sorted(pairs, key=lambda pair: -gains[pair[0], pair[1]]):
        errors = []  # The errors of the two classes are independent.
        for own, other in ((first, second), (second, first)):
            items = np.flatnonzero(targets == own)
            errors.append(standard_error(cosines[items, other] - cosines[items, own], members[items].tolist()))
        gain, error = float(gains[first, second]), math.hypot(*errors)
        if gain > ERRORS * error and taken.isdisjoint((first, second)):
            result.append(Swap(first, second, gain, error))
            taken |= {first, second}
    return result


def centered_cosines(
    rows: Float[np.ndarray, "classes dim"], seen: Rows, targets: np.ndarray
) -> Float[np.ndarray, "items classes"]:
    """Return the cosine of each item's feature, centered on the mean of the class means, with each text row.

    Args:
        rows: text row of each class.
        seen: mean feature of each item.
        targets: class of each item.
    """
    center = np.mean([seen[targets == target].mean(0) for target in np.unique(targets)], axis=0)
    directions = seen - center
    return directions / np.linalg.norm(directions, axis=1, keepdims=True).clip(1e-12) @ rows.T


# ---- findings


def class_findings(
    encoder: Encoder,
    sentences: OwnSentences,
    class_prompts: Sequence[str | Sequence[str]],
    items: Sequence[Item],
    seen: Sequence[Float[np.ndarray, " dim"]],
) -> Iterator[Finding]:
    """Yield class names that are near-synonymous or swapped.

    Args:
        seen: mean feature of each item.
    """
    labels, rows = list(sentences), rows_of(encoder, class_prompts)
    alike = rows @ rows.T
    pairs = [(float(alike[i, j]), i, j) for i in range(len(labels)) for j in range(i) if alike[i, j] > ROWS_ALIKE]
    for cosine, i, j in sorted(pairs, reverse=True):
        detail = (
            f"reads like {labels[i]} (cosine of text rows {cosine:.2f}) and may be confused with it; "
            "describe both in sentences (`classes`, a .json file), or merge them if they mean the same"
        )
        yield Finding("warning", "near-synonyms", labels[j], detail)
    index_of = {label: index for index, label in enumerate(labels)}
    judged = [index for index, item in enumerate(items) if item.label in index_of]
    if not judged:
        return
    targets = np.array([index_of[items[index].label] for index in judged])
    cosines = centered_cosines(rows, np.stack(seen)[judged], targets)
    for swap in swaps(cosines, targets, [items[index].group_key for index in judged]):
        detail = (
            f"with {labels[swap.second]}: items of both classes fit the other's name better "
            f"(by {swap.gain:.2f} in cosine, standard error {swap.error:.2f}); check some labels"
        )
        yield Finding("serious", "names look swapped", labels[swap.first], detail)
