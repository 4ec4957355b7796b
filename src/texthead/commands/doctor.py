"""`texthead doctor`: what there is in a dataset and what is wrong with it, told and as a page; a list without it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from rich.box import SIMPLE_HEAD
from rich.table import Table

from texthead.commands.console import bar, given_template, notes, read_data, results
from texthead.data.dataset import Dataset
from texthead.data.protocol import Protocol, Views
from texthead.doctor import encoder_findings, near_duplicates, overview
from texthead.doctor import findings as doctor
from texthead.doctor.facts import Facts, read_facts
from texthead.doctor.findings import Finding, Severity
from texthead.doctor.overview import Overview
from texthead.doctor.page import SHOWN, described, grouped_findings, headline, shorter, write_page
from texthead.encoders.load import load_encoder, zero_shot_note
from texthead.errors import DataError
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.reading import Reading
from texthead.files import write_csv, write_json
from texthead.media.paths import address
from texthead.models.build import pixels_for
from texthead.parallel.device import pick_device
from texthead.recipes import small
from texthead.report.figures import short
from texthead.text import prompts

# So many frames of a video are encoded; eight find the same swaps.
_ENCODED = 4

# Classes in the terminal, letters of a name there, and of these on one line where there is no room for more.
_CLASSES, _LETTERS, _WORD = 20, 40, 12


def examine(options: Any) -> None:
    """`texthead doctor`; ends with 1 where something serious was found."""
    fix, out = (None if given is None else Path(given) for given in (options.fix, options.out))
    if fix and (fix.suffix.lower() != ".csv" or fix.exists()):
        raise DataError(f"--fix {fix}: must be a new .csv; nothing that is there is changed")
    if fix and address(options.data):
        raise DataError(f"--fix {fix}: a manifest cannot name clips of remote shards; copy them to this machine first")
    dataset = read_data(options, options.data)
    for line in dataset.notes:
        notes().print(f"note: {line}")
    given = prompts.read_classes(options.classes) if options.classes else dict.fromkeys(dataset.classes)
    pictured = overview.candidates(dataset.labels) if out else ()
    facts = read_facts(dataset, workers=options.workers, seconds=float(options.limit), pictured=pictured, bar=bar)
    there = overview.overview_of(dataset.items, facts)
    findings = _plain_findings(dataset, facts, list(given), options)
    alike = near_duplicates.alike_by_hash(facts)
    if not options.quick:
        found, by_feature = _encoder_findings(dataset, facts, given, options)
        findings, alike = findings + found, by_feature | alike
    findings += doctor.near_copies(dataset.items, facts, alike)
    findings.sort(key=lambda finding: (get_args(Severity).index(finding.severity), finding.fault))
    gone = doctor.left_out(dataset.items, findings)
    if out:
        how = "Without an encoder (--quick)." if options.quick else f"With the encoder {options.encoder}."
        write_json(out / "doctor.json", described(dataset, there, findings, gone))
        write_page(out / "doctor.html", dataset, there, facts, findings, gone, how)
        notes().print(f"report: {out / 'doctor.html'}")
    if options.json:
        print(json.dumps(described(dataset, there, findings, gone), indent=1, ensure_ascii=False))
    else:
        _print_overview(there)
        _print(dataset, findings)
    if fix:
        _write_list(fix, dataset, gone)
    if any(finding.severity == "serious" for finding in findings):
        raise SystemExit(1)


def _plain_findings(dataset: Dataset, facts: Sequence[Facts], names: Sequence[str], options: Any) -> list[Finding]:
    """What needs no encoder."""
    items = dataset.items
    return [
        *doctor.file_findings(facts, frames=options.frames),
        *doctor.copies(items, facts),
        *doctor.group_leaks(items),
        *doctor.folder_findings(items),
        *doctor.count_findings(items, k=options.k),
        *doctor.name_findings(names, clean=options.names == "clean"),
        *doctor.unknown_labels(dataset.classes, names),
    ]


def _encoder_findings(
    dataset: Dataset, facts: Sequence[Facts], given: encoder_findings.Sentences, options: Any
) -> tuple[list[Finding], near_duplicates.Alike]:
    """(what an encoder sees in the files that can be read and in the names, which files look alike to it)."""
    encoder = load_encoder(options.encoder, keep_text=True)
    encoder.visual.to(pick_device(options.device)).eval()
    readable = [place for place, fact in enumerate(facts) if fact.fault is None]
    pixels = pixels_for(small(size=options.size), encoder.visual.spec)
    cache = None if options.cache is None else Path(options.cache)
    with bar("encode", "files") as progress:
        seen = encoder_findings.mean_features(
            encoder,
            [dataset.items[place].path for place in readable],
            Protocol(1 if dataset.only_images else min(options.frames, _ENCODED), pixels, Views(origin="centre")),
            Reading(workers=options.workers, cache=FeatureCache(encoder_key(encoder.visual, pixels), cache)),
            progress,
        )
    seen = {readable[own]: feature for own, feature in seen.items()}
    alike = near_duplicates.alike_by_feature(facts, seen)
    if not encoder.has_text:
        notes().print(f"note: {encoder.source} has no text encoder: names are not compared with pictures")
        return [], alike
    shown = encoder_findings.prompts_of(given, given_template(options) or "{}", clean=options.names == "clean")
    note = zero_shot_note(encoder.source)
    if note:
        notes().print(note)
    items = [dataset.items[place] for place in seen]
    return encoder_findings.class_findings(encoder, given, shown, items, list(seen.values())), alike


def _print_overview(there: Overview) -> None:
    """A table of the classes below one line of totals."""
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


def _print(dataset: Dataset, findings: Sequence[Finding]) -> None:
    """A table with a few findings of each fault."""
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


def _write_list(path: Path, dataset: Dataset, gone: dict[int, str]) -> None:
    """The items that stay as a manifest, and a line for each that does not."""
    columns, rows = doctor.cleaned_rows(dataset.items, gone, path.parent)
    if not rows:
        raise DataError(f"--fix {path}: no item would be left; nothing is written")
    write_csv(path, columns, rows)
    for position, why in gone.items():
        notes().print(f"left out: {dataset.items[position].path}: {why}")
    notes().print(f"{path}: {len(rows)} of {len(dataset)} items; {len(gone)} left out")
