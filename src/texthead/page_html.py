"""Answers as HTML: every name and number is escaped, and all that is drawn is in the string."""

import base64
import csv
import io
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from texthead.answers import About, Named
from texthead.decoding import is_image
from texthead.prediction import CSV_COLUMNS, csv_rows, json_entry


def heading_html(about: About) -> str:
    """The head of the page: what it is for and what is loaded."""
    own = f" It knows {_listed(about.names, 8)}." if about.names else ""
    return (
        '<header class="th-head"><h1>What is in it?</h1>'
        f"<p>Drop a video or an image, type names, and see which fit best. Nothing leaves this machine.</p>"
        f'<p class="th-quiet">Model: {escape(about.title)}.{escape(own)}</p></header>'
    )


def _listed(names: Sequence[str], most: int) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def error_html(line: str) -> str:
    """A mistake, or a lost answer, in one line."""
    return f'<p class="th-error" role="alert">{escape(" ".join(line.split()))}</p>'


def named_html(named: Named, path: Path) -> str:
    """The file itself, and its best names as bars."""
    rows = "".join(_bar(rank, name, value) for rank, (name, value) in enumerate(named.found.top, 1))
    note = f'<p class="th-quiet">{escape(named.note)}</p>' if named.note else ""
    return (
        f'<section class="th-part">{_media(path)}<h2>{escape(path.name)}</h2>'
        f'<p class="th-quiet">{escape(_length(named))}</p>'
        f'<table class="th-bars"><caption class="th-hidden">The best names</caption>'
        '<thead class="th-hidden"><tr><th>name</th><th>probability</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{note}</section>"
    )


def _length(named: Named) -> str:
    return f"{named.seconds:.1f} s, {named.frames} frames" if named.seconds else "a picture"


def _bar(rank: int, name: str, value: float) -> str:
    percent = f"{100 * value:.1f}"
    first = ' class="th-first"' if rank == 1 else ""
    return (
        f'<tr{first}><td>{escape(name)}<span class="th-bar"><span style="width:{percent}%"></span></span></td>'
        f"<td>{percent} %</td></tr>"
    )


def _media(path: Path) -> str:
    """The file in a player, or as a picture; a browser that cannot show its format says so."""
    address = escape(f"gradio_api/file={quote(str(path))}")
    if is_image(path):
        return f'<img class="th-media" src="{address}" alt="{escape(path.name)}">'
    return (
        f'<video class="th-media" controls muted playsinline preload="metadata" src="{address}" '
        f'aria-label="{escape(path.name)}"></video>'
        '<p class="th-quiet th-unplayable" hidden>This browser cannot play this format; the answer is of the file.</p>'
    )


def downloads_html(named: Named) -> str:
    """Links that save the answer: `predict --json` and `--csv` of the file."""
    stem = named.found.path.stem
    whole = json.dumps([json_entry(named.found)], indent=1, ensure_ascii=False) + "\n"
    table = csv_text([CSV_COLUMNS, *csv_rows([named.found])])
    links = [
        _file(f"{stem}.json", "application/json", whole, "JSON"),
        _file(f"{stem}.csv", "text/csv", table, "CSV"),
    ]
    return f'<nav class="th-files" aria-label="Download the answer">Download {" ".join(links)}</nav>'


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _file(name: str, kind: str, content: str, title: str) -> str:
    """A link that holds its file: nothing of an answer lies on the server."""
    data = base64.b64encode(content.encode("utf-8", "replace")).decode("ascii")
    return f'<a download="{escape(name)}" href="data:{kind};charset=utf-8;base64,{data}">{escape(title)}</a>'
