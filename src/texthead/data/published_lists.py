"""The published list formats, `path n_frames label` and `file label`."""

import re
from collections.abc import Sequence
from pathlib import Path

from texthead.data.dataset import Dataset, Item
from texthead.errors import DataError, raising
from texthead.files import MAX_BYTES_OF_LISTS, read_text
from texthead.media.frame_folder import EVERY, is_template
from texthead.text.label_files import ClassIds

# Fields are separated by one space; a path may contain spaces, so the numbers are matched from the right.
_FRAMES_LINE = re.compile(r"(.+)\s([0-9]+)\s([0-9]+)")

_FILE_LINE = re.compile(r"(.+)\s([0-9]+)")


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
    entries, counted = _entries(source)
    end = path_end(frame_template, suffix)
    if (counted and not end) or (frame_template is not None and not counted):
        form = "`path n_frames label`" if counted else "`file label`"
        remedy = "add `frames: img_{:05d}.jpg` or for videos `suffix: .avi` to the YAML file"
        raise DataError(f"{source}: lines are {form}: {remedy if counted else 'remove `frames`'}")
    names, notes = _named(source, [(line, label) for line, _, label in entries], labels)
    root = source.parent if root is None else root
    items = (Item(root / f"{path}{end}", (name,)) for (_, path, _), name in zip(entries, names, strict=True))
    return Dataset(tuple(items), str(source), tuple(notes))


def _entries(source: Path) -> tuple[list[tuple[int, str, int]], bool]:
    """Return (number, path as written, label) of each line, and whether lines count frames, as the first does."""
    with raising(DataError, f"{source}: not a readable list", "save it as UTF-8, one item per line"):
        text = read_text(source, most=MAX_BYTES_OF_LISTS)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{source}: the list is empty; expected lines `path n_frames label` or `file label`")
    has_counts = _FRAMES_LINE.fullmatch(lines[0][1]) is not None
    pattern, form = (_FRAMES_LINE, "path n_frames label") if has_counts else (_FILE_LINE, "file label")
    entries: list[tuple[int, str, int]] = []
    for number, line in lines:
        match = pattern.fullmatch(line)
        if match is None:
            as_first = " like the first line" if number > lines[0][0] else " or `path n_frames label`"
            raise DataError(f"{source}:{number}: '{line}' is not `{form}`{as_first}; the label must be a whole number")
        entries.append((number, match[1], int(match[pattern.groups])))
    return entries, has_counts


def _named(source: Path, entries: Sequence[tuple[int, int]], labels: ClassIds) -> tuple[list[str], list[str]]:
    """Return the name of the label of each (line, label), and notes on the label file.

    Raises:
        DataError: a label has no name, or may be a row or an id of the label file.
    """
    notes, numbers, most = [], {label for _, label in entries}, len(labels.names) - 1
    if labels.keyed:
        rows = [labels.row_of(str(label)) for _, label in entries]
    else:
        rows = [label for _, label in entries]
        outside = next((entry for entry in entries if entry[1] > most), None)
        if outside is not None:
            problem = f"label {outside[1]} is outside 0 to {most}, the rows of {labels.path}"
            remedy = "use the label file of this list, and count labels from 0"
            raise DataError(f"{source}:{outside[0]}: {problem}; {remedy}")
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
