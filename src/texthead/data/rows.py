"""Rows of tables and JSON lists -> items, with one label per file or several.

A table has several labels in a cell, a row for each label of a file, or a column of 0 and 1 for each class. A JSON list
is a `.json` with a list of objects, or a `.jsonl` with an object per line:

    {"path": "a.jpg", "labels": ["dog", "frisbee"], "split": "train", "group": "park"}

`label` is one class; `labels`, or a list in `label`, are several or none. Hugging Face's metadata.jsonl has `file_name`
in place of `path`.
"""

import ast
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from texthead.data.dataset import SPLIT_NAMES, Dataset, Item
from texthead.data.labels import SEPARATOR, Labels, split_labels
from texthead.errors import DataError, MediaError
from texthead.files import MOST_BYTES_OF_LISTS, read_text, without_twins
from texthead.media.addresses import hint_on_path
from texthead.media.paths import MediaPath, Span

# The known columns of a manifest.
ROW_COLUMNS = ("path", "label", "labels", "split", "group", "start", "end")

# If a smaller share of the files is listed with several labels in several rows, it is more likely a mistake.
_LEAST_REPEATED = 0.02

_ANSWERS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

_PATHS = ("path", "file_name")

# Characters that hold the first object.
_HEAD = 2**16


def row_path(row: dict[str, str], manifest: Path, line: int) -> Path:
    """Return the path of a manifest's row: a file, a folder as a clip of its images, or a part of a video.

    A part is given by the columns `start` and `end`, in seconds, or by a path such as `match.mp4#t=3,7.5`. Blanks
    around the path are part of it only if there is such a file.

    Raises:
        DataError: the times break a rule, or the file is not a video.
    """
    path = MediaPath(manifest.parent / row["path"])
    if row["path"] != row["path"].strip() and not os.path.lexists(path.file):
        path = MediaPath(manifest.parent / row["path"].strip())
    if "\\" in row["path"] and not path.exists() and (hint := hint_on_path(path.file)):
        raise DataError(f"{manifest}:{line}: no such file {row['path']!r}; {hint}")
    start, end = ((row.get(name) or "").strip() for name in ("start", "end"))
    if not (start or end or path.is_part):
        return path.clip().path
    where = f"{manifest}:{line}"
    if path.is_part and (start or end):
        raise DataError(f"{where}: times are in the path {row['path']!r} and in start and end; leave one out")
    try:
        part = path.part(path.span) if path.is_part else path.clip().part(Span.read(start, end))
        part.check_part()
    except MediaError as error:
        raise DataError(f"{where}: {error}") from None
    except ValueError as error:
        raise DataError(f"{where}: {error}; give seconds from the first frame, or leave the column empty") from None
    return part.path


def row_item(row: dict, manifest: Path, line: int) -> Item:
    """Return the item of a row; paths are relative to the manifest's folder."""
    split = (row.get("split") or "").strip().lower()
    if split and split not in SPLIT_NAMES:
        raise DataError(f"{manifest}:{line}: column 'split' must be train, val or test, got {row['split']!r}")
    return Item(
        path=row_path(row, manifest, line),
        label=_unlisted(row["labels"].strip()) if "labels" in row else row.get("label", "").strip(),
        split=SPLIT_NAMES[split] if split else None,  # pyright: ignore[reportArgumentType]
        group=(row.get("group") or "").strip() or None,
        extra=tuple((k, v) for k, v in row.items() if k not in ROW_COLUMNS),
    )


def _unlisted(text: str) -> str:
    """Return the labels of a list in a cell, `["dog", "frisbee"]`, joined; any other text as it is."""
    if text[:1] + text[-1:] == "[]":
        with suppress(ValueError, SyntaxError):
            names = ast.literal_eval(text)
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return Labels.join(names)
    return text


def check_separator(items: Sequence[Item], source: str) -> None:
    """Raise DataError if no cell of a column `labels` has a semicolon, and some have another usual separator."""
    texts = [item.label for item in items]
    other = next((text for text in texts if any(mark in text for mark in ",|")), None)
    if other is not None and not any(SEPARATOR in text for text in texts):
        problem = f"labels are separated by {SEPARATOR!r}, as in 'dog; frisbee', and none is, got {other[:60]!r}"
        raise DataError(f"{source}: {problem}; write it so, or if that is one class, name the column 'label'")


def class_columns(columns: Sequence[str], first: Sequence[str]) -> list[str]:
    """Return the columns that are classes: all unknown ones, if their cells in the first row say yes or no."""
    if {"label", "labels"} & {*columns}:
        return []
    cells = {name: cell for name, cell in zip(columns, first, strict=False) if name not in ROW_COLUMNS}
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
        if wrong := [name for name, answer in answers.items() if answer is None]:
            raise DataError(f"{manifest}:{line}: column {wrong[0]!r} must be 0 or 1; correct the cell")
        yield line, {**row, "labels": Labels.join(name for name, answer in answers.items() if answer)}


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
            raise DataError(f"{source}: {none[0]} has no label; if files may have none, name the column 'labels'")
    if several:
        items = [replace(item, label=Labels.join(split_labels(item.label))) for item in items]
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


# ---- JSON lists


def is_json_list(source: str) -> bool:
    """Return whether the first object of a `.json` or `.jsonl` file names a file."""
    path, first = Path(source), None
    if path.suffix.lower() in (".json", ".jsonl") and path.is_file():
        with suppress(OSError, ValueError, RecursionError), path.open(encoding="utf-8-sig") as file:
            first, _ = json.JSONDecoder().raw_decode(file.read(_HEAD).lstrip("[ \t\r\n"))
    keys = first.keys() if isinstance(first, dict) else set[str]()
    return bool(keys & {*_PATHS}) and "data" not in keys


def read_json_list(source: str) -> Dataset:
    """Return the labelled files of a JSON list; paths are relative to its folder.

    Raises:
        DataError: it cannot be read, or an entry breaks a rule.
    """
    path = Path(source)
    try:
        text = read_text(path, most=MOST_BYTES_OF_LISTS).strip()
        if not text.startswith("["):
            text = "[" + ",\n".join(line for line in text.split("\n") if line.strip()) + "]"
        entries = json.loads(text, object_pairs_hook=without_twins)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); correct it") from None
    rows = [(number, _json_row(entry, f"{path}:{number}")) for number, entry in enumerate(entries, 1)]
    items = [row_item(row, path, number) for number, row in rows]
    return dataset_of(items, source, several=any("labels" in row for _, row in rows))


def _json_row(entry: Any, where: str) -> dict[str, str]:
    """Return an entry as a row of a manifest: texts by column; several labels are in `labels`."""
    name = next((name for name in _PATHS if isinstance(entry, dict) and isinstance(entry.get(name), str)), None)
    for one, other in (_PATHS, ("label", "labels")) if name else ():
        if entry.get(one, entry.get(other)) != entry.get(other, entry.get(one)):
            raise DataError(f"{where}: has both {one} and {other}, which differ; leave one out")
    cell = entry.get("labels", entry.get("label")) if name else None
    labels = cell if isinstance(cell, list) else [cell]
    if name is None or not all(isinstance(label, str | int) and str(label).strip() for label in labels):
        raise DataError(f"{where}: needs a path and a label, or a list of labels, got {entry!r:.80}; correct it")
    row = {key: str(value) for key, value in entry.items() if isinstance(value, str | int | float)}
    row["path"] = row.pop(name)
    if isinstance(cell, list):
        row["labels"] = Labels.join(str(label).strip() for label in labels)
    if re.search("[\0\ud800-\udfff]", "".join(row.values())):
        raise DataError(f"{where}: a text has a NUL byte or is not valid Unicode; correct it")
    return row
