"""A server that forks a process per command. It has imported the large packages, so a command starts 6 s sooner.

Everything else is as in a new interpreter: arguments, folder, environment, standard streams and exit code, and
texthead's own modules are imported by the command.
"""

import atexit
import importlib
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

PACKAGES = (
    "timm",
    "transformers.models.bert.modeling_bert",
    "sklearn.linear_model",
    "scipy.stats",
    "matplotlib.pyplot",
)


@contextmanager
def command_server(environment: Mapping[str, str]) -> Iterator[list[str]]:
    """Start a server, and yield the words to put in front of `-m MODULE ...` or `-c PROGRAM ...`."""
    with (
        tempfile.TemporaryDirectory() as folder,  # The address of a socket is at most 107 bytes long.
        subprocess.Popen(
            [sys.executable, __file__, "serve", address := f"{folder}/socket"], env=environment, stdout=subprocess.PIPE
        ) as server,
    ):
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield [sys.executable, "-S", "-E", __file__, address]
        finally:
            server.kill()


def write_program(path: Path, line: str) -> Path:
    """Write a shell script of one line, which can be called by its name."""
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def torchrun(server: list[str], folder: Path) -> str:
    """Return what a shell runs for torchrun: launcher and ranks are forked from a server, by a script in `folder`."""
    python = write_program(folder / "rank", f'exec {shlex.join(server)} "$@"')
    return f"PYTHON_EXEC={shlex.quote(str(python))} {shlex.join(server)} -m torch.distributed.run"


def serve(address: str) -> None:
    """Run each command that is sent to a socket in a process of its own."""
    for name in PACKAGES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        os.write(1, b"ready\n")
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                command = os.fork()
                if command == 0:
                    os._exit(run(client))
                _, status = os.waitpid(command, 0)
                code = os.waitstatus_to_exitcode(status)
                client.sendall(bytes([code if code >= 0 else 128 - code]))  # as a shell returns it
                os._exit(0)
            client.close()


def run(client: socket.socket) -> int:
    """Run the command of a client, and return its exit code."""
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    message = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
    folder, words, environment = ([os.fsdecode(text.encode("latin-1")) for text in texts] for texts in message)
    for target, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(streams[target], target)
        os.close(streams[target])
        old, buffering = getattr(sys, name), 1 if name == "stderr" else -1
        stream = os.fdopen(target, old.mode, buffering, old.encoding, old.errors, closefd=False)
        setattr(sys, name, stream)
    os.chdir(folder[0])
    os.environ.clear()
    os.environ.update(zip(environment[::2], environment[1::2], strict=True))
    if words[0] == "-u":  # From torchrun.
        words = words[1:]
    (kind, program), sys.path[0] = words[:2], folder[0]
    sys.argv, sys.orig_argv = [kind, *words[2:]], [sys.executable, *words]
    try:
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            exec(compile(program, "<string>", "exec"), main.__dict__)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def send(address: str, words: list[str]) -> int:
    """Send a command to a server, wait for its end, and return its exit code."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        socket.send_fds(client, [b"\0"], [0, 1, 2])
        # Bytes as Latin-1, since the locale decides how a server decodes them.
        message = [[os.fsencode(Path.cwd())], map(os.fsencode, words), chain.from_iterable(os.environb.items())]
        client.sendall(json.dumps([[text.decode("latin-1") for text in texts] for texts in message]).encode())
        client.shutdown(socket.SHUT_WR)
        return client.recv(1)[0]


if __name__ == "__main__":
    _, first, *rest = sys.argv
    if first == "serve":
        serve(*rest)
    else:
        sys.exit(send(first, rest))
