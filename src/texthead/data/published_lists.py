"""The published list formats, `path n_frames label` and `file label`."""

import re
from dataclasses import replace
from pathlib import Path

from texthead.data.dataset import Dataset, Item
from texthead.errors import DataError, naming, raising
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

    A label is an id of a mapping in a YAML file, or of a label file whose ids are 0, 1, 2, ...; of one whose ids are no
    numbers (imagenet) it is the row, counted from 0.

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
    numbers = tuple(map(str, range(len(labels.ids))))
    if not (labels.keyed or labels.ids == numbers):
        if any(map(str.isdecimal, labels.ids)):  # In the published code a label is the row, whatever its id.
            problem = f"{labels.path}: its ids must be 0, 1, 2, ..., as a label in {source.name} may be an id or a row"
            raise DataError(f"{problem}; sort and number it so, or write labels: {{1: cat, 2: dog}} in the YAML file")
        labels = replace(labels, ids=numbers)
    root = source.parent if root is None else root
    with naming(source):
        items = tuple(Item(root / f"{path}{end}", (labels.name_of(label),)) for path, label in entries)
    dataset = Dataset(items, str(source))
    unused = [name for name in labels.names if name not in dataset.counts]
    some = f"{len(unused)} of the {len(labels.names)} names in {labels.path}"
    notes = (f"{source}: no item for {some} (the first: {unused[0]!r})",) if unused else ()
    return replace(dataset, notes=notes)


def _entries(source: Path) -> tuple[list[tuple[str, str]], bool]:
    """Return (path as written, label) of each line, and whether lines count frames, as the first does."""
    with raising(DataError, f"{source}: not a readable list", "save it as UTF-8, one item per line"):
        text = read_text(source, most=MAX_BYTES_OF_LISTS)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    has_counts = bool(lines) and _FRAMES_LINE.fullmatch(lines[0][1]) is not None
    pattern, form = (_FRAMES_LINE, "path n_frames label") if has_counts else (_FILE_LINE, "file label")
    entries: list[tuple[str, str]] = []
    for number, line in lines:
        match = pattern.fullmatch(line)
        if match is None:
            rule = f"not `{form}`, or of another form than the first line; the label must be a whole number"
            raise DataError(f"{source}:{number}: '{line}' is {rule}")
        entries.append((match[1], str(int(match[pattern.groups]))))
    return entries, has_counts


def path_end(frame_template: str | None, suffix: str | None) -> str:
    """Return what a file name of frames, or a suffix, appends to each path.

    Raises:
        DataError: both are given, or one has another form.
    """
    # In a folder, since `Path("{:05d}.jpg")` has the drive `{:` on Windows.
    frames = frame_template is None or (frame_template != EVERY and is_template(Path(f"folder/{frame_template}")))
    if not frames or (suffix and (frame_template or not re.fullmatch(r"\.\w+", suffix))):
        rule = "use `frames` with one placeholder, as in img_{:05d}.jpg, for folders of frames, or `suffix`, as in .avi"
        raise DataError(f"{rule}, for files; got `frames` '{frame_template or ''}' and `suffix` '{suffix or ''}'")
    return f"/{frame_template}" if frame_template else suffix or ""
