"""What differs between operating systems: signals, processes, and how files are replaced and synced."""

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Seconds to wait on Windows for other programs, such as virus scanners, to close a file that is to be replaced.
_CLOSING_SECONDS = 2.0 if sys.platform == "win32" else 0.0

# Whether a file can be replaced while a process has it mapped into memory.
MAPPED_FILES_ARE_REPLACEABLE = sys.platform != "win32"

# How data-loader workers start: a fork server has imported torch once for all of them.
START_METHOD = "spawn" if sys.platform == "win32" else "forkserver"

if sys.platform == "win32":
    import ctypes

    # The signals other than Ctrl-C that end a program, and its exit code then.
    ENDING: dict[int, int] = {signal.SIGBREAK: 128 + signal.SIGINT}

    @contextmanager
    def interrupts_blocked(*, and_ctrl_c: bool = True) -> Iterator[None]:
        """Let processes that the block starts ignore Ctrl-C, as this one does in the block."""
        kernel = ctypes.WinDLL("kernel32")
        kernel.SetConsoleCtrlHandler(None, and_ctrl_c)
        try:
            yield
        finally:
            kernel.SetConsoleCtrlHandler(None, False)

    def unblock_interrupts() -> None:
        """Do nothing: workers end with their parent."""

    def kill(process: int) -> None:
        """End a process at once."""
        with suppress(OSError):
            os.kill(process, signal.SIGTERM)

    def set_malloc(option: int, value: int) -> bool:
        """Return False: this is an option of glibc."""
        return False

    def sync_folder(folder: Path) -> None:
        """Do nothing: Windows has no call for it."""

    def is_reserved(path: Path) -> bool:
        """Return whether the path has a name that no file can have: of a device, as `nul`, or with a last dot."""
        return os.path.isreserved(path) if sys.version_info >= (3, 13) else path.is_reserved()

    def file_name(name: str) -> str:
        """Return a name with `_` for what Windows allows in no name of a file."""
        return re.sub(r'[<>:"|?*\x00-\x1f]|[. ]$', "_", name)

    def quoted(word: str) -> str:
        """Return a word of a command line, for cmd and PowerShell."""
        return word if re.fullmatch(r"[\w.:/\\=+,-]+", word) else f'"{word}"'

else:
    import ctypes

    ENDING: dict[int, int] = {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGHUP: 128 + signal.SIGHUP}

    @contextmanager
    def interrupts_blocked(*, and_ctrl_c: bool = True) -> Iterator[None]:
        """Let processes that the block starts ignore SIGHUP, and Ctrl-C."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, *([signal.SIGINT] if and_ctrl_c else [])})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def unblock_interrupts() -> None:
        """Let a process that was started within `interrupts_blocked` have its signals again."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})

    def kill(process: int) -> None:
        """End a process at once; torch's handler would raise an error for each of its workers that ends."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)

    def set_malloc(option: int, value: int) -> bool:
        """Set an option of glibc's malloc; return whether it was set."""
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        return mallopt is not None and mallopt(option, value) == 1

    def sync_folder(folder: Path) -> None:
        """Sync the entries of a folder to disk."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def is_reserved(path: Path) -> bool:
        """Return False: a file can have any name."""
        return False

    def file_name(name: str) -> str:
        """Return the name: a file can have any."""
        return name

    quoted = shlex.quote


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def replace(source: Path, target: Path) -> None:
    """Rename a file or folder, over a file of that name.

    Windows refuses while a program has one of the files open; that is tried again for two seconds.
    """
    until = time.monotonic() + _CLOSING_SECONDS
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.02)
