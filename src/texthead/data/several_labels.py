"""Several labels per file in tables and lists: several in a cell, a row per label, or a column of 0 and 1 per class."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from texthead.data.dataset import Dataset, Item
from texthead.data.labels import SEPARATOR, join_labels, split_labels
from texthead.errors import DataError

# The known columns of a manifest.
COLUMNS = ("path", "label", "labels", "split", "group", "start", "end")

# If a smaller share of the files is listed with several labels in several rows, it is more likely a mistake.
_LEAST_REPEATED = 0.02

_ANSWERS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def class_columns(columns: Sequence[str], first: Sequence[str]) -> list[str]:
    """Return the columns that are classes: all unknown ones, if their cells in the first row say yes or no."""
    if {"label", "labels"} & {*columns}:
        return []
    cells = {name: cell for name, cell in zip(columns, first, strict=False) if name not in COLUMNS}
    return [*cells] if all(cell.strip().lower() in _ANSWERS for cell in cells.values()) else []


def with_labels(
    rows: Iterable[tuple[int, dict[str, str]]], classes: Sequence[str], manifest: Path
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each (line number, row) with the text `labels` in place of its columns of classes.

    Raises:
        DataError: a cell says neither yes nor no, or the name of a class contains a semicolon.
    """
    for line, row in rows:
        answers = {name.strip(): _ANSWERS.get(row.pop(name).strip().lower()) for name in classes}
        if None in answers.values():
            wrong = next(name for name, answer in answers.items() if answer is None)
            raise DataError(f"{manifest}:{line}: column {wrong!r} must be 0 or 1, as in other rows; correct the cell")
        yield line, {**row, "labels": join_labels(name for name, answer in answers.items() if answer)}


def dataset_of(items: Sequence[Item], source: str, *, several: bool) -> Dataset:
    """Return the dataset of the rows of a table or list.

    Files have several labels if `several`, if a label contains a semicolon, or if files are listed with several labels.

    Raises:
        DataError: a file has no label and `several` is false, or so few files have several rows that it is a mistake.
    """
    if not several:
        items = _joined(items, source)
        several = any(SEPARATOR in item.label for item in items)
        if several and (none := [item.path for item in items if not split_labels(item.label)]):
            raise DataError(f"{source}: {none[0]} has no label; if files may have none, name the column `labels`")
    if several:
        items = [replace(item, label=join_labels(split_labels(item.label))) for item in items]
    return Dataset(tuple(items), source, several=several)


def _joined(items: Iterable[Item], source: str) -> list[Item]:
    """Return the items; those of one file that differ only in their label become one with all the labels."""
    files, joined, repeated = defaultdict[str, list[Item]](list), list[Item](), list[Item]()
    for item in items:
        files[os.path.normpath(item.path)].append(item)
    for own in files.values():
        labels = sorted({item.label for item in own})
        # Other repeated files are an error.
        if 1 < len(labels) == len(own) and len({(item.split, item.group) for item in own}) == 1:
            extra = tuple(pair for pair in own[0].extra if all(pair in item.extra for item in own))
            own = [replace(own[0], label=f"{SEPARATOR} ".join(labels), extra=extra)]
            repeated += own
        joined += own
    if 0 < len(repeated) < _LEAST_REPEATED * len(files):
        path, labels = repeated[0].path, repeated[0].label
        problem = f"{path} is listed with several labels ({labels}), as only {len(repeated)} of {len(files)} files are"
        raise DataError(f"{source}: {problem}; list it once, or write all labels in one cell, as in {labels!r}")
    return joined


def several_note(dataset: Dataset) -> str:
    """Return a note on how many files have several labels or none."""
    sizes = [len(names) for names in dataset.labelling.sets]
    most, none = max(sizes), f", {sizes.count(0)} have none" if 0 in sizes else ""
    first = f" (at most {most}, as {dataset.items[sizes.index(most)].path})" if most > 1 else ""
    about = f"{sum(size > 1 for size in sizes)} of {len(sizes)} files have several labels{first}{none}"
    return f"{dataset.source}: {about}: each class is a yes-or-no question"
