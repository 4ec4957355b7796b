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
from typing import Annotated, Any, TypedDict, get_args

from texthead.data.dataset import Dataset, Item, Split
from texthead.data.manifest import ROW_COLUMNS
from texthead.data.reading import YAML_SUFFIXES, item_name, multilabel_note, read_dataset
from texthead.data.sources import SOURCE_GROUP
from texthead.errors import DataError, Rule, check_types, did_you_mean, naming
from texthead.extensions import find
from texthead.files import read_yaml
from texthead.text.class_tree import FOLDERS, tree_of
from texthead.text.label_files import ids_of

_FORM = "'list: images.csv' and 'columns: {path: image_id, label: species}'"

_Text = Annotated[str, Rule("text", str.strip)]

_Columns = Annotated[
    Mapping[str, str],
    Rule(
        f"a mapping such as {{path: image_id, label: species}}, of {', '.join(ROW_COLUMNS)}, each to a separate column",
        lambda names: names.keys() <= {*ROW_COLUMNS} and len({*names.values()}) == len(names),
    ),
]


class _Keys(TypedDict):
    list: _Text
    train: _Text
    val: _Text
    test: _Text
    root: _Text
    columns: _Columns
    suffix: _Text
    frames: _Text
    labels: Mapping[str, _Text] | _Text
    tree: dict | _Text


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
    values, keys = read_yaml(path, _FORM), [*_Keys.__annotations__]
    for key in values:
        if key not in keys:
            raise DataError(f"{path}: has no key {key!r}{did_you_mean(key, keys) or ': it has ' + ', '.join(keys)}")
    with naming(path):
        values: dict[str, Any] = check_types(_Keys, values, DataError)
    lists = {key: values[key] for key in ("list", *get_args(Split)) if key in values}
    if not lists or ("list" in lists and len(lists) > 1):
        raise DataError(
            f"{path}: needs the key list, or train and optionally val and test, got {', '.join(lists) or 'none'}"
        )

    def below(name: str) -> Path:
        return path.parent / Path(name).expanduser()

    root, labels, tree = (values.get(key) for key in ("root", "labels", "tree"))
    options: dict[str, Any] = {
        "root": below(root) if root else None,
        "suffix": values.get("suffix"),
        "frame_template": values.get("frames"),
        "columns": values.get("columns"),
        "labels": below(labels) if isinstance(labels, str) and labels != "imagenet" else labels,
        "tree": below(tree) if isinstance(tree, str) and tree != FOLDERS else tree,
    }
    if isinstance(labels, dict):
        options["labels"] = ids_of(path, [*labels.items()], keyed=True)
    if isinstance(tree, dict):
        options["tree"] = tree_of(tree, path)
    items: list[Item] = []
    parts: list[Dataset] = []
    for key, name in lists.items():
        elsewhere = name.partition(":")[0] in find(SOURCE_GROUP)
        parts.append(read_dataset(name if elsewhere else str(below(name)), **options))
        for item in parts[-1].items:
            if key != "list" and item.split not in (None, key):
                where = f"{path}: {item.path} is in the list of {key}"
                raise DataError(f"{where}, whose column split has {item.split}; remove one")
            name = item.name if key == "list" else item_name(item.path, options["root"] or path.parent)
            items.append(replace(item, split=item.split if key == "list" else key, name=name))
    notes = [note for part in parts for note in part.notes if not part.multilabel or note != multilabel_note(part)]
    tree = next((part.tree for part in parts if part.tree), None)
    multilabel = any(part.multilabel for part in parts)
    return Dataset(tuple(items), source, tuple(notes), multilabel=multilabel, tree=tree)
