"""How processes that decode begin and end, and what is said when one is gone."""

import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import pytest

from facts import facts
from texthead.errors import RunError
from texthead.parallel.loaders import watched


def test_a_server_forks_the_processes() -> None:
    found = facts(2)
    assert len({fact.pid for fact in found}) == 2
    assert os.getpid() not in {fact.parent for fact in found}
    assert all("forkserver" in fact.command for fact in found)
    assert {fact.parent for fact in facts(1)} == {fact.parent for fact in found}, "one server for all loaders"


def test_without_workers_this_process_decodes() -> None:
    assert {fact.pid for fact in facts(0)} == {os.getpid()}


@pytest.mark.slow
def test_processes_end_with_the_one_that_they_decode_for() -> None:
    """Killed, it cannot tell them."""
    code = "import facts, time; it = iter(facts.data_loader(facts.Facts(), 2, batch_size=None)); "
    code += "print(*(f'{fact.pid} {fact.parent}' for fact in it), flush=True)" + "; time.sleep(600)"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=paths) as process:
        assert process.stdout is not None
        others = {int(word) for word in process.stdout.readline().split()}
        assert len(others) == 3
        process.kill()
        until = time.monotonic() + 60
        while any(Path(f"/proc/{other}").exists() for other in others) and time.monotonic() < until:
            time.sleep(0.05)
    assert not [other for other in others if Path(f"/proc/{other}").exists()]


def offer(pipe: Connection) -> None:
    """Offers a file as torch's workers do a clip, and waits to be asked for it."""
    pipe.send(DupFd(0))
    pipe.recv()


@pytest.fixture
def handed_over() -> Any:
    """What a process that was killed since has offered."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=offer, args=(theirs,))
    process.start()
    offered = ours.recv()
    process.kill()
    process.join()
    return offered


def test_a_process_that_is_gone_before_its_clip_was_fetched(handed_over: Any) -> None:
    with (
        pytest.raises(RunError, match=r"a process that decodes has ended \(.+\), for want of memory"),
        watched(),
    ):
        os.close(handed_over.detach())


def test_a_process_that_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server ends while it is asked for one."""
    monkeypatch.setattr("os.read", lambda *_: b"")
    with pytest.raises(RunError, match=r"a process that decodes has ended \(unexpected EOF\), for want"), watched():
        forkserver.read_signed(0)


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), watched():
        (tmp_path / "gone").read_bytes()
    with pytest.raises(RuntimeError, match="of another kind"), watched():
        raise RuntimeError("of another kind")
