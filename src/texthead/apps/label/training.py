"""Training started from the page of `texthead label`, and its output."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from typing import Any, Literal

from texthead.errors import DataError
from texthead.files import unused

How = Literal["quick", "fine-tune"]

_LINES, _LETTERS = 6, 300


class Training:
    """Run one training at a time, in a separate process.

    Args:
        arguments: returns the arguments of `texthead` for a kind of training and the new run's folder.
        labels_csv: the CSV of labels; runs are written beside it.
    """

    def __init__(self, arguments: Callable[[How, Path], Sequence[str]], labels_csv: Path):
        self._arguments = arguments
        self._labels_csv = labels_csv
        self._process: Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._run: Path | None = None
        self._turn = threading.Lock()

    def begin(self, how: How) -> None:
        """Start training on the current labels.

        Raises:
            DataError: a training is still running.
        """
        with self._turn:
            if self._process is not None and self._process.poll() is None:
                raise DataError(f"{self._run}: is still training; wait until it is finished")
            name = f"{self._labels_csv.stem}-{'quick' if how == 'quick' else 'tuned'}"
            self._run = unused(self._labels_csv.with_name(name))
            self._lines.clear()
            command = [sys.executable, "-m", "texthead", *self._arguments(how, self._run)]
            self._process = Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, text=True, errors="replace")
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                self._lines.append(line.rstrip()[:_LETTERS])
        process.wait()

    def state(self) -> dict[str, Any] | None:
        """Return the run's folder, last lines of output, and whether it is done or failed; None before the first."""
        process = self._process
        if process is None:
            return None
        code = process.poll()
        return {"run": str(self._run), "lines": list(self._lines), "done": code is not None, "failed": bool(code)}

    def close(self) -> None:
        """Stop a running training."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
