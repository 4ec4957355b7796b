"""A function over many tasks, in processes that may hang or die: neither ends the program or holds it up."""

import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Generic, NamedTuple, TypeVar

import torch

from texthead.errors import RunError, TextheadError

Task = TypeVar("Task")

Result = TypeVar("Result")

# A process first imports its modules.
_START_SECONDS = 120.0


class Lost(NamedTuple):
    """Why a task has no result; `late` where it took too long."""

    reason: str
    late: bool = False


def watched(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int, seconds: float
) -> Generator[tuple[int, Result | Lost], None, None]:
    """(position, result) of each task as it is done; a task that takes too long, or ends its process, is Lost.

    Args:
        function: a function of a module, so that another process can find it.
        workers: processes, at least one: a limit of time needs another process.
        seconds: that one task may take.

    Raises:
        RunError: a process ends before it has begun.
    """
    waiting = deque(enumerate(tasks))
    staff = [_Worker(_serve, function) for _ in range(min(max(1, workers), len(tasks)))]
    try:
        while staff:
            soonest = min(worker.deadline for worker in staff) - time.monotonic()
            ready = wait([worker.pipe for worker in staff], timeout=max(0.0, soonest))
            for worker in list(staff):
                if worker.pipe not in ready and time.monotonic() < worker.deadline:
                    continue
                position, outcome = worker.position, worker.outcome()
                if isinstance(outcome, Lost) and position is None:
                    raise RunError(f"a process for reading files did not begin ({outcome.reason}): take fewer workers")
                if worker.gone:
                    staff.remove(worker)
                    worker = _Worker(_serve, function) if waiting else None
                    staff += [worker] if worker else []
                elif not worker.begin(waiting, seconds):
                    staff.remove(worker)
                if position is not None:
                    yield position, outcome  # pyright: ignore[reportReturnType]
    finally:
        for worker in staff:
            worker.stop()


class Held(Generic[Task, Result]):
    """What a function keeps, such as a model, in a process of its own that is asked one task at a time.

    A process that takes too long or ends is replaced at once, and the next task finds the new one. Several threads may
    ask: they take turns.

    Args:
        make: a function of a module, or a `partial` of one, that gives the function which answers; called in the
            process.
    """

    def __init__(self, make: Callable[[], Callable[[Task], Result]]):
        self._make = make
        self._turn = threading.Lock()
        self._worker = _Worker(_serve_made, make)

    def __enter__(self) -> "Held[Task, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop()

    def begin(self) -> None:
        """Wait until the process can be asked.

        Raises:
            TextheadError: what `make` raises, or a process that ends or takes two minutes before it has begun.
        """
        with self._turn:
            self._begin()

    def ask(self, task: Task, seconds: float) -> Result | Lost:
        """The answer to a task; Lost where it takes longer, or its process ends.

        Raises:
            TextheadError: as `begin`.
        """
        with self._turn:
            self._begin()
            self._worker.begin(deque([(0, task)]), seconds)
            return self._outcome()  # pyright: ignore[reportReturnType]

    def _begin(self) -> None:
        if self._worker.position is not None:
            if self._worker.process.is_alive():
                return
            # It ended while nobody asked: the next task is not to blame.
            self._replace()
        outcome = self._outcome()
        if isinstance(outcome, TextheadError):
            self._replace()
            raise outcome
        if isinstance(outcome, Lost):
            raise RunError(f"the process with the model did not begin ({outcome.reason})")
        self._worker.position = 0

    def _outcome(self) -> object:
        wait([self._worker.pipe], timeout=max(0.0, self._worker.deadline - time.monotonic()))
        outcome = self._worker.outcome()
        if self._worker.gone:
            self._replace()
        return outcome

    def _replace(self) -> None:
        self._worker.stop()
        self._worker = _Worker(_serve_made, self._make)


class _Worker:
    """One process, the task that it has, and until when it may take."""

    def __init__(self, serve: Callable[..., None], function: Callable):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()
        self.position: int | None = None
        self._allowed = _START_SECONDS
        self.deadline = time.monotonic() + _START_SECONDS
        self.gone = False

    def outcome(self) -> object:
        """What the process has sent; Lost, and the process gone, where it took too long or has ended."""
        if not self.pipe.poll():
            self.stop()
            return Lost(f"took longer than {self._allowed:g} s", late=True)
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return Lost(f"its process ended (exit code {self.process.exitcode})")

    def begin(self, waiting: deque, seconds: float) -> bool:
        """Hand over the next task, if there is one; else let the process end."""
        if not waiting:
            self.position = None
            self.stop()
            return False
        self.position, task = waiting.popleft()
        self._allowed, self.deadline = seconds, time.monotonic() + seconds
        # A process that has just ended is noticed when its answer is asked for.
        with suppress(OSError):
            self.pipe.send(task)
        return True

    def stop(self) -> None:
        """End the process."""
        self.gone = True
        self.process.kill()
        self.process.join()


def _serve(pipe: Connection, function: Callable) -> None:
    """Answer each task on one thread until nobody asks."""
    torch.set_num_threads(1)
    _answer(pipe, lambda: function)


def _serve_made(pipe: Connection, make: Callable[[], Callable]) -> None:
    """Answer each task with what `make` gives; an error of ours in making it is the first and only answer."""
    try:
        _answer(pipe, make)
    except TextheadError as error:
        pipe.send(error)


def _answer(pipe: Connection, make: Callable[[], Callable]) -> None:
    """Say that all is ready, then answer; an interrupt is for the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    function = make()
    pipe.send(None)
    with suppress(EOFError):
        while True:
            task = pipe.recv()
            try:
                answer = function(task)
            except Exception as error:  # A damaged file can make a library raise any kind there is.
                answer = Lost(f"stopped its reader ({type(error).__name__}: {error})")
            pipe.send(answer)
