"""Hugging Face `datasets` as labelled files: what it saved to disk, what it loads from a folder or its hub."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from texthead.data.sources import HUB_PREFIX
from texthead.errors import DataError
from texthead.extras import install_command, needs
from texthead.files import cache_dir, replacing
from texthead.media.open import is_media, suffix_of

_BATCH = 256


def read_hub(source: str, *, split_names: Mapping[str, str]) -> tuple[list[tuple[Path, str, str | None]], list[str]]:
    """Return (file, label, split if there are splits) of `datasets:FOLDER` or `datasets:ID`, and lines for the user.

    Pictures and videos that lie inside the data are written to the cache once, so that each item is a file; code of a
    dataset is never run.

    Args:
        split_names: what each known name of a split is called here. A lone "train" is no split.

    Raises:
        DataError: the library is missing or too old, the source cannot be loaded, or it has not one column of images
            or videos and one of labels.
    """
    library = _library()
    loaded = _loaded(library, source)
    parts: dict[str, Any] = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    if not any(name.lower() in split_names for name in parts):
        raise DataError(f"{source}: splits {', '.join(parts)} are unknown; call them train, validation, test")
    notes: list[str] = []
    used: dict[str, tuple[list[Path], list[str]]] = {}
    for name, rows in parts.items():
        where = source if len(parts) == 1 else f"{source} ({name})"
        if name.lower() not in split_names:
            notes.append(f"{where}: is none of train, validation, test; its {len(rows)} rows are not used")
            continue
        visual, label, choice = _columns(library, rows.features, where)
        labels = _labels(library, rows, label)
        if not any(labels) and len(parts) > 1:
            notes.append(f"{where}: none of its {len(rows)} rows has a label; they are not used")
            continue
        if not all(labels):
            raise DataError(f"{where}: row {labels.index('')} has no label in column {label!r}; remove such rows")
        notes += choice
        used[name] = _files(rows, visual, where), labels
    alone = [name.lower() for name in used] == ["train"]
    return [
        (path, label, None if alone else split_names[name.lower()])
        for name, (paths, labels) in used.items()
        for path, label in zip(paths, labels, strict=True)
    ], notes


def _library() -> Any:
    """Import the library, which is optional.

    From version 4 on it knows no code inside datasets any more.
    """
    with needs("datasets", f"{HUB_PREFIX}...", DataError):
        library = import_module("datasets")
    if int(library.__version__.split(".")[0]) < 4:
        raise DataError(f"datasets {library.__version__} can run code of a dataset: {install_command('datasets')}")
    return library


def _loaded(library: Any, source: str) -> Any:
    """Load a `Dataset`, or a `DatasetDict` of them by split."""
    name = source.removeprefix(HUB_PREFIX)
    saved = any((Path(name) / file).is_file() for file in ("dataset_dict.json", "state.json"))
    try:
        return library.load_from_disk(name) if saved else library.load_dataset(name)
    except Exception as error:  # Network, cache, files and builders each raise kinds of their own.
        raise DataError(
            f"{source}: cannot be loaded ({error}); give a folder that `datasets` saved or can load, "
            "or an id of the hub that can be reached or was loaded before"
        ) from None


def _columns(library: Any, features: Mapping[str, Any], where: str) -> tuple[str, str, list[str]]:
    """Return the column of images or videos, the one of labels, and a note if another could be meant."""
    visual = [name for name, kind in features.items() if isinstance(kind, library.Image | library.Video)]
    classes = [name for name, kind in features.items() if isinstance(kind, library.ClassLabel)]
    strings = [name for name, kind in features.items() if getattr(kind, "dtype", None) in ("string", "large_string")]
    labels = classes or [name for name in strings if name not in visual]
    if len(visual) != 1 or len(labels) != 1:
        listed = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())
        raise DataError(
            f"{where}: must have one column of images or videos and one ClassLabel, or one string, as label; "
            f"has {listed}: leave others out with select_columns, make a column one with cast_column"
        )
    others = [name for name in strings if name not in labels] if classes else []
    note = [f"{where}: labels are column {labels[0]!r}, not {', '.join(map(repr, others))}"] if others else []
    return visual[0], labels[0], note


def _labels(library: Any, rows: Any, column: str) -> list[str]:
    """Return the label of each row, "" if it has none."""
    values = rows.select_columns([column])[:][column]
    kind = rows.features[column]
    if not isinstance(kind, library.ClassLabel):
        return [(value or "").strip() for value in values]
    return ["" if value is None or value < 0 else kind.names[value] for value in values]


def _files(rows: Any, column: str, where: str) -> list[Path]:
    """Return the file of each row: the one that it points at, or one that its bytes are written to."""
    compute: Any = import_module("pyarrow.compute")
    folder = cache_dir() / "datasets" / rows._fingerprint
    written = {file.stem: file for file in folder.iterdir()} if folder.is_dir() else {}
    # Arrow's own form: nothing is decoded, and of what was written before the bytes are not even read.
    cells = rows.select_columns([column]).with_format("arrow")
    paths: list[Path] = []
    for start in range(0, len(rows), _BATCH):
        batch = cells[start : start + _BATCH].column(column)
        named = compute.struct_field(batch, "path").to_pylist()
        sizes = compute.binary_length(compute.struct_field(batch, "bytes")).to_pylist()
        for i, (name, size) in enumerate(zip(named, sizes, strict=True)):
            if size is None:
                paths.append(_local(name, f"{where}: row {start + i}"))
                continue
            stem = f"{start + i:08d}"
            file = written.get(stem)
            if file is None or file.stat().st_size != size:
                content = batch[i].as_py()["bytes"]
                file = folder / f"{stem}{_suffix(content, name, type(rows.features[column]).__name__)}"
                with replacing(file, sync=False) as beside:
                    beside.write_bytes(content)
            paths.append(file)
    return paths


def _local(name: str | None, row: str) -> Path:
    if name is None or not Path(name).is_file():
        raise DataError(f"{row} has no bytes and points at {name}, no file here; fetch it, or save the data with bytes")
    return Path(name)


def _suffix(content: bytes, name: str | None, kind: str) -> str:
    """Return the suffix that fits the content; unknown content gets one under which reading it fails with a message."""
    given = Path(name or "").suffix.lower()
    return suffix_of(content) or (given if is_media(f"x{given}") else {"Image": ".png"}.get(kind, ".mp4"))
