"""A labelling tool for texthead: `texthead predict run FILES --export guesses:guesses.json`."""

import json

from texthead.errors import DataError


def check(path):
    """Raise DataError for a path that the tool would not import."""
    if path.suffix != ".json":
        raise DataError(f"{path}: the tool imports .json files; name it .json")


def write(path, items, guesses, classes, *, data, model, several=False):
    """Write the items with their labels and guesses, and return a line on how to import them."""
    rows = [
        {"file": str(item.path), "label": item.label, "guesses": dict(guesses.get(item.path, ()))} for item in items
    ]
    path.write_text(json.dumps({"model": model, "classes": [*classes], "files": rows}, indent=1), encoding="utf-8")
    return f"{path}: {len(rows)} files; open it in the tool"
