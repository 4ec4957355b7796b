"""One file -> what can be known of it without a model: faults, frames, times, light, motion, and hashes of its content.

Every frame is decoded once; sixteen of them, evenly placed, are looked at.
"""

import io
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float, UInt8

from texthead.data.dataset import Dataset
from texthead.data.sampling import centre_in_segment, evenly
from texthead.errors import MediaError
from texthead.media.fingerprints import content_digest
from texthead.media.limits import MOST_MEGAPIXELS
from texthead.media.mp4_header import boxes
from texthead.media.open import open_media
from texthead.media.paths import file_of
from texthead.media.reader import Media
from texthead.parallel.progress import Bar, no_bar
from texthead.parallel.worker_pool import Lost, watched

# The file is of no use.
STOPPED = "stopped its reader"

HASHED_FRAMES = 4

_HASH_SIDE = 16

HASH_BITS = HASHED_FRAMES * _HASH_SIDE * _HASH_SIDE

_LOOKED_AT = 16

_THUMBNAIL_SIDE, _THUMBNAIL_QUALITY = 96, 80

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")

# A gap between frames is uneven where it is off the usual one by more than this part of it.
_UNEVEN = 0.25


@dataclass(frozen=True)
class Facts:
    """What is known of one file; numbers are 0 and `look` is None where it could not be read so far.

    Attributes:
        fault: what keeps it from being read whole, and `problem` says so in words; None where nothing does.
        digest: SHA-256 of its bytes, of a part with its times; "" where it does not open.
        frames: that a player shows; `listed` is the number that the header claims, 0 where it claims none.
        seconds: of a video; 0 of an image.
        width, height: of the upright picture, in pixels.
        turned: whether the container or EXIF turns or mirrors the picture.
        uneven: the part of the gaps between frames that are off the usual gap by more than a quarter.
        thumbnail: a JPEG of a frame in its middle, at most 96 pixels on the long side; empty where none was asked for.
    """

    path: Path
    digest: str = ""
    fault: str | None = None
    problem: str = ""
    frames: int = 0
    listed: int = 0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    turned: bool = False
    uneven: float = 0.0
    look: "Appearance | None" = None
    thumbnail: bytes = b""


@dataclass(frozen=True)
class Appearance:
    """What the frames look like, in grey levels from 0 to 255.

    Attributes:
        brightest: the 95th percentile of the brightest frame.
        contrast: the largest standard deviation within a frame.
        motion: the largest mean difference between neighbours of the frames that were looked at; 0 of one frame.
        bits: whether each place is brighter than the one on its left, in a grid over four frames (a difference hash).
    """

    brightest: float
    contrast: float
    motion: float
    bits: Bool[np.ndarray, " bits"]


def facts_asked(task: tuple[Path, bool, int]) -> Facts:
    """The facts of a file, and its thumbnail if that is asked for, as one task of a process."""
    path, thumbnail, most_megapixels = task
    return facts_of(path, thumbnail=thumbnail, most_megapixels=most_megapixels)


def facts_of(path: Path, *, thumbnail: bool = False, most_megapixels: int = MOST_MEGAPIXELS) -> Facts:
    """All that can be known of the file at `path`; what cannot be read is a fault, never an error."""
    facts = Facts(path)
    try:
        with open_media(path, most_megapixels) as media:
            # Only of what opens: a folder has no bytes, and those of a device never end.
            facts = replace(
                facts,
                digest=content_digest(path),
                frames=media.num_frames,
                listed=media.listed_frames,
                seconds=media.duration_seconds,
                uneven=uneven_part(media.times),
            )
            return _with_frames(facts, media, thumbnail=thumbnail)
    except MediaError as error:
        missing = bytes_missing(path) if error.fault == "unreadable" else 0
        if missing:
            problem = f"cut short: {missing:,} bytes are missing at its end; fetch or copy the file again"
            return replace(facts, fault="cut short", problem=problem)
        return replace(facts, fault=error.fault, problem=error.problem)
    except FileNotFoundError:
        return replace(facts, fault="missing", problem="no such file; check the path")
    except OSError as error:
        return replace(facts, fault="unreadable", problem=f"cannot be read ({error.strerror}); check its rights")


def bytes_missing(path: Path) -> int:
    """How many bytes the boxes of an .mp4 or .mov claim beyond the end of the file (a part's too); 0 of any other file.

    Where the index stands at the end, a file that was cut short has none, and no decoder can say what is wrong.
    """
    path = file_of(path)
    if not path.is_file():
        return 0
    size = end = path.stat().st_size
    with path.open("rb") as file:
        for number, (kind, _, stop) in enumerate(boxes(file, 0, size)):
            if number == 0 and kind not in _FIRST_BOXES:
                return 0
            end = stop
    return max(0, end - size)


def _with_frames(facts: Facts, media: Media, *, thumbnail: bool) -> Facts:
    """The facts, with what is known after all frames are decoded."""
    wanted = evenly(media.num_frames, _LOOKED_AT)
    greys: list[Float[np.ndarray, "64 64"]] = []
    for index, picture in media.checked_frames(wanted):
        height, width = picture.shape[:2]
        if thumbnail and index == wanted[len(wanted) // 2]:
            facts = replace(facts, thumbnail=_thumbnail(picture))
        greys.append(_grey(picture, 64, 64))
        facts = replace(facts, width=width, height=height)
    return replace(facts, turned=media.turned, look=_look(greys))


def uneven_part(seconds: Sequence[float]) -> float:
    """The part of the gaps between times, in seconds, that are off the median gap by more than a quarter of it.

    Worked example: 0 1 2 3 5 has the gaps 1 1 1 2, and a quarter of them is off.
    """
    gaps = np.diff(seconds)
    return float((np.abs(gaps - np.median(gaps)) > _UNEVEN * np.median(gaps)).mean()) if len(gaps) else 0.0


def _grey(picture: UInt8[np.ndarray, "height width 3"], width: int, height: int) -> Float[np.ndarray, "rows columns"]:
    image = PIL.Image.fromarray(picture).convert("L")
    return np.asarray(image.resize((width, height), PIL.Image.Resampling.BOX), np.float32)


def _thumbnail(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    image, file = PIL.Image.fromarray(picture), io.BytesIO()
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), PIL.Image.Resampling.BOX)
    image.save(file, "jpeg", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()


def _look(greys: list[Float[np.ndarray, "64 64"]]) -> Appearance:
    motion = max((float(np.abs(a - b).mean()) for a, b in itertools.pairwise(greys)), default=0.0)
    hashed = [difference_hash(greys[index]) for index in centre_in_segment(len(greys), HASHED_FRAMES)]
    return Appearance(
        brightest=max(float(np.percentile(grey, 95)) for grey in greys),
        contrast=max(float(grey.std()) for grey in greys),
        motion=motion,
        bits=np.concatenate(hashed),
    )


def difference_hash(grey: Float[np.ndarray, "64 64"]) -> Bool[np.ndarray, " bits"]:
    """Whether each cell of a 16x16 grid is brighter than the one on its left.

    Source: the difference hash of Krawetz, on a finer grid.
    """
    shrunk = PIL.Image.fromarray(grey).resize((_HASH_SIDE + 1, _HASH_SIDE), PIL.Image.Resampling.BOX)
    return (np.diff(np.asarray(shrunk), axis=1) > 0).ravel()


def read_facts(
    dataset: Dataset,
    *,
    workers: int,
    seconds: float,
    most_megapixels: int = MOST_MEGAPIXELS,
    pictured: Collection[int] = (),
    bar: Bar = no_bar,
) -> list[Facts]:
    """The facts of each item's file, read by processes of which none can hold up the rest.

    Args:
        most_megapixels: as of `open_media`.
        pictured: the positions of the items that get a thumbnail if they can be read.

    Raises:
        RunError: no process can be started.
    """
    paths = [item.path for item in dataset.items]
    tasks = [(path, position in pictured, most_megapixels) for position, path in enumerate(paths)]
    found: list[Facts] = [Facts(path) for path in paths]
    with bar("read", "files") as progress:
        for done, (position, facts) in enumerate(watched(facts_asked, tasks, workers=workers, seconds=seconds), 1):
            if isinstance(facts, Lost):
                remedy = "raise the limit" if facts.late else "encode it again"
                facts = Facts(paths[position], fault=STOPPED, problem=f"{facts.reason}; {remedy}, or leave it out")
            found[position] = facts
            progress(done, len(paths))
    return found
