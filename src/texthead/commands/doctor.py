"""`texthead doctor`: what there is in a dataset and what is wrong with it, told and as a page; a list without it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from texthead.commands.options import CacheOptions, DataOptions, EncodingOptions, TemplateOptions, default_workers
from texthead.commands.outputs import check_folder, check_outputs
from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.data.sources import check_source
from texthead.errors import DataError
from texthead.files import write_csv, write_json
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
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
        data: class folders, CSV or TSV, list .txt, labelling tool's .json, prepared SHARDS, or datasets:FOLDER_OR_ID
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
    encoding: EncodingOptions = EncodingOptions()

    def check(self) -> None:
        """Raise DataError if DATA does not exist, or --fix or --out cannot be written."""
        check_source(self.data)
        if self.fix and (Path(self.fix).suffix.lower() != ".csv" or Path(self.fix).exists()):
            raise DataError(f"--fix {self.fix}: must be a new .csv; nothing that is there is changed")
        check_outputs(self, fix=".csv")
        if self.out is not None:
            check_folder(f"--out {self.out}", Path(self.out))

    def __call__(self) -> None:
        from texthead.commands.console import bar, notes
        from texthead.doctor import findings as doctor
        from texthead.doctor import overview
        from texthead.doctor.examine import Look, examine
        from texthead.doctor.facts import read_facts
        from texthead.doctor.page import Diagnosis
        from texthead.media.paths import address
        from texthead.report.html import write_html

        fix, out = (None if given is None else Path(given) for given in (self.fix, self.out))
        if fix and address(self.data):
            raise DataError(
                f"--fix {fix}: a manifest cannot name clips of remote shards; copy them to this machine first"
            )
        dataset = self.labelled.read_noted(self.data)
        given = prompts.read_classes(self.classes) if self.classes else dict.fromkeys(dataset.classes)
        pictured = overview.candidates(dataset.labels) if out else ()
        facts = read_facts(
            dataset,
            workers=self.workers,
            seconds=float(self.limit),
            most_megapixels=self.encoding.most_megapixels,
            pictured=pictured,
            bar=bar,
        )
        look = Look(
            self.encoder,
            self.size,
            self.prompts.read_template() or "{}",
            self.encoding.device,
            self.workers,
            self.features.folder,
            self.encoding.engine,
            self.encoding.most_megapixels,
        )
        findings, lines = examine(
            dataset,
            facts,
            given,
            k=self.k,
            frames=self.frames,
            clean=self.prompts.clean,
            look=None if self.quick else look,
            bar=bar,
        )
        for line in lines:
            notes().print(line)
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


# Classes in the terminal, letters of a name there, and of these on one line where there is no room for more.
_CLASSES, _LETTERS, _WORD = 20, 40, 12

# Findings of a fault in the terminal.
_SHOWN = 3


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
