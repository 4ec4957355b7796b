"""Make SIGTERM, SIGHUP and Ctrl-Break end a program as Ctrl-C does, even if it is stuck in a call."""

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from texthead.platform import ENDING, interrupt_main

# A closing terminal and a system shutdown send several signals. Signals after this time interrupt the clean-up too.
_SAME_END_SECONDS = 8.0

# torchrun and containers send SIGKILL after 30 or 10 s.
_STUCK_SECONDS = 8.0


# An error so soon after Ctrl-C comes of it.
_INTERRUPT_SECONDS = 2.0

# Sent to the watching thread like the number of a signal: a finaliser has swallowed an interrupt.
_SWALLOWED = 0

# Until the interrupt is sent again; the finaliser should have ended by then.
_AGAIN_SECONDS = 0.05


class Interrupted(KeyboardInterrupt):
    """An interrupt by one of the signals `ENDING`."""


class Ending:
    """The state of a program's end.

    Attributes:
        line: returns the line to print.
        number: the signal that arrived, if any.
        over: whether signals have their former handlers again.
    """

    def __init__(self, line: Callable[[], str]):
        self.line = line
        self.number: int | None = None
        self.over = False
        self._last, self._last_interrupt = 0.0, -math.inf
        self._arrived = threading.Event()

    @property
    def code(self) -> int:
        """The exit code, as a shell gives it: 143 for SIGTERM, 129 for SIGHUP, 130 for Ctrl-C and Ctrl-Break."""
        return ENDING.get(self.number or 0, 128 + signal.SIGINT)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has just arrived: a library may have turned it into another error."""
        return time.monotonic() - self._last_interrupt < _INTERRUPT_SECONDS

    def arrive(self, number: int, _: FrameType | None) -> None:
        """Raise Interrupted in the main thread, once for signals that arrive together."""
        now, last = time.monotonic(), self._last
        if self.number is not None and now - last < _SAME_END_SECONDS:
            return
        self.number, self._last = self.number or number, now
        self._arrived.set()
        raise Interrupted(number)

    def watch(self, numbers: socket.socket) -> None:
        """Send swallowed interrupts again; end the process if its main thread never returns to Python.

        It may be in a library that waits for other ranks.
        """
        with numbers:
            while received := numbers.recv(64):
                for number in received:
                    if number == signal.SIGINT:
                        self._last_interrupt = time.monotonic()
                    if number == _SWALLOWED:
                        time.sleep(_AGAIN_SECONDS)
                        self._last = -math.inf
                        if not self.over:
                            interrupt_main(self.number or signal.SIGINT)
                    elif signal.getsignal(number) == self.arrive and not self._arrived.wait(_STUCK_SECONDS):
                        # The main thread may hold the lock of sys.stderr.
                        os.write(2, f"{self.line()}\n".encode(errors="backslashreplace"))
                        os._exit(ENDING[number])


@contextmanager
def ended_by_signals(line: Callable[[], str]) -> Iterator[Ending]:
    """Raise KeyboardInterrupt in the block if a signal of `ENDING` arrives; ignored signals stay ignored.

    A program uses this once, in its main thread; its child processes have their own handlers.

    Args:
        line: returns the line to print if the main thread is stuck; the block may replace it in the yielded `Ending`.
    """
    ending = Ending(line)
    caught = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        caught = []
    if not caught:
        yield ending
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # set_wakeup_fd requires it.
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    with suppress(RuntimeError):  # Raised if no thread can be started; signals then only interrupt.
        threading.Thread(target=ending.watch, args=(ours,), daemon=True).start()
    for number in caught:
        signal.signal(number, ending.arrive)
    report = sys.unraisablehook

    def swallowed(lost: "sys.UnraisableHookArgs") -> None:
        """Python reports an exception in `__del__` or in a callback of weakref or gc, and goes on."""
        theirs.send(bytes([_SWALLOWED])) if issubclass(lost.exc_type, KeyboardInterrupt) else report(lost)

    sys.unraisablehook = swallowed
    try:
        yield ending
    finally:
        ending.over, sys.unraisablehook = True, report
        # After one signal, later ones must not interrupt the exit.
        for number in caught:
            signal.signal(number, signal.SIG_DFL if ending.number is None else signal.SIG_IGN)
        signal.set_wakeup_fd(before)
        theirs.close()
