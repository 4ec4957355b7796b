"""A source of labelled data for texthead: one JSON object a line, `{"file": "a.jpg", "label": "a kite"}`."""

import json
from pathlib import Path

import texthead as th
from texthead.errors import DataError


def accepts(source):
    """Return whether this module reads the source, which is what the user typed as DATA."""
    return source.endswith(".jsonl")


def read(source, root=None):
    """Return the labelled files; `root` is the folder of their paths, the file's own if None."""
    folder = root or Path(source).parent
    items = []
    for number, line in enumerate(Path(source).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            items.append(th.Item(folder / row["file"], (row["label"],), row.get("split")))
        except (ValueError, KeyError, TypeError) as error:
            form = '{"file": "a.jpg", "label": "a kite"}'
            raise DataError(f"{source}:{number}: {line[:60]!r} has no file and label; write {form}") from error
    return th.Dataset(tuple(items), source)
