"""Find what is wrong with a dataset, with or without an encoder."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import get_args

import numpy as np

from texthead import Dataset, Encoder, EncoderOptions, FrozenEncoder, Item, Reading, Reporter
from texthead.apps.doctor import encoder_findings, findings, near_duplicates, overview
from texthead.apps.doctor.encoder_findings import OwnSentences
from texthead.apps.doctor.file_stats import FileStats, read_file_stats
from texthead.apps.doctor.findings import Finding, Severity
from texthead.apps.doctor.page import Diagnosis
from texthead.apps.doctor.wrong_labels import MIN_AGREEMENT, JudgedLabels, suspicious_labels
from texthead.data import divide
from texthead.encoders import zero_shot_note
from texthead.errors import DataError, RunError, plural
from texthead.features import ImageStats
from texthead.recipes import small

# Frames of a video that are encoded; with 8, the same swaps are found.
_ENCODED_FRAMES = 4

# Clips to train on: 8 frames at the encoder's own size.
_RECIPE = small(size=None)


def diagnose(
    dataset: Dataset,
    classes: OwnSentences | None = None,
    encoder: str | Encoder | EncoderOptions = "mini",
    *,
    quick: bool = False,
    reading: Reading = Reading(workers=1, cache=True, engine="auto"),
    reporter: Reporter = Reporter(),
) -> Diagnosis:
    """Find what is wrong with a dataset, as `texthead doctor` does.

    Args:
        classes: class names, each with its sentences or None; the labels if None.
        encoder: an encoder, its name, or options that also say its template and device.
        quick: whether to skip the checks that need an encoder.
        reading: how files are read; unreadable ones are findings. At least one other process decodes.
        reporter: gets progress and messages.
    """
    items, classes = dataset.items, dict.fromkeys(dataset.classes) if classes is None else classes
    labelled = [replace(item, labels=(name,)) for item in items for name in item.labels]
    options = EncoderOptions.of(encoder)
    reading = replace(reading, workers=max(1, reading.workers))
    prompts = encoder_findings.prompts_of(classes, options.template or "{}", clean=options.clean)
    # First, since it may be missing.
    frozen = None if quick else _frozen(options.load(prompts, lazy=False), dataset, reading, reporter)
    image_stats: Sequence[tuple[str, ImageStats] | None] = ()
    with suppress(RunError):  # A reader that crashes or hangs has ended a worker: `read_file_stats` names its file.
        image_stats = frozen.image_stats([item.path for item in items]) if frozen else image_stats
    facts = read_file_stats(dataset, workers=reading.workers, image_stats=image_stats, reporter=reporter)
    result = [
        *findings.file_findings(facts, frames=_RECIPE.frames),
        *findings.copies(items, facts),
        *findings.overlaps(items),
        *findings.group_leaks(items),
        *([] if dataset.multilabel else findings.folder_findings(items)),
        *findings.count_findings(labelled, dataset.empty),
        *findings.name_findings(list(classes), clean=options.clean),
        *findings.unknown_labels(dataset.classes, list(classes)),
    ]
    features: dict[int, np.ndarray] = {}
    notes: list[str] = []
    likely, source = list(items), None
    if frozen is None:
        notes.append("labels are not judged: that needs an encoder")
    else:
        encoder, source = frozen.encoder, frozen.encoder.source
        sound = [position for position, fact in enumerate(facts) if fact.fault is None]
        encoded = frozen.files([items[position].path for position in sound])
        seen = replace(encoded, positions=[sound[position] for position in encoded.positions])
        features = dict(zip(seen.positions, seen.features.numpy(), strict=True))
        if encoder.has_text:
            own = [items[position] for position in seen.positions]
            result += encoder_findings.class_findings(encoder, classes, prompts, own, list(features.values()))
            notes += filter(None, [zero_shot_note(encoder.source, list(classes))])
        else:
            notes.append(f"{encoder.source} has no text encoder; class names are not checked against the files")
        some = dataset.pick(seen.positions)
        if dataset.multilabel:
            judged = JudgedLabels(unjudged="labels are not judged: that is for files with one label each")
        else:
            judged = suspicious_labels(seen.features, some.targets(dataset.classes), some.groups)
        first = _first_to_check(judged, seen.positions, dataset, findings.questioned(result))
        notes += filter(None, [judged.unjudged, first])
        result += findings.label_findings(items, seen.positions, dataset.classes, judged.listed, beside=result)
        for label in judged.listed:
            position = seen.positions[label.item]
            likely[position] = replace(items[position], labels=(dataset.classes[label.better],))
    # With the likely labels, so that a copy whose label is questioned above is not reported for its two labels too.
    result += findings.near_copies(likely, facts, near_duplicates.alike(facts, features))
    left_out, counts = findings.left_out(items, result), overview.overview_of(items, facts)
    if len(left_out) < len(items) and not {"empty class folder", "no training item"} & {each.fault for each in result}:
        result += _refused(dataset.pick([position for position in range(len(items)) if position not in left_out]))
    result.sort(key=lambda each: (get_args(Severity).index(each.severity), each.fault))
    return Diagnosis(dataset, facts, counts, result, left_out, source, tuple(notes))


def findings_about_files(items: Sequence[Item], facts: Sequence[FileStats]) -> list[Finding]:
    """Return warnings about single files, and serious findings about exact copies, from the facts of the items."""
    single = [each for each in findings.file_findings(facts, frames=1) if each.severity != "note"]
    return [*single, *(each for each in findings.copies(items, facts) if each.severity == "serious")]


def _refused(dataset: Dataset) -> list[Finding]:
    """Return a finding if `train` would refuse a dataset."""
    try:
        divide(dataset, seed=0, held_out=None, k=None)
    except DataError as error:
        return [
            Finding("serious", "cannot be trained on", dataset.source, str(error).removeprefix(f"{dataset.source}: "))
        ]
    return []


def _frozen(encoder: Encoder, dataset: Dataset, reading: Reading, reporter: Reporter) -> FrozenEncoder:
    """Return the encoder as it is applied to the items; other processes decode, since a reader may crash."""
    encoder.keep_text = True
    encoder.visual.eval()
    spec = encoder.visual.spec
    protocol = spec.protocol(frames=1 if dataset.only_images else _ENCODED_FRAMES)
    protocol = replace(protocol, pixels=spec.pixels(_RECIPE))
    return FrozenEncoder(encoder, protocol, replace(reading, skip_unreadable=True), reporter)


def _first_to_check(judged: JudgedLabels, positions: Sequence[int], dataset: Dataset, known: set[int]) -> str:
    """Return a note on the most suspicious label if none is listed, since single wrong ones are hard to tell.

    Args:
        positions: of the items that were judged.
        known: positions of items whose label a finding already questions, as that of a copy with another label.
    """
    others = [label for label in judged.ranked if positions[label.item] not in known]
    doubtful = [label for label in others if int(label.fits.argmax()) == label.better]
    label = "other label" if known else "label"
    if judged.listed or not judged.ranked or judged.agreement < MIN_AGREEMENT:
        return ""
    if not doubtful:
        return f"no {label} looks wrong: each item fits its own class best"
    first = doubtful[0]
    return (
        f"no {label} is wrong beyond doubt; of {plural(len(doubtful), 'item')} that fit another class better, check "
        f"{dataset.items[positions[first.item]].path} first (fits {dataset.classes[first.better]})"
    )
