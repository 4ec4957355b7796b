"""`texthead doctor`: what there is in a dataset and what is wrong with it, told and as a page; a list without it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from texthead.commands.options import CacheOptions, DataOptions, TemplateOptions, default_workers
from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.errors import DataError
from texthead.files import write_csv, write_json
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
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
        from texthead.doctor import overview
        from texthead.doctor.examine import Look, examine
        from texthead.doctor.facts import read_facts
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
        look = Look(
            self.encoder,
            self.size,
            self.prompts.read_template() or "{}",
            self.device,
            self.workers,
            self.features.folder,
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


# Classes in the terminal, letters of a name there, and of these on one line where there is no room for more.
_CLASSES, _LETTERS, _WORD = 20, 40, 12


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
