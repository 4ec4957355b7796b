"""Clips stored as one image per frame in a folder, named by a template: `clips/v1/img_{:05d}.jpg`, `clips/v1/*`."""

import os
import re
from functools import partial
from pathlib import Path

from texthead.errors import MediaError, raising

_NUMBER = re.compile(r"\{:(?:0([1-9]\d?))?d\}")

# The template for all images of a folder, whatever their names.
EVERY = "*"

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)


def is_template(path: Path) -> bool:
    """Return whether a path's name is `*` or has one placeholder for the frame number: `img_{:05d}.jpg`."""
    return path.name == EVERY or len(_NUMBER.findall(path.name)) == 1


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return the key of the natural order: img2 before img10."""
    pieces = re.split("([0-9]+)", name)  # Every second piece is a number.
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


def frame_files(path: Path) -> list[Path]:
    """Return the files that match a template, ordered by frame number, from one listing of the folder.

    Raises:
        MediaError: the folder is missing, no file matches, the first number is neither 0 nor 1, a number is missing,
            or `*` matches images with different suffixes.
    """
    with raising(partial(MediaError, path), "its folder cannot be listed", "check the path"):
        names = [entry.name for entry in os.scandir(path.parent)]
    if path.name == EVERY:
        images = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")]
        frames = dict(enumerate(sorted(images, key=_natural)))
    else:
        before, width, after = _NUMBER.split(path.name)
        width = int(width or 1)
        # A number longer than the template's width has no leading zeros.
        pattern = re.compile(rf"{re.escape(before)}([0-9]{{{width}}}|[1-9][0-9]{{{width},}}){re.escape(after)}")
        frames = {int(match[1]): match[0] for match in map(pattern.fullmatch, names) if match}
    if not frames:
        raise MediaError(
            path, f"the template matches none of the {len(names)} files in its folder; correct the template"
        )
    suffixes = sorted({Path(name).suffix.lower() for name in frames.values()})
    if len(suffixes) > 1:
        kinds = ", ".join(suffixes)
        raise MediaError(
            path, f"its folder has several image suffixes ({kinds}); pass a template such as img_{{:05d}}.jpg"
        )
    first, last = min(1, *frames), max(frames)
    missing = next((number for number in range(first, last) if number not in frames), None)
    if missing is not None:
        name = _NUMBER.sub(lambda match: f"{missing:0{match[1] or 1}d}", path.name)
        raise MediaError(path, f"frame {name} is missing ({frames[last]} exists); extract the frames again")
    return [path.parent / frames[number] for number in range(first, last + 1)]
