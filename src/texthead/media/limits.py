"""What every clip is held to, whatever it is read from: sizes, memory, frame numbers, a file that is there."""

import math
import stat
from collections.abc import Sequence
from pathlib import Path

from texthead.errors import DataError, MediaError

# A few bytes can claim any size: the claim is checked before memory is taken. The area is where Pillow warns.
MAX_SIDE = 16_384

MAX_PIXELS = 89_478_485

# What decoding one file may hold at once, in millions of pixels of three bytes: pictures and frames at their full size,
# as the decoder holds them and in RGB. So that a user can raise it, every reader is given it.
MOST_MEGAPIXELS = 179

BYTES_A_MEGAPIXEL = 3 * 10**6

# Frames of a file, with what else the header of a video lists: 38 hours at 30 frames a second.
MAX_FRAMES = 2**22

# The long side over the short one: the short one is scaled up to a crop's, and the long one with it. A line of 16,384
# pixels would be 256 x 4 million, a picture at this limit is 256 x 256,000, no more pixels than may be read.
MAX_RATIO = 1000


def check_file(path: Path) -> None:
    """Raise MediaError unless a file with content lies at `path`.

    Raises: MediaError for a folder, a pipe, no file, or an empty one.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(path, "no such file; check the path", "missing") from None
    except (OSError, ValueError) as error:  # No right to look, a name that is too long, a circle of links.
        why = getattr(error, "strerror", None) or error
        raise MediaError(path, f"cannot be looked up ({why}); check its name and rights", "missing") from None
    if stat.S_ISDIR(found.st_mode):
        raise MediaError(path, "a folder, not a file; name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise MediaError(path, "a pipe or a device, not a file; name a file", "missing")
    if found.st_size == 0:
        raise MediaError(path, "the file is empty (0 bytes); fetch or copy it again", "empty")


def check_size(path: Path, width: int, height: int) -> None:
    """Raise MediaError if a picture has no pixels or too many.

    Raises: MediaError for what `check_sides` refuses, or more than MAX_PIXELS in all.
    """
    check_sides(path, width, height)
    if width * height > MAX_PIXELS:
        raise MediaError(path, f"claims {width}x{height} pixels, the limit is {MAX_PIXELS} in all; scale it down")


def check_sides(path: Path, width: int, height: int) -> None:
    """Raise MediaError for a side of 0, more than MAX_SIDE a side, or sides of more than 1 to MAX_RATIO.

    Raises: MediaError.
    """
    if min(width, height) < 1:
        raise MediaError(path, f"claims {width}x{height} pixels: it has no picture; make it again")
    if max(width, height) > MAX_SIDE:
        raise MediaError(path, f"claims {width}x{height} pixels, the limit is {MAX_SIDE} a side; scale it down")
    if max(width, height) > MAX_RATIO * min(width, height):
        problem = (
            f"claims {width}x{height} pixels, one side more than {MAX_RATIO} times the other; cut a part out of it"
        )
        raise MediaError(path, problem)


def check_held(path: Path, width: int, height: int, each: float, form: str, most_megapixels: int) -> None:
    """Raise MediaError if decoding a picture or a frame would hold more than `most_megapixels`.

    Args:
        each: bytes of all that is held at once, a pixel.
        form: what it is stored as.

    Raises: MediaError.
    """
    held = math.ceil(width * height * each / BYTES_A_MEGAPIXEL)
    if held > most_megapixels:
        claim = f"claims {width}x{height} pixels, and to decode them as {form} takes the memory of {held} megapixels"
        raise MediaError(path, f"{claim}, the limit is {most_megapixels}; scale it down or raise most_megapixels")


def check_frames(path: Path, count: int) -> None:
    """Raise MediaError unless a file has 1 to MAX_FRAMES frames.

    Raises: MediaError.
    """
    if not 1 <= count <= MAX_FRAMES:
        raise MediaError(path, f"claims {count} frames, the limits are 1 and {MAX_FRAMES}; cut it up or make it again")


def check_indices(path: Path, indices: Sequence[int], num_frames: int) -> None:
    """Raise DataError unless at least one frame is wanted and all of them exist.

    Raises: DataError.
    """
    if not len(indices):
        raise DataError(f"{path}: no frame was asked for; give at least one index")
    low, high = min(indices), max(indices)
    if low < 0 or high >= num_frames:
        wrong = low if low < 0 else high
        raise DataError(f"{path}: frame {wrong} is outside 0..{num_frames - 1}; sample within num_frames")


def changed_size(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """Return the message about frames of two sizes, each (height, width, ...)."""
    sizes = f"{before[1]}x{before[0]} to {after[1]}x{after[0]}"
    return f"its frames change size from {sizes}; encode it again at one size"
