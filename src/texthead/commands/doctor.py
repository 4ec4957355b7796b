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
        from texthead.doctor.page import described, write_page
        from texthead.media.paths import address

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
        there = overview.overview_of(dataset.items, facts)
        findings = _plain_findings(dataset, facts, list(given), self)
        alike = near_duplicates.alike_by_hash(facts)
        if not self.quick:
            found, by_feature = _encoder_findings(dataset, facts, given, self)
            findings, alike = findings + found, by_feature | alike
        findings += doctor.near_copies(dataset.items, facts, alike)
        findings.sort(key=lambda finding: (get_args(Severity).index(finding.severity), finding.fault))
        gone = doctor.left_out(dataset.items, findings)
        if out:
            how = "Without an encoder (--quick)." if self.quick else f"With the encoder {self.encoder}."
            write_json(out / "doctor.json", described(dataset, there, findings, gone))
            write_page(out / "doctor.html", dataset, there, facts, findings, gone, how)
            notes().print(f"report: {out / 'doctor.html'}")
        if self.json:
            print(json.dumps(described(dataset, there, findings, gone), indent=1, ensure_ascii=False))
        else:
            _print_overview(there)
            _print(dataset, findings)
        if fix:
            _write_list(fix, dataset, gone)
        if any(finding.severity == "serious" for finding in findings):
            raise SystemExit(1)


# So many frames of a video are encoded; eight find the same swaps.
_ENCODED = 4


# Classes in the terminal, letters of a name there, and of these on one line where there is no room for more.
_CLASSES, _LETTERS, _WORD = 20, 40, 12


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

    rows = overview.rows(there, _CLASSES)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header, side in zip(rows[0], overview.sides(rows[0]), strict=True):
        # Between words a line may end, inside a number it must not.
        longest = max(len(word) for row in rows for word in (header, *row[header].split()))
        least = min(longest, _WORD) if header == "class" else longest
        table.add_column(header, justify=side, overflow="fold", min_width=least)  # pyright: ignore[reportArgumentType]
    for place, row in enumerate(rows):
        told = row | {"class": short(row["class"], _LETTERS)}
        told |= {"kinds": row["kinds"].replace(", ", "\n")} if "kinds" in row else {}
        table.add_row(*told.values(), end_section=place == 0 and len(rows) > 1)
    results().print(f"{overview.headline(there)}\n")
    results().print(table)
    said = [line for line in (overview.legend(rows[0]), overview.unreadable_text(there.whole)) if line]
    results().print("\n".join(["", *said, ""] if said else [""]))


def _print(dataset: "Dataset", findings: "Sequence[Finding]") -> None:
    """A table with a few findings of each fault."""
    from rich.table import Table

    from texthead.commands.console import results
    from texthead.doctor.page import SHOWN, grouped_findings, headline, shorter

    if not findings:
        results().print(f"{headline(dataset, findings)}: nothing was found")
        return
    table = Table(title=headline(dataset, findings), title_justify="left", show_lines=True)
    table.add_column("fault", overflow="fold")
    table.add_column("found", justify="right")
    table.add_column("such as", overflow="fold", ratio=1)
    for (severity, fault), group in grouped_findings(findings).items():
        lines = [f"- {shorter(f'{finding.about}: {finding.detail}', dataset)}" for finding in group[:SHOWN]]
        if len(group) > SHOWN:
            lines.append(f"and {len(group) - SHOWN:,} more: --json or --out lists all")
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
