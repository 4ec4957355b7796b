"""Rows of tables -> items, with one label per file or several: `dog; frisbee` in a cell."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from texthead.data.dataset import SPLIT_NAMES, Dataset, Item
from texthead.data.labels import SEPARATOR, split_labels
from texthead.errors import DataError, naming, raising
from texthead.media.paths import MediaPath, Span

# The known columns of a manifest.
ROW_COLUMNS = ("path", "label", "labels", "split", "group", "start", "end")


def row_path(row: dict[str, str], manifest: Path, line: int, root: Path | None = None) -> Path:
    """Return the path of a manifest's row: a file, a folder as a clip of its images, or a part of a video.

    A part is given by the columns `start` and `end`, in seconds, or by a path such as `match.mp4#t=3,7.5`. Blanks
    around the path are part of it only if there is such a file, and so is \\, which else separates folders.

    Raises:
        DataError: the times break a rule, or the file is not a video.
    """
    root = root or manifest.parent
    path = MediaPath(root / row["path"])
    if row["path"] != row["path"].strip() and not os.path.lexists(path.file):
        path = MediaPath(root / row["path"].strip())
    if "\\" in row["path"] and not path.exists():  # A list from Windows.
        other = MediaPath(root / row["path"].strip().replace("\\", "/"))
        path = other if other.exists() else path
    start, end = ((row.get(name) or "").strip() for name in ("start", "end"))
    if not (start or end or path.is_part):
        return path.clip().path
    where = f"{manifest}:{line}"
    if path.is_part and (start or end):
        raise DataError(f"{where}: times are in the path '{row['path']}' and in start and end; leave one out")
    remedy = "give seconds from the first frame, or leave the column empty"
    with naming(where), raising(DataError, f"'{row['path']}' has no such part", remedy):
        part = path.part(path.span) if path.is_part else path.clip().part(Span.read(start, end))
        part.check_part()
    return part.path


def row_item(row: dict, manifest: Path, line: int, root: Path | None = None) -> Item:
    """Return the item of a row; paths are relative to `root`, the manifest's folder if None."""
    split = (row.get("split") or "").strip().lower()
    if split and split not in SPLIT_NAMES:
        raise DataError(f"{manifest}:{line}: column 'split' must be train, val or test, got {row['split']!r}")
    return Item(
        path=row_path(row, manifest, line, root),
        labels=(row.get("labels", row.get("label", "")).strip(),),
        split=SPLIT_NAMES[split] if split else None,  # pyright: ignore[reportArgumentType]
        group=(row.get("group") or "").strip() or None,
        extra=tuple((k, v) for k, v in row.items() if k not in ROW_COLUMNS),
    )


def dataset_of(items: Sequence[Item], source: str, *, multilabel: bool) -> Dataset:
    """Return the dataset of the rows of a table or list, whose cells are the labels of `items`.

    Files have several labels if `multilabel`, or if a cell contains a semicolon.

    Raises:
        DataError: a file has no label and `multilabel` is false, or no cell has a semicolon where files have several
            labels, and one has another usual separator.
    """
    joined = any(SEPARATOR in item.label for item in items)
    other = next((item.label for item in items if any(mark in item.label for mark in ",|")), None)
    if multilabel and other is not None and not joined:
        problem = f"labels are separated by {SEPARATOR!r}, as in 'dog; frisbee', and none is, got {other[:60]!r}"
        raise DataError(f"{source}: {problem}; write it so, or if that is one class, name the column 'label'")
    if not (multilabel or joined):
        return Dataset(tuple(items), source)
    items = [replace(item, labels=split_labels(item.label)) for item in items]
    if not multilabel and (none := [item.path for item in items if not item.labels]):
        raise DataError(f"{source}: {none[0]} has no label; if files may have none, name the column 'labels'")
    return Dataset(tuple(items), source, multilabel=True)


def multilabel_note(dataset: Dataset) -> str:
    """Return a note on how many files have several labels or none."""
    sizes = [len(own) for own in dataset.sets]
    most, none = max(sizes), f", {sizes.count(0)} have none" if 0 in sizes else ""
    first = f" (at most {most}, as {dataset.items[sizes.index(most)].path})" if most > 1 else ""
    about = f"{sum(size > 1 for size in sizes)} of {len(sizes)} files have several labels{first}{none}"
    return f"{dataset.source}: {about}: each class is a yes-or-no question"
