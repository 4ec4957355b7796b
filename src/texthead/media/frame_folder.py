"""Clips that lie as one picture a frame in a folder, named by a template: `clips/v1/img_{:05d}.jpg`, `clips/v1/*`."""

import os
import re
from pathlib import Path

from texthead.errors import MediaError

_NUMBER = re.compile(r"\{:(?:0([1-9]\d?))?d\}")

# In place of a template: all images of the folder, whatever their names.
EVERY = "*"

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def is_template(path: str | Path) -> bool:
    """Return whether the last part of a path is `*` or holds one place for a frame's number: `img_{:05d}.jpg`."""
    name = Path(path).name
    return name == EVERY or len(_NUMBER.findall(name)) == 1


def frame_file(path: Path, number: int) -> Path:
    """Return the file of one frame: `v1/img_{:05d}.jpg` and 7 give `v1/img_00007.jpg`."""
    before, width, after = _NUMBER.split(path.name)
    return path.parent / f"{before}{number:0{width or 1}d}{after}"


def clips_below(folder: Path, template: str) -> list[Path]:
    """Return the clips in a folder: itself if a file in it fits the template, else each folder in it that has one.

    Raises:
        MediaError: neither it nor a folder in it holds a frame.
    """
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [place / template for place in places if _fitting(place / template)]
    if not found:
        raise MediaError(folder, f"neither it nor a folder in it holds a file that fits {template}; check both")
    return found[:1] if found[0].parent == folder else found


def _numbers(path: Path) -> dict[int, str]:
    """Return the names that fit a template, by number, from one listing of the folder."""
    before, width, after = _NUMBER.split(path.name)
    width = int(width or 1)
    # A number longer than the template's width has no zeros in front.
    fits = re.compile(rf"{re.escape(before)}([0-9]{{{width}}}|[1-9][0-9]{{{width},}}){re.escape(after)}")
    matches = (fits.fullmatch(entry.name) for entry in os.scandir(path.parent))
    return {int(match[1]): match[0] for match in matches if match}


def _images(folder: Path) -> dict[int, str]:
    """Return the names of a folder's images in natural order (img2 before img10), by their place."""
    names = [entry.name for entry in os.scandir(folder)]
    images = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")]
    return dict(enumerate(sorted(images, key=_natural)))


def _natural(name: str) -> tuple[list[str | int], str]:
    parts = re.split("([0-9]+)", name)  # Every second part is a number.
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _fitting(path: Path) -> dict[int, str]:
    return _images(path.parent) if path.name == EVERY else _numbers(path)


def frame_files(path: Path) -> list[Path]:
    """Return the files that fit a template, in the order of their numbers, from one listing of the folder.

    Raises:
        MediaError: no such folder, no file that fits, a first number that is neither 0 nor 1, a gap, or for `*`
            images of two suffixes.
    """
    try:
        found = _fitting(path)
    except OSError as error:
        raise MediaError(path, f"its folder cannot be listed ({error.strerror}); check the path") from None
    if not found:
        count = len(list(path.parent.iterdir()))
        raise MediaError(path, f"none of the {count} files in its folder fits the template; check both")
    suffixes = sorted({Path(name).suffix.lower() for name in found.values()})
    if len(suffixes) > 1:
        kinds = ", ".join(suffixes)
        raise MediaError(path, f"its folder holds images of several kinds ({kinds}); name one, as img_{{:05d}}.jpg")
    first, last = min(found), max(found)
    if first > 1:
        raise MediaError(path, f"its first frame is {found[first]}; number frames from 0 or 1 on")
    missing = next((number for number in range(first, last) if number not in found), None)
    if missing is not None:
        name = frame_file(path, missing).name
        raise MediaError(path, f"frame {name} is missing ({found[last]} is there); extract the frames again")
    return [path.parent / found[number] for number in range(first, last + 1)]
