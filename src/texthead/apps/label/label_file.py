"""Labels in a CSV, and a list of unusable files beside it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from texthead import Dataset
from texthead.data import join_labels, manifest_rows, split_labels
from texthead.errors import DataError
from texthead.files import write_csv
from texthead.media import MediaPath
from texthead.platform import sync_folder

# The column that marks labels as reviewed.
_CHECKED = "checked"


class Mark(NamedTuple):
    """The state of a file: its labels, that it is unusable, or neither; and whether its labels were reviewed."""

    labels: tuple[str, ...] | None = None
    bad: bool = False
    checked: bool = False


class LabelState(NamedTuple):
    """The state of all files, by position: labels, unusable files, and files with reviewed labels."""

    of: Mapping[int, tuple[str, ...]]
    bad: frozenset[int]
    checked: frozenset[int]

    @property
    def counts(self) -> Counter[str]:
        """The number of files of each class."""
        return Counter(name for own in self.of.values() for name in own)

    def mark(self, position: int) -> Mark:
        """Return the state of one file."""
        return Mark(self.of.get(position), position in self.bad, position in self.checked)


def check_csv(path: Path) -> None:
    """Raise DataError if labels cannot be written to this path."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise DataError(f"{path}: is a link, a pipe, a device or a folder; use a file that ends in .csv")


def bad_list(csv: Path) -> Path:
    """Return the path of the list of unusable files beside a CSV of labels."""
    return csv.with_name(f"{csv.stem}.bad.csv")


class LabelFile:
    """Labels on disk; each change is written before the call returns.

    Next to `labels.csv` (path,label,time,checked), `labels.bad.csv` (path,time) lists unusable files. Both are read
    again if somebody has edited them, and columns of others are preserved. Two programs must not write to them at once.

    Args:
        csv: the CSV; it need not exist.
        files: the files to label.
        multilabel: whether a file may have several labels or none; the column is then `labels`.

    Raises:
        DataError: the CSV cannot be read, or lists a file that is not in `files`.
    """

    def __init__(self, csv: Path, files: Dataset, *, multilabel: bool = False):
        self._multilabel, self._column = multilabel, "labels" if multilabel else "label"
        self._labels = _Table(csv, ("path", self._column), files)
        self._bad = _Table(bad_list(csv), ("path",), files)
        self.read()

    def read(self) -> LabelState:
        """Return the current state on disk."""
        rows, bad = self._labels.read(), self._bad.read()
        checked = frozenset(position for position, row in rows.items() if row.get(_CHECKED))
        cells = {position: row[self._column].strip() for position, row in rows.items()}
        of = {position: split_labels(cell) if self._multilabel else (cell,) for position, cell in cells.items()}
        return LabelState(of, frozenset(bad), checked)

    def put(self, position: int, mark: Mark) -> LabelState:
        """Replace the state of a file; an unusable file has no label."""
        now = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        checked = {_CHECKED: "yes" if mark.checked else ""}
        row = None if mark.labels is None else {self._column: self._cell(mark.labels), **now, **checked}
        self._labels.change({position: row})
        self._bad.change({position: now if mark.bad else None})
        return self.read()

    def rename(self, old: str, new: str) -> LabelState:
        """Rename a label of all files at once."""
        renamed = {i: {*own} - {old} | {new} for i, own in self.read().of.items() if old in own}
        self._labels.change({i: {self._column: self._cell(own)} for i, own in renamed.items()})
        return self.read()

    def _cell(self, labels: Iterable[str]) -> str:
        """Return labels as text."""
        return join_labels(labels) if self._multilabel else next(iter(labels))


class _Table:
    """Rows of a CSV by position of their file; read again when somebody else has changed it."""

    def __init__(self, csv: Path, columns: Sequence[str], files: Dataset):
        self._csv, self._columns, self._files = csv, columns, files
        self._rows: dict[int, dict[str, str]] = {}
        self._stamp: object = None

    def read(self) -> dict[int, dict[str, str]]:
        """Return the current row of each position."""
        check_csv(self._csv)
        if (stamp := _stamp(self._csv)) == self._stamp:
            return self._rows
        rows: dict[int, dict[str, str]] = {}
        positions = {item.media.resolved(): position for position, item in enumerate(self._files.items)}
        for row in manifest_rows(self._csv, self._columns) if stamp else ():
            position = positions.get(MediaPath(row.path()).resolved())
            if position is None:
                raise DataError(
                    f"{self._csv}:{row.line}: labels {row.cells['path']}, which is not in {self._files.source}: pass "
                    "the data that the labels belong to"
                )
            if position in rows:
                raise DataError(f"{self._csv}:{row.line}: {row.cells['path']} is listed twice: list it once")
            rows[position] = row.cells
        self._rows, self._stamp = rows, stamp
        return rows

    def change(self, changes: Mapping[int, Mapping[str, str] | None]) -> None:
        """Change values of rows, by position; their other columns stay. None removes a row."""
        rows = {**self.read()}
        for position, values in changes.items():
            if values is None:
                rows.pop(position, None)
            else:
                path = self._files.items[position].media.relative_to(self._csv.parent)
                rows[position] = {"path": path, **rows.get(position, {}), **values}
        if rows == self._rows:
            return
        if rows:
            columns = [*dict.fromkeys(column for row in rows.values() for column in row)]
            write_csv(self._csv, columns, [[row.get(column, "") for column in columns] for row in rows.values()])
        else:
            self._csv.unlink(missing_ok=True)  # An empty manifest would be an error.
        sync_folder(self._csv.parent)
        self._rows, self._stamp = rows, _stamp(self._csv)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return values that change when a file is rewritten; None if it does not exist."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
