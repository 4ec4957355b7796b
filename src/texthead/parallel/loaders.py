"""Data-loader workers: start-up, errors for dead workers, a time limit for workers that hang."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader, Dataset, get_worker_info

from texthead.errors import RunError
from texthead.parallel.signals import interrupts_held
from texthead.parallel.startup import begin_server, keep_freed_memory

# So torch's errors begin, and end, when a process is gone.
_GONE, _HOW = "DataLoader worker", "exited unexpectedly"

# What is running here when another process does not answer: it is asked to begin, or for memory that it shares.
_ASKING = ("multiprocessing.forkserver", "multiprocessing.resource_sharer")


def data_loader(items: Dataset, workers: int, **options: Any) -> DataLoader:
    """Return a data loader with this many workers; with 0 this process decodes.

    A server forks them which does nothing else. Were they forked from this process, what its threads hold just then (of
    a process group, of autograd, of a GPU) would be held in them for ever. So they have nothing of this process but
    `items` and the options, which are pickled for each.
    """
    if workers:
        begin_server()
        begun = {"multiprocessing_context": multiprocessing.get_context("forkserver"), "worker_init_fn": _begin}
        options |= {"num_workers": workers, **begun}
    return _Loader(items, **options)


class _Loader(DataLoader):
    """A data loader whose processes are all started before an interrupt arrives: half of one prints errors."""

    def __iter__(self) -> Any:
        with interrupts_held():
            return super().__iter__()


def _begin(number: int) -> None:
    """Prepare a worker before its first batch."""
    keep_freed_memory()
    # torch only looks whether the server is gone, which stays as long as one of its processes does.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def worker_faults() -> Iterator[None]:
    """Raise RunError where a worker of a loader ends in the block: killed, out of memory, or by `end_after`."""
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        told = " ".join(str(error).split())
        if _in_asking(error):
            told = f" ({told})"
        elif isinstance(error, RuntimeError) and told.startswith(_GONE):
            told = told.removeprefix(_GONE).rstrip(". ").removesuffix(_HOW).rstrip()
        else:
            raise
        raise RunError(
            f"a process that decodes has ended{told}, for want of memory (take fewer workers) or held up by a file in "
            "one call (`texthead doctor` names it); a run that was begun goes on with resume"
        ) from None


def _in_asking(error: BaseException) -> bool:
    """Return whether it was raised in a request to another process."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") in _ASKING for frame, _ in frames)


def end_after(seconds: float) -> None:
    """Limit the processor time of this worker until the next call, in seconds; nothing outside a worker.

    The system then ends it, whatever it does. Time in which it waits, for a slow disk or while it is stopped,
    does not count.
    """
    if get_worker_info() is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
