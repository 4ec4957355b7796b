"""`texthead doctor`: what there is in a dataset and what is wrong with it, told and as a page; a list without it."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rich.box import SIMPLE_HEAD
from rich.table import Table

from texthead import doctor, doctor_features, likeness, overview, prompts
from texthead.datasets import Dataset
from texthead.doctor import Finding, Severity, counted
from texthead.encoders import load_encoder, zero_shot_note
from texthead.errors import DataError
from texthead.figures import short
from texthead.files import write_csv, write_json
from texthead.media_facts import Facts, facts_asked
from texthead.model_parts import pixels_for
from texthead.overview import Overview
from texthead.recipes import small
from texthead.report import Report
from texthead.shard_files import address
from texthead.terminal import bar, given_template, notes, pick_device, read_data, results
from texthead.watched import Lost, watched

# So many frames of a video are encoded; eight find the same swaps.
_ENCODED = 4
# Findings of a fault: in the terminal, and on the page.
_SHOWN, _ON_PAGE = 3, 1000
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
    facts = read_facts(dataset, workers=options.workers, seconds=float(options.limit), pictured=pictured)
    there = overview.overview_of(dataset.items, facts)
    findings = _plain_findings(dataset, facts, list(given), options)
    alike = likeness.alike_by_hash(facts)
    if not options.quick:
        found, by_feature = _encoder_findings(dataset, facts, given, options)
        findings, alike = findings + found, by_feature | alike
    findings += doctor.near_copies(dataset.items, facts, alike)
    findings.sort(key=lambda finding: (get_args(Severity).index(finding.severity), finding.fault))
    gone = doctor.left_out(dataset.items, findings)
    if out:
        how = "Without an encoder (--quick)." if options.quick else f"With the encoder {options.encoder}."
        write_json(out / "doctor.json", _told(dataset, there, findings, gone))
        _write_page(out / "doctor.html", dataset, there, facts, findings, gone, how)
    if options.json:
        print(json.dumps(_told(dataset, there, findings, gone), indent=1, ensure_ascii=False))
    else:
        _print_overview(there)
        _print(dataset, findings)
    if fix:
        _write_list(fix, dataset, gone)
    if any(finding.severity == "serious" for finding in findings):
        raise SystemExit(1)


def read_facts(dataset: Dataset, *, workers: int, seconds: float, pictured: Collection[int] = ()) -> list[Facts]:
    """The facts of each item's file, read by processes of which none can hold up the rest.

    Args:
        pictured: the positions of the items that get a thumbnail if they can be read.

    Raises:
        RunError: no process can be started.
    """
    paths = [item.path for item in dataset.items]
    tasks = [(path, position in pictured) for position, path in enumerate(paths)]
    found: list[Facts] = [Facts(path) for path in paths]
    with bar("read", "files") as progress:
        for done, (position, facts) in enumerate(watched(facts_asked, tasks, workers=workers, seconds=seconds), 1):
            if isinstance(facts, Lost):
                remedy = (
                    "give it more by --limit, or leave it out" if facts.late else "encode it again, or leave it out"
                )
                facts = Facts(paths[position], fault=doctor.STOPPED, problem=f"{facts.reason}; {remedy}")
            found[position] = facts
            progress(done, len(paths))
    return found


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
    dataset: Dataset, facts: Sequence[Facts], given: doctor_features.Sentences, options: Any
) -> tuple[list[Finding], likeness.Alike]:
    """(what an encoder sees in the files that can be read and in the names, which files look alike to it)."""
    encoder = load_encoder(options.encoder, keep_text=True)
    encoder.visual.to(pick_device(options.device)).eval()
    readable = [place for place, fact in enumerate(facts) if fact.fault is None]
    with bar("encode", "files") as progress:
        seen = doctor_features.mean_features(
            encoder,
            [dataset.items[place].path for place in readable],
            frames=1 if dataset.only_images else min(options.frames, _ENCODED),
            pixels=pixels_for(small(size=options.size), encoder.visual.spec),
            cache=None if options.cache is None else Path(options.cache),
            workers=options.workers,
            progress=progress,
        )
    seen = {readable[own]: feature for own, feature in seen.items()}
    alike = likeness.alike_by_feature(facts, seen)
    if not encoder.has_text:
        notes().print(f"note: {encoder.source} has no text encoder: names are not compared with pictures")
        return [], alike
    shown = doctor_features.prompts_of(given, given_template(options) or "{}", clean=options.names == "clean")
    note = zero_shot_note(encoder.source)
    if note:
        notes().print(note)
    items = [dataset.items[place] for place in seen]
    return doctor_features.class_findings(encoder, given, shown, items, list(seen.values())), alike


# ---- what is said


def _headline(dataset: Dataset, findings: Sequence[Finding]) -> str:
    items = counted(len(dataset), "item")
    few = len(dataset.classes)
    return f"{items} of {few:,} class{'es' * (few != 1)}: {', '.join(_severities(findings))}"


def _severities(findings: Sequence[Finding]) -> list[str]:
    """How many there are of each kind, the worst first."""
    serious, warnings, notes = (sum(f.severity == kind for f in findings) for kind in get_args(Severity))
    return [f"{serious:,} serious", counted(warnings, "warning"), counted(notes, "note")]


def _grouped(findings: Sequence[Finding]) -> dict[tuple[Severity, str], list[Finding]]:
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.fault), []).append(finding)
    return groups


def _folder(dataset: Dataset) -> Path:
    source = Path(dataset.source)
    return source if source.is_dir() else source.parent


def _shorter(text: str, dataset: Dataset) -> str:
    """The text with its paths as seen from the data's folder."""
    return re.sub(rf"(?<!\S){re.escape(str(_folder(dataset)))}/", "", text)


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
        results().print(f"{_headline(dataset, findings)}: nothing was found")
        return
    table = Table(title=_headline(dataset, findings), title_justify="left", show_lines=True)
    table.add_column("fault", overflow="fold")
    table.add_column("found", justify="right")
    table.add_column("such as", overflow="fold", ratio=1)
    for (severity, fault), group in _grouped(findings).items():
        lines = [f"- {_shorter(f'{finding.about}: {finding.detail}', dataset)}" for finding in group[:_SHOWN]]
        if len(group) > _SHOWN:
            lines.append(f"and {len(group) - _SHOWN:,} more: --json or --out lists all")
        table.add_row(f"{severity}:\n{fault}", f"{len(group):,}", "\n".join(lines))
    results().print(table)


def _told(dataset: Dataset, there: Overview, findings: Sequence[Finding], gone: dict[int, str]) -> dict[str, object]:
    """What stands in the JSON."""
    items = dataset.items
    return {
        "source": dataset.source,
        "items": len(items),
        "classes": dataset.classes,
        "notes": list(dataset.notes),
        "overview": asdict(there),
        "serious": sum(finding.severity == "serious" for finding in findings),
        "findings": [
            {
                "severity": finding.severity,
                "fault": finding.fault,
                "about": finding.about,
                "detail": finding.detail,
                "paths": [str(items[position].path) for position in finding.items],
            }
            for finding in findings
        ],
        "left_out": [{"path": str(items[position].path), "why": why} for position, why in gone.items()],
    }


def _write_page(
    path: Path,
    dataset: Dataset,
    there: Overview,
    facts: Sequence[Facts],
    findings: Sequence[Finding],
    gone: dict[int, str],
    how: str,
) -> None:
    report = Report(f"Doctor: {Path(dataset.source).name}", _headline(dataset, findings))
    report.text(f"{how} Paths are as seen from {_folder(dataset).absolute()}.")
    for line in dataset.notes:
        report.text(f"Note: {line}")
    _add_overview(report, dataset, there, facts)
    report.section("Faults")
    if findings:
        summary = [(severity, fault, len(group)) for (severity, fault), group in _grouped(findings).items()]
        report.table(["how bad", "fault", "found"], summary)
    else:
        report.text("Nothing was found.")
    for (severity, fault), group in _grouped(findings).items():
        report.section(f"{fault} ({severity})")
        _add_table(report, "what", [(finding.about, finding.detail) for finding in group], dataset)
    if gone:
        report.section("Left out")
        report.text("A cleaned list (--fix) does without these.")
        _add_table(
            report, "path", [(str(dataset.items[position].path), why) for position, why in gone.items()], dataset
        )
    report.write(path)
    notes().print(f"report: {path}")


def _add_overview(report: Report, dataset: Dataset, there: Overview, facts: Sequence[Facts]) -> None:
    """The same table as in the terminal, of more classes, and pictures of some items of each."""
    report.section("What is there")
    report.text(f"{overview.headline(there)}.")
    rows = overview.rows(there, _ON_PAGE)
    report.table(
        list(rows[0]),
        [list(row.values()) for row in rows],
        caption=overview.legend(rows[0]) or None,
        align=overview.sides(rows[0]),
        highlight_row=0 if len(rows) > 1 else None,
    )
    if there.whole.unreadable:
        report.text(f"{overview.unreadable_text(there.whole)}.")
    shown = overview.shown(dataset.labels, facts)
    report.text(overview.shown_text(there, len(shown)))
    groups = [
        (name, [(_shorter(str(facts[position].path), dataset), facts[position].thumbnail) for position in positions])
        for name, positions in shown.items()
    ]
    report.tiles(groups)


def _add_table(report: Report, what: str, rows: Sequence[tuple[str, str]], dataset: Dataset) -> None:
    """(what, detail) a row, as many as a browser can hold."""
    few = [(_shorter(about, dataset), _shorter(detail, dataset)) for about, detail in rows[:_ON_PAGE]]
    report.table([what, "detail"], few)
    if len(rows) > _ON_PAGE:
        report.text(f"And {len(rows) - _ON_PAGE:,} more: doctor.json lists all.")


def _write_list(path: Path, dataset: Dataset, gone: dict[int, str]) -> None:
    """The items that stay as a manifest, and a line for each that does not."""
    columns, rows = doctor.cleaned_rows(dataset.items, gone, path.parent)
    if not rows:
        raise DataError(f"--fix {path}: no item would be left; nothing is written")
    write_csv(path, columns, rows)
    for position, why in gone.items():
        notes().print(f"left out: {dataset.items[position].path}: {why}")
    notes().print(f"{path}: {len(rows)} of {len(dataset)} items; {len(gone)} left out")
