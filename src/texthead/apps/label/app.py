"""The page of `texthead label` as a web application: static files and a JSON API."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from texthead.apps.label.session import FileToLabel, LabelSession
from texthead.apps.serving import MEDIA_TYPES, Guard, ShownFiles, page_app
from texthead.errors import DataError, converted
from texthead.media import MediaPath


def label_app(session: LabelSession, train: str) -> Guard:
    """Return the page with its guard; it shows the command `train`."""
    actions = _Actions(session, train)
    return page_app([], Path(__file__).with_name("label.html"), actions.act, actions.shown)


class _Actions:
    """The actions of the page, one at a time; all but `state` return the next file to show."""

    def __init__(self, session: LabelSession, train: str):
        self._session, self._train, self.shown, self._turn = session, train, ShownFiles(), threading.Lock()

    def act(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Run an action of the page.

        Raises:
            DataError: the action is unknown, or not possible.
        """
        with self._turn:
            shown = {} if action == "state" else {"item": self._json_of(self._shown_after(action, body))}
            return {**shown, "state": self._session.state() | {"train": self._train}}

    def _shown_after(self, action: str, body: dict[str, Any]) -> FileToLabel | None:
        """Run an action on a file or a class; return the next file to show."""
        session, key, review = self._session, body.get("key"), bool(body.get("review"))
        if action == "undo":
            return session.undo()
        if action in ("skip", "bad", "keep"):
            getattr(session, action)(self.shown.find(key, changed=action != "keep")[0])
        elif action == "label":
            if session.pool.multilabel:
                names = converted("classes", body.get("classes"), Sequence[str])
            else:
                names = [converted("label", body.get("label"), str)]
            for name in converted("known", body.get("known", ()), Sequence[str]):
                session.check_class(name)  # A stale tab must not create a class again that was renamed.
            session.label(self.shown.find(key)[0], *names, checked=review)
        elif action == "rename":
            session.rename(*(converted(name, body.get(name), str) for name in ("old", "new")))
        elif action != "next":
            raise DataError(f"no action {action[:20]!r}; reload the page")
        return session.review() if review else session.next_file()

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
