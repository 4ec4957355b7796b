"""The page of `texthead find --page` as a web application: search.html with its script and style, and a JSON API."""

import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from texthead.apps.search.exports import export_hits
from texthead.apps.search.index import Index
from texthead.apps.search.marks import Marks
from texthead.apps.search.search import Hit, Results, query_row, search
from texthead.apps.serving import MEDIA_TYPES, Uploads, page_app
from texthead.errors import DataError
from texthead.files import unused
from texthead.media import MediaPath, Span

# What is exported, and the name of its file.
_EXPORTS = {"csv": "hits.csv", "jsonl": "hits.jsonl", "label-studio": "hits.json", "sheet": "hits.png", "clips": "hits"}

# Size of the largest example, in bytes.
_MOST_BYTES = 200 * 2**20

# Hits beyond those of a page among which the next ones to mark are chosen.
_CANDIDATES = 100


class SearchSession:
    """What the page works on: an index, the hits that it shows, and the marks of what is searched for.

    Args:
        folder: an empty folder for examples and exports.
        first: the query to begin with: words, avoid, and like, the path of an example.
        csv: file of the marks; None keeps no file.
        save: folder of a saved run; None is one in the current folder, named by the query.
        top: number of hits on a page.
    """

    def __init__(
        self, index: Index, folder: Path, first: dict[str, str], csv: Path | None, save: Path | None, top: int
    ):
        self.index, self.folder, self.first, self.csv, self.save, self.top = index, folder, first, csv, save, top
        self.uploads, self.exported, self.lock = Uploads(folder, _MOST_BYTES), folder, threading.Lock()
        self.marks = Marks(index, "a hit", index.features[0])
        self.shown, self.seen, self.known = list[Hit](), dict[int, Hit](), dict[int, bool]()

    def path(self, window: Any) -> Path:
        """Return the file of a window, or the part of a video.

        Raises:
            DataError: there is no such window.
        """
        if type(window) is not int or not 0 <= window < len(self.index):
            raise DataError(f"no moment {window!r}; reload the page")
        return self.index.media(window).path

    def act(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Run an action of the page; return what changes.

        Raises:
            TextheadError: the action is unknown, or not possible.
        """
        run = getattr(self, f"on_{action}", None)
        if run is None:
            raise DataError(f"no action {action[:20]!r}; reload the page")
        with self.lock:
            answer, hit = run(body), self.marks.hit
            counts = {"hits": sum(hit.values()), "misses": len(hit) - sum(hit.values())}
            new = sum(self.known.get(window) != value for window, value in hit.items())
            return answer | {"marks": counts | {"name": self.marks.name, "new": new}}

    def on_state(self, _: dict[str, Any]) -> dict[str, Any]:
        """Return the query to begin with, and a line about the index."""
        name, files = self.index.data.absolute().name, len(self.index.paths)
        return {**self.first, "about": f"{name}: {len(self.index):,} moments and photos in {files:,} files"}

    def on_search(self, body: dict[str, Any]) -> dict[str, Any]:
        """Search for words, or like an example: a window, an uploaded file, or (True) the one to begin with."""
        words, like = str(body.get("words") or "").strip(), body.get("like")
        if not words and like is None:
            raise DataError("nothing to search for; type words, or give an example")
        examples = {bool: lambda: Path(self.first.get("like", "")), int: lambda: self.path(like)}
        query = words if like is None else examples.get(type(like), lambda: self.uploads.path(like))()
        if not self.marks.hit:
            name = words or MediaPath(query).file.stem
            self.marks = Marks(self.index, name, query_row(self.index, query), self.csv)
        avoid = [text.strip() for text in str(body.get("avoid") or "").split(",") if text.strip()]
        return self.page(search(self.index, query, avoid=avoid, top=self.top))

    def on_next(self, _: dict[str, Any]) -> dict[str, Any]:
        """Search with the head of the marks, and return what it is unsure of beside the hits."""
        head, self.known = self.taught().head(), dict(self.taught().hit)
        results = search(self.index, head, top=self.top + _CANDIDATES)
        found = [hit.window for hit in results.hits]
        return self.page(results, self.taught().next_to_mark(head, found, self.top)[1])

    def on_mark(self, body: dict[str, Any]) -> dict[str, Any]:
        """Mark a window as a hit or a miss, or remove its mark."""
        hit = body.get("hit")
        if not self.shown or not isinstance(hit, bool | None) or not self.path(body.get("window")):
            raise DataError("nothing to mark; search first")
        self.marks.put(body["window"], hit)
        return {}

    def on_forget(self, _: dict[str, Any]) -> dict[str, Any]:
        """Forget the marks; a CSV keeps them."""
        self.marks.hit, self.known = {}, {}
        return {}

    def on_save(self, _: dict[str, Any]) -> dict[str, Any]:
        """Save a run of the marks in the folder of the command, or a new one in the current folder; nowhere else."""
        name = self.taught().name
        out = unused(self.save or Path(re.sub(r"\W+", "-", name).strip("-")[:60] or "run"))
        self.taught().save_run(out)
        return {"line": f"{out}: a run with the classes {name} and other; use it: texthead predict {out} FILE"}

    def on_export(self, body: dict[str, Any]) -> dict[str, Any]:
        """Export the marked hits, or without any what the page shows; several files as a .zip."""
        kind, folder = str(body.get("kind")), self.folder / "export"
        if kind not in _EXPORTS or not self.shown:
            raise DataError("nothing to export; search first")
        hits = [self.hit(window) for window, hit in self.marks.hit.items() if hit] or self.shown
        shutil.rmtree(folder, ignore_errors=True)
        about = {"name": self.marks.name, "data": self.index.data, "model": self.index.encoder.source}
        line = export_hits(hits, kind, folder / _EXPORTS[kind], **about)
        files = [*folder.iterdir()]
        zipped = len(files) > 1 or files[0].is_dir()
        self.exported = Path(shutil.make_archive(str(self.folder / "hits"), "zip", folder)) if zipped else files[0]
        return {"line": line.replace(f"{folder}/", "")}

    def taught(self) -> Marks:
        """Return the marks.

        Raises:
            DataError: there are none.
        """
        if not self.marks.hit:
            raise DataError("no marks; mark some hits and misses first")
        return self.marks

    def hit(self, window: int) -> Hit:
        """Return the hit of a window, without a score if no search found it."""
        media = self.index.media(window)
        return self.seen.get(window, Hit(media.file, *media.span, 0.0, None, window, ()))

    def page(self, results: Results, unsure: Sequence[int] = ()) -> dict[str, Any]:
        """Return what the page shows of results, and of windows to mark beside them."""
        self.shown = results.hits[: self.top]
        self.seen |= {hit.window: hit for hit in results.hits}
        cards, marks = [*map(self.card, self.shown)], [self.card(self.seen[window]) for window in unsure]
        return {"fits": results.fits, "note": results.note, "hits": cards, "unsure": marks}

    def card(self, hit: Hit) -> dict[str, Any]:
        """Return what the page shows of a hit."""
        media = MediaPath(hit.path).part(Span(hit.start, hit.end))
        plays = MEDIA_TYPES.get(media.file.suffix.lower(), "").startswith("video")
        kind = "image" if media.is_image else "video" if plays else "preview"
        shown = {"path": str(media), "kind": kind, "mark": self.marks.hit.get(hit.window)}
        return shown | {name: getattr(hit, name) for name in ("window", "copies", "score", "probability")}


def search_app(session: SearchSession, host: str, password: str | None = None) -> ASGIApp:
    """Return the page with its guard and, if given, a password."""

    def exported(_: Request) -> Response:
        if not session.exported.is_file():
            raise DataError("nothing is exported; search, and export the hits")
        return FileResponse(session.exported, filename=session.exported.name)

    page, uploads = Path(__file__).with_name("search.html"), session.uploads
    routes = [Route("/export", exported), *uploads.routes]
    return page_app(routes, host, password, uploads.limits, page=page, act=session.act, media=session.path)
