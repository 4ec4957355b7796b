"""The fork server of data-loader workers, started without importing torch here; and freed memory."""

import sys

from texthead.platform import START_METHOD, interrupts_blocked, set_malloc

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# Imported once in the server, for all workers.
_MODULES = ("texthead.data.clips", "texthead.features.clips")


def begin_server() -> None:
    """Start the fork server if workers need it and it is not running; it imports its modules meanwhile.

    The server and the resource tracker ignore SIGINT and SIGHUP, since workers need both until this process ends.
    """
    if START_METHOD != "forkserver":
        return
    from multiprocessing import forkserver

    # Each worker runs the command's script again, which imports this.
    program = [name for name in ("texthead.cli",) if name in sys.modules]
    forkserver.set_forkserver_preload([*_MODULES, *program])
    begin_tracker()  # Before the mask is set: it unblocks SIGINT.
    with interrupts_blocked():
        forkserver.ensure_running()


def begin_tracker() -> None:
    """Start multiprocessing's resource tracker, ignoring SIGHUP, unless it is running; Windows has none."""
    if START_METHOD != "forkserver":
        return
    from multiprocessing import resource_tracker

    with interrupts_blocked(and_ctrl_c=False):
        resource_tracker.ensure_running()


def keep_freed_memory(most: int = 1 << 30) -> bool:
    """Make malloc keep up to `most` bytes of freed memory; return whether it can (it needs glibc).

    Every step frees and allocates the activations of a batch; allocating fresh pages for them costs a tenth to a third
    of a step's time on a CPU (docs/decisions.md). Results and peak memory stay the same. Programs call this before they
    compute; a library should not decide it for its process.
    """
    return all(set_malloc(option, most) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
