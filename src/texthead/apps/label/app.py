"""The page of `texthead label` as a web application: static files, a JSON API, and training started from the page."""

import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from typing import Any, Literal

from texthead.apps.label.session import FileToLabel, LabelSession
from texthead.apps.serving import MEDIA_TYPES, Guard, ShownFiles, page_app
from texthead.errors import DataError, RunError, converted
from texthead.files import unused
from texthead.media import MediaPath

How = Literal["quick", "fine-tune"]

# Lines of output of a training that are shown, and letters of a line.
_LINES, _LETTERS = 6, 300


class Training:
    """Run one training on a CSV of labels at a time, in a separate process.

    Args:
        arguments: returns the arguments of `texthead` for a kind of training and the new run's folder.
        labels_csv: the CSV of labels; runs are written beside it.
    """

    def __init__(self, arguments: Callable[[How, Path], Sequence[str]], labels_csv: Path):
        self._arguments, self._labels_csv = arguments, labels_csv
        self._process: Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._run: Path | None = None

    def begin(self, how: How) -> None:
        """Start training on the current labels.

        Raises:
            RunError: a training is still running.
        """
        csv = self._labels_csv
        if self._process is not None and self._process.poll() is None:
            raise RunError(f"{csv}: a training on these labels is still running; wait until it is finished")
        self._run = unused(csv.with_name(f"{csv.stem}-{'quick' if how == 'quick' else 'tuned'}"))
        self._lines.clear()
        command = [sys.executable, "-m", "texthead", *self._arguments(how, self._run)]
        self._process = Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, text=True, errors="replace")
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: Popen[str]) -> None:
        assert process.stdout is not None
        self._lines.extend(line.rstrip()[:_LETTERS] for line in process.stdout if line.strip())
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


def label_app(session: LabelSession, training: Training) -> Guard:
    """Return the page with its guard."""
    actions = _Actions(session, training)
    return page_app([], Path(__file__).with_name("label.html"), actions.act, actions.shown)


class _Actions:
    """The actions of the page, one at a time; most return the next file to show."""

    def __init__(self, session: LabelSession, training: Training):
        self._session = session
        self._training = training
        self.shown = ShownFiles()
        self._turn, self._examining = threading.Lock(), threading.Thread()

    def act(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Run an action of the page.

        Raises:
            DataError: the action is unknown, or not possible.
        """
        with self._turn:
            shown = {}
            if action == "train":
                self._training.begin(converted("how", body.get("how"), How))
            elif action != "state":
                shown = {"item": self._json_of(self._shown_after(action, body))}
            return {**shown, "state": {**self._session.state(), "training": self._training.state()}}

    def _shown_after(self, action: str, body: dict[str, Any]) -> FileToLabel | None:
        """Run an action on a file or a class; return the next file to show."""
        session, key, review = self._session, body.get("key"), bool(body.get("review"))
        if action == "undo":
            return session.undo()
        if action in ("skip", "bad", "keep"):
            getattr(session, action)(self.shown.find(key, changed=action != "keep")[0])
        elif action == "label":
            if session.multilabel:
                names = converted("classes", body.get("classes"), Sequence[str])
            else:
                names = [converted("label", body.get("label"), str)]
            session.label(self.shown.find(key)[0], *names, checked=review)
        elif action == "rename":
            session.rename(*(converted(name, body.get(name), str) for name in ("old", "new")))
        elif action != "next":
            raise DataError(f"no action {action[:20]!r}; reload the page")
        if not review:
            return session.next_file()
        if not self._examining.is_alive():
            self._examining = threading.Thread(target=session.examine, daemon=True)
            self._examining.start()
        return session.review()

    def _json_of(self, file: FileToLabel | None) -> dict[str, Any] | None:
        """Return what the page shows of a file."""
        if file is None:
            return None
        media = MediaPath(file.path)
        plays = media.file.suffix.lower() in MEDIA_TYPES and file.kind in ("image", "video")
        span, part = media.span, None
        if media.is_part:
            offset = media.offset_seconds()
            part = [offset + span.start, None if math.isinf(span.end) else offset + span.end]
        return {
            "key": self.shown.key(file.position, file.path),
            "name": file.path.name,
            "path": str(file.path),
            "part": part,
            "kind": file.kind if plays else "preview",
            "guesses": [{"name": name, "probability": value} for name, value in file.predictions.items()],
            "label": None if file.labels is None else "; ".join(file.labels),
            "classes": file.labels or (),
            "why": file.why,
        }
