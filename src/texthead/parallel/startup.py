"""The server that forks the processes of loaders; it begins without torch being imported here."""

import ctypes
import os
import signal
import sys
from contextlib import suppress

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# What it imports once for all that it forks.
_MODULES = ("texthead.data.batches", "texthead.features.frames")


def begin_server() -> None:
    """Start the server unless it runs; it imports while this process goes on.

    An interrupt and a terminal that is closed are for this process: the server ignores them, and so does what tracks
    semaphores, which all need until the end.
    """
    from multiprocessing import forkserver

    # A command's own script is run again in each process, and imports this.
    program = [name for name in ("texthead.cli",) if name in sys.modules]
    forkserver.set_forkserver_preload([*_MODULES, *program])
    begin_tracker()  # Before: it lets interrupts in again.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_tracker() -> None:
    """Start what tracks semaphores unless it runs, deaf to a terminal that is closed."""
    from multiprocessing import resource_tracker

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_processes() -> None:
    """Kill the server and all processes that `multiprocessing` has started for this one, which is ending.

    Those that still begin would look for semaphores that are gone by then, and print that.
    """
    from multiprocessing import active_children, forkserver

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise an error here for each of its workers.
    server = getattr(forkserver._forkserver, "_forkserver_pid", None)  # pyright: ignore
    if server is not None:
        with suppress(OSError):
            os.kill(server, signal.SIGKILL)
    for process in active_children():
        process.kill()


def keep_freed_memory(most: int = 1 << 30) -> bool:
    """Keep freed memory with this process, up to `most` bytes; return whether that is possible here.

    The activations of a batch are freed and asked for again at every step; out of new pages that costs a tenth to a
    third of the time of a step on a CPU (LOG.md). Results and the peak of memory are the same. It is for programs,
    before they compute: a library does not decide this for its process. Without glibc it does nothing.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, most) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
