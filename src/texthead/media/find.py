"""Media files below a folder."""

from collections.abc import Sequence
from pathlib import Path

from texthead.errors import DataError
from texthead.media.open import is_media
from texthead.media.shard import has_shards, is_there, read_rows


def media_below(folder: Path) -> list[Path]:
    """Return the videos and images in a folder and all below it, sorted, without hidden ones (`.name`).

    A link that leads nowhere is among them: it is an error where it is read.
    """
    found = (path for path in folder.rglob("*") if is_media(path) and not path.is_dir())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def find_media(inputs: Sequence[str | Path]) -> list[Path]:
    """Return the given files, and the videos and images in the given folders and below them, sorted.

    A name with a place for a number, `v1/img_{:05d}.jpg`, is one clip of frames. Of prepared shards all clips are
    named. Hidden files and folders are passed over, unless they are named.

    Raises:
        DataError: a path that does not exist, or a folder without video or image.
    """
    found: list[Path] = []
    for path in map(Path, inputs):
        if has_shards(path):
            found += [row[0] for row in read_rows(path)[0]]
        elif path.is_dir():
            inside = media_below(path)
            if not inside:
                raise DataError(f"{path}: folder holds no video or image; name files or another folder")
            found += inside
        elif is_there(path):
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or folder; check the path")
    return found
