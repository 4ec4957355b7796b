"""Run a function in worker processes; a worker that hangs or dies neither ends nor blocks the program."""

import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Generic, NamedTuple, TypeVar

import torch

from texthead.errors import RunError, TextheadError, reason
from texthead.parallel.startup import begin_tracker

Job = TypeVar("Job")

Result = TypeVar("Result")

# Time limit for a process to start, most of it imports.
_START_SECONDS = 120.0


class FailedTask(NamedTuple):
    """Why a task has no result; `late` if it took too long."""

    reason: str
    late: bool = False


def run_tasks(
    function: Callable[[Job], Result], tasks: Sequence[Job], *, workers: int, seconds: float
) -> Generator[tuple[int, Result | FailedTask], None, None]:
    """Yield (position, result) of each task when it is done; FailedTask if the task takes too long or kills its worker.

    Args:
        function: a module-level function, so that it can be pickled.
        workers: worker processes; at least one is used, since a time limit needs another process.
        seconds: time limit per task.

    Raises:
        RunError: a worker fails to start.
        TextheadError: the function raises it.
    """
    begin_tracker()
    make = partial(_with_one_thread, function)
    waiting = deque(enumerate(tasks))
    running = [_Worker(make) for _ in range(min(max(1, workers), len(tasks)))]
    try:
        while running:
            soonest = min(worker.deadline for worker in running) - time.monotonic()
            ready = wait([worker.pipe for worker in running], timeout=max(0.0, soonest))
            for worker in list(running):
                if worker.pipe not in ready and time.monotonic() < worker.deadline:
                    continue
                position, outcome = worker.position, worker.outcome()
                if isinstance(outcome, TextheadError):
                    raise outcome
                if isinstance(outcome, FailedTask) and position is None:
                    raise RunError(f"a worker process did not start ({outcome.reason}); use fewer `workers`")
                if waiting and not worker.stopped:
                    worker.begin(*waiting.popleft(), seconds)
                else:
                    worker.stop()
                    running.remove(worker)
                    running += [_Worker(make)] if waiting else []
                if position is not None:
                    yield position, outcome  # pyright: ignore[reportReturnType]
    finally:
        for worker in running:
            worker.stop()


class StatefulWorker(Generic[Job, Result]):
    """A worker process that keeps state, such as a model, and runs one task at a time.

    A process that takes too long or ends is replaced at once. Threads may share it: their tasks run in turn.

    Args:
        make: called in the process; returns the function that runs the tasks. A module-level function or a `partial`
            of one.
    """

    def __init__(self, make: Callable[[], Callable[[Job], Result]]):
        self._make = make
        self._turn = threading.Lock()
        self._worker = _Worker(make)

    def __enter__(self) -> "StatefulWorker[Job, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop()

    def begin(self) -> None:
        """Wait until the process is ready.

        Raises:
            TextheadError: raised by `make`, or the process ends or is not ready within two minutes.
        """
        with self._turn:
            self._begin()

    def run(self, task: Job, seconds: float) -> Result | FailedTask:
        """Return the result of a task; FailedTask if it takes more than `seconds` or its process ends.

        Raises:
            TextheadError: as `begin`.
        """
        with self._turn:
            self._begin()
            self._worker.begin(0, task, seconds)
            return self._outcome()  # pyright: ignore[reportReturnType]

    def _begin(self) -> None:
        if self._worker.position is not None:
            if self._worker.process.is_alive():
                return
            # It ended while idle, so the next task is not to blame.
            self._replace()
        outcome = self._outcome()
        if isinstance(outcome, TextheadError):
            self._replace()
            raise outcome
        if isinstance(outcome, FailedTask):
            raise RunError(f"the process with the model did not start ({outcome.reason})")
        self._worker.position = 0

    def _outcome(self) -> object:
        wait([self._worker.pipe], timeout=max(0.0, self._worker.deadline - time.monotonic()))
        outcome = self._worker.outcome()
        if self._worker.stopped:
            self._replace()
        return outcome

    def _replace(self) -> None:
        self._worker.stop()
        self._worker = _Worker(self._make)


class _Worker:
    """A process, its current task and the deadline."""

    def __init__(self, make: Callable[[], Callable]):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self.process.start()
        theirs.close()
        self.position: int | None = None
        self._allowed = _START_SECONDS
        self.deadline = time.monotonic() + _START_SECONDS
        self.stopped = False

    def outcome(self) -> object:
        """Return what the process has sent; FailedTask, after stopping it, if it took too long or has ended."""
        try:
            if self.pipe.poll():  # On Windows it raises an error if the process has ended.
                return self.pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return FailedTask(f"its process ended (exit code {self.process.exitcode})")
        self.stop()
        return FailedTask(f"took longer than {self._allowed:g} s", late=True)

    def begin(self, position: int, task: object, seconds: float) -> None:
        """Send a task."""
        self.position = position
        self._allowed, self.deadline = seconds, time.monotonic() + seconds
        # If the process has just ended, `outcome` reports it.
        with suppress(OSError):
            self.pipe.send(task)

    def stop(self) -> None:
        """Kill the process."""
        self.stopped = True
        self.process.kill()
        self.process.join()


def _with_one_thread(function: Callable) -> Callable:
    torch.set_num_threads(1)
    return function


def _serve(pipe: Connection, make: Callable[[], Callable]) -> None:
    """Send None when ready, then the result of each task; if `make` raises a TextheadError, send only that.

    The parent process handles interrupts.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        function = make()
    except TextheadError as error:
        pipe.send(error)
        return
    pipe.send(None)
    # Raised once the parent process is gone.
    with suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            try:
                answer = function(task)
            except TextheadError as error:
                answer = error
            except Exception as error:  # Libraries may raise anything on a damaged file.
                answer = FailedTask(f"stopped its reader ({type(error).__name__}: {reason(error)})")
            pipe.send(answer)
