"""Make SIGTERM, SIGHUP and Ctrl-Break end a program as Ctrl-C does."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from texthead.platform import ENDING

# A closing terminal and a system shutdown send several signals, which are one interrupt.
_SAME_END_SECONDS = 8.0


class Ending:
    """The state of a program's end.

    Attributes:
        line: returns the line to print.
        number: the signal that arrived, if any.
    """

    def __init__(self, line: Callable[[], str]):
        self.line = line
        self.number: int | None = None
        self._last = 0.0

    @property
    def code(self) -> int:
        """The exit code, as a shell gives it: 143 for SIGTERM, 129 for SIGHUP, 130 for Ctrl-C and Ctrl-Break."""
        return ENDING.get(self.number or 0, 128 + signal.SIGINT)

    def arrive(self, number: int, _: FrameType | None) -> None:
        """Raise KeyboardInterrupt at each Ctrl-C, and once for other signals that arrive together."""
        now = time.monotonic()
        again = self.number is not None and number != signal.SIGINT and now - self._last < _SAME_END_SECONDS
        self.number, self._last = self.number or number, now
        if not again:
            raise KeyboardInterrupt


@contextmanager
def ended_by_signals(line: Callable[[], str]) -> Iterator[Ending]:
    """Raise KeyboardInterrupt in the block if Ctrl-C or a signal of `ENDING` arrives; ignored signals stay ignored.

    A program uses this once, in its main thread; its child processes have their own handlers.

    Args:
        line: returns the line to print at the end; the block may replace it in the yielded `Ending`.
    """
    ending, usual = Ending(line), {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(ENDING, signal.SIG_DFL)}
    caught = {number: handler for number, handler in usual.items() if signal.getsignal(number) == handler}
    if threading.current_thread() is not threading.main_thread():
        caught = {}
    for number in caught:
        signal.signal(number, ending.arrive)
    try:
        yield ending
    finally:
        # After one signal, later ones must not interrupt the exit.
        for number, handler in caught.items():
            ignored = ending.number is not None and number != signal.SIGINT
            signal.signal(number, signal.SIG_IGN if ignored else handler)
