"""Read labelled files with Hugging Face `datasets`: saved datasets, loadable folders, datasets of the hub."""

import hashlib
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from texthead import Dataset, Item
from texthead.downloads import cache_without_network
from texthead.errors import DataError, raising
from texthead.extras import install_command, needs
from texthead.files import cache_dir, read_text, replacing

PREFIX = "datasets:"

_BATCH = 256

# The split that a name in data stands for.
_SPLITS: dict[str, Literal["train", "val", "test"]] = {
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val", "dev"), "val"),
    "test": "test",
}


def accepts(source: str) -> bool:
    """Return whether a source begins with `datasets:`."""
    return source.startswith(PREFIX)


def read(source: str) -> Dataset:
    """Read `datasets:FOLDER` or `datasets:ID`.

    An item's name is the number of its row in its split. An empty list means that a file has no label.

    Images and videos stored inside the dataset are written to the cache once, so that each item is a file. Code inside
    a dataset is never run. A dataset with only "train" has no splits.

    Raises:
        DataError: the library is missing or too old, the source cannot be loaded, or it does not have exactly one
            column of images or videos and one of labels (ClassLabel, string, or lists of these).
    """
    with needs("datasets", f"{PREFIX}...", DataError):
        library: Any = import_module("datasets")
    if int(library.__version__.split(".")[0]) < 4:  # These run code inside datasets.
        problem = f"datasets {library.__version__} can run code that a data set contains"
        raise DataError(f"{problem}, so version 4 or newer is needed: {install_command('datasets')}")
    loaded = _load(library, source)
    splits: dict[str, Any] = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    if not any(name.lower() in _SPLITS for name in splits):
        raise DataError(f"{source}: unknown splits {', '.join(splits)}; call them train, validation, test")
    notes, items, multilabel = list[str](), list[Item](), False
    for name, rows in splits.items():
        where = source if len(splits) == 1 else f"{source} ({name})"
        if name.lower() not in _SPLITS:
            notes.append(f"{where}: not one of train, validation, test; its {len(rows)} rows are not used")
            continue
        visual, label, column_notes = _columns(library, rows.features, where)
        labels = _labels(library, rows, label)
        if labels.count(None) == len(labels) and len(splits) > 1:
            notes.append(f"{where}: none of its {len(rows)} rows has a label; they are not used")
            continue
        if None in labels:
            raise DataError(f"{where}: row {labels.index(None)} has no label in column {label!r}; remove such rows")
        notes += column_notes
        multilabel |= hasattr(rows.features[label], "feature")
        labelled = enumerate(zip(_files(rows, visual, where), (own for own in labels if own is not None), strict=True))
        split = _SPLITS[name.lower()]
        items += [Item(path, own, split, name=f"{name}/{row}") for row, (path, own) in labelled]
    if {item.split for item in items} == {"train"}:
        items = [replace(item, split=None) for item in items]
    return Dataset(tuple(items), source, tuple(notes), multilabel)


def _load(library: Any, source: str) -> Any:
    """Load a `Dataset`, or a `DatasetDict` with one per split."""
    name = source.removeprefix(PREFIX)
    saved = any((Path(name) / file).is_file() for file in ("dataset_dict.json", "state.json"))
    remedy = "use a folder that the package datasets saved or can load, or a hub id that is reachable"
    with nullcontext("") if saved or Path(name).exists() else cache_without_network() as network:
        problem = f"{source}: cannot be loaded{network and f', since {network}'}"
        # Network, cache, files and builders each raise their own types.
        with raising(DataError, problem, remedy, Exception):
            for file, form in (("README.md", "{}"), (".huggingface.yaml", "---\n{}\n---\n")):
                card = Path(name) / file
                text = form.format(read_text(card)) if card.is_file() else ""
                configs = repr(import_module("huggingface_hub").DatasetCard(text).data.get("configs")) if text else ""
                for url in re.findall(r"[^\s'\"]*(?:::|://)[^\s'\"]*", configs):  # The library would download it.
                    raise DataError(f"{card}: {url} is not in the folder: copy it there")
            return library.load_from_disk(name) if saved else library.load_dataset(name)


def _columns(library: Any, features: Mapping[str, Any], where: str) -> tuple[str, str, list[str]]:
    """Return the column of images or videos, the label column, and a note if another column could hold the labels."""
    visual = [name for name, kind in features.items() if isinstance(kind, library.Image | library.Video)]
    one = {name: getattr(kind, "feature", kind) for name, kind in features.items()}  # Of a list, that of its values.
    classes = [name for name, kind in one.items() if isinstance(kind, library.ClassLabel)]
    strings = [name for name, kind in one.items() if getattr(kind, "dtype", None) in ("string", "large_string")]
    labels = classes or [name for name in strings if name not in visual]
    if len(visual) != 1 or len(labels) != 1:
        listed = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())
        rule = "one column of images or videos, and one of labels (ClassLabel or string, or lists of them)"
        raise DataError(f"{where}: must have exactly {rule}, got {listed}; use select_columns and cast_column")
    others = [name for name in strings if name not in labels] if classes else []
    note = [f"{where}: labels are from column {labels[0]!r}, not {', '.join(map(repr, others))}"] if others else []
    return visual[0], labels[0], note


def _labels(library: Any, rows: Any, column: str) -> list[tuple[str, ...] | None]:
    """Return the labels of each row, sorted; None if its only one, or one of its list, is missing."""
    values, listed = rows.select_columns([column])[:][column], rows.features[column]
    kind = getattr(listed, "feature", listed)
    ids = isinstance(kind, library.ClassLabel)
    name_of = dict(enumerate(kind.names)).get if ids else lambda value: (value or "").strip() or None
    if kind is listed:
        values = [[value] for value in values]
    sets: list[Any] = [{None} if own is None else {*map(name_of, own)} for own in values]
    return [tuple(sorted(own)) if all(own) else None for own in sets]


def _files(rows: Any, column: str, where: str) -> list[Path]:
    """Return the file of each row: the file it refers to, or a cache file with its bytes."""
    compute: Any = import_module("pyarrow.compute")
    # Data that one generator made from other files has the same fingerprint, but was stored at another time.
    stored = [(file["filename"], Path(file["filename"]).stat().st_mtime_ns) for file in rows.cache_files]
    key = hashlib.sha256(repr((rows._fingerprint, stored)).encode()).hexdigest()[:16]
    folder = cache_dir() / "datasets" / key
    # Arrow format: nothing is decoded, and the bytes of files that are cached already are not read.
    cells = rows.select_columns([column]).with_format("arrow")
    # Readers look at the content, so one suffix does for all files.
    paths, suffix = list[Path](), ".png" if type(rows.features[column]).__name__ == "Image" else ".mp4"
    for start in range(0, len(rows), _BATCH):
        batch = cells[start : start + _BATCH].column(column)
        names = compute.struct_field(batch, "path").to_pylist()
        sizes = compute.binary_length(compute.struct_field(batch, "bytes")).to_pylist()
        for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
            if size is None:
                if name is None or not Path(name).is_file():
                    problem = f"row {start + i} holds no bytes and refers to {name}, which is not a file here"
                    raise DataError(f"{where}: {problem}; download it, or save the data with bytes")
                paths.append(Path(name))
                continue
            file = folder / f"{start + i:08d}{suffix}"
            if not file.is_file() or file.stat().st_size != size:
                with replacing(file, sync=False) as temporary:
                    temporary.write_bytes(batch[i].as_py()["bytes"])
            paths.append(file)
    return paths
