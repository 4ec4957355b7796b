"""Limits and checks for every clip: size, memory, frame numbers, existing file."""

import math
import os
import stat
import time
from pathlib import Path

from texthead.errors import DataError, MediaError, PositiveInt
from texthead.media.addresses import hint_on_path

# Default of `max_megapixels`: a small file can claim any size, so it is checked before allocating.
MAX_MEGAPIXELS = 179

# Where the limit is stored: processes that are started later inherit the environment.
_VARIABLE = "TEXTHEAD_MAX_MEGAPIXELS"

BYTES_A_MEGAPIXEL = 3 * 10**6

# Frames of a file, or samples in the header of a video: 38 hours at 30 frames per second.
MAX_FRAMES = 2**22

# Long side over short side. Images are resized by their short side: 16,000 x 1 pixels would become 4 million x 256.
MAX_RATIO = 1000

# Scans of a JPEG. Each visits all coefficients again, however few bytes it has: up to 1.2 s for 1,000 megapixels.
# libjpeg writes 10 scans, or 18 in CMYK.
MAX_SCANS = 64

# Limit for the CPU time of a call that reads a file, in seconds: a few kilobytes can take a day to decode.
MAX_SECONDS = 600.0


def max_megapixels() -> int:
    """Return the memory limit for decoding one file, in the decoder and in RGB: millions of three-byte pixels.

    Raises: DataError if the environment variable TEXTHEAD_MAX_MEGAPIXELS is not a number of at least 1.
    """
    text = os.environ.get(_VARIABLE, str(MAX_MEGAPIXELS))
    if not text.isdecimal() or int(text) < 1:
        raise DataError(f"{_VARIABLE} must be a whole number of at least 1, got {text!r}; change or unset it")
    return int(text)


def set_max_megapixels(limit: PositiveInt) -> None:
    """Set the memory limit for decoding one file in this process and its workers, in millions of three-byte pixels.

    The default is 179: 537 MB. Larger files are unreadable.

    Raises: DataError if the limit is below 1.
    """
    os.environ[_VARIABLE] = str(limit)


def check_file(path: Path) -> None:
    """Raise MediaError unless `path` is a regular, non-empty file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(path, f"no such file; {hint_on_path(path) or 'check the path'}", "missing") from None
    except (OSError, ValueError) as error:  # No permission, a name that is too long, a cycle of links.
        why = getattr(error, "strerror", None) or error
        raise MediaError(path, f"cannot be looked up ({why}); check its name and rights", "missing") from None
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(path, "a folder, not a file; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, "a pipe or a device, not a file; name a file", "missing")
    if status.st_size == 0:
        raise MediaError(path, "the file is empty (0 bytes); download or copy it again", "empty")


def check_size(path: Path, width: int, height: int, each: float = 3.0) -> None:
    """Raise MediaError for a picture or frame that is empty, too long, or takes more memory than `max_megapixels()`.

    Args:
        each: bytes per pixel that are held at once while it is decoded; 3 are those of the picture in RGB.
    """
    claim = f"claims {width}x{height} pixels"
    if min(width, height) < 1:
        raise MediaError(path, f"{claim}, which is empty; make it again")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise MediaError(path, f"{claim}, one side more than {MAX_RATIO} times the other; crop it")
    held, limit = math.ceil(width * height * each / BYTES_A_MEGAPIXEL), max_megapixels()
    if held > limit:
        memory = f"decoding takes the memory of {held} megapixels, the limit is {limit}"
        raise MediaError(path, f"{claim}, and {memory}; scale it down or raise `max_megapixels`")


def check_scans(path: Path, jpeg: bytes) -> None:
    """Raise MediaError if a JPEG may have more than MAX_SCANS scans."""
    if (scans := jpeg.count(b"\xff\xda\0")) > MAX_SCANS:
        raise MediaError(path, f"has {scans} scans, the limit for a JPEG is {MAX_SCANS}; save it again")


def check_frames(path: Path, count: int) -> None:
    """Raise MediaError unless a file has 1 to MAX_FRAMES frames."""
    if not 1 <= count <= MAX_FRAMES:
        raise MediaError(path, f"claims {count} frames, the limits are 1 and {MAX_FRAMES}; cut or export it again")


class Clock:
    """Measure the CPU time of this thread against MAX_SECONDS."""

    def __init__(self, path: Path):
        self._path, self._until = path, time.thread_time() + MAX_SECONDS

    def check(self) -> None:
        """Raise MediaError if the time is over."""
        if time.thread_time() > self._until:
            problem = f"takes more than {MAX_SECONDS:.0f} s to decode; cut it into shorter files or scale it down"
            raise MediaError(self._path, problem)
