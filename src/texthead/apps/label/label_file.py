"""Labels in a CSV, and a list of unusable files beside it."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from texthead import Dataset
from texthead.apps.serving import MediaTable
from texthead.data import join_labels, split_labels
from texthead.errors import DataError
from texthead.media import MediaPath

# The column that marks labels as reviewed.
_CHECKED = "checked"


class Mark(NamedTuple):
    """The state of a file: its labels, that it is unusable, or neither; and whether its labels were reviewed."""

    labels: tuple[str, ...] | None = None
    bad: bool = False
    checked: bool = False


class LabelState(NamedTuple):
    """The state of all files, by position: labels, unusable files, and files with reviewed labels."""

    of: Mapping[int, tuple[str, ...]] = {}
    bad: frozenset[int] = frozenset()
    checked: frozenset[int] = frozenset()

    @property
    def counts(self) -> Counter[str]:
        """The number of files of each class."""
        return Counter(name for own in self.of.values() for name in own)

    def mark(self, position: int) -> Mark:
        """Return the state of one file."""
        return Mark(self.of.get(position), position in self.bad, position in self.checked)


class LabelFile:
    """Labels on disk; each change is written before the call returns.

    Next to `labels.csv` (path,label,time,checked), `labels.bad.csv` (path,time) lists unusable files. See `MediaTable`.

    Args:
        csv: the CSV; it need not exist.
        files: the files to label.
        multilabel: whether a file may have several labels or none; the column is then `labels`. A CSV with that column
            decides it.

    Raises:
        DataError: the CSV cannot be read, or lists a file that is not in `files`.
    """

    def __init__(self, csv: Path, files: Dataset, *, multilabel: bool = False):
        rows = MediaTable(csv, ("path",), files).read().values()
        self.multilabel = multilabel or any("labels" in row for row in rows)
        if self.multilabel and not all("labels" in row for row in rows):
            raise DataError(f"`multilabel`: {csv} is single-label; use another file, or remove `multilabel`")
        self._column = "labels" if self.multilabel else "label"
        self._labels = MediaTable(csv, ("path", self._column), files)
        self._bad = MediaTable(csv.with_name(f"{csv.stem}.bad.csv"), ("path",), files)
        self.read()

    def read(self) -> dict[MediaPath, Mark]:
        """Return the current state on disk of each file that has one, by its resolved path."""
        marks = dict.fromkeys(self._bad.read(), Mark(bad=True))
        for media, row in self._labels.read().items():
            cell = row[self._column].strip()
            labels = split_labels(cell) if self.multilabel else (cell,)
            marks[media] = Mark(labels, media in marks, row.get(_CHECKED, "").strip().lower() == "yes")
        return marks

    def put(self, media: MediaPath, mark: Mark) -> None:
        """Replace the state of a file; an unusable file has no label."""
        now = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        checked = {_CHECKED: "yes" if mark.checked else ""}
        row = None if mark.labels is None else {self._column: self._cell(mark.labels), **now, **checked}
        self._labels.change({media: row})
        self._bad.change({media: now if mark.bad else None})

    def rename(self, old: str, new: str) -> None:
        """Rename a label of all files at once."""
        own = {media: mark.labels for media, mark in self.read().items() if mark.labels and old in mark.labels}
        cells = {media: self._cell({*labels} - {old} | {new}) for media, labels in own.items()}
        self._labels.change({media: {self._column: cell} for media, cell in cells.items()})

    def _cell(self, labels: Collection[str]) -> str:
        """Return labels as text."""
        return join_labels(labels) if self.multilabel else next(iter(labels))
