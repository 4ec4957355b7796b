"""`texthead doctor`: what there is in a dataset and what is wrong with it, told and as a page; a list without it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from texthead.commands.options import CacheOptions, DataOptions, TemplateOptions, default_workers
from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.errors import DataError
from texthead.files import write_csv, write_json
from texthead.recipes import small
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.doctor import encoder_findings, near_duplicates
    from texthead.doctor.facts import Facts
    from texthead.doctor.findings import Finding
    from texthead.doctor.overview import Overview
    from texthead.doctor.page import Diagnosis


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Decode every file, compare files, splits and class names, and report what is wrong.

    Exit code 1 if something serious is found: a file that cannot be read whole; one file under two labels; the same or
    nearly the same file, or parts of one group, in two splits; a file in another class's folder; a class without a
    training item or with fewer than K; a label of no class; a name that is a code, too long, or the same as another;
    two classes whose names look swapped. Otherwise 0.

    Args:
        data: class folders, CSV or TSV, list .txt, prepared SHARDS, or datasets:FOLDER_OR_ID
        classes: names.txt, classes.json or 'a, b', if not the data's labels
        k: training items that each class must have
        quick: without an encoder: files, splits and words only
        encoder: mini, openclip:..., hf:..., timm:...; see texthead encoders
        frames: frames of a clip
        size: side of the crop in pixels, if not the encoder's own
        limit: time limit per file, in seconds
        json: JSON on standard output
        out: write doctor.json and doctor.html there
        fix: write a manifest without unreadable, copied and leaking items; the files stay as they are
        workers: processes that decode
        device: auto, cpu, cuda or cuda:N
    """

    data: str = argument("DATA")
    labelled: DataOptions = DataOptions()
    classes: str | None = None
    prompts: TemplateOptions = TemplateOptions()
    k: PositiveInt | None = None
    quick: bool = False
    encoder: str = "mini"
    frames: PositiveInt = 8
    size: PositiveInt | None = None
    limit: PositiveInt = option(120, "SECONDS")
    json: bool = False
    out: str | None = option(None, "FOLDER")
    fix: str | None = option(None, "NEW.csv")
    features: CacheOptions = CacheOptions()
    workers: NonNegativeInt = option(default_workers)
    device: str = "auto"

    def __call__(self) -> None:
        from texthead.commands.console import bar, notes
        from texthead.doctor import findings as doctor
        from texthead.doctor import near_duplicates, overview
        from texthead.doctor.facts import read_facts
        from texthead.doctor.findings import Severity
        from texthead.doctor.page import Diagnosis
        from texthead.media.paths import address
        from texthead.report.html import write_html

        fix, out = (None if given is None else Path(given) for given in (self.fix, self.out))
        if fix and (fix.suffix.lower() != ".csv" or fix.exists()):
            raise DataError(f"--fix {fix}: must be a new .csv; nothing that is there is changed")
        if fix and address(self.data):
            raise DataError(
                f"--fix {fix}: a manifest cannot name clips of remote shards; copy them to this machine first"
            )
        dataset = self.labelled.read_noted(self.data)
        given = prompts.read_classes(self.classes) if self.classes else dict.fromkeys(dataset.classes)
        pictured = overview.candidates(dataset.labels) if out else ()
        facts = read_facts(dataset, workers=self.workers, seconds=float(self.limit), pictured=pictured, bar=bar)
        findings = _plain_findings(dataset, facts, list(given), self)
        alike = near_duplicates.alike_by_hash(facts)
        if not self.quick:
            seen, by_feature = _encoder_findings(dataset, facts, given, self)
            findings, alike = findings + seen, by_feature | alike
        findings += doctor.near_copies(dataset.items, facts, alike)
        findings.sort(key=lambda finding: (get_args(Severity).index(finding.severity), finding.fault))
        how = "Without an encoder (--quick)." if self.quick else f"With the encoder {self.encoder}."
        there, gone = overview.overview_of(dataset.items, facts), doctor.left_out(dataset.items, findings)
        found = Diagnosis(dataset, facts, there, findings, gone, how)
        if out:
            write_json(out / "doctor.json", found.to_json())
            write_html(out / "doctor.html", found.html())
            notes().print(f"report: {out / 'doctor.html'}")
        if self.json:
            print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
        else:
            _print_overview(there)
            _print(found)
        if fix:
            _write_list(fix, dataset, gone)
        if any(finding.severity == "serious" for finding in findings):
            raise SystemExit(1)


# So many frames of a video are encoded; eight find the same swaps.
_ENCODED = 4


# Classes in the terminal, letters of a name there, and of these on one line where there is no room for more.
_CLASSES, _LETTERS, _WORD = 20, 40, 12

# Findings of a fault in the terminal.
_SHOWN = 3


def _plain_findings(
    dataset: "Dataset", facts: "Sequence[Facts]", names: Sequence[str], command: Doctor
) -> "list[Finding]":
    """What needs no encoder."""
    from texthead.doctor import findings as doctor

    items = dataset.items
    return [
        *doctor.file_findings(facts, frames=command.frames),
        *doctor.copies(items, facts),
        *doctor.group_leaks(items),
        *doctor.folder_findings(items),
        *doctor.count_findings(items, k=command.k),
        *doctor.name_findings(names, clean=command.prompts.clean),
        *doctor.unknown_labels(dataset.classes, names),
    ]


def _encoder_findings(
    dataset: "Dataset", facts: "Sequence[Facts]", given: "encoder_findings.Sentences", command: Doctor
) -> "tuple[list[Finding], near_duplicates.Alike]":
    """(what an encoder sees in the files that can be read and in the names, which files look alike to it)."""
    from texthead.commands.console import bar, notes
    from texthead.data.protocol import Protocol, Views
    from texthead.doctor import encoder_findings, near_duplicates
    from texthead.encoders.load import load_encoder, zero_shot_note
    from texthead.features.reading import Reading
    from texthead.models.build import pixels_for
    from texthead.parallel.device import pick_device

    encoder = load_encoder(command.encoder, keep_text=True)
    encoder.visual.to(pick_device(command.device)).eval()
    readable = [place for place, fact in enumerate(facts) if fact.fault is None]
    pixels = pixels_for(small(size=command.size), encoder.visual.spec)
    with bar("encode", "files") as progress:
        seen = encoder_findings.mean_features(
            encoder,
            [dataset.items[place].path for place in readable],
            Protocol(1 if dataset.only_images else min(command.frames, _ENCODED), pixels, Views(origin="centre")),
            Reading(workers=command.workers, cache=command.features.features_of(encoder.visual, pixels)),
            progress,
        )
    seen = {readable[own]: feature for own, feature in seen.items()}
    alike = near_duplicates.alike_by_feature(facts, seen)
    if not encoder.has_text:
        notes().print(f"note: {encoder.source} has no text encoder: names are not compared with pictures")
        return [], alike
    shown = encoder_findings.prompts_of(given, command.prompts.read_template() or "{}", clean=command.prompts.clean)
    note = zero_shot_note(encoder.source)
    if note:
        notes().print(note)
    items = [dataset.items[place] for place in seen]
    return encoder_findings.class_findings(encoder, given, shown, items, list(seen.values())), alike


def _print_overview(there: "Overview") -> None:
    """A table of the classes below one line of totals."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from texthead.commands.console import results
    from texthead.doctor import overview
    from texthead.report.figures import short

    shown = overview.table(there, _CLASSES)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header, side, *column in zip(shown.headers, shown.sides, *shown.rows, strict=True):
        # Between words a line may end, inside a number it must not.
        longest = max(len(word) for cell in (header, *column) for word in cell.split())
        least = min(longest, _WORD) if header == "class" else longest
        table.add_column(header, justify=side, overflow="fold", min_width=least)
    for place, row in enumerate(shown.rows):
        cells = dict(zip(shown.headers, row, strict=True)) | {"class": short(row[0], _LETTERS)}
        cells |= {"kinds": cells["kinds"].replace(", ", "\n")} if "kinds" in cells else {}
        table.add_row(*cells.values(), end_section=place == 0 and len(shown.rows) > 1)
    results().print(f"{shown.headline}\n")
    results().print(table)
    notes = [line for line in (shown.legend, shown.unreadable) if line]
    results().print("\n".join(["", *notes, ""] if notes else [""]))


def _print(found: "Diagnosis") -> None:
    """A table with a few findings of each fault."""
    from rich.table import Table

    from texthead.commands.console import results

    if not found.findings:
        results().print(f"{found.headline()}: nothing was found")
        return
    table = Table(title=found.headline(), title_justify="left", show_lines=True)
    table.add_column("fault", overflow="fold")
    table.add_column("found", justify="right")
    table.add_column("such as", overflow="fold", ratio=1)
    for (severity, fault), group in found.groups().items():
        lines = [f"- {found.shorter(f'{finding.about}: {finding.detail}')}" for finding in group[:_SHOWN]]
        if len(group) > _SHOWN:
            lines.append(f"and {len(group) - _SHOWN:,} more: --json or --out lists all")
        table.add_row(f"{severity}:\n{fault}", f"{len(group):,}", "\n".join(lines))
    results().print(table)


def _write_list(path: Path, dataset: "Dataset", gone: dict[int, str]) -> None:
    """The items that stay as a manifest, and a line for each that does not."""
    from texthead.commands.console import notes
    from texthead.doctor import findings as doctor

    columns, rows = doctor.cleaned_rows(dataset.items, gone, path.parent)
    if not rows:
        raise DataError(f"--fix {path}: no item would be left; nothing is written")
    write_csv(path, columns, rows)
    for position, why in gone.items():
        notes().print(f"left out: {dataset.items[position].path}: {why}")
    notes().print(f"{path}: {len(rows)} of {len(dataset)} items; {len(gone)} left out")
