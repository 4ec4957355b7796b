"""Tables of labelled files, with one label per file or several: `dog; frisbee` in a cell."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from texthead.data.dataset import SPLIT_NAMES, Dataset, Item
from texthead.data.labels import SEPARATOR, split_labels
from texthead.data.published_lists import path_end
from texthead.errors import DataError, naming, raising
from texthead.media.paths import MediaPath, Span

# What separates the columns of a table by its suffix.
SUFFIXES = {".csv": ",", ".tsv": "\t"}

# The known columns of a manifest.
ROW_COLUMNS = ("path", "label", "labels", "split", "group", "start", "end")


def read_manifest(
    source: str,
    root: Path | None = None,
    suffix: str | None = None,
    frame_template: str | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> Dataset:
    """Return the labelled files of a table; see `read_dataset` for the options.

    Files have several labels if the column is called `labels`, or if a cell contains a semicolon.

    Raises:
        DataError: the table or a row breaks a rule, or a file has no label though the column is called `label`.
    """
    path, end = Path(source), path_end(frame_template, suffix)
    with raising(DataError, f"{path}: cannot be read", "check the path and its permissions"):
        header, _ = _header(path, columns)
    if {"label", "labels"} <= {*header}:
        raise DataError(f"{path}: has the columns label and labels, which could differ; rename one of them")
    column = "labels" if "labels" in header else "label"
    items: list[Item] = []
    for row in manifest_rows(path, ("path", column), columns):
        cells = row.cells
        split = cells.get("split", "").strip().lower()
        if split and split not in SPLIT_NAMES:
            raise DataError(f"{path}:{row.line}: column 'split' must be train, val or test, got {cells['split']!r}")
        extra = tuple((name, value) for name, value in cells.items() if name not in ROW_COLUMNS)
        items.append(Item(row.path(root, end), (cells[column].strip(),), SPLIT_NAMES.get(split), row.group, extra))
    joined = any(SEPARATOR in item.label for item in items)
    if column == "label" and not joined:
        return Dataset(tuple(items), source)
    other = next((item.label for item in items if any(mark in item.label for mark in ",|")), None)
    if other is not None and not joined:
        problem = f"labels are separated by {SEPARATOR!r}, as in 'dog; frisbee', and none is, got {other[:60]!r}"
        raise DataError(f"{source}: {problem}; write it so, or if that is one class, name the column 'label'")
    items = [replace(item, labels=split_labels(item.label)) for item in items]
    return Dataset(tuple(items), source, multilabel=True)


def is_manifest(path: Path) -> bool:
    """Return whether a file is a table with a column of paths and one of labels."""
    if path.suffix.lower() in SUFFIXES:
        with suppress(OSError, csv.Error):
            columns, _ = _header(path, {})
            return "path" in columns and not {"label", "labels"}.isdisjoint(columns)
    return False


class Row(NamedTuple):
    """A row of a manifest: its line number, and the value of every column."""

    manifest: Path
    line: int
    cells: dict[str, str]

    @property
    def group(self) -> str | None:
        """The group; None if the cell is blank."""
        return self.cells.get("group", "").strip() or None

    def path(self, root: Path | None = None, end: str = "") -> Path:
        """Return the path of the row: a file, a folder as a clip of its images, or a part of a video.

        A part is given by the columns `start` and `end`, in seconds, else by a path such as `match.mp4#t=3,7.5`. Blanks
        around the path are part of it only if there is such a file, and so is \\, which else separates folders.

        Args:
            root: the folder that paths are relative to; the manifest's own if None.
            end: appended to the path.

        Raises:
            DataError: the times break a rule, or the file is not a video.
        """
        root, name = root or self.manifest.parent, f"{self.cells['path']}{end}"
        path = MediaPath(root / name)
        if name != name.strip() and not os.path.lexists(path.file):
            path = MediaPath(root / name.strip())
        if "\\" in name and not path.exists():  # A list from Windows.
            other = MediaPath(root / name.strip().replace("\\", "/"))
            path = other if other.exists() else path
        start, end = ((self.cells.get(name) or "").strip() for name in ("start", "end"))
        if not (start or end or path.is_part):
            return path.clip().path
        remedy = "write seconds from the first frame, or leave the column empty"
        with naming(f"{self.manifest}:{self.line}"), raising(DataError, f"'{name}' has no such part", remedy):
            part = path.clip().part(Span.read(start, end) if start or end else path.span)
            part.check_part()
        return part.path


def manifest_rows(path: Path, needed: Sequence[str], names: Mapping[str, str] = MappingProxyType({})) -> Iterator[Row]:
    """Yield each row of a CSV or TSV.

    Args:
        needed: columns that must exist; but for `labels`, they must not be empty in any row.
        names: our name of a column -> its name in the file; these must exist too.

    Raises:
        DataError: the file is not a CSV or TSV, a column is missing, or a row breaks a rule.
    """
    named = " and ".join(names.get(name, name) for name in dict.fromkeys([*needed, *names]))
    faults = raising(DataError, f"{path}: not a readable manifest", "save it as UTF-8 with a header line", csv.Error)
    # A file name need not be UTF-8; `write_csv` writes its raw bytes, and surrogateescape reads them back.
    with faults, path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        columns, delimiter = _header(path, names)
        if len({*columns}) < len(columns) or not {*needed, *names} <= {*columns}:
            rule = f"must name {named} (or 'labels', for several) once each, with {delimiter!r} between columns"
            other = "a .yaml file with 'list: FILE' and 'columns: {path: NAME, label: NAME}' reads other names"
            raise DataError(f"{path}: its first line is {', '.join(columns) or 'empty'}; it {rule}; {other}")
        reader = csv.DictReader(file, columns, delimiter=delimiter, strict=True)
        for number, row in enumerate(reader):
            problem = ""
            if None in row or None in row.values():
                problem = (
                    f"the number of fields differs from the header; put fields with {delimiter!r} in double quotes"
                )
            elif not all(row[column].strip() for column in needed if column != "labels"):
                remedy = "; if files may have no label, name the column 'labels'" if "label" in needed else ""
                problem = f"{' and '.join(needed)} must not be empty{remedy}"
            if problem:
                raise DataError(f"{path}:{reader.line_num}: {problem}")
            if number:  # The first row is the header.
                yield Row(path, reader.line_num, row)


def _header(path: Path, names: Mapping[str, str]) -> tuple[list[str], str]:
    """Return our names of the columns of a table, and what separates them.

    Our names are those in `names`, and spellings such as `Path` or ` label`. Semicolons may separate the columns of a
    CSV, as spreadsheets of many countries save it.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        line = next(file, "")
    ours = {theirs: name for name, theirs in names.items()}
    usual, columns = SUFFIXES[path.suffix.lower()], []
    for delimiter in (";", usual) if usual == "," else (usual,):
        columns = []
        for column in next(csv.reader([line], delimiter=delimiter), []):
            name = column.strip().lower()
            other = f"{column} of the list" if name in names else name
            columns.append(ours.get(column.strip()) or (other if name in ROW_COLUMNS else column))
        if delimiter == ";" and len(columns) > 1 and "path" in columns:
            return columns, delimiter
    return columns, usual
