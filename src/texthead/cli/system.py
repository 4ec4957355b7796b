"""The process of a command: its streams, threads, child processes, and errors of the operating system."""

import codecs
import errno
import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path

from texthead.errors import printable
from texthead.platform import START_METHOD, kill


def prepare_streams() -> None:
    """Escape characters of class and file names that the output's encoding lacks, as JSON does, which so stays valid.

    Streams that the shell has closed (`>&-`) become the null device, so that no file gets their numbers.
    """

    def escaped(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return json.dumps(error.object[error.start : error.end])[1:-1], error.end

    codecs.register_error("texthead.escaped", escaped)
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="texthead.escaped")


# Remedies for errors of the operating system.
_REMEDIES = {
    errno.EACCES: "get the right to use it, or choose another",
    errno.EPERM: "get the right to use it, or choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "make room on the disk, or in /dev/shm for `workers`",
    errno.EAGAIN: "raise the limit of processes and threads (`ulimit -u`), or use fewer `workers`",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`), or use fewer `workers`",
}


def broken_pipe_code() -> int:
    """Return the exit code that a shell gives for a closed pipe, as of `| head`; drop the output that is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # as by SIGPIPE


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory could not be allocated; torch has a class of its own for a GPU alone."""
    # On Linux, on a GPU, on Windows, and of oneDNN.
    said = ("allocate memory", "out of memory", "not enough memory", "could not create a primitive")
    by_torch = isinstance(error, RuntimeError) and any(words in str(error) for words in said)
    return isinstance(error, MemoryError) or by_torch


def os_error_message(error: OSError) -> str:
    """Return the message for an error of the operating system."""
    if error.filename is None and error.errno == errno.ENOSPC:
        broken_pipe_code()  # Drop output that could not be written.
    about = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    remedy = _REMEDIES.get(error.errno or 0, "check the path and the disk")
    return printable(f"{about}{error.strerror or error}; {remedy}")


def limit_openmp_spinning() -> None:
    """Let OpenMP threads spin only shortly while they wait for each other, unless the environment says otherwise.

    By default libgomp spins for milliseconds. If another program needs the core, each small operation then waits for
    that program: on two busy cores a transformer layer took up to 90 ms in place of 0.3 (docs/decisions.md). libgomp
    reads this when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


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
