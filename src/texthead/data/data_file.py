"""A data set in a YAML file, for data that needs explaining.

    list: images.csv                      # or train:, val: and test:, each a list or a folder of class folders
    root: /data/images                    # folder that the paths in lists start from
    columns: {path: image_id, label: species}
    suffix: .jpg                          # appended to paths; or frames: img_{:05d}.jpg for folders of frames
    labels: names.csv                     # id,name for numeric labels; or imagenet, or {0: cat, 1: dog}
    tree: {animal: {dog: [pug, beagle]}}  # broader names; or a YAML file, or folders

Paths are relative to the folder of the YAML file.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from texthead.data.dataset import Dataset, Item, Split
from texthead.data.reading import YAML_SUFFIXES, item_name, read_dataset
from texthead.data.rows import ROW_COLUMNS, multilabel_note
from texthead.data.sources import HUB_PREFIX, SOURCE_GROUP
from texthead.errors import DataError, did_you_mean
from texthead.extensions import find
from texthead.files import read_yaml
from texthead.text.class_tree import FOLDERS, ClassTree, tree_of
from texthead.text.label_files import ClassIds, ids_of

_SPLITS: tuple[Split, ...] = ("train", "val", "test")

_KEYS = ("list", *_SPLITS, "root", "columns", "suffix", "frames", "labels", "tree")

_FORM = "'list: images.csv' and 'columns: {path: image_id, label: species}'"


def accepts(source: str) -> bool:
    """Return whether this is a YAML file."""
    path = Path(source)
    return path.suffix.lower() in YAML_SUFFIXES and path.is_file()


def read(source: str) -> Dataset:
    """Return the labelled files that a YAML file describes.

    Raises:
        DataError: a key is unknown, has another form or no effect, or a list breaks a rule.
    """
    path = Path(source)
    values = read_yaml(path, _FORM)
    for key in values:
        if key not in _KEYS:
            raise DataError(f"{path}: has no key {key!r}{did_you_mean(key, _KEYS) or ': it has ' + ', '.join(_KEYS)}")
    lists = {key: _text(path, key, values[key]) for key in ("list", *_SPLITS) if key in values}
    if not lists or ("list" in lists and len(lists) > 1):
        raise DataError(
            f"{path}: needs the key list, or train and if wanted val and test, got {', '.join(lists) or 'none'}"
        )
    options: dict[str, Any] = {
        "root": _below(path, _text(path, "root", values["root"])) if "root" in values else None,
        "suffix": _text(path, "suffix", values["suffix"]) if "suffix" in values else None,
        "frame_template": _text(path, "frames", values["frames"]) if "frames" in values else None,
        "columns": _columns(path, values["columns"]) if "columns" in values else None,
        "labels": _labels(path, values["labels"]) if "labels" in values else None,
        "tree": _tree(path, values["tree"]) if "tree" in values else None,
    }
    base = options["root"] or path.parent
    parts = {key: read_dataset(_source(path, each), **options) for key, each in lists.items()}
    items = [_item(path, item, key, base) for key, part in parts.items() for item in part.items]
    multilabel = {part.multilabel for part in parts.values()}
    if len(multilabel) > 1:
        raise DataError(f"{path}: files have one label each in one list and several in another; write them alike")
    notes = tuple(
        note for part in parts.values() for note in part.notes if not part.multilabel or note != multilabel_note(part)
    )
    tree = next((part.tree for part in parts.values() if part.tree), None)
    return Dataset(tuple(items), source, notes, multilabel=multilabel.pop(), tree=tree)


def _item(path: Path, item: Item, key: str, base: Path) -> Item:
    """Return an item with the split of its list, and its name relative to the root of the data."""
    if key == "list":
        return item
    if item.split not in (None, key):
        raise DataError(f"{path}: {item.path} is in the list of {key}, whose column split has {item.split}; remove one")
    return replace(item, split=key, name=item_name(item.path, base))


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path}: `{key}` must be text, got {value!r:.80}")
    return value


def _below(path: Path, name: str) -> Path:
    return path.parent / Path(name).expanduser()


def _source(path: Path, name: str) -> str:
    """Return a source that a file names: a path relative to it, or `datasets:...` as it is."""
    named = name.startswith(HUB_PREFIX) or name.partition(":")[0] in find(SOURCE_GROUP)
    return name if named else str(_below(path, name))


def _columns(path: Path, value: object) -> dict[str, str]:
    """Return our name of a column -> its name in the list."""
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise DataError(
            f"{path}: `columns` must be a mapping such as {{path: image_id, label: species}}, got {value!r:.80}"
        )
    for key in value:
        if key not in ROW_COLUMNS:
            raise DataError(f"{path}: `columns` has no {key!r}; it has {', '.join(ROW_COLUMNS)}")
    if len({*value.values()}) < len(value):
        raise DataError(f"{path}: `columns` has one column under two names, got {value!r:.80}; leave one out")
    return dict(value)


def _labels(path: Path, value: object) -> ClassIds | str | Path:
    if isinstance(value, Mapping):
        rows = [(str(key), _text(path, f"labels: {key}", name)) for key, name in value.items()]
        return ids_of(path, rows, keyed=True)
    name = _text(path, "labels", value)
    return name if name == "imagenet" else _below(path, name)


def _tree(path: Path, value: object) -> ClassTree | str | Path:
    if isinstance(value, Mapping):
        return tree_of(value, path)
    name = _text(path, "tree", value)
    return name if name == FOLDERS else _below(path, name)
