"""The published list formats, `path n_frames label` and `file label`."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from texthead.data.dataset import Dataset, Item
from texthead.errors import DataError, raising
from texthead.files import MAX_BYTES_OF_LISTS, check_lines, read_text
from texthead.media.frame_folder import EVERY, frame_file, is_template
from texthead.text.label_files import ClassIds

# Fields are separated by one space; a path may contain spaces, so the numbers are matched from the right.
_FRAMES_LINE = re.compile(r"(.+)\s([0-9]+)\s([0-9]+)")

_FILE_LINE = re.compile(r"(.+)\s([0-9]+)")


class ListedFile(NamedTuple):
    """A line of a list: its number, the path as written, the number of frames if listed, the label."""

    line: int
    path: str
    frames: int | None
    label: int


def read_list(
    source: str | Path,
    labels: ClassIds | None = None,
    root: Path | None = None,
    frame_template: str | None = None,
    suffix: str | None = None,
) -> Dataset:
    """Return the labelled files of a list, with notes on inconsistencies.

    A label is an id of a mapping in a YAML file. In a label file it is the row of the name, as in the published code;
    where the ids of such a file could be meant as well, that is an error.

    Args:
        root: the folder that the paths are relative to; the list's own if None.
        frame_template: the file name of a frame in a folder of frames, such as "img_{:05d}.jpg".
        suffix: appended to each path to make it a video file, such as ".avi".

    Raises:
        DataError: the list cannot be read, there is no label file, a line has another form, a label is outside the
            label file, or the options do not fit the list.
    """
    source = Path(source)
    if labels is None:
        raise DataError(
            f"{source}: labels in a list are numbers; describe it in a .yaml file with 'list: {source.name}' and "
            "'labels: names.csv' (id,name in the same order)"
        )
    entries, end = _entries(source), path_end(frame_template, suffix)
    counted = entries[0].frames is not None
    if (counted and not end) or (frame_template is not None and not counted):
        form = "`path n_frames label`" if counted else "`file label`"
        remedy = "add `frames: img_{:05d}.jpg` or for videos `suffix: .avi` to the YAML file"
        raise DataError(f"{source}: lines are {form}: {remedy if counted else 'remove `frames`'}")
    names, notes = _named(source, entries, labels)
    root = source.parent if root is None else root
    paths = [root / f"{entry.path}{end}" for entry in entries]
    if frame_template is not None:
        notes += _count_notes(source, [(path, entry.frames or 0) for path, entry in zip(paths, entries, strict=True)])
    items = (Item(path, (name,)) for path, name in zip(paths, names, strict=True))
    return Dataset(tuple(items), str(source), tuple(notes))


def _entries(source: Path) -> list[ListedFile]:
    """Parse the lines; all must have the form of the first."""
    with raising(DataError, f"{source}: not a readable list", "save it as UTF-8, one item per line"):
        check_lines(source)
        text = read_text(source, most=MAX_BYTES_OF_LISTS)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{source}: the list is empty; expected lines `path n_frames label` or `file label`")
    has_counts = _FRAMES_LINE.fullmatch(lines[0][1]) is not None
    pattern, form = (_FRAMES_LINE, "path n_frames label") if has_counts else (_FILE_LINE, "file label")
    entries: list[ListedFile] = []
    for number, line in lines:
        match = pattern.fullmatch(line)
        if match is None:
            as_first = " like the first line" if number > lines[0][0] else " or `path n_frames label`"
            raise DataError(f"{source}:{number}: '{line}' is not `{form}`{as_first}; the label must be a whole number")
        path, *counts, label = match.groups()
        entries.append(ListedFile(number, path, int(counts[0]) if counts else None, int(label)))
    return entries


def _named(source: Path, entries: Sequence[ListedFile], labels: ClassIds) -> tuple[list[str], list[str]]:
    """Return the name of each label, and notes on the label file.

    Raises:
        DataError: a label has no name, or may be a row or an id of the label file.
    """
    notes, numbers, most = [], {entry.label for entry in entries}, len(labels.names) - 1
    if labels.keyed:
        rows = [labels.row_of(str(entry.label)) for entry in entries]
    else:
        rows = [entry.label for entry in entries]
        outside = next((entry for entry in entries if entry.label > most), None)
        if outside is not None:
            hint = "the list and the label file must belong to the same dataset"
            if (min(numbers), max(numbers)) == (1, most + 1):
                hint = f"the labels run from 1 to {most + 1}: subtract 1 from each"
            problem = f"label {outside.label} is outside 0 to {most}, the rows of {labels.path}"
            raise DataError(f"{source}:{outside.line}: {problem}; {hint}")
        other = next((row for row, name in enumerate(labels.ids) if name != str(row)), None)
        if other is not None:
            if {str(number) for number in numbers} <= {*labels.ids}:
                raise DataError(
                    f"{labels.path}: the labels of {source} may be its ids or its rows, which differ: sort it and "
                    "count its ids from 0, or write a mapping of ids to names in the YAML file, as "
                    "labels: {1: cat, 2: dog}"
                )
            problem = f"ids are not 0, 1, 2, ... (row {other} has id {labels.ids[other]!r}) and are not used"
            notes.append(f"{labels.path}: {problem}: a label in the list is a row of this file, counted from 0")
    unused = sorted(set(range(most + 1)) - {*rows})
    if unused:
        some = f"{len(unused)} of the {most + 1} names in {labels.path}"
        notes.append(f"{source}: no item for {some} (the first: {labels.names[unused[0]]!r})")
    return [labels.names[row] for row in rows], notes


def path_end(frame_template: str | None, suffix: str | None) -> str:
    """Return what a file name of frames, or a suffix, appends to each path.

    Raises:
        DataError: both are given, or one has another form.
    """
    if frame_template is not None and suffix is not None:
        raise DataError("`frames` is for folders of frames, `suffix` for files; use one of the two")
    if frame_template is not None:
        # In a folder, since `Path("{:05d}.jpg")` has the drive `{:` on Windows.
        if frame_template == EVERY or not is_template(Path(f"folder/{frame_template}")):
            example = "img_{:05d}.jpg"
            raise DataError(f"`frames` must have one placeholder, as in {example}, got '{frame_template}'")
        return f"/{frame_template}"
    if suffix is not None and not re.fullmatch(r"\.\w+", suffix):
        raise DataError(f"`suffix` must be a dot and letters, such as .avi, got '{suffix}'")
    return suffix or ""


def _count_notes(source: Path, counts: Sequence[tuple[Path, int]]) -> list[str]:
    """Return a note on folders whose number of frames differs from the list's; missing folders are left alone."""

    def agrees(path: Path, frames: int) -> bool:
        """Check the last frame and the next: of 3 frames, files 1 2 3 and files 0 1 2 agree, files 1 2 3 4 do not."""
        last = frames if not frame_file(path, 0).exists() else frames - 1
        whole = (frames == 0 or frame_file(path, last).exists()) and not frame_file(path, last + 1).exists()
        return whole or not path.parent.is_dir()

    with ThreadPoolExecutor(16) as pool:
        agree = list(pool.map(agrees, *zip(*counts, strict=True)))
    wrong = [count for count, good in zip(counts, agree, strict=True) if not good]
    if not wrong:
        return []
    path, frames = wrong[0]
    problem = f"in {len(wrong)} of {len(counts)} folders the number of frames differs from the list"
    return [f"{source}: {problem} (the first: {path.parent}, {frames} frames in the list); those there are used"]
