"""The findings of `texthead doctor` as an HTML page."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from texthead.data.dataset import Dataset
from texthead.doctor import overview
from texthead.doctor.facts import Facts
from texthead.doctor.findings import Finding, Severity, counted
from texthead.doctor.overview import Overview
from texthead.report.html import Report

# Findings of a fault: in the terminal, and on the page.
SHOWN, _ON_PAGE = 3, 1000

# ---- what is said


def headline(dataset: Dataset, findings: Sequence[Finding]) -> str:
    """Return one line: items, classes, and how many findings of each severity."""
    items = counted(len(dataset), "item")
    few = len(dataset.classes)
    return f"{items} of {few:,} class{'es' * (few != 1)}: {', '.join(_severities(findings))}"


def _severities(findings: Sequence[Finding]) -> list[str]:
    """How many there are of each kind, the worst first."""
    serious, warnings, notes = (sum(f.severity == kind for f in findings) for kind in get_args(Severity))
    return [f"{serious:,} serious", counted(warnings, "warning"), counted(notes, "note")]


def grouped_findings(findings: Sequence[Finding]) -> dict[tuple[Severity, str], list[Finding]]:
    """Return the findings by severity and fault."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.fault), []).append(finding)
    return groups


def _folder(dataset: Dataset) -> Path:
    source = Path(dataset.source)
    return source if source.is_dir() else source.parent


def shorter(text: str, dataset: Dataset) -> str:
    """The text with its paths as seen from the data's folder."""
    return re.sub(rf"(?<!\S){re.escape(str(_folder(dataset)))}/", "", text)


def described(
    dataset: Dataset, there: Overview, findings: Sequence[Finding], gone: dict[int, str]
) -> dict[str, object]:
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


def write_page(
    path: Path,
    dataset: Dataset,
    there: Overview,
    facts: Sequence[Facts],
    findings: Sequence[Finding],
    gone: dict[int, str],
    how: str,
) -> None:
    """Write doctor.html."""
    report = Report(f"Doctor: {Path(dataset.source).name}", headline(dataset, findings))
    report.text(f"{how} Paths are as seen from {_folder(dataset).absolute()}.")
    for line in dataset.notes:
        report.text(f"Note: {line}")
    _add_overview(report, dataset, there, facts)
    report.section("Faults")
    if findings:
        summary = [(severity, fault, len(group)) for (severity, fault), group in grouped_findings(findings).items()]
        report.table(["how bad", "fault", "found"], summary)
    else:
        report.text("Nothing was found.")
    for (severity, fault), group in grouped_findings(findings).items():
        report.section(f"{fault} ({severity})")
        _add_table(report, "what", [(finding.about, finding.detail) for finding in group], dataset)
    if gone:
        report.section("Left out")
        report.text("A cleaned list (`texthead doctor DATA --fix NEW.csv`) does without these.")
        _add_table(
            report, "path", [(str(dataset.items[position].path), why) for position, why in gone.items()], dataset
        )
    report.write(path)


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
        (name, [(shorter(str(facts[position].path), dataset), facts[position].thumbnail) for position in positions])
        for name, positions in shown.items()
    ]
    report.tiles(groups)


def _add_table(report: Report, what: str, rows: Sequence[tuple[str, str]], dataset: Dataset) -> None:
    """(what, detail) a row, as many as a browser can hold."""
    few = [(shorter(about, dataset), shorter(detail, dataset)) for about, detail in rows[:_ON_PAGE]]
    report.table([what, "detail"], few)
    if len(rows) > _ON_PAGE:
        report.text(f"And {len(rows) - _ON_PAGE:,} more: doctor.json lists all.")
