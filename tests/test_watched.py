"""Tasks that hang, die and fail, in real processes."""

import multiprocessing
import os
import signal
import time

import pytest

from texthead.errors import RunError
from texthead.watched import Lost, watched


def behave(task: str) -> str:
    """What the task says; some of them never come back."""
    if task == "hang":
        time.sleep(600)
    if task == "hang deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if task == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "leave":
        os._exit(3)
    if task == "fail":
        raise ZeroDivisionError("of a library")
    return task.upper()


def test_every_task_has_its_outcome_and_the_others_go_on() -> None:
    tasks = ["a", "hang", "b", "die", "c", "leave", "d", "fail", "hang deaf", "e"]
    began = time.monotonic()
    found = dict(watched(behave, tasks, workers=2, seconds=1.0))
    assert sorted(found) == list(range(len(tasks)))
    assert {i: found[i] for i in (0, 2, 4, 6, 9)} == {0: "A", 2: "B", 4: "C", 6: "D", 9: "E"}
    assert found[1] == found[8] == Lost("took longer than 1 s", late=True)
    assert found[3] == Lost("its process ended (exit code -11)")
    assert found[5] == Lost("its process ended (exit code 3)")
    assert found[7] == Lost("stopped its reader (ZeroDivisionError: of a library)")
    assert time.monotonic() - began < 60


def test_no_task_and_no_worker() -> None:
    assert list(watched(behave, [], workers=2, seconds=1.0)) == []
    assert list(watched(behave, ["a"], workers=0, seconds=5.0)) == [(0, "A")]


def test_who_stops_asking_leaves_no_process_behind() -> None:
    asked = watched(behave, ["a", "hang", "hang"], workers=2, seconds=300.0)
    assert next(asked) == (0, "A")
    processes = multiprocessing.active_children()
    assert processes
    asked.close()
    assert not any(process.is_alive() for process in processes)


def test_a_function_that_another_process_cannot_find_is_an_error() -> None:
    with pytest.raises(RunError, match="did not begin"):
        list(watched(_hidden, ["a"], workers=1, seconds=1.0))


class _Unknown:
    """A function that only this process can make."""

    def __call__(self, task: str) -> str:
        return task

    def __reduce__(self) -> tuple:
        return os._exit, (9,)


_hidden = _Unknown()
