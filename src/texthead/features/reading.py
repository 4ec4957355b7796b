"""Options for reading files while a model encodes them, and what to do about unreadable files."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from texthead.errors import CheckedFields, DataError, MediaError, NonNegativeInt, PositiveInt
from texthead.parallel.distributed import all_gather_list
from texthead.recipes import EngineName


@dataclass(frozen=True)
class ReadOptions(CheckedFields):
    """How files are read.

    Args:
        workers: data-loader workers; 0 decodes in this process.
        batch: files per batch when no cache is used. With 1, a file's features depend on no other file. Larger batches
            are faster, but the last bits of features then depend on the batch (not on the number of processes). The
            head scores 256 files at a time, so the last bits of scores depend on the batch in any case.
        cache: folder of frame features; True for the folder `features` in the user's cache folder (or $TEXTHEAD_CACHE).
            Cached frames are not decoded.
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
    return ", ".join(sorted(set(all_gather_list(sorted(used))))) or "eager"


def readable(
    entries: Sequence[object], *, skip: bool, remedy: str = "`skip_unreadable` skips and lists such files"
) -> tuple[list[int], list[MediaError]]:
    """Return the positions of the entries that are not a MediaError, and the errors.

    Args:
        remedy: the end of the error message: what to do.

    Raises:
        MediaError: a file could not be read, unless `skip`.
    """
    errors = [entry for entry in entries if isinstance(entry, MediaError)]
    if errors and not skip:
        more = f" (and {len(errors) - 1} more that cannot be read)" if len(errors) > 1 else ""
        raise MediaError(errors[0].path, f"{errors[0].problem}{more}; {remedy}")
    return [i for i, entry in enumerate(entries) if not isinstance(entry, MediaError)], errors


def check_any(paths: Sequence[str | Path], positions: Sequence[int], errors: Sequence[MediaError]) -> None:
    """Raise DataError if none of the files could be read."""
    if not positions:
        none = f"none of {len(paths)} files can be read: " if len(paths) != 1 else ""
        raise DataError(f"{none}{errors[0] if errors else 'no files'}")
