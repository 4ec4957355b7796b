"""Findings that need an encoder: features of files, near-synonymous class names, swapped names."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from texthead.apps.doctor import findings, swapped_names
from texthead.apps.doctor.findings import Finding
from texthead.apps.doctor.swapped_names import Swap
from texthead.data import Item
from texthead.encoders import Encoder, imagenet_texts
from texthead.errors import EncoderError
from texthead.models import text_rows
from texthead.text import clean_name, prompts

# Chosen on ImageNet names and pairs of synonyms: LOG.md, 2026-11-25.
ROWS_ALIKE = 0.7

# Every fiftieth ImageNet name: the mean row of such different things is what all rows have in common.
_REFERENCE_STEP = 50

OwnSentences = Mapping[str, tuple[str, ...] | None]

Rows = Float[np.ndarray, "items dim"]


def prompts_of(sentences: OwnSentences, template: str | tuple[str, ...], *, clean: bool) -> list[str | tuple[str, ...]]:
    """Return the prompts of each class; a label that cleaning would leave empty is used unchanged."""
    names = [clean_name(label) or label if clean else label for label in sentences]
    return prompts.class_prompts(template, names, list(sentences.values()))


def too_long(encoder: Encoder, class_prompts: Sequence[str | Sequence[str]]) -> dict[int, str]:
    """Return the text encoder's errors for prompts that are too long, by class position."""
    errors: dict[int, str] = {}
    text = encoder.text
    for index, strings in enumerate(class_prompts):
        try:
            text.tokenize(prompts.flat([strings]))
        except EncoderError as error:
            errors[index] = str(error)
    return errors


@torch.inference_mode()
def rows_of(encoder: Encoder, class_prompts: Sequence[str | Sequence[str]]) -> Float[np.ndarray, "classes dim"]:
    """Return each class's text row minus the mean row of unrelated names, normalised to length 1."""
    reference = text_rows(encoder, imagenet_texts()[0][::_REFERENCE_STEP])
    return F.normalize(text_rows(encoder, class_prompts) - reference.mean(0), dim=-1).numpy()


def swapped(
    rows: Float[np.ndarray, "classes dim"], seen: Rows, targets: Sequence[int], items: Sequence[Item]
) -> list[Swap]:
    """Return pairs of classes whose items fit each other's names better than their own.

    Args:
        rows: text row of each class.
        seen: mean feature of each item.
        targets: class of each item.
    """
    labels = np.asarray(targets)
    cosines = centred_cosines(rows, seen, labels)
    groups = [item.together for item in items]
    return swapped_names.swaps(cosines, labels, groups)


def centred_cosines(
    rows: Float[np.ndarray, "classes dim"], seen: Rows, targets: np.ndarray
) -> Float[np.ndarray, "items classes"]:
    """Return the cosine of each item's feature, centred on the mean of the class means, with each text row."""
    centre = np.mean([seen[targets == target].mean(0) for target in np.unique(targets)], axis=0)
    directions = seen - centre
    return directions / np.linalg.norm(directions, axis=1, keepdims=True).clip(1e-12) @ rows.T


def class_findings(
    encoder: Encoder,
    sentences: OwnSentences,
    class_prompts: Sequence[str | Sequence[str]],
    items: Sequence[Item],
    seen: Sequence[Float[np.ndarray, " dim"]],
) -> list[Finding]:
    """Find class names that are too long, near-synonymous or swapped.

    Args:
        seen: mean feature of each item.
    """
    errors = too_long(encoder, class_prompts)
    labels = [label for index, label in enumerate(sentences) if index not in errors]
    result = [Finding("serious", "name too long", list(sentences)[index], problem) for index, problem in errors.items()]
    if not labels:
        return result
    rows = rows_of(encoder, [strings for index, strings in enumerate(class_prompts) if index not in errors])
    result += findings.synonym_findings(labels, rows @ rows.T, above=ROWS_ALIKE)
    index_of = {label: index for index, label in enumerate(labels)}
    labelled = [index for index, item in enumerate(items) if item.label in index_of]
    if labelled:
        labelled_items, features = [items[index] for index in labelled], np.stack([seen[index] for index in labelled])
        swaps = swapped(rows, features, [index_of[item.label] for item in labelled_items], labelled_items)
        result += findings.swap_findings(labels, swaps)
    return result
