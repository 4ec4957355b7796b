"""Read JSON lists of labelled files: `.json` with a list of objects, or `.jsonl` with an object per line.

    {"path": "a.jpg", "labels": ["dog", "frisbee"], "split": "train", "group": "park"}

`label` is one class; `labels`, or a list in `label`, are several or none. Hugging Face's metadata.jsonl has `file_name`
in place of `path`.
"""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from texthead.data.dataset import Dataset
from texthead.data.labels import join_labels
from texthead.data.reading import row_item
from texthead.data.several_labels import dataset_of
from texthead.errors import DataError
from texthead.files import MOST_BYTES_OF_LISTS, read_text, without_twins

_PATHS = ("path", "file_name")

# Characters that hold the first object.
_HEAD = 2**16


def accepts(source: str) -> bool:
    """Return whether the first object of a `.json` or `.jsonl` file names a file, and is no task of Label Studio."""
    path, first = Path(source), None
    if path.suffix.lower() in (".json", ".jsonl") and path.is_file():
        with suppress(OSError, ValueError, RecursionError), path.open(encoding="utf-8-sig") as file:
            first, _ = json.JSONDecoder().raw_decode(file.read(_HEAD).lstrip("[ \t\r\n"))
    keys = first.keys() if isinstance(first, dict) else set[str]()
    return bool(keys & {*_PATHS}) and not keys & {"annotation_id", "data"}


def read(source: str) -> Dataset:
    """Return the labelled files of a list; paths are relative to its folder.

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
    rows = [(number, _row(entry, f"{path}:{number}")) for number, entry in enumerate(entries, 1)]
    items = [row_item(row, path, number) for number, row in rows]
    return dataset_of(items, source, several=any("labels" in row for _, row in rows))


def _row(entry: Any, where: str) -> dict[str, str]:
    """Return an entry as a row of a manifest: texts by column; several labels are in `labels`."""
    name = next((name for name in _PATHS if isinstance(entry, dict) and isinstance(entry.get(name), str)), None)
    cell = entry.get("labels", entry.get("label")) if name else None
    labels = cell if isinstance(cell, list) else [cell]
    if name is None or not all(isinstance(label, str | int) and str(label).strip() for label in labels):
        raise DataError(f"{where}: needs a path and a label, or a list of labels, got {entry!r:.80}; correct it")
    row = {key: str(value) for key, value in entry.items() if isinstance(value, str | int | float)}
    row["path"] = row.pop(name)
    if isinstance(cell, list):
        row["labels"] = join_labels(str(label).strip() for label in labels)
    if re.search("[\0\ud800-\udfff]", "".join(row.values())):
        raise DataError(f"{where}: a text has a NUL byte or is not valid Unicode; correct it")
    return row
