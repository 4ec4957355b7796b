"""What an encoder sees of a dataset: files that look alike, names that are read alike, classes with swapped names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from texthead.data.dataset import Item
from texthead.data.protocol import Protocol
from texthead.doctor import findings, swapped_names
from texthead.doctor.findings import Finding
from texthead.doctor.swapped_names import Swap
from texthead.encoders.encoder import Encoder
from texthead.encoders.mini import imagenet_texts
from texthead.errors import EncoderError
from texthead.features.reading import Reading
from texthead.features.views import item_features
from texthead.models.head_rows import text_rows
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.progress import Progress
from texthead.text import prompts
from texthead.text.class_names import clean_name

# Set on the names of ImageNet and on pairs of synonyms: LOG.md, 2026-11-25.
ROWS_ALIKE = 0.7

# Every fiftieth name of ImageNet: unlike things, whose mean row is the common part of all rows.
_REFERENCE_STEP = 50

OwnSentences = Mapping[str, tuple[str, ...] | None]

Rows = Float[np.ndarray, "items dim"]


def mean_features(
    encoder: Encoder, paths: Sequence[Path], protocol: Protocol, reading: Reading, progress: Progress | None = None
) -> dict[int, Float[np.ndarray, " dim"]]:
    """Return the mean feature of each file's frames, by its position; a file that cannot be read has none."""
    model = Recognizer(encoder.visual, MeanPool(), nn.Identity())
    entries = item_features(model, paths, protocol, reading, progress)
    return {place: entry[0].numpy() for place, entry in enumerate(entries) if isinstance(entry, Tensor)}


def prompts_of(given: OwnSentences, template: str | tuple[str, ...], *, clean: bool) -> list[str | tuple[str, ...]]:
    """What stands behind each class's text row; names that are cleaned away stay as they are."""
    names = [clean_name(label) or label if clean else label for label in given]
    return prompts.class_prompts(template, names, list(given.values()))


def too_long(encoder: Encoder, shown: Sequence[str | Sequence[str]]) -> dict[int, str]:
    """Why the text encoder refuses a class's prompts, by its place, where it does."""
    found: dict[int, str] = {}
    text = encoder.text
    for place, few in enumerate(shown):
        try:
            text.tokenize(prompts.flat([few]))
        except EncoderError as error:
            found[place] = str(error)
    return found


@torch.inference_mode()
def rows_of(encoder: Encoder, shown: Sequence[str | Sequence[str]]) -> Float[np.ndarray, "classes dim"]:
    """The text row of each class's prompts without what the rows of all names have in common, of length 1."""
    reference = text_rows(encoder, imagenet_texts()[0][::_REFERENCE_STEP])
    return F.normalize(text_rows(encoder, shown) - reference.mean(0), dim=-1).numpy()


def swapped(
    rows: Float[np.ndarray, "classes dim"], seen: Rows, targets: Sequence[int], items: Sequence[Item]
) -> list[Swap]:
    """The classes whose pictures fit each other's names better than their own.

    Args:
        rows: the text row of each class.
        seen: each item's mean feature.
        targets: each item's class.
    """
    places = np.asarray(targets)
    cosines = centred_cosines(rows, seen, places)
    groups = [item.together for item in items]
    return swapped_names.swaps(cosines, places, groups)


def centred_cosines(
    rows: Float[np.ndarray, "classes dim"], seen: Rows, targets: np.ndarray
) -> Float[np.ndarray, "items classes"]:
    """The cosine of each item's feature, without the mean of the classes' means, with each text row."""
    centre = np.mean([seen[targets == own].mean(0) for own in np.unique(targets)], axis=0)
    directions = seen - centre
    return directions / np.linalg.norm(directions, axis=1, keepdims=True).clip(1e-12) @ rows.T


def class_findings(
    encoder: Encoder,
    given: OwnSentences,
    shown: Sequence[str | Sequence[str]],
    items: Sequence[Item],
    seen: Sequence[Float[np.ndarray, " dim"]],
) -> list[Finding]:
    """Names that the encoder refuses, reads alike, or that look swapped, judged by the items' mean features."""
    refused = too_long(encoder, shown)
    labels = [label for place, label in enumerate(given) if place not in refused]
    found = [Finding("serious", "name too long", list(given)[place], problem) for place, problem in refused.items()]
    if not labels:
        return found
    rows = rows_of(encoder, [few for place, few in enumerate(shown) if place not in refused])
    found += findings.synonym_findings(labels, rows @ rows.T, above=ROWS_ALIKE)
    place_of = {label: place for place, label in enumerate(labels)}
    named = [place for place, item in enumerate(items) if item.label in place_of]
    if named:
        own, looks = [items[place] for place in named], np.stack([seen[place] for place in named])
        swaps = swapped(rows, looks, [place_of[item.label] for item in own], own)
        found += findings.swap_findings(labels, swaps)
    return found
