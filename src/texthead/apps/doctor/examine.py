"""Find what is wrong with a dataset, with or without an encoder, and write it as JSON, as an HTML page or as a list."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import get_args

import numpy as np

from texthead import Dataset, Encoder, EncoderOptions, FrozenEncoder, ReadOptions, Reporter
from texthead.apps.doctor import encoder_findings, findings, near_duplicates
from texthead.apps.doctor.encoder_findings import OwnSentences
from texthead.apps.doctor.file_stats import read_file_stats
from texthead.apps.doctor.findings import Finding, Severity
from texthead.apps.doctor.wrong_labels import JudgedLabels, suspicious_labels
from texthead.data import divide
from texthead.encoders import zero_shot_note
from texthead.errors import DataError, listed, plural
from texthead.files import write_json, write_records
from texthead.media import MediaPath
from texthead.recipes import small
from texthead.report import render, write_html
from texthead.text import class_prompts, clean_name

# Frames of a video that are encoded; with 8, the same swaps are found.
_ENCODED_FRAMES = 4

# Clips to train on: 8 frames at the encoder's own size.
_RECIPE = small(size=None)

# Examples of a fault on the terminal; rows of a table on the page, so that browsers can cope.
EXAMPLES, _ROWS = 3, 1000


@dataclass(frozen=True)
class Diagnosis:
    """The content and the problems of a dataset.

    Attributes:
        findings: worst first, then by fault.
        left_out: the reason why a cleaned list omits an item, by position.
        encoder: the encoder of the findings; None if no finding needed one.
        lines: notes on what was not checked.
    """

    dataset: Dataset
    findings: Sequence[Finding]
    left_out: dict[int, str]
    encoder: str | None = None
    lines: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Diagnosis({self.dataset.source!r}: {self.headline()})"

    def headline(self) -> str:
        """Return one line with the numbers of items, classes, and findings of each severity."""
        items, classes = plural(len(self.dataset), "item"), len(self.dataset.classes)
        serious, warnings = (sum(f.severity == kind for f in self.findings) for kind in get_args(Severity))
        findings = f"{serious:,} serious, {plural(warnings, 'warning')}" if self.findings else "no faults"
        return f"{items} of {classes:,} class{'es' * (classes != 1)}: {findings}"

    def summary(self) -> list[str]:
        """Return the result in a few lines: counts, each fault with examples, and notes on what was not checked."""
        lines = [self.headline()]
        for (severity, fault), group in self.groups().items():
            if len(group) == 1:
                lines.append(f"{severity}, {fault}: {group[0].about}: {group[0].detail}")
            else:
                about = listed([each.about for each in group], EXAMPLES)
                lines.append(f"{severity}, {fault} ({len(group):,}): {about}")
        return [*lines, *self.lines]

    def groups(self) -> dict[tuple[Severity, str], list[Finding]]:
        """Group the findings, which are in this order, by severity and fault."""
        return {kind: [*own] for kind, own in groupby(self.findings, key=lambda each: (each.severity, each.fault))}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of items of each class, the largest first, in "train", "val", "test" and "none"."""
        counts = defaultdict[str, Counter[str]](Counter)
        for item in self.dataset.items:
            for name in item.labels:
                counts[name][item.split or "none"] += 1
        return {name: {**own} for name, own in sorted(counts.items(), key=lambda each: (-each[1].total(), each[0]))}

    def to_json(self) -> dict[str, object]:
        """Return the content of `doctor.json`."""
        paths, columns = [str(item.path) for item in self.dataset.items], ("severity", "fault", "about", "detail")
        return {
            "source": self.dataset.source,
            "items": len(paths),
            "classes": self.dataset.classes,
            "notes": [*self.dataset.notes, *self.lines],
            "counts": self.counts(),
            "serious": sum(finding.severity == "serious" for finding in self.findings),
            "findings": [
                {**{key: getattr(each, key) for key in columns}, "paths": [paths[index] for index in each.items]}
                for each in self.findings
            ],
            "left_out": [{"path": paths[index], "why": reason} for index, reason in self.left_out.items()],
        }

    def write(self, folder: str | Path) -> Path:
        """Write `doctor.json` and `doctor.html` to a folder, and return the path of the page."""
        page = Path(folder) / "doctor.html"
        write_json(page.with_suffix(".json"), self.to_json())
        content = render(
            "doctor.html",
            package="texthead.apps.doctor",
            title=f"Doctor: {Path(self.dataset.source).name}",
            subtitle=self.headline(),
            diagnosis=self,
            findings=[(*kind, [(each.about, each.detail) for each in group]) for kind, group in self.groups().items()],
            left_out=[(self.dataset.items[index].path, reason) for index, reason in self.left_out.items()],
            splits=Counter(item.split or "none" for item in self.dataset.items),
            most=_ROWS,
        )
        write_html(page, content)
        return page

    def write_clean_list(self, path: str | Path) -> int:
        """Write a list of the items that are not left out, and return their number; paths beside it are relative.

        Columns without a value are left out, such as `start` and `end` (in seconds) if no item is a part of a video.

        Raises:
            DataError: no item would be left.
        """
        path, label = Path(path), "labels" if self.dataset.multilabel else "label"
        rows = list[dict[str, str]]()
        for position, item in enumerate(self.dataset.items):
            if position not in self.left_out:
                start, end = item.media.span.cells()
                row = {"path": MediaPath(item.media.file).relative_to(path.parent), "start": start, "end": end}
                row |= {label: item.label, "split": item.split or "", "group": item.group or ""}
                rows.append(row | {name: value for name, value in item.extra if name not in row})
        if not rows:
            raise DataError(f"{path}: no item would be left; nothing is written")
        empty = {name for row in rows for name in row if name != label and not any(each.get(name) for each in rows)}
        write_records(path, [{name: value for name, value in row.items() if name not in empty} for row in rows])
        return len(rows)


def diagnose(
    dataset: Dataset,
    classes: OwnSentences | None = None,
    encoder: str | Encoder | EncoderOptions = "mini",
    *,
    quick: bool = False,
    reading: ReadOptions = ReadOptions(workers=1, cache=True, engine="auto"),
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
    options = EncoderOptions.from_encoder(encoder)
    reading = replace(reading, workers=max(1, reading.workers))
    # A label that cleaning would leave empty is used unchanged.
    names = [clean_name(label) or label if options.clean else label for label in classes]
    prompts = class_prompts(options.template or "{}", names, list(classes.values()))
    # First, since it may be missing.
    frozen = None if quick else _frozen(options.load(prompts, lazy=False), dataset, reading, reporter)
    facts = read_file_stats(dataset, workers=reading.workers, reporter=reporter)
    result = [
        *findings.file_findings(facts),
        *findings.copies(items, facts),
        *findings.group_leaks(items),
        *findings.count_findings(labelled),
        *findings.name_findings(classes),
    ]
    features: dict[int, np.ndarray] = {}
    notes: list[str] = []
    likely, source = list(items), None
    if frozen is None:
        notes.append("labels are not judged: that needs an encoder")
    else:
        encoder, source = frozen.encoder, frozen.encoder.source
        readable = [position for position, fact in enumerate(facts) if fact.fault is None]
        encoded = frozen.files([items[position].path for position in readable])
        seen = replace(encoded, positions=[readable[position] for position in encoded.positions])
        features = dict(zip(seen.positions, seen.features.numpy(), strict=True))
        if encoder.has_text:
            own = [items[position] for position in seen.positions]
            result += encoder_findings.class_findings(encoder, classes, prompts, own, list(features.values()))
            notes += filter(None, [zero_shot_note(encoder.source, list(classes))])
        else:
            notes.append(f"{encoder.source} has no text encoder; class names are not checked against the files")
        some = dataset.select(seen.positions)
        if dataset.multilabel:
            judged = JudgedLabels(unjudged="labels are not judged: that needs single-label data")
        else:
            targets = some.targets(dataset.classes)
            judged = suspicious_labels(seen.features, targets, some.groups, seen.positions)
        known = {position for each in result if each.fault == "one file, two labels" for position in each.items}
        found, check_first = findings.label_findings(dataset, judged, known)
        result += found
        notes += filter(None, [judged.unjudged, check_first])
        for label in judged.listed:
            likely[label.item] = replace(items[label.item], labels=(dataset.classes[label.better],))
    # With the likely labels, so that a copy whose label is questioned above is not reported for its two labels too.
    result += findings.near_copies(
        likely, facts, near_duplicates.alike(facts, features, [each.label for each in likely])
    )
    left_out = findings.left_out(items, result)
    if len(left_out) < len(items):
        try:  # Does `train` refuse what is left?
            left = dataset.select([position for position in range(len(items)) if position not in left_out])
            divide(left, seed=0, held_out=None, k=None)
        except DataError as error:
            detail = str(error).removeprefix(f"{dataset.source}: ")
            result.append(Finding("serious", "cannot be trained on", dataset.source, detail))
    result.sort(key=lambda each: (get_args(Severity).index(each.severity), each.fault))
    return Diagnosis(dataset, result, left_out, source, tuple(notes))


def _frozen(encoder: Encoder, dataset: Dataset, reading: ReadOptions, reporter: Reporter) -> FrozenEncoder:
    """Return the encoder as it is applied to the items."""
    encoder.keep_text = True
    encoder.visual.eval()
    spec = encoder.visual.spec
    protocol = spec.protocol(frames=1 if dataset.only_images else _ENCODED_FRAMES)
    protocol = replace(protocol, pixels=spec.pixels(_RECIPE))
    return FrozenEncoder(encoder, protocol, replace(reading, skip_unreadable=True), reporter)
