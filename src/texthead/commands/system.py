"""What the system gives a command: streams, names of files, a folder; and what it refuses."""

import codecs
import errno
import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path

from texthead.errors import RunError, printable


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that an encoding lacks: the escapes of JSON, which stays JSON with them."""
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def print_every_name() -> None:
    """Let the output hold any name of a class or a file, escaped where its encoding or a terminal cannot show it."""
    codecs.register_error("texthead.escaped", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="texthead.escaped")


def name_files_in_utf8() -> None:
    """Run this program again in Python's UTF-8 mode where the names of files are ASCII, as in the C locale without it.

    What Python decodes them by cannot be changed later. The output's encoding stays.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii" and sys.orig_argv:
        output = os.environ.get("PYTHONIOENCODING", "ascii")
        environment = {**os.environb, b"PYTHONUTF8": b"1", b"PYTHONIOENCODING": os.fsencode(output)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def open_streams() -> None:
    """Open what the shell has closed (`>&-`): what is printed there is dropped, and no file gets its number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def check_current_folder() -> None:
    """Raise RunError if the current folder has been removed: libraries end the process over that."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise RunError("the current folder does not exist any more: change to another") from None


# What the system refuses, and what helps.
_REMEDIES = {
    errno.EACCES: "get the right to use it, or choose another",
    errno.EPERM: "get the right to use it, or choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "make room on the disk",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`), or take fewer workers",
}


def of_system(error: OSError) -> str:
    """Return the line on what the system has refused."""
    if error.filename is None and error.errno == errno.ENOSPC:
        from texthead.commands.console import reader_gone

        reader_gone()  # What could not be printed is not printed at the end.
    about = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    return printable(
        f"{about}{error.strerror or error}; {_REMEDIES.get(error.errno or 0, 'check the path and the disk')}"
    )
