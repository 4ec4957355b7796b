"""Tasks that hang, die and fail, in real processes."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from messages import prints, refuses
from platforms import kill
from texthead.errors import DataError, RunError
from texthead.parallel.worker_pool import StatefulWorker, run_tasks


def behave(task: str) -> str:
    """Do what the task says; some tasks never return."""
    if task == "hang deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if task.startswith("hang"):
        time.sleep(600)
    if task == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "leave":
        os._exit(3)
    if task == "fail":
        raise ZeroDivisionError("of a library")
    if task == "refuse":
        raise DataError("of ours")
    return task.upper()


@pytest.mark.slow
def test_every_task_has_its_outcome_and_the_others_go_on() -> None:
    tasks = ["a", "hang", "b", "die", "c", "leave", "d", "fail", "hang deaf", "e"]
    began = time.monotonic()
    result = dict(run_tasks(behave, tasks, workers=2, seconds=1.0))
    assert sorted(result) == list(range(len(tasks)))
    assert {i: result[i] for i in (0, 2, 4, 6, 9)} == {0: "A", 2: "B", 4: "C", 6: "D", 9: "E"}
    assert [index for index in (1, 3, 5, 7, 8) if result[index].late] == [1, 8]
    reasons = {1: "1 s", 3: "exit code -11", 5: "exit code 3", 7: "ZeroDivisionError: of a library", 8: "1 s"}
    for index, part in reasons.items():
        prints(result[index].reason, part)
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_no_task_and_no_worker() -> None:
    assert list(run_tasks(behave, [], workers=2, seconds=1.0)) == []
    assert list(run_tasks(behave, ["a"], workers=0, seconds=5.0)) == [(0, "A")]
    with refuses(DataError, "of ours"):
        list(run_tasks(behave, ["a", "refuse"], workers=1, seconds=5.0))


@pytest.mark.slow
def test_abandoned_pool_leaves_no_process() -> None:
    others = set(multiprocessing.active_children())
    outcomes = run_tasks(behave, ["a", "hang", "hang"], workers=2, seconds=300.0)
    assert next(outcomes) == (0, "A")
    processes = set(multiprocessing.active_children()) - others
    assert processes
    outcomes.close()
    assert not any(process.is_alive() for process in processes)


def test_start_error_names_time_limit(monkeypatch) -> None:
    monkeypatch.setattr("texthead.parallel.worker_pool._START_SECONDS", 0.01)
    with refuses(RunError, "0.01 s"):
        list(run_tasks(behave, ["a"], workers=1, seconds=20.0))
    with StatefulWorker(counter) as held, refuses(RunError, "0.01 s"):
        held.begin()


@pytest.mark.slow
def test_a_function_that_another_process_cannot_find_is_an_error() -> None:
    with refuses(RunError, "exit code 9"):
        list(run_tasks(_hidden, ["a"], workers=1, seconds=1.0))


def counter():
    """Return a function that runs `behave` and counts its tasks."""
    outcomes = []

    def answer(task: str) -> str:
        outcomes.append(task)
        return f"{behave(task)} {len(outcomes)}"

    return answer


def raise_data_error():
    raise DataError("no model of that name")


@pytest.mark.slow
def test_stateful_worker_keeps_state() -> None:
    others = set(multiprocessing.active_children())
    with StatefulWorker(counter) as held:
        held.begin()
        assert [held.run("a", 30.0), held.run("b", 30.0)] == ["A 1", "B 2"]
        prints(held.run("fail", 30.0).reason, "ZeroDivisionError: of a library")
        assert held.run("c", 30.0) == "C 4"
        began = time.monotonic()
        lost = held.run("hang", 1.0)
        assert lost.late
        prints(lost.reason, "1 s")
        assert time.monotonic() - began < 30
        assert held.run("d", 30.0) == "D 1"
        prints(held.run("leave", 30.0).reason, "exit code 3")
        assert held.run("e", 30.0) == "E 1"
        processes = set(multiprocessing.active_children()) - others
    assert not any(process.is_alive() for process in processes)


@pytest.mark.slow
def test_idle_dead_worker_is_replaced() -> None:
    with StatefulWorker(counter) as held:
        assert held.run("a", 30.0) == "A 1"
        process = held._worker.process
        assert process.pid
        kill(process.pid)
        process.join()
        assert held.run("b", 30.0) == "B 1"


@pytest.mark.slow
def test_failing_initialiser_is_error_each_time() -> None:
    with StatefulWorker(raise_data_error) as held:
        for ask in (held.begin, lambda: held.run("a", 30.0)):
            with refuses(DataError, "no model of that name"):
                ask()


@pytest.mark.slow
def test_threads_that_ask_take_turns() -> None:
    with StatefulWorker(counter) as held, ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda _: held.run("a", 30.0), range(8))]
    assert sorted(answers) == [f"A {i}" for i in range(1, 9)]


class _Unknown:
    """A function that no other process can unpickle."""

    def __call__(self, task: str) -> str:
        return task

    def __reduce__(self) -> tuple:
        return os._exit, (9,)


_hidden = _Unknown()
