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
from texthead.report.html import render, write_html

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
    groups = grouped_findings(findings)
    shown = overview.shown(dataset.labels, facts)
    html = render(
        "doctor.html",
        title=f"Doctor: {Path(dataset.source).name}",
        subtitle=headline(dataset, findings),
        how=how,
        folder=_folder(dataset).absolute(),
        notes=dataset.notes,
        overview=overview.table(there, _ON_PAGE),
        pictured=overview.shown_text(there, len(shown)),
        pictures=[
            (name, [(shorter(str(facts[place].path), dataset), facts[place].thumbnail) for place in places])
            for name, places in shown.items()
        ],
        counts=[(severity, fault, len(group)) for (severity, fault), group in groups.items()],
        found=[
            (severity, fault, *_some([(finding.about, finding.detail) for finding in group], dataset))
            for (severity, fault), group in groups.items()
        ],
        left_out=_some([(str(dataset.items[place].path), why) for place, why in gone.items()], dataset) if gone else (),
    )
    write_html(path, html)


def _some(rows: Sequence[tuple[str, str]], dataset: Dataset) -> tuple[list[tuple[str, str]], int]:
    """(as many rows as a browser can hold, how many more there are)."""
    some = [(shorter(what, dataset), shorter(detail, dataset)) for what, detail in rows[:_ON_PAGE]]
    return some, len(rows) - len(some)
