"""The findings and the overview of a dataset as JSON and as an HTML page."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from texthead import Dataset
from texthead.apps.doctor import overview
from texthead.apps.doctor.file_stats import FileStats
from texthead.apps.doctor.findings import Finding, Severity, cleaned_rows
from texthead.apps.doctor.overview import Overview
from texthead.errors import DataError, listed, plural
from texthead.files import write_csv, write_json
from texthead.report import render, write_html

# Examples of a fault on the terminal; rows of a table on the page, so that browsers can cope.
EXAMPLES, _ROWS = 3, 1000


@dataclass(frozen=True)
class Diagnosis:
    """The content and the problems of a dataset.

    Attributes:
        facts: of each item's file.
        findings: worst first.
        left_out: the reason why a cleaned list omits an item, by position.
        encoder: the encoder of the findings; None if no finding needed one.
        lines: notes on what was not checked.
    """

    dataset: Dataset
    facts: Sequence[FileStats]
    overview: Overview
    findings: Sequence[Finding]
    left_out: dict[int, str]
    encoder: str | None = None
    lines: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Diagnosis({self.dataset.source!r}: {self.headline()})"

    @property
    def is_serious(self) -> bool:
        """Whether there is a serious finding."""
        return any(finding.severity == "serious" for finding in self.findings)

    @property
    def by_hand(self) -> list[str]:
        """The serious findings that leaving out items does not mend, in words."""
        left = [each for each in self.findings if each.severity == "serious" and not {*each.items} & {*self.left_out}]
        return list(dict.fromkeys(f"{each.fault} ({each.about})" for each in left))

    def headline(self) -> str:
        """Return one line with the numbers of items, classes, and findings of each severity."""
        items, classes = plural(len(self.dataset), "item"), len(self.dataset.classes)
        serious, warnings, notes = (sum(f.severity == kind for f in self.findings) for kind in get_args(Severity))
        findings = f"{serious:,} serious, {plural(warnings, 'warning')}, {plural(notes, 'note')}"
        findings = findings if self.findings else "no faults"
        return f"{items} of {classes:,} class{'es' * (classes != 1)}: {findings}"

    def summary(self) -> list[str]:
        """Return the result in a few lines: counts, each fault with examples, the notes' kinds, and the labels."""
        lines, notes = [self.headline()], []
        for (severity, fault), group in self.groups().items():
            first = group[0]
            if severity == "note":
                notes.append(f"{fault} ({len(group):,})")
            elif len(group) == 1:
                lines.append(f"{severity}, {fault}: {first.about}: {first.detail}")
            else:
                lines.append(
                    f"{severity}, {fault} ({len(group):,}): {listed([each.about for each in group], EXAMPLES)}"
                )
        lines += [f"notes: {', '.join(notes)}"] * bool(notes)
        return [*lines, *self.lines]

    def groups(self) -> dict[tuple[Severity, str], list[Finding]]:
        """Group the findings by severity and fault."""
        groups: dict[tuple[Severity, str], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.severity, finding.fault), []).append(finding)
        return groups

    def shorter(self, text: str) -> str:
        """Return the text with paths relative to the data's folder."""
        return re.sub(rf"(?<!\S){re.escape(str(self._folder))}/", "", text)

    @property
    def _folder(self) -> Path:
        source = Path(self.dataset.source)
        return source if source.is_dir() else source.parent

    def to_json(self) -> dict[str, object]:
        """Return the content of `doctor.json`."""
        paths, told = [str(item.path) for item in self.dataset.items], ("severity", "fault", "about", "detail")
        return {
            "source": self.dataset.source,
            "items": len(paths),
            "classes": self.dataset.classes,
            "notes": [*self.dataset.notes, *self.lines],
            "overview": asdict(self.overview),
            "serious": sum(finding.severity == "serious" for finding in self.findings),
            "findings": [
                {**{key: getattr(each, key) for key in told}, "paths": [paths[index] for index in each.items]}
                for each in self.findings
            ],
            "left_out": [{"path": paths[index], "why": reason} for index, reason in self.left_out.items()],
        }

    def write(self, folder: str | Path) -> Path:
        """Write `doctor.json` and `doctor.html` to a folder, and return the path of the page."""
        page = Path(folder) / "doctor.html"
        write_json(page.with_suffix(".json"), self.to_json())
        write_html(page, self.html())
        return page

    def write_sound(self, path: str | Path) -> int:
        """Write a list of the items that are not left out, and return their number.

        Raises:
            DataError: no item would be left.
        """
        columns, rows = cleaned_rows(self.dataset.items, self.left_out, Path(path).parent)
        columns[columns.index("label")] = "labels" if self.dataset.multilabel else "label"
        if not rows:
            raise DataError(f"{path}: no item would be left; nothing is written")
        write_csv(Path(path), columns, rows)
        return len(rows)

    def html(self) -> str:
        """Render the page."""
        groups = self.groups()
        left_out = [(str(self.dataset.items[index].path), reason) for index, reason in self.left_out.items()]
        return render(
            "doctor.html",
            package="texthead.apps.doctor",
            title=f"Doctor: {Path(self.dataset.source).name}",
            subtitle=self.headline(),
            how=f"With the encoder {self.encoder}."
            if self.encoder
            else "Without an encoder (`texthead doctor --quick`).",
            folder=self._folder.absolute(),
            notes=[*self.dataset.notes, *self.lines],
            overview=overview.overview_table(self.overview, _ROWS),
            counts=[(severity, fault, len(group)) for (severity, fault), group in groups.items()],
            findings=[
                (severity, fault, *self._first_rows([(finding.about, finding.detail) for finding in group]))
                for (severity, fault), group in groups.items()
            ],
            left_out=self._first_rows(left_out) if left_out else (),
        )

    def _first_rows(self, rows: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], int]:
        """Return (at most 1,000 rows, the number of rows omitted)."""
        some = [(self.shorter(about), self.shorter(detail)) for about, detail in rows[:_ROWS]]
        return some, len(rows) - len(some)
