"""Processes that decode: what is said when one of them is gone, and how one ends that never comes back."""

import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils.data import get_worker_info

from texthead.errors import RunError

# So torch's errors begin, whichever way it finds out.
_GONE = "DataLoader worker"
# For the signal of a process's end to arrive.
_SIGNAL_SECONDS = 2.0


@contextmanager
def watched() -> Iterator[None]:
    """A block, or function, in which a process of a DataLoader may end: killed, or for want of memory.

    Raises:
        RunError: one has; or a call in it has taken longer than `end_after` allows.
    """
    try:
        try:
            yield
        except (OSError, EOFError) as error:
            if not _in_handing_over(error):
                raise
            # The process is going, and torch tells of its end by a signal, wherever this one is then: let it be here.
            time.sleep(_SIGNAL_SECONDS)
            raise RuntimeError(f"{_GONE} ({error})") from None
    except RuntimeError as error:
        if not tells_of_a_process(error):
            raise
        told = " ".join(str(error).split()).removeprefix(_GONE).rstrip(". ")
        raise RunError(
            f"a process that decodes has ended{told}, for want of memory (fewer --workers) or held up by a file in one "
            "call (`texthead doctor` names it); a run that was begun goes on with --resume"
        ) from None


def tells_of_a_process(error: BaseException) -> bool:
    """Whether it is torch's word that a process of a loader has ended, which comes wherever this process is then."""
    return isinstance(error, RuntimeError) and str(error).startswith(_GONE)


def _in_handing_over(error: Exception) -> bool:
    """Whether it was raised while another process was asked for memory that it shares."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == "multiprocessing.resource_sharer" for frame, _ in frames)


def end_after(seconds: float) -> None:
    """Let this process end, if a loader started it and it takes so many seconds of a processor before the next call.

    The system ends it, whatever it is in. Time in which it waits, for a slow disk or while it is stopped, counts not.
    """
    if get_worker_info() is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
