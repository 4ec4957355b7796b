"""Options for reading files while a model encodes them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from texthead.errors import CheckedFields, NonNegativeInt, PositiveInt
from texthead.parallel.distributed import gather_list
from texthead.recipes import EngineName


@dataclass(frozen=True)
class Reading(CheckedFields):
    """How files are read.

    Args:
        workers: data-loader workers; 0 decodes in this process.
        batch: files per batch when no cache is used. With 1, a file's features depend on no other file. Larger batches
            are faster, but the last bits of features then depend on the batch (not on the number of processes). The
            head scores 256 files at a time, so the last bits of scores depend on the batch in any case.
        cache: folder of frame features; True for the folder `features` in the user's cache folder (or $TEXTHEAD_CACHE).
            With one crop and an encoder of single frames, cached frames are not decoded.
        skip_unreadable: leave out unreadable files instead of raising MediaError.
        engine: how to run an encoder of single frames: "eager" for plain torch; "auto" for onnxruntime on a CPU if
            there are many frames and its features are equal (1 - cosine up to 1e-6), else eager; "onnxruntime", or
            "onnxruntime:cuda" on a GPU, to use it in any case or fail.

    Raises: DataError for a batch below 1, or an unknown engine.
    """

    workers: NonNegativeInt = 0
    batch: PositiveInt = 1
    cache: str | Path | bool = False
    skip_unreadable: bool = False
    engine: EngineName = "eager"


def engines_text(used: Collection[str]) -> str:
    """Return the names of the engines used on all processes, such as `eager, onnxruntime`; `eager` if none is named.

    All processes must call it.
    """
    return ", ".join(sorted(set(gather_list(sorted(used))))) or "eager"
