"""Properties of one file that need no model: faults, brightness, contrast and edges.

Every frame is decoded once; 16 evenly spaced ones are analysed.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import Float, Float16, UInt8

from texthead import Dataset, Reporter, Views
from texthead.data import evenly
from texthead.errors import MediaError, line_of
from texthead.media import MediaPath
from texthead.parallel import FileDataset, read_each

# The fault of a file that crashes its reader or exceeds the time limit.
STOPPED = "reader crashed or hung"

COMPARED_FRAMES, SIDE = 4, 16

EDGES = COMPARED_FRAMES * SIDE * SIDE

_ANALYSED_FRAMES = 16

# Short side, in pixels, at which a still image is analysed at least; its grey levels are averaged to 64x64.
_SHORT_SIDE = 256


@dataclass(frozen=True)
class FileStats:
    """Properties of one file; those that could not be read are 0 or empty. Grey levels are from 0 to 255.

    Attributes:
        digest: SHA-256 of the bytes (and times, for a part of a video); "" if the file cannot be opened.
        fault: kind of problem that prevents reading the whole file, or None.
        problem: the fault in words.
        brightest: 95th percentile of the brightest analysed frame.
        contrast: largest standard deviation within a frame.
        edges: `edges_of` four frames.
        colours: mean colour of each cell of a 16x16 grid, of a frame from the middle.
    """

    path: Path
    digest: str = ""
    fault: str | None = None
    problem: str = ""
    brightest: float = 0.0
    contrast: float = 0.0
    edges: Float16[np.ndarray, " edges"] = field(default_factory=partial(np.empty, 0, np.float16))
    colours: UInt8[np.ndarray, "side side 3"] = field(default_factory=partial(np.empty, (0, 0, 3), np.uint8))


def stats_of_file(path: Path) -> FileStats:
    """Return the properties of the file at `path`; read errors are reported as its fault."""
    facts = FileStats(path)
    try:
        with MediaPath(path).open() as media:
            media.min_short_side = _SHORT_SIDE
            # Only once the file is open: a folder has no bytes, and a device never ends.
            facts = replace(facts, digest=MediaPath(path).digest())
            indices = evenly(media.num_frames, _ANALYSED_FRAMES)
            greys: list[Float[np.ndarray, "64 64"]] = []
            colours = np.zeros((SIDE, SIDE, 3), np.uint8)
            for index, picture in media.checked_frames(indices):
                if index == indices[len(indices) // 2]:
                    small = PIL.Image.fromarray(picture).resize((SIDE, SIDE), PIL.Image.Resampling.BOX)
                    colours = np.asarray(small)
                greys.append(grey_of(picture))
            (spread,) = Views(origin="center").frame_indices(len(greys), COMPARED_FRAMES)
            return replace(
                facts,
                brightest=max(float(np.percentile(grey, 95)) for grey in greys),
                contrast=max(float(grey.std()) for grey in greys),
                edges=np.concatenate([edges_of(greys[index]) for index in spread]),
                colours=colours,
            )
    except MediaError as error:
        return replace(facts, fault=error.fault, problem=error.problem)
    except FileNotFoundError:
        return replace(facts, fault="missing", problem="no such file; check the path")
    except OSError as error:
        return replace(facts, fault="unreadable", problem=f"cannot be read ({error.strerror}); check its permissions")
    except Exception as error:  # Libraries may raise anything; the finding says what.
        problem = f"stopped its reader ({line_of(error, kind=True)}); encode it again, or remove the file"
        return replace(facts, fault=STOPPED, problem=problem)


def read_file_stats(dataset: Dataset, *, workers: int, reporter: Reporter = Reporter()) -> list[FileStats]:
    """Return the facts of each item's file, read by workers; a crash or hang affects only its own file.

    Args:
        workers: data-loader workers.
        reporter: gets progress.

    Raises:
        RunError: no process can be started.
    """
    paths = [item.path for item in dataset.items]
    result = list[FileStats]()
    with reporter.bar("read", "files") as progress:
        for facts in read_each(FileDataset(stats_of_file, paths), workers):
            lost = isinstance(facts, MediaError)
            result.append(FileStats(facts.path, fault=STOPPED, problem=facts.problem) if lost else facts)
            progress(len(result), len(paths))
    return result


# ---- what a picture looks like


def grey_of(picture: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "64 64"]:
    """Return the mean grey level of each cell of a 64x64 grid."""
    image = PIL.Image.fromarray(picture).convert("L")
    return np.asarray(image.resize((64, 64), PIL.Image.Resampling.BOX), np.float32)


def edges_of(grey: Float[np.ndarray, "64 64"]) -> Float16[np.ndarray, "256"]:
    """Return how much brighter each cell of a 16x16 grid is than the one to its left: a square root with its sign.

    Source: the difference hash of Krawetz, on a finer grid. The sign alone, his hash, makes noise count as much as
    edges, so that different things before plain backgrounds agree (docs/decisions.md).
    """
    shrunk = PIL.Image.fromarray(grey).resize((SIDE + 1, SIDE), PIL.Image.Resampling.BOX)
    steps = np.diff(np.asarray(shrunk), axis=1).ravel()
    return (np.sign(steps) * np.sqrt(np.abs(steps))).astype(np.float16)
