"""The page of `texthead find --page` as a web application: search.html with its script and style, and a JSON API."""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from texthead.apps.search.index import Index
from texthead.apps.search.marks import Marks, marked_words
from texthead.apps.search.search import Hit, Results, query_name, query_row, search
from texthead.apps.serving import MEDIA_TYPES, Guard, ShownFiles, Uploads, page_app
from texthead.errors import DataError, MediaError, printable
from texthead.files import unused

# Hits beyond those of a page among which the next ones to mark are chosen.
_CANDIDATES = 100


class SearchSession:
    """What the page works on: an index, the hits that it shows, and the marks of what is searched for.

    Args:
        folder: an empty folder for examples.
        first: the query to begin with: words, avoid, and like, the path of an example.
        csv: file of the marks; None keeps no file. If it has marks of other words, those of new words get a file beside
            it. If there is no query to begin with, its words are.
        save: folder of a saved run; None is one in the current folder, named by the query.
        top: number of hits on a page.
    """

    def __init__(
        self, index: Index, folder: Path, first: dict[str, str], csv: Path | None, save: Path | None, top: int
    ):
        self.index, self.first, self.csv, self.save, self.top = index, first, csv, save, top
        if csv and not (first.get("words") or first.get("like")):
            self.first = first | {"words": marked_words(csv)}
        self.last = self.first
        self.uploads, self.lock = Uploads(folder), threading.Lock()
        self.marks, self.wishes = Marks(index, "a hit", index.features[0]), dict[str, Marks]()
        self.known, self.files = dict[int, bool](), ShownFiles()

    def act(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Run an action of the page; return what changes.

        Raises:
            TextheadError: the action is unknown, or not possible.
        """
        run = getattr(self, f"on_{action}", None)
        if run is None or not (self.wishes or action in ("state", "search")):
            raise DataError(f"no action {action[:20]!r} now; search first, or reload the page")
        with self.lock:
            if action != "search" and body.get("name") not in (None, "", printable(self.marks.name)):
                raise DataError(f"another page has searched for {self.marks.name!r} since; search again")
            try:
                answer, hit = run(body), self.marks.hit
            except MediaError as error:
                # Examples lie in a temporary folder.
                raise DataError(f"{error.path.name}: {error.problem}") from error
            about = {"name": self.marks.name, "file": self.marks.csv.name if self.marks.csv else ""}
            new = sum(self.known.get(window) != value for window, value in hit.items())
            counts = {"hits": sum(hit.values()), "misses": len(hit) - sum(hit.values()), "new": new}
            return answer | {"marks": about | counts}

    def on_state(self, _: dict[str, Any]) -> dict[str, Any]:
        """Return the query to begin with, and a line about the index."""
        name, files = self.index.data.absolute().name, len(self.index.paths)
        return {**self.last, "about": f"{name}: {len(self.index):,} moments and photos in {files:,} files"}

    def on_search(self, body: dict[str, Any]) -> dict[str, Any]:
        """Search for words, or like an example: a hit, an uploaded file, or (True) the one to begin with."""
        words, like = " ".join(str(body.get("words") or "").replace(";", ",").split()), body.get("like")
        query: str | Path = words
        if body.get("hit") is not None:
            like, query = True, self.files.find(body["hit"])[1]
        elif like is not None:
            query = Path(self.first.get("like", "")) if like is True else self.uploads.path(like)
        elif not words:
            raise DataError("nothing to search for; type words, or choose an example")
        wish, name = str(query), words or query_name(query)
        names = {marks.name for other, marks in self.wishes.items() if other != wish}
        while name in names:
            name = f"{name} again"
        marks = self.wishes.get(wish)
        if not marks or not marks.hit:
            others = [each.csv for each in self.wishes.values() if each.hit and each.name != name]
            csv = self.csv
            if csv and (csv in others or marked_words(csv) not in ("", name)):  # It has other marks.
                csv = csv.with_stem(f"{csv.stem}-{_hyphens(name)}")
            marks = Marks(self.index, name, query_row(self.index, query), csv)
        avoid = [text.strip() for text in str(body.get("avoid") or "").split(",") if text.strip()]
        if like is None:  # For a page that is loaded again.
            self.last = {"words": words, "avoid": ", ".join(avoid), "like": ""}
        results = None if marks.hit else search(self.index, query, avoid=avoid, top=self.top)
        self.marks, self.wishes[wish], self.known = marks, marks, {}
        return self.page(results, results.hits) if results else self.on_next({})

    def on_next(self, _: dict[str, Any]) -> dict[str, Any]:
        """Search with the head of the marks: the best hits, if probable, and the ones to mark that it is unsure of."""
        head, self.known = self.marks.head(), dict(self.marks.hit)
        results = search(self.index, head, top=self.top + _CANDIDATES)
        unsure = self.marks.next_to_mark(head, [hit.window for hit in results.hits], self.top)[1]
        likely = [hit for hit in results.hits if hit.probability is None or hit.probability >= 0.5]
        return self.page(results, [hit for hit in likely if hit.window not in unsure], unsure)

    def on_mark(self, body: dict[str, Any]) -> dict[str, Any]:
        """Mark a moment or photo as a hit or a miss, or remove its mark."""
        hit: bool | None = body.get("hit")
        self.marks.put(self.files.find(body.get("key"), changed=hit is None)[0], hit)
        return {}

    def on_save(self, _: dict[str, Any]) -> dict[str, Any]:
        """Save a run of the marks in the folder of the command, or a new one in the current folder; nowhere else."""
        name = self.marks.name
        out = unused(self.save or Path(_hyphens(name)))
        self.marks.save_run(out)
        return {"line": f"{out}: a run with the classes {name} and other; use it: texthead predict {out} FILE"}

    def page(self, results: Results, hits: Sequence[Hit], unsure: Sequence[int] = ()) -> dict[str, Any]:
        """Return what the page shows: the best of some hits, each by its best window, and windows to mark."""
        of_window = {hit.window: hit for hit in results.hits}
        cards, marks = [*map(self.card, hits[: self.top])], [self.card(of_window[window]) for window in unsure]
        return {"fits": results.fits, "note": results.note, "hits": cards, "unsure": marks}

    def card(self, hit: Hit) -> dict[str, Any]:
        """Return what the page shows of a hit."""
        media = self.index.media(hit.window)
        plays = MEDIA_TYPES.get(media.file.suffix.lower(), "").startswith("video")
        kind = "image" if media.is_image else "video" if plays else "preview"
        shown = {"path": str(media), "kind": kind, "mark": self.marks.hit.get(hit.window)}
        shown["offset"] = media.offset_seconds() if plays else 0
        shown["key"] = self.files.key(hit.window, media.path)
        return shown | {name: getattr(hit, name) for name in ("copies", "score", "probability")}


def _hyphens(name: str) -> str:
    """Return the words of a name for a file name."""
    return re.sub(r"\W+", "-", name).strip("-")[:60] or "run"


def search_app(session: SearchSession) -> Guard:
    """Return the page with its guard."""
    page = Path(__file__).with_name("search.html")
    return page_app(session.uploads.routes, page, session.act, session.files)
