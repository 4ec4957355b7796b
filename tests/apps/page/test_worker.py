"""A worker that keeps a function, in real processes: tasks that hang, die and fail."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from messages import refuses
from platforms import kill
from texthead.apps.page.worker import StatefulWorker
from texthead.errors import DataError, LostWorkerError


def counter():
    """Return a function that does what its task says, and counts its tasks."""
    tasks = []

    def answer(task: str) -> str:
        tasks.append(task)
        if task == "hang":
            time.sleep(600)
        if task == "leave":
            os._exit(3)
        if task == "fail":
            raise ZeroDivisionError("of a library")
        if task == "refuse":
            raise DataError("of ours")
        return f"{task.upper()} {len(tasks)}"

    return answer


def test_it_keeps_its_state_until_it_hangs_or_dies() -> None:
    others = set(multiprocessing.active_children())
    with StatefulWorker(counter) as worker:
        assert [worker.run("a", 30.0), worker.run("b", 30.0)] == ["A 1", "B 2"]
        with refuses(LostWorkerError, "ZeroDivisionError: of a library"):
            worker.run("fail", 30.0)
        with refuses(DataError, "of ours"):
            worker.run("refuse", 30.0)
        assert worker.run("c", 30.0) == "C 5"
        began = time.monotonic()
        with refuses(LostWorkerError, "1 s"):
            worker.run("hang", 1.0)
        assert time.monotonic() - began < 30
        assert worker.run("d", 30.0) == "D 1"
        with refuses(LostWorkerError, "exit code 3"):
            worker.run("leave", 30.0)
        assert worker.run("e", 30.0) == "E 1"
        processes = set(multiprocessing.active_children()) - others
    assert processes
    assert not any(process.is_alive() for process in processes)


def test_idle_dead_worker_is_replaced() -> None:
    with StatefulWorker(counter) as worker:
        assert worker.run("a", 30.0) == "A 1"
        process = worker._process
        assert process.pid
        kill(process.pid)
        process.join()
        assert worker.run("b", 30.0) == "B 1"


def hold(pipe) -> None:
    """Send the ID of the worker's process, and wait."""
    worker = StatefulWorker(counter)
    worker.run("a", 30.0)
    pipe.send(worker._process.pid)
    time.sleep(600)


@pytest.mark.posix("/proc")
def test_it_ends_with_a_killed_parent() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    parent = context.Process(target=hold, args=(theirs,))
    parent.start()
    worker = Path(f"/proc/{ours.recv()}")
    parent.kill()
    until = time.monotonic() + 30
    while worker.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not worker.exists()
