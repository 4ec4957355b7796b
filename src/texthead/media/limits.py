"""Limits for every file: pixels, frames and seconds; and the check that it exists."""

import os
import stat
import time
from pathlib import Path

from texthead.errors import DataError, MediaError, reason
from texthead.media.addresses import hint_on_path

# The limit on pixels; processes that are started later inherit the environment.
PIXELS_VARIABLE = "TEXTHEAD_MAX_PIXELS"

# 38 hours at 30 frames per second.
MAX_FRAMES = 2**22

# Long side over short side. Images are resized by their short side: 16,000 x 1 pixels would become 4 million x 256.
MAX_RATIO = 1000

# Seconds that a call may take to read a file, and that a data-loader worker may take to read a picture, whose decoder
# may never return.
MAX_SECONDS, PICTURE_SECONDS = 600.0, 60.0


def max_pixels() -> int:
    """Return the most pixels of a picture or frame: TEXTHEAD_MAX_PIXELS, or Pillow's MAX_IMAGE_PIXELS (89 million).

    If the variable is set, Pillow's limit is set to it.

    Raises: DataError if the variable is not a number of at least 1.
    """
    from PIL import Image

    if text := os.environ.get(PIXELS_VARIABLE):
        if not text.isdecimal() or int(text) < 1:
            raise DataError(f"{PIXELS_VARIABLE} must be a whole number of at least 1, got {text!r}; change or unset it")
        Image.MAX_IMAGE_PIXELS = int(text)
    return Image.MAX_IMAGE_PIXELS or 2**31


def check_file(path: Path) -> None:
    """Raise MediaError unless `path` is a regular, non-empty file."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # No permission, a name that is too long, a cycle of links.
        problem = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be found ({reason(error)})"
        raise MediaError(path, f"{problem}; {hint_on_path(path)}", "missing") from None
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, "a folder, a pipe or a device; name a file", "missing")
    if status.st_size == 0:
        raise MediaError(path, "the file is empty (0 bytes); download or copy it again", "empty")


def check_size(path: Path, width: int, height: int, most: int | None = None) -> None:
    """Raise MediaError for a picture or frame that is too long or has too many pixels.

    Args:
        most: the limit on pixels; `max_pixels()` if None.
    """
    size = f"has {width}x{height} pixels"
    if max(width, height) > MAX_RATIO * min(width, height):
        raise MediaError(path, f"{size}, one side more than {MAX_RATIO} times the other; crop it")
    if width * height > (limit := most or max_pixels()):
        raise MediaError(path, f"{size}, the limit is {limit:,} in all; scale it down or set {PIXELS_VARIABLE}")


def check_frames(path: Path, count: int) -> None:
    """Raise MediaError unless a file has 1 to MAX_FRAMES frames."""
    if not 1 <= count <= MAX_FRAMES:
        raise MediaError(path, f"has {count} frames, the limits are 1 and {MAX_FRAMES}; cut or export it again")


def check_time(path: Path, begin: float) -> None:
    """Raise MediaError if reading a file has taken MAX_SECONDS of this thread's CPU time since `begin`."""
    if time.thread_time() > begin + MAX_SECONDS:
        problem = f"takes more than {MAX_SECONDS:.0f} s to read; cut it into shorter files or scale it down"
        raise MediaError(path, problem)
