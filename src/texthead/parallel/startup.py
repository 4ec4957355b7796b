"""The fork server of data-loader workers, started without importing torch here."""

import atexit
import gc
import os
import sys
import tempfile

from texthead.platform import START_METHOD, interrupts_blocked, kill, set_malloc

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# The most bytes of a temporary folder's name in which multiprocessing can open sockets: an address holds 103 (107 on
# Linux), of which /pymp-XXXXXXXX/listener-XXXXXXXX takes 32.
_LONGEST_FOLDER = 103 - 32

# Imported once in the server, for all workers.
_MODULES = ("texthead.data.batches", "texthead.features.clips")


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
    _choose_socket_folder()
    with interrupts_blocked():
        forkserver.ensure_running()


def _choose_socket_folder() -> None:
    """Make multiprocessing open its sockets in /tmp if the name of the temporary folder is too long for an address."""
    from multiprocessing import util

    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) > _LONGEST_FOLDER:
        tempfile.tempdir = "/tmp"
        try:
            util.get_temp_dir()  # Made once, for this process and its workers.
        finally:
            tempfile.tempdir = usual


def begin_tracker() -> None:
    """Start multiprocessing's resource tracker, ignoring SIGHUP, unless it is running; Windows has none."""
    if START_METHOD != "forkserver":
        return
    from multiprocessing import resource_tracker

    with interrupts_blocked(and_ctrl_c=False):
        resource_tracker.ensure_running()


def end_processes() -> None:
    """Kill the fork server and all child processes of `multiprocessing`, when this process ends.

    Those that are still starting would print errors about semaphores that no longer exist.
    """
    from multiprocessing import active_children

    processes = [process.pid for process in active_children()]
    if START_METHOD == "forkserver":
        from multiprocessing import forkserver

        processes.insert(0, getattr(forkserver._forkserver, "_forkserver_pid", None))  # pyright: ignore
    for process in filter(None, processes):
        kill(process)


def limit_openmp_spinning() -> None:
    """Let OpenMP threads spin only shortly while they wait for each other, unless the environment says otherwise.

    By default libgomp spins for milliseconds. If another program needs the core, each small operation then waits for
    that program: on two busy cores a transformer layer took up to 90 ms in place of 0.3 (LOG.md). libgomp reads this
    when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def freeze_imports() -> None:
    """Keep imported modules out of garbage collections, which are a third of the time of `import torch`.

    A full collection goes through all objects, and finds none of a module's to free. So while modules are being
    imported, all objects are frozen instead, that is, left out of this collection and the following ones.
    """
    imported = 0

    def freeze(phase: str, about: dict[str, int]) -> None:
        nonlocal imported
        if phase == "start" and about["generation"] == 2 and len(sys.modules) >= imported + 20:
            gc.freeze()
            imported = len(sys.modules)

    gc.callbacks.append(freeze)
    atexit.register(gc.freeze)  # The last collection is at the end of the program.


def keep_freed_memory(most: int = 1 << 30) -> bool:
    """Make malloc keep up to `most` bytes of freed memory; return whether it can (it needs glibc).

    Every step frees and allocates the activations of a batch; allocating fresh pages for them costs a tenth to a third
    of a step's time on a CPU (LOG.md). Results and peak memory stay the same. Programs call this before they compute;
    a library should not decide it for its process.
    """
    return all(set_malloc(option, most) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
