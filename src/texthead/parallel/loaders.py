"""Data-loader workers: start-up, errors for dead workers, a time limit for workers that hang."""

import atexit
import math
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import DataLoader, Dataset, Subset, get_worker_info

from texthead.errors import LostWorkerError, MediaError
from texthead.parallel.startup import begin_server, keep_freed_memory
from texthead.platform import START_METHOD, interrupts_blocked, unblock_interrupts

# Files that torch sends to a worker in advance; files that may be lost, if all are.
_PREFETCHED, _MAX_LOST = 2, 3

# Start and end of torch's error message for a dead worker.
_DEAD_START, _DEAD_END = "DataLoader worker", "exited unexpectedly"

# The longest wait, in seconds, for queues to end when the program ends.
_FEEDERS_SECONDS = 0.5

# Modules that send requests to other processes: to start a worker, or to share memory.
_REQUESTING = ("multiprocessing.forkserver", "multiprocessing.resource_sharer")


def data_loader(items: Dataset, workers: int, **options: Any) -> DataLoader:
    """Return a data loader with `workers` workers, at most one per item; with 0 this process decodes.

    A fork server starts the workers, on Windows this process. If this process forked them, locks that its threads hold
    at that moment (of a process group, autograd or a GPU) would stay locked in the workers for ever. So workers inherit
    nothing but `items` and the options, which are pickled for each of them, and this process's environment variables of
    texthead.
    """
    if workers and len(items):  # pyright: ignore[reportArgumentType]
        begin_server()
        atexit.unregister(_await_feeders)  # So that it is registered once.
        atexit.register(_await_feeders)
        options |= {
            "num_workers": min(workers, len(items)),  # pyright: ignore[reportArgumentType]
            "multiprocessing_context": multiprocessing.get_context(START_METHOD),
            "worker_init_fn": partial(_begin, variables=own_variables()),
        }
    return _Loader(items, **options)


class FileDataset(Dataset):
    """What a function returns for each file, given the file's values of all columns, of which the first is its path.

    For an unreadable file the MediaError is returned instead, so that the caller decides.
    """

    def __init__(self, read: Callable[..., Any], *columns: Sequence):
        self.read = read
        self.rows = list(zip(*columns, strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Any | MediaError:
        try:
            return self.read(*self.rows[position])
        except MediaError as error:
            return error


def read_each(files: FileDataset, workers: int, **options: Any) -> Iterator[Any | MediaError]:
    """Yield the result for each file in order, and a MediaError for a file whose reading ends its worker.

    The files that a lost worker may have been reading are read again, each in a worker of its own.

    Raises:
        RunError: workers end before any file is read.
    """
    done = alone = lost = 0
    while done < len(files):
        count = 1 if done < alone else len(files) - done
        part = Subset(files, range(done, done + count))
        try:
            with worker_errors():
                for result in data_loader(part, min(workers, count), batch_size=None, **options):
                    done += 1
                    yield result
        except LostWorkerError:
            if count > 1:
                alone = done + _PREFETCHED * workers
                continue
            lost += 1
            if lost == done + 1 >= _MAX_LOST:
                raise
            problem = "reading it takes too long, crashes, or needs too much memory"
            yield MediaError(files.rows[done][0], f"{problem}; remove the file or save it again")
            done += 1


def own_variables() -> dict[str, str]:
    """Return the environment variables of texthead, for processes that do not inherit them."""
    return {name: value for name, value in os.environ.items() if name.startswith("TEXTHEAD_")}


class _Loader(DataLoader):
    """A data loader whose workers ignore Ctrl-C on Windows; elsewhere the fork server does."""

    def __iter__(self) -> Any:
        with interrupts_blocked() if START_METHOD == "spawn" and self.num_workers else nullcontext():
            return super().__iter__()


def _await_feeders() -> None:
    """Wait for the threads that fed workers, which are about to end; a program that ends stops its threads anywhere.

    If one is stopped after it has removed its queue's semaphore, and before it has notified the resource tracker, the
    tracker warns of leaked semaphores.
    """
    until = time.monotonic() + _FEEDERS_SECONDS
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(max(0.0, until - time.monotonic()))


def _begin(number: int, *, variables: dict[str, str]) -> None:
    """Prepare a worker before its first batch; set environment variables that are newer than the fork server."""
    os.environ.update(variables)
    keep_freed_memory()
    # By default a batch for which shared memory has no room is dropped, and the parent process waits for it for ever.
    Queue._on_queue_feeder_error = staticmethod(lambda *_: os._exit(1))  # pyright: ignore[reportAttributeAccessIssue]
    threading.Thread(target=_watch, daemon=True).start()
    unblock_interrupts()


class _Limit:
    """The CPU time of this process, in seconds, at which `_watch` ends it."""

    seconds = math.inf


# Seconds between two looks at them.
_LOOK_SECONDS = 1.0


def _watch() -> None:
    """End this worker with its parent process, or by `end_after`.

    torch only watches the fork server, which lives as long as any of its workers.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    while parent.is_alive() and time.process_time() < _Limit.seconds:
        parent.join(_LOOK_SECONDS)
    os._exit(1)


@contextmanager
def worker_errors() -> Iterator[None]:
    """Raise LostWorkerError if a loader's worker ends in the block: killed, out of memory, or by `end_after`."""
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        detail = " ".join(str(error).split())
        frames = traceback.walk_tb(error.__traceback__)
        if any(frame.f_globals.get("__name__") in _REQUESTING for frame, _ in frames):  # To another process.
            detail = f" ({detail})"
        elif isinstance(error, RuntimeError) and detail.startswith(_DEAD_START):
            detail = detail.removeprefix(_DEAD_START).rstrip(". ").removesuffix(_DEAD_END).rstrip()
        else:
            raise
        why = "out of memory or of space in /dev/shm (use fewer `workers`), or stuck on a file that doctor names"
        problem = f"a data-loader worker has ended{detail}: {why}"
        raise LostWorkerError(f"{problem}; `resume` continues an interrupted run") from None


def end_after(seconds: float) -> None:
    """Limit this worker's CPU time until the next call, in seconds; do nothing outside a worker.

    After that the worker ends itself. Time spent waiting, for a slow disk or while stopped, does not count.
    """
    if get_worker_info() is not None:
        _Limit.seconds = time.process_time() + seconds
