"""Run all checks of a dataset, with or without an encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from texthead.apps.doctor import encoder_findings, findings, near_duplicates
from texthead.apps.doctor.encoder_findings import OwnSentences
from texthead.apps.doctor.facts import Facts
from texthead.apps.doctor.findings import Finding, Severity
from texthead.data import Dataset
from texthead.encoders import load_encoder, zero_shot_note
from texthead.features import FrozenEncoder, Reading
from texthead.parallel import Bar, no_bar, pick_device
from texthead.recipes import small

# Frames of a video that are encoded; with 8, the same swaps are found.
_ENCODED_FRAMES = 4


@dataclass(frozen=True)
class EncoderSettings:
    """The encoder and how it is applied.

    Args:
        encoder: source, as for `load_encoder`.
        size: side of the crop in pixels; None for the encoder's own.
        template: one or more prompt templates.
        device: auto, cpu, cuda or cuda:N.
        reading: how files are read; unreadable ones are left out.
    """

    encoder: str = "mini"
    size: int | None = None
    template: str | tuple[str, ...] = "{}"
    device: str = "auto"
    reading: Reading = Reading(engine="auto", cache=True)


def examine(
    dataset: Dataset,
    facts: Sequence[Facts],
    classes: OwnSentences,
    *,
    k: int | None = None,
    frames: int = 8,
    clean: bool = True,
    encoder_settings: EncoderSettings | None = None,
    bar: Bar = no_bar,
) -> tuple[list[Finding], list[str]]:
    """Return (findings, serious ones first; notes).

    Args:
        dataset: the items.
        facts: of each item's file.
        classes: class names, each with its sentences or None.
        k: training items that each class must have.
        frames: frames per clip.
        clean: whether to split labels like `push_up` into words.
        encoder_settings: None skips the checks that need an encoder.
        bar: progress bar.
    """
    items, names = dataset.items, list(classes)
    result = [
        *findings.file_findings(facts, frames=frames),
        *findings.copies(items, facts),
        *findings.overlaps(items),
        *findings.group_leaks(items),
        *findings.folder_findings(items),
        *findings.count_findings(items, k=k),
        *findings.name_findings(names, clean=clean),
        *findings.unknown_labels(dataset.classes, names),
    ]
    features: dict[int, np.ndarray] = {}
    notes: list[str] = []
    if encoder_settings is not None:
        encoder = load_encoder(encoder_settings.encoder, keep_text=True)
        encoder.visual.to(pick_device(encoder_settings.device)).eval()
        readable = [index for index, fact in enumerate(facts) if fact.fault is None]
        spec = encoder.visual.spec
        protocol = spec.protocol(frames=1 if dataset.only_images else min(frames, _ENCODED_FRAMES))
        protocol = replace(protocol, pixels=spec.pixels(small(size=encoder_settings.size)))
        reading = replace(encoder_settings.reading, skip_unreadable=True)
        encoded = FrozenEncoder(encoder, protocol, reading, bar).files([items[index].path for index in readable])
        features = dict(zip([readable[i] for i in encoded.positions], encoded.features.numpy(), strict=True))
        if encoder.has_text:
            prompts = encoder_findings.prompts_of(classes, encoder_settings.template, clean=clean)
            own_items = [items[index] for index in features]
            result += encoder_findings.class_findings(encoder, classes, prompts, own_items, list(features.values()))
            notes += filter(None, [zero_shot_note(encoder.source, list(classes))])
        else:
            notes.append(f"note: {encoder.source} has no text encoder; class names are not checked against the files")
    result += findings.near_copies(items, facts, near_duplicates.alike(facts, features))
    return sorted(result, key=lambda each: (get_args(Severity).index(each.severity), each.fault)), notes
