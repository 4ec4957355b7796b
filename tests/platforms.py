"""What Windows lacks, and what Wine lacks: tests that need it are skipped there, each with the reason.

`@pytest.mark.posix("...")` marks a test that holds on POSIX systems alone; `mkfifo` and `symlink` skip the test that calls
them. `@pytest.mark.windows_lacks("...")` marks a test of a package that Windows does not have, or that fails there. `WINE` lists the tests that hold on Windows, but not on Wine.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

import pytest

WINDOWS = sys.platform == "win32"

# Test -> the call that fails on Wine 10.
WINE = {"tests/media/test_open.py::test_heic_is_read_and_turned": "pi_heif, which ends the process"}


def skips(items: list[pytest.Item]) -> None:
    """Mark the tests that are skipped on this system."""
    wine = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
    for item in items:
        name = item.nodeid.partition("[")[0].replace("\\", "/")
        if WINDOWS and (marker := item.get_closest_marker("posix")):
            item.add_marker(pytest.mark.skip(reason=f"POSIX: {marker.args[0]}"))
        elif WINDOWS and (marker := item.get_closest_marker("windows_lacks")):
            item.add_marker(pytest.mark.skip(reason=f"Windows lacks {marker.args[0]}"))
        elif wine and (call := WINE.get(name) or WINE.get(item.nodeid)):
            item.add_marker(pytest.mark.skip(reason=f"Wine: {call}"))


def needs_posix(what: str) -> None:
    """Skip the test on Windows."""
    if WINDOWS:
        pytest.skip(f"POSIX: {what}")


def module(what: str) -> None:
    """Skip the module that calls this on Windows."""
    if WINDOWS:
        pytest.skip(f"POSIX: {what}", allow_module_level=True)


def user() -> int:
    """Return the number of the user, 0 for root; -1 on Windows."""
    return os.geteuid() if hasattr(os, "geteuid") else -1


def mkfifo(path: Path | str) -> None:
    """Make a named pipe."""
    needs_posix("named pipes in the file system")
    os.mkfifo(path)


def symlink(path: Path, target: Path | str) -> None:
    """Make a symbolic link, which needs a right on Windows."""
    needs_posix("links that any user may make")
    path.symlink_to(target)


def kill(process: int) -> None:
    """End a process at once."""
    os.kill(process, signal.SIGTERM if WINDOWS else signal.SIGKILL)
