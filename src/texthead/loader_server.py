"""The server that forks the processes of loaders; it begins without torch being imported here."""

import signal
import sys
from multiprocessing import forkserver, resource_tracker

# What it imports once for all that it forks.
_MODULES = ("texthead.batches", "texthead.features")


def begin_server() -> None:
    """Let it run, if it does not yet, and import while this process goes on.

    An interrupt is for this process: the server says nothing of one.
    """
    # A command's own script is run again in each process, and imports this.
    program = [name for name in ("texthead.cli",) if name in sys.modules]
    forkserver.set_forkserver_preload([*_MODULES, *program])
    resource_tracker.ensure_running()  # Before: it lets interrupts in again.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
