"""Find media files below a folder."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from texthead.errors import DataError
from texthead.files import path_list
from texthead.media.frame_folder import EVERY
from texthead.media.paths import MediaPath
from texthead.media.shard import read_rows


def media_below(folder: Path) -> Iterator[str]:
    """Yield the names of the videos and images in a folder and its subfolders, sorted, without hidden ones (`.name`).

    Broken links are included, and `folder/*` of a folder without read permission: reading them raises an error later.
    Links to folders are not followed.
    """
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
        if entry.is_dir(follow_symlinks=False):
            folders.add(entry.name)
        elif MediaPath(entry.name).is_media:
            files.append(entry.name)
    for name in sorted([*files, *folders]):
        path = folder / name
        if name in folders:
            yield from media_below(path)
        elif not path.is_dir():
            yield str(path)


def find_media(inputs: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the paths of `find_names`.

    Raises:
        DataError: as there.
    """
    return [Path(name) for name in find_names(inputs)]


def find_names(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the files among the inputs, one or several, and the videos and images below the folders, sorted.

    They are strings, since a `Path` takes four times the memory.

    A template such as `v1/img_{:05d}.jpg` is one clip. A folder of prepared shards gives all its clips. Hidden files
    and folders are skipped unless they are inputs themselves.

    Raises:
        DataError: a path does not exist, or a folder has no video or image.
    """
    names: list[str] = []
    for path in path_list(inputs):
        media = MediaPath(path)
        if media.has_shards():
            names += [str(row[0]) for row in read_rows(path)[0]]
        elif path.is_dir():
            inside = [*media_below(path)]
            if not inside:
                raise DataError(f"{path}: folder has no video or image; name files or another folder")
            names += inside
        elif media.exists():
            names.append(str(path))
        else:
            raise DataError(f"{path}: no such file or folder; check the path")
    return names
