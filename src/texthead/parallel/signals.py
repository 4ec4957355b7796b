"""SIGTERM and SIGHUP end a program as Ctrl-C does, also one that is in a call which never comes back."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
_NAMES = ("SIGTERM", "SIGHUP")

_NUMBERS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))

# A terminal that is closed and a system that shuts down send several signals; later ones interrupt the ending too.
_SAME_END_SECONDS = 8.0

# torchrun and containers send SIGKILL after 30 or 10 s.
_STUCK_SECONDS = 8.0


class Interrupted(KeyboardInterrupt):
    """An interrupt by a signal that is not Ctrl-C's."""


class Ending:
    """How a program ends: `number` is the signal that has arrived, if one has, and `line` makes what is printed."""

    def __init__(self, line: Callable[[], str]):
        self.line = line
        self.number: int | None = None
        self._last = 0.0
        self._arrived = threading.Event()

    @property
    def code(self) -> int:
        """The exit code, as a shell gives it: 143 for SIGTERM, 129 for SIGHUP, 130 for Ctrl-C."""
        return 128 + (self.number or signal.SIGINT)

    def arrive(self, number: int, _: FrameType | None) -> None:
        """Raise Interrupted where the main thread is, once for signals that arrive together."""
        now, last = time.monotonic(), self._last
        if self.number is not None and now - last < _SAME_END_SECONDS:
            return
        self.number, self._last = self.number or number, now
        self._arrived.set()
        raise Interrupted(number)

    def watch(self, numbers: socket.socket) -> None:
        """End the process where the main thread does not come back to Python: it waits in a library for other ranks."""
        while received := numbers.recv(64):
            for number in received:
                if signal.getsignal(number) == self.arrive and not self._arrived.wait(_STUCK_SECONDS):
                    # Not by a stream, which the main thread may hold.
                    os.write(2, f"{self.line()}\n".encode(errors="backslashreplace"))
                    os._exit(128 + number)


@contextmanager
def ended_by_signals(line: Callable[[], str]) -> Iterator[Ending]:
    """Raise KeyboardInterrupt in the block where SIGTERM or SIGHUP arrives; those that are ignored stay ignored.

    A program does this once, in its main thread; processes that it starts have their own handlers.

    Args:
        line: makes what is printed where the main thread is stuck; the block may set another in what it gets.
    """
    ending = Ending(line)
    caught = [number for number in _NUMBERS if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        caught = []
    if not caught:
        yield ending
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # As the system's handler needs it.
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=ending.watch, args=(ours,), daemon=True).start()
    for number in caught:
        signal.signal(number, ending.arrive)
    try:
        yield ending
    finally:
        # The process that a signal has ended is not ended again while it does so.
        for number in caught:
            signal.signal(number, signal.SIG_DFL if ending.number is None else signal.SIG_IGN)
        signal.set_wakeup_fd(before)
        theirs.close()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let interrupts that arrive in the block act at its end: what it starts is whole then, and can be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_NUMBERS)}
    acting = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in acting:
        signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in acting.items():
            signal.signal(number, handler)
        for number in arrived[:1]:
            acting[number](number, None)
