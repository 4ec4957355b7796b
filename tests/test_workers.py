"""What is said when a process that decodes is gone."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import pytest

from texthead.errors import RunError
from texthead.workers import watched


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


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), watched():
        (tmp_path / "gone").read_bytes()
    with pytest.raises(RuntimeError, match="of another kind"), watched():
        raise RuntimeError("of another kind")
