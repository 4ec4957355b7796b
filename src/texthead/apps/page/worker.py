"""A worker process that keeps state, such as a model; one that hangs or dies is replaced."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from texthead.errors import LostWorkerError, RunError, TextheadError, line_of
from texthead.parallel import begin_tracker

# Time limit for a process to start and to make its function, most of it imports.
_START_SECONDS = 120.0


class StatefulWorker:
    """A worker process that keeps state and runs one task at a time.

    A process that takes too long or ends is replaced at once. Threads may share it: their tasks run in turn.

    Args:
        make: called in the process; returns the function that runs the tasks. A module-level function or a `partial`
            of one.
    """

    def __init__(self, make: Callable[[], Callable[[Any], Any]]):
        self._make = make
        self._turn = threading.Lock()
        self._start()

    def __enter__(self) -> "StatefulWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, task: object, seconds: float) -> Any:
        """Return the result of a task.

        Raises:
            LostWorkerError: it takes more than `seconds`, its process ends, or a library raises an error.
            TextheadError: raised by the function or by `make`, or the process is not ready within two minutes.
        """
        with self._turn:
            if self._ready.done() and not self._process.is_alive():  # It ended while idle: this task is not to blame.
                self._replace()
            try:
                self._result(self._ready, _START_SECONDS)
            except LostWorkerError as error:
                raise RunError(f"the process with the model did not start ({error})") from None
            return self._result(self._pool.submit(_run, task), seconds)

    def _result(self, future: Future, seconds: float) -> Any:
        try:
            return future.result(max(0.0, seconds))
        except TextheadError:
            raise
        except TimeoutError:
            reason = f"took longer than {seconds:g} s"
        except BrokenProcessPool:
            self._pool.shutdown()  # Its thread is the one that learns how the process ended.
            reason = f"its process ended (exit code {self._process.exitcode})"
        except Exception as error:  # Libraries may raise anything on a damaged file.
            raise LostWorkerError(f"stopped its reader ({line_of(error, kind=True)})") from None
        self._replace()
        raise LostWorkerError(reason)

    def _start(self) -> None:
        begin_tracker()
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, initializer=_begin_process)
        self._ready = self._pool.submit(_keep, self._make)
        (self._process,) = self._pool._processes.values()

    def _end(self) -> None:
        self._process.kill()  # `shutdown` alone would wait for its task.
        self._pool.shutdown()

    def _replace(self) -> None:
        self._end()
        self._start()


# ---- in the process

_kept: list[Callable[[Any], Any]] = []


def _begin_process() -> None:
    """Leave interrupts to the parent process, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _keep(make: Callable[[], Callable[[Any], Any]]) -> None:
    _kept.append(make())


def _run(task: object) -> Any:
    return _kept[0](task)
