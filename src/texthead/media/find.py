"""Find media files below a folder."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from texthead.errors import DataError, listed, plural
from texthead.files import path_list
from texthead.media.addresses import hint_on_path, local_copy
from texthead.media.frame_folder import EVERY
from texthead.media.paths import MediaPath
from texthead.media.shard import read_rows
from texthead.parallel.progress import Reporter

# Files that Windows adds to folders; those of other systems are hidden.
_OF_SYSTEM = frozenset({"desktop.ini", "ehthumbs.db", "thumbs.db"})

# Folders that systems, archives and network drives add, in lower case: copies of files and what was deleted.
_SYSTEM_FOLDERS = frozenset(
    {"__macosx", "lost+found", "@eadir", "#recycle", "$recycle.bin", "recycler", "system volume information"}
)


def is_system_folder(name: str) -> bool:
    """Return whether a folder is one that a system adds, which is left out with a line."""
    return name.lower() in _SYSTEM_FOLDERS


def is_hidden(name: str) -> bool:
    """Return whether a file is hidden or one that a system adds, so that it is left out without a word."""
    return name.startswith(".") or name.lower() in _OF_SYSTEM


def media_below(folder: Path, others: list[str] | None = None) -> Iterator[str]:
    """Yield the names of the videos and images in a folder and its subfolders, sorted, without hidden ones (`.name`).

    Links that are broken or may not be followed are included, and `folder/*` of a folder without read permission:
    reading them raises an error later. Links to folders are not followed.

    Args:
        others: gets the names of the files that are not media, without hidden ones and those of the system, and of the
            folders that a system added and of links to folders, with a slash at the end.
    """
    from texthead.media.open import media_suffixes

    suffixes = media_suffixes()  # A `MediaPath` for each of a hundred thousand names takes a second.
    files: list[str] = []
    folders: set[str] = set()
    try:
        entries = [*os.scandir(folder)]
    except PermissionError:
        yield str(folder / EVERY)
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and not is_system_folder(entry.name):
            folders.add(entry.name)
        elif is_folder or (entry.is_symlink() and os.path.isdir(entry)):  # noqa: PTH112
            if others is not None:
                others.append(f"{entry.name}/")
        elif os.path.splitext(entry.name)[1].lower() in suffixes or MediaPath(entry.name).is_media:  # noqa: PTH122
            files.append(entry.name)
        elif others is not None and os.path.isfile(entry) and not is_hidden(entry.name):  # noqa: PTH113
            others.append(entry.name)
    for name in sorted([*files, *folders]):
        path = folder / name
        if name in folders:
            yield from media_below(path, others)
        else:
            yield str(path)


def skipped_note(others: Sequence[str]) -> list[str]:
    """Return notes on the files, folders of the system and links to folders that `media_below` leaves out."""
    folders = sorted(name.rstrip("/") for name in others if name.endswith("/"))
    files = sorted(name for name in others if not name.endswith("/"))
    are = "s that are" if len(files) > 1 else " that is"
    notes = [f"skipped {len(files)} file{are} not media: {listed(files, 3)}"] if files else []
    for noun, whose, of_system in (("folder", " of the system", True), ("link", " to other folders", False)):
        if names := [name for name in folders if is_system_folder(name) is of_system]:
            notes.append(f"skipped {plural(len(names), noun)}{whose}: {listed(names, 3)}")
    return notes


def find_media(inputs: str | Path | Sequence[str | Path], reporter: Reporter = Reporter()) -> list[Path]:
    """Return the paths of `find_names`.

    Raises:
        DataError: as there.
    """
    return [Path(name) for name in find_names(inputs, reporter)]


def find_names(inputs: str | Path | Sequence[str | Path], reporter: Reporter = Reporter()) -> list[str]:
    """Return the files among the inputs, one or several, and the videos and images below the folders, sorted.

    They are strings, since a `Path` takes four times the memory.

    A template such as `v1/img_{:05d}.jpg` is one clip. A folder of prepared shards gives all its clips. The file at an
    address, such as `https://host/a.mp4`, is copied here. Hidden files and folders are skipped unless they are inputs
    themselves.

    Args:
        reporter: gets a note on files in the folders that are not media.

    Raises:
        DataError: a path does not exist, or a folder has no video or image.
        MediaError: an address cannot be read.
    """
    names: list[str] = []
    others: list[str] = []
    for path in map(local_copy, path_list(inputs)):
        media = MediaPath(path)
        if media.has_shards():
            names += [str(row[0]) for row in read_rows(path)[0]]
        elif path.is_dir():
            inside = [*media_below(path, others)]
            if not inside:
                raise DataError(f"{path}: folder has no video or image; name files or another folder")
            names += inside
        elif media.exists():
            names.append(str(path))
        else:
            raise DataError(f"{path}: no such file or folder; {hint_on_path(media.file) or 'check the path'}")
    for line in skipped_note(others):
        reporter.note(line)
    return names
