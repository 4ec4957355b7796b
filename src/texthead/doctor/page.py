"""What was found in a dataset, as JSON and as an HTML page."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from texthead.data.dataset import Dataset
from texthead.doctor import overview
from texthead.doctor.facts import Facts
from texthead.doctor.findings import Finding, Severity, counted
from texthead.doctor.overview import Overview
from texthead.report.html import render

# Rows of a table on the page.
_ON_PAGE = 1000


@dataclass(frozen=True)
class Diagnosis:
    """What is in a dataset and what is wrong with it.

    Attributes:
        facts: of the file of each item.
        findings: the worst first.
        left_out: why a cleaned list does without an item, by its position.
        how: which encoder looked at the files, in a sentence.
    """

    dataset: Dataset
    facts: Sequence[Facts]
    overview: Overview
    findings: Sequence[Finding]
    left_out: dict[int, str]
    how: str

    def headline(self) -> str:
        """Return one line: items, classes, and how many findings of each severity."""
        items, classes = counted(len(self.dataset), "item"), len(self.dataset.classes)
        serious, warnings, notes = (sum(f.severity == kind for f in self.findings) for kind in get_args(Severity))
        found = f"{serious:,} serious, {counted(warnings, 'warning')}, {counted(notes, 'note')}"
        return f"{items} of {classes:,} class{'es' * (classes != 1)}: {found}"

    def groups(self) -> dict[tuple[Severity, str], list[Finding]]:
        """Return the findings by severity and fault."""
        groups: dict[tuple[Severity, str], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.severity, finding.fault), []).append(finding)
        return groups

    def shorter(self, text: str) -> str:
        """Return the text with its paths as seen from the data's folder."""
        return re.sub(rf"(?<!\S){re.escape(str(self._folder))}/", "", text)

    @property
    def _folder(self) -> Path:
        source = Path(self.dataset.source)
        return source if source.is_dir() else source.parent

    def to_json(self) -> dict[str, object]:
        """Return what stands in the JSON."""
        paths = [str(item.path) for item in self.dataset.items]
        return {
            "source": self.dataset.source,
            "items": len(paths),
            "classes": self.dataset.classes,
            "notes": list(self.dataset.notes),
            "overview": asdict(self.overview),
            "serious": sum(finding.severity == "serious" for finding in self.findings),
            "findings": [
                {
                    "severity": finding.severity,
                    "fault": finding.fault,
                    "about": finding.about,
                    "detail": finding.detail,
                    "paths": [paths[place] for place in finding.items],
                }
                for finding in self.findings
            ],
            "left_out": [{"path": paths[place], "why": why} for place, why in self.left_out.items()],
        }

    def html(self) -> str:
        """Return the page."""
        groups = self.groups()
        shown = overview.shown(self.dataset.labels, self.facts)
        left_out = [(str(self.dataset.items[place].path), why) for place, why in self.left_out.items()]
        return render(
            "doctor.html",
            title=f"Doctor: {Path(self.dataset.source).name}",
            subtitle=self.headline(),
            how=self.how,
            folder=self._folder.absolute(),
            notes=self.dataset.notes,
            overview=overview.table(self.overview, _ON_PAGE),
            pictured=overview.shown_text(self.overview, len(shown)),
            pictures=[
                (name, [(self.shorter(str(self.facts[i].path)), self.facts[i].thumbnail) for i in places])
                for name, places in shown.items()
            ],
            counts=[(severity, fault, len(group)) for (severity, fault), group in groups.items()],
            found=[
                (severity, fault, *self._some([(finding.about, finding.detail) for finding in group]))
                for (severity, fault), group in groups.items()
            ],
            left_out=self._some(left_out) if left_out else (),
        )

    def _some(self, rows: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], int]:
        """(as many rows as a browser can hold, how many more there are)."""
        some = [(self.shorter(what), self.shorter(detail)) for what, detail in rows[:_ON_PAGE]]
        return some, len(rows) - len(some)
