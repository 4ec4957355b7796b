"""Find what is wrong with a dataset, with or without an encoder."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from jaxtyping import Float

from texthead.apps.doctor import encoder_findings, findings, near_duplicates, overview
from texthead.apps.doctor.encoder_findings import OwnSentences
from texthead.apps.doctor.facts import read_facts, thumbnail_of
from texthead.apps.doctor.findings import Finding, Severity, plural
from texthead.apps.doctor.page import Diagnosis
from texthead.apps.doctor.wrong_labels import LEAST_AGREEMENT, JudgedLabels, suspicious_labels
from texthead.data import Dataset
from texthead.encoders import load_encoder, zero_shot_note
from texthead.errors import NonNegativeInt, PositiveFloat, PositiveInt, RunError
from texthead.features import FrozenEncoder, Reading, Still
from texthead.parallel import Reporter, pick_device, run_tasks
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


def diagnose(
    dataset: Dataset,
    classes: OwnSentences | None = None,
    *,
    k: PositiveInt | None = None,
    frames: PositiveInt = 8,
    clean: bool = True,
    encoder_settings: EncoderSettings | None = EncoderSettings(),
    limit: PositiveFloat = 120.0,
    workers: NonNegativeInt = 1,
    pictures: bool = False,
    reporter: Reporter = Reporter(),
) -> Diagnosis:
    """Find what is wrong with a dataset, as `texthead doctor` does.

    Args:
        classes: class names, each with its sentences or None; the labels if None.
        k: training items that each class must have.
        frames: frames per clip.
        clean: whether to split labels like `push_up` into words.
        encoder_settings: None skips the checks that need an encoder.
        limit: seconds per file.
        workers: number of processes that decode files.
        pictures: whether to keep pictures of a few items for the page.
        reporter: gets progress and messages.
    """
    items, classes = dataset.items, dict.fromkeys(dataset.classes) if classes is None else classes
    sets = dataset.labelling.sets
    labelled = [replace(item, label=name) for item, names in zip(items, sets, strict=True) for name in names]
    # First, since it may be missing.
    frozen = _frozen(encoder_settings, dataset, frames, reporter) if encoder_settings else None
    stills: Sequence[tuple[str, Still] | None] = ()
    with suppress(RunError):  # A reader that crashes or hangs has ended a worker: `read_facts` names its file.
        stills = frozen.stills([item.path for item in items]) if frozen else stills
    facts = read_facts(dataset, workers=workers, seconds=limit, stills=stills, reporter=reporter)
    if pictures:
        shown = [i for each in overview.example_positions(sets, facts).values() for i in each]
        paths = [items[i].path for i in shown]
        for task, picture in run_tasks(thumbnail_of, paths, workers=workers, seconds=limit):
            if isinstance(picture, bytes):
                facts[shown[task]] = replace(facts[shown[task]], thumbnail=picture)
    result = [
        *findings.file_findings(facts, frames=frames),
        *findings.copies(items, facts),
        *findings.overlaps(items),
        *findings.group_leaks(items),
        *([] if dataset.several else findings.folder_findings(items)),
        *findings.count_findings(labelled, k=k),
        *findings.name_findings(list(classes), clean=clean),
        *findings.unknown_labels(dataset.classes, list(classes)),
    ]
    features: dict[int, np.ndarray] = {}
    notes: list[str] = []
    likely = list(items)
    if encoder_settings is None or frozen is None:
        notes.append("labels are not judged: that needs an encoder")
    else:
        encoder, readable = frozen.encoder, [index for index, fact in enumerate(facts) if fact.fault is None]
        encoded = frozen.files([items[index].path for index in readable])
        features = dict(zip([readable[i] for i in encoded.positions], encoded.features.numpy(), strict=True))
        if encoder.has_text:
            prompts = encoder_findings.prompts_of(classes, encoder_settings.template, clean=clean)
            own_items = [items[index] for index in features]
            result += encoder_findings.class_findings(encoder, classes, prompts, own_items, list(features.values()))
            notes += filter(None, [zero_shot_note(encoder.source, list(classes))])
        else:
            notes.append(f"{encoder.source} has no text encoder; class names are not checked against the files")
        seen = list(features)
        some = dataset.pick(seen)
        if dataset.several:
            judged = JudgedLabels(unjudged="labels are not judged: that is for files with one label each")
        else:
            judged = suspicious_labels(encoded.features, some.labelling.targets(dataset.classes), some.groups)
        first = _first_to_check(judged, seen, dataset, findings.questioned(result))
        notes += filter(None, [judged.unjudged, first])
        result += findings.label_findings(items, seen, dataset.classes, judged.listed, beside=result)
        for label in judged.listed:
            likely[seen[label.item]] = replace(items[seen[label.item]], label=dataset.classes[label.better])
    # With the likely labels, so that a copy whose label is questioned above is not reported for its two labels too.
    result += findings.near_copies(likely, facts, near_duplicates.alike(facts, features))
    result.sort(key=lambda each: (get_args(Severity).index(each.severity), each.fault))
    counts, left_out = overview.overview_of(items, facts, sets), findings.left_out(items, result)
    source = None if encoder_settings is None else encoder_settings.encoder
    return Diagnosis(dataset, facts, counts, result, left_out, source, tuple(notes))


def findings_about_files(
    dataset: Dataset,
    features: Float[np.ndarray, "items dim"],
    *,
    stills: Sequence[tuple[str, Still] | None] = (),
    seconds: float,
) -> list[Finding]:
    """Return warnings about single files, and serious findings about copies.

    Args:
        features: of the items.
        stills: as for `read_facts`.
        seconds: time limit per file.
    """
    items, facts = dataset.items, read_facts(dataset, workers=1, seconds=seconds, stills=stills)
    pairs = near_duplicates.alike(facts, dict(enumerate(features)))
    copied = [*findings.copies(items, facts), *findings.near_copies(items, facts, pairs)]
    single = [each for each in findings.file_findings(facts, frames=1) if each.severity != "note"]
    return [*single, *(each for each in copied if each.severity == "serious")]


def _frozen(settings: EncoderSettings, dataset: Dataset, frames: int, reporter: Reporter) -> FrozenEncoder:
    """Return the encoder as it is applied to the items; other processes decode, since a reader may crash."""
    encoder = load_encoder(settings.encoder, keep_text=True)
    encoder.visual.to(pick_device(settings.device)).eval()
    spec = encoder.visual.spec
    protocol = spec.protocol(frames=1 if dataset.only_images else min(frames, _ENCODED_FRAMES))
    protocol = replace(protocol, pixels=spec.pixels(small(size=settings.size)))
    reading = replace(settings.reading, skip_unreadable=True, workers=max(1, settings.reading.workers))
    return FrozenEncoder(encoder, protocol, reading, reporter)


def _first_to_check(judged: JudgedLabels, seen: Sequence[int], dataset: Dataset, known: set[int]) -> str:
    """Return a note on the most suspicious label if none is listed, since single wrong ones are hard to tell.

    Args:
        seen: position among the items of each judged one.
        known: positions of items whose label a finding already questions, as that of a copy with another label.
    """
    others = [label for label in judged.ranked if seen[label.item] not in known]
    doubtful = [label for label in others if int(label.fits.argmax()) == label.better]
    label = "other label" if known else "label"
    if judged.listed or not judged.ranked or judged.agreement < LEAST_AGREEMENT:
        return ""
    if not doubtful:
        return f"no {label} looks wrong: each item fits its own class best"
    first = doubtful[0]
    return (
        f"no {label} is wrong beyond doubt; of {plural(len(doubtful), 'item')} that fit another class better, check "
        f"{dataset.items[seen[first.item]].path} first (fits {dataset.classes[first.better]})"
    )
