"""`texthead doctor`: what is wrong with a dataset, as a table, JSON and one page, and a list without it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from texthead import doctor, doctor_features, likeness, prompts
from texthead.datasets import Dataset
from texthead.doctor import Finding, Severity, counted
from texthead.encoders import load_encoder, zero_shot_note
from texthead.errors import DataError
from texthead.files import write_csv, write_json
from texthead.media_facts import Facts, facts_of
from texthead.model_parts import pixels_for
from texthead.recipes import small
from texthead.report import Report
from texthead.shard_files import address
from texthead.terminal import bar, given_template, notes, pick_device, read_data, results
from texthead.watched import Lost, watched

# So many frames of a video are encoded; eight find the same swaps.
_ENCODED = 4
# Findings of a fault: in the terminal, and on the page.
_SHOWN, _ON_PAGE = 3, 1000


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
    facts = read_facts(dataset, workers=options.workers, seconds=float(options.limit))
    findings = _plain_findings(dataset, facts, list(given), options)
    alike = likeness.alike_by_hash(facts)
    if not options.quick:
        found, by_feature = _encoder_findings(dataset, facts, given, options)
        findings, alike = findings + found, by_feature | alike
    findings += doctor.near_copies(dataset.items, facts, alike)
    findings.sort(key=lambda finding: (get_args(Severity).index(finding.severity), finding.fault))
    gone = doctor.left_out(dataset.items, findings)
    if fix:
        _write_list(fix, dataset, gone)
    if out:
        how = "Without an encoder (--quick)." if options.quick else f"With the encoder {options.encoder}."
        _write_folder(out, dataset, findings, gone, how)
    if options.json:
        print(json.dumps(_told(dataset, findings, gone), indent=1, ensure_ascii=False))
    else:
        _print(dataset, findings)
    if any(finding.severity == "serious" for finding in findings):
        raise SystemExit(1)


def read_facts(dataset: Dataset, *, workers: int, seconds: float) -> list[Facts]:
    """The facts of each item's file, read by processes of which none can hold up the rest.

    Raises:
        RunError: no process can be started.
    """
    paths = [item.path for item in dataset.items]
    found: list[Facts] = [Facts(path) for path in paths]
    with bar("read", "files") as progress:
        for done, (position, facts) in enumerate(watched(facts_of, paths, workers=workers, seconds=seconds), 1):
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


def _told(dataset: Dataset, findings: Sequence[Finding], gone: dict[int, str]) -> dict[str, object]:
    """What stands in the JSON."""
    items = dataset.items
    return {
        "source": dataset.source,
        "items": len(items),
        "classes": dataset.classes,
        "notes": list(dataset.notes),
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


def _write_folder(out: Path, dataset: Dataset, findings: Sequence[Finding], gone: dict[int, str], how: str) -> None:
    """`doctor.json` and `doctor.html`."""
    write_json(out / "doctor.json", _told(dataset, findings, gone))
    report = Report(f"Doctor: {Path(dataset.source).name}", _headline(dataset, findings))
    report.text(f"{how} Paths are as seen from {_folder(dataset).absolute()}.")
    for line in dataset.notes:
        report.text(f"Note: {line}")
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
    report.write(out / "doctor.html")
    notes().print(f"report: {out / 'doctor.html'}")


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
