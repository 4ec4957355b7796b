"""Find media files below a folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from texthead.errors import DataError, listed
from texthead.files import path_list
from texthead.media.addresses import local_copy
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


def media_below(folder: Path) -> tuple[list[str], list[str]]:
    """Return the videos and images in a folder and its subfolders, sorted, and the names of the others.

    Left out are hidden files and folders (`.name`). Links that are broken or may not be followed are included, and
    `folder/*` of a folder without read permission: reading them raises an error later. Links to folders are not
    followed. The others are files that are not media, and with a slash at the end, folders that a system added and
    links to folders.
    """
    from texthead.media.open import media_suffixes

    suffixes = media_suffixes()  # A `MediaPath` for each of a hundred thousand names takes a second.
    media: list[str] = []
    others: list[str] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        return [str(folder / EVERY)], []
    for entry in entries:
        name, is_folder = entry.name, entry.is_dir(follow_symlinks=False)
        if name.startswith("."):
            continue
        if is_folder and not is_system_folder(name):
            inside, skipped = media_below(folder / name)
            media += inside
            others += skipped
        elif is_folder or (entry.is_symlink() and os.path.isdir(entry)):  # noqa: PTH112
            others.append(f"{name}/")
        elif os.path.splitext(name)[1].lower() in suffixes or MediaPath(name).is_media:  # noqa: PTH122
            media.append(str(folder / name))
        elif os.path.isfile(entry) and not is_hidden(name):  # noqa: PTH113
            others.append(name)
    return media, others


def skipped_note(others: Sequence[str]) -> list[str]:
    """Return a note on what is left out of folders."""
    why = "not media, not in a class folder, a broken link, a link to a folder, or a folder of the system"
    return [f"skipped {listed(sorted(others), 3)}: {why}"] if others else []


def find_media(inputs: str | Path | Sequence[str | Path], reporter: Reporter = Reporter()) -> list[str]:
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
            inside, skipped = media_below(path)
            if not inside:
                raise DataError(f"{path}: folder has no video or image; name files or another folder")
            names += inside
            others += skipped
        else:
            media.check()
            names.append(str(path))
    for line in skipped_note(others):
        reporter.note(line)
    return names
