"""Processes that decode: what is said when one of them is gone."""

from collections.abc import Iterator
from contextlib import contextmanager

from texthead.errors import RunError

# So torch's errors begin, whichever way it finds out.
_GONE = "DataLoader worker"


@contextmanager
def watched() -> Iterator[None]:
    """A block, or function, in which a process of a DataLoader may end: killed, or for want of memory.

    Raises:
        RunError: one has.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(_GONE):
            raise
        told = " ".join(str(error).split()).removeprefix(_GONE).rstrip(". ")
        raise RunError(
            f"a process that decodes has ended{told}, perhaps for want of memory: fewer --workers; a run that was "
            "begun goes on with --resume"
        ) from None
