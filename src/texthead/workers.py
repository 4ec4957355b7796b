"""Processes that decode: what is said when one of them is gone."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from texthead.errors import RunError

# So torch's own errors about it begin.
_GONE = "DataLoader worker"


@contextmanager
def watched() -> Iterator[None]:
    """A block, or function, in which a process of a DataLoader may end: killed, or for want of memory.

    Raises:
        RunError: one has.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        told = " ".join(str(error).split())
        if not told.startswith(_GONE) and not _in_handing_over(error):
            raise
        why = told.removeprefix(_GONE).rstrip(". ") if told.startswith(_GONE) else f" ({told or 'no answer'})"
        raise RunError(
            f"a process that decodes has ended{why}, perhaps for want of memory: fewer --workers; a run that was "
            "begun goes on with --resume"
        ) from None


def _in_handing_over(error: BaseException) -> bool:
    """Whether it came up where this process fetches a clip's memory from the process that decoded it."""
    return any(
        frame.f_globals.get("__name__") == "multiprocessing.resource_sharer"
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
