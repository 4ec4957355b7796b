"""The published list formats, `path n_frames label` and `file label`."""

import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from texthead.errors import DataError
from texthead.files import MOST_BYTES_OF_LISTS, check_lines, read_text
from texthead.media.frame_folder import EVERY, frame_file, is_template
from texthead.text.label_files import LabelFile

# One space between fields; a path may hold spaces, so the numbers are taken from the right.
_FRAMES_LINE = re.compile(r"(.+)\s([0-9]+)\s([0-9]+)")

_FILE_LINE = re.compile(r"(.+)\s([0-9]+)")

# UCF101's names, as v_ApplyEyeMakeup_g01_c01.
_UCF_NAME = re.compile(r"v_(\w+)_g[0-9]+_c[0-9]+")


class ListedFile(NamedTuple):
    """A line of a list: its number, the path as it is written, how many frames it claims (if it does), the label."""

    line: int
    path: str
    frames: int | None
    label: int


def read_list(
    source: Path, labels: LabelFile, *, root: Path | None, frame_template: str | None, suffix: str | None
) -> tuple[list[tuple[Path, str]], list[str]]:
    """Return the path and class name of each line, and notes on what does not agree.

    A label is the place of its name in the label file, whatever the file's ids say: so the published code reads them.

    Args:
        root: the folder that the paths begin in; the list's own if None.
        frame_template: the name of a frame's file in a folder of frames, as "img_{:05d}.jpg".
        suffix: what the paths lack to be videos, as ".avi".

    Raises:
        DataError: a line of another form, a label outside the label file, or options that do not fit the list.
    """
    entries = _entries(source)
    _check_labels(source, entries, labels)
    end = _path_end(source, entries[0], frame_template, suffix)
    start = source.parent if root is None else root
    if not start.is_dir():
        raise DataError(f"{start}: no such folder; root must be where the paths in {source} begin")
    items = [(start / f"{entry.path}{end}", labels.names[entry.label]) for entry in entries]
    notes = [*_label_notes(source, entries, labels), *_folder_notes(source, entries, labels)]
    if frame_template is not None:
        claims = [(path, entry.frames or 0) for (path, _), entry in zip(items, entries, strict=True)]
        notes += _count_notes(source, claims)
    return items, notes


def _entries(source: Path) -> list[ListedFile]:
    """Parse the lines, all in the form of the first."""
    try:
        check_lines(source)
        text = read_text(source, most=MOST_BYTES_OF_LISTS)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source}: not a readable list ({error}); save it as UTF-8, one item a line") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{source}: the list is empty; expected lines `path n_frames label` or `file label`")
    has_counts = _FRAMES_LINE.fullmatch(lines[0][1]) is not None
    form, says = (_FRAMES_LINE, "path n_frames label") if has_counts else (_FILE_LINE, "file label")
    entries: list[ListedFile] = []
    for number, line in lines:
        found = form.fullmatch(line)
        if found is None:
            as_first = ", as the first line is" if number > lines[0][0] else " nor `path n_frames label`"
            raise DataError(f"{source}:{number}: {line!r} is not `{says}`{as_first}; the label is a whole number")
        path, *counts, label = found.groups()
        entries.append(ListedFile(number, path, int(counts[0]) if counts else None, int(label)))
    return entries


def _check_labels(source: Path, entries: Sequence[ListedFile], labels: LabelFile) -> None:
    most = len(labels.names) - 1
    wrong = next((entry for entry in entries if entry.label > most), None)
    if wrong is None:
        return
    low, high = min(entry.label for entry in entries), max(entry.label for entry in entries)
    hint = "the list and the label file must be of the same data"
    if (low, high) == (1, most + 1):
        hint = f"the labels run from 1 to {high}: take 1 off each"
    where = f"{source}:{wrong.line}"
    raise DataError(f"{where}: label {wrong.label} is outside 0..{most}, the rows of {labels.path}; {hint}")


def _path_end(source: Path, first: ListedFile, frame_template: str | None, suffix: str | None) -> str:
    """Return what to append to each path."""
    if frame_template is not None and suffix is not None:
        raise DataError(f"frame_template {frame_template!r} and suffix {suffix!r} both say what a path is: give one")
    if frame_template is not None:
        if first.frames is None:
            raise DataError(
                f"{source}: lines are `file label`, and frame_template {frame_template!r} is for "
                "`path n_frames label`: leave it out"
            )
        if not is_template(frame_template) or frame_template == EVERY:
            raise DataError(
                f"frame_template must hold one place for the number, as img_{{:05d}}.jpg, got {frame_template!r}"
            )
        return f"/{frame_template}"
    if suffix is not None:
        if not re.fullmatch(r"\.\w+", suffix):
            raise DataError(f"suffix must be a dot and letters, as .avi, got {suffix!r}")
        if first.path.lower().endswith(suffix.lower()):
            raise DataError(f"{source}: its paths end in {suffix} already ({first.path}): leave out suffix")
        return suffix
    if first.frames is not None:
        raise DataError(
            f"{source}: lines are `path n_frames label`: give frame_template, as img_{{:05d}}.jpg, "
            "for folders of frames, or suffix, as .avi, for videos"
        )
    return ""


def _label_notes(source: Path, entries: Sequence[ListedFile], labels: LabelFile) -> list[str]:
    notes: list[str] = []
    if labels.ids != tuple(str(row) for row in range(len(labels.ids))):
        row = next(row for row, name in enumerate(labels.ids) if name != str(row))
        odd = f"row {row} has id {labels.ids[row]!r}"
        notes.append(f"{labels.path}: its ids are not 0, 1, 2, ... ({odd}); a label is the place of its row, from 0")
    unused = sorted(set(range(len(labels.names))) - {entry.label for entry in entries})
    if unused:
        some = f"{len(unused)} of the {len(labels.names)} names of {labels.path}"
        notes.append(f"{source}: no item for {some} (the first: {labels.names[unused[0]]!r})")
    return notes


def _folder_notes(source: Path, entries: Sequence[ListedFile], labels: LabelFile) -> list[str]:
    """Return a note on paths that name another class than their label: `kick/a.avi` with the label of `kick ball`."""
    places: dict[str, set[int]] = defaultdict(set)
    for place, name in enumerate(labels.names):
        places[_letters(name)].add(place)
    odd: list[tuple[ListedFile, str]] = []
    for entry in entries:
        *words, last = entry.path.split("/")
        ucf = _UCF_NAME.match(last)
        words += ucf.groups() if ucf else ()
        named = [(word, places[letters]) for word in words if (letters := _letters(word)) in places]
        if named and not any(entry.label in meant for _, meant in named):
            odd.append((entry, named[0][0]))
    if not odd:
        return []
    entry, named = odd[0]
    return [
        f"{source}: {len(odd)} of {len(entries)} paths name another class than their label (line {entry.line}: "
        f"{entry.path} says {named!r}, label {entry.label} is {labels.names[entry.label]!r}): check {labels.path}"
    ]


def _letters(name: str) -> str:
    """Return letters and digits alone, lower case: what `Push_Up`, `push up` and `PushUp` share."""
    return "".join(character for character in name.lower() if character.isalnum())


def _count_notes(source: Path, claims: Sequence[tuple[Path, int]]) -> list[str]:
    """Return a note on folders that hold another number of frames than the list says."""
    with ThreadPoolExecutor(16) as pool:
        agree = list(pool.map(_holds, *zip(*claims, strict=True)))
    odd = [claim for claim, good in zip(claims, agree, strict=True) if not good]
    if not odd:
        return []
    path, frames = odd[0]
    return [
        f"{source}: {len(odd)} of {len(claims)} folders do not hold as many frames as it says; the folder is believed "
        f"(the first: {path.parent}, {frames} frames by the list)"
    ]


def _holds(path: Path, frames: int) -> bool:
    """Return whether a folder holds so many frames, by the last one and the one after it; True if it is missing.

    Worked example, 3 frames: files 1 2 3 agree, and so do 0 1 2; files 1 2 3 4 do not.
    """
    first = 0 if frame_file(path, 0).exists() else 1
    last = first + frames - 1
    agrees = (frames == 0 or frame_file(path, last).exists()) and not frame_file(path, last + 1).exists()
    return agrees or not path.parent.is_dir()
