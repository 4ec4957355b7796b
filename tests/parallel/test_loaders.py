"""Data-loader workers: start-up, shutdown, and errors for dead ones."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from facts import facts
from messages import refuses
from texthead.errors import RunError
from texthead.parallel.loaders import _await_feeders, worker_errors


@pytest.mark.posix("a fork server")
def test_a_server_forks_the_processes() -> None:
    workers = facts(2)
    assert len({fact.pid for fact in workers}) == 2
    assert os.getpid() not in {fact.parent for fact in workers}
    assert all("forkserver" in fact.command for fact in workers)
    assert {fact.parent for fact in facts(1)} == {fact.parent for fact in workers}, "one server for all loaders"
    # Without workers this process decodes.
    assert {fact.pid for fact in facts(0)} == {os.getpid()}


def test_exit_waits_for_feeder_threads() -> None:
    done, never = threading.Event(), threading.Event()

    def feed() -> None:
        time.sleep(0.1)
        done.set()

    threads = [threading.Thread(target=each, name="QueueFeederThread", daemon=True) for each in (feed, never.wait)]
    for thread in threads:
        thread.start()
    _await_feeders()
    assert done.is_set()
    assert threads[1].is_alive(), "a thread that never ends is left alone"
    never.set()


@pytest.mark.slow
def test_workers_end_with_parent() -> None:
    """They must notice by themselves that the process was killed."""
    code = "import facts, time; it = iter(facts.data_loader(facts.FileStats(), 2, batch_size=None)); "
    code += "print(*(f'{fact.pid} {fact.parent}' for fact in it), flush=True); time.sleep(600)"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=paths) as process:
        others = {int(word) for word in process.stdout.readline().split()}
        assert len(others) == 3
        process.kill()
        until = time.monotonic() + 60
        while any(Path(f"/proc/{other}").exists() for other in others) and time.monotonic() < until:
            time.sleep(0.05)
    assert not [other for other in others if Path(f"/proc/{other}").exists()]


def offer(pipe: Connection) -> None:
    """Send a file descriptor, as torch's workers send a clip, and wait."""
    from multiprocessing.reduction import DupFd

    pipe.send(DupFd(0))
    pipe.recv()


@pytest.mark.posix("file descriptors that are sent to another process")
def test_a_worker_that_is_gone_before_its_clip_was_fetched() -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=offer, args=(theirs,))
    process.start()
    offered = ours.recv()
    process.kill()
    process.join()
    with pytest.raises(RunError, match=r"\(.+\).*workers"), worker_errors():
        os.close(offered.detach())


@pytest.mark.posix("a fork server")
def test_a_worker_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork server ends after the request."""
    monkeypatch.setattr("os.read", lambda *_: b"")
    with refuses(RunError, "(unexpected EOF)", "fewer `workers`", "resume"), worker_errors():
        forkserver.read_signed(0)


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), RuntimeError("other")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), worker_errors():
        raise error
