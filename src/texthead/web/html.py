"""Answers as HTML: every name and number is escaped, and all that is drawn is in the string."""

import base64
import csv
import io
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from texthead.evaluation.calibration import NONE
from texthead.media.open import is_image
from texthead.prediction import events
from texthead.prediction.events import Event
from texthead.prediction.formats import csv_columns, csv_rows, json_entry
from texthead.prediction.timeline import timeline_json
from texthead.report.figures import COLOURS
from texthead.report.strips import lit
from texthead.web.answers import About, Lit, Named, Timed

# A curve of a long video is drawn in so many steps, each the highest of what it stands for.
STEPS = 600


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
    rows = "".join(
        _bar(name, value, first=rank == 0 and named.found.known) for rank, (name, value) in enumerate(named.found.top)
    )
    none = "" if named.found.known else f'<p class="th-none">{NONE}: the best name is not sure enough</p>'
    told = f"probabilities are after temperature {named.calibration.temperature:.3g}" if named.calibration else None
    note = "".join(f'<p class="th-quiet">{escape(line)}</p>' for line in (*named.notes, told) if line)
    read = f"<details><summary>What was read</summary>{escape(_listed(named.prompts, 40))}</details>"
    return (
        f'<section class="th-part">{_media(path)}<h2>{escape(path.name)}</h2>'
        f'<p class="th-quiet">{escape(_length(named))}</p>'
        f'{none}<table class="th-bars"><caption class="th-hidden">The best names</caption>'
        '<thead class="th-hidden"><tr><th>name</th><th>probability</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{note}{read if named.prompts else ''}</section>"
    )


def _length(named: Named) -> str:
    return f"{named.seconds:.1f} s, {named.frames} frames" if named.seconds else "a picture"


def _bar(name: str, value: float, *, first: bool) -> str:
    percent = f"{100 * value:.1f}"
    marked = ' class="th-first"' if first else ""
    return (
        f'<tr{marked}><td>{escape(name)}<span class="th-bar"><span style="width:{percent}%"></span></span></td>'
        f"<td>{percent} %</td></tr>"
    )


def _media(path: Path) -> str:
    """The file in a player, or as a picture; a browser that cannot show its format says so."""
    address = escape(f"gradio_api/file={quote(str(path))}")
    name = escape(path.name)
    if is_image(path):
        shown = f'<img class="th-media" src="{address}" alt="{name}">'
    else:
        shown = (
            f'<video class="th-media" controls muted playsinline preload="metadata" src="{address}" '
            f'aria-label="{name}"></video>'
        )
    note = "This browser cannot show this format; the answer is of the file."
    return f'{shown}<p class="th-quiet th-unplayable" hidden>{note}</p>'


def waiting_html(part: str) -> str:
    """What stands in a part's place until it is known."""
    what = {"when": "Looking along the video", "where": "Covering regions, one by one"}[part]
    return f'<p class="th-quiet" role="status">{what} …</p>'


def timed_html(timed: Timed) -> str:
    """A lane for each name, with its probability and its events along the video, and a table of the events."""
    whole = float(timed.ends[-1])
    lanes = "".join(_lane(timed, place) for place in range(len(timed.names)))
    ticks = "".join(f'<span style="left:{100 * second / whole:.2f}%">{second:g}</span>' for second in _ticks(whole))
    return (
        f'<section class="th-part"><h2>When</h2><div class="th-lanes" data-seconds="{whole:.3f}">{lanes}'
        f'<div class="th-axis" aria-hidden="true">{ticks}</div><div class="th-playhead" aria-hidden="true"></div></div>'
        f"{_event_table(timed)}</section>"
    )


def _lane(timed: Timed, place: int) -> str:
    name, colour = timed.names[place], COLOURS[place % len(COLOURS)]
    whole = float(timed.ends[-1])
    own = [event for event in timed.events if event.known and event.name == name]
    told = ", ".join(f"{each.start:.1f} to {each.end:.1f} s" for each in own) or "no event"
    boxes = "".join(
        f'<rect x="{1000 * e.start / whole:.1f}" y="0" width="{1000 * (e.end - e.start) / whole:.1f}" height="100"/>'
        for e in own
    )
    return (
        f'<div class="th-lane"><span>{escape(name)}</span>'
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{escape(f"{name}: {told}")}" '
        f'style="--lane:{colour}"><g opacity=".25">{boxes}</g><path d="{_curve(timed.ends, timed.scores[:, place])}"/>'
        "</svg></div>"
    )


def _curve(ends: Float[np.ndarray, " stretches"], scores: Float[np.ndarray, " stretches"]) -> str:
    """The area below the scores as an SVG path in a box of 1000 by 100.

    Worked example, ends 1 and 2 s, scores 0.5 and 1: M0,100 V50.0 H500.0 V0.0 H1000.0 V100 Z.
    """
    parts = np.array_split(np.arange(len(ends)), min(len(ends), STEPS))
    steps = (f"V{100 - 100 * scores[part].max():.1f} H{1000 * ends[part[-1]] / ends[-1]:.1f}" for part in parts)
    return f"M0,100 {' '.join(steps)} V100 Z"


def _ticks(whole: float) -> list[float]:
    """Up to ten round numbers of seconds from 0 on, within the whole.

    Worked example: 12 s gives 0 2 4 6 8 10 12.
    """
    step = next(
        (step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0) if whole / step <= 9),
        3600.0,
    )
    return [round(step * i, 1) for i in range(int(whole / step + 1e-6) + 1)]


def _event_table(timed: Timed) -> str:
    some = any(event.known for event in timed.events)
    said = "" if some else f'<p class="th-quiet">{escape(_no_event(timed))}</p>'
    if not timed.events:
        return said
    rows = "".join(_event_row(event) for event in timed.events)
    return (
        f'{said}<div class="th-scroll"><table class="th-events"><caption class="th-hidden">Events</caption>'
        "<thead><tr><th>name</th>"
        f"<th>from – to (s)</th><th>mean</th><th>peak</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _event_row(event: Event) -> str:
    return (
        f'<tr data-start="{event.start:.3f}" data-end="{event.end:.3f}"><td>{escape(event.name)}</td>'
        f'<td><button type="button" data-seek="{event.start:.3f}" title="Show this moment">'
        f"{event.start:.2f} – {event.end:.2f}</button></td>"
        f"<td>{100 * event.mean:.0f} %</td><td>{100 * event.peak:.0f} %</td></tr>"
    )


def _no_event(timed: Timed) -> str:
    row, column = np.unravel_index(timed.scores.argmax(), timed.scores.shape)
    start = timed.ends[row - 1] if row else 0.0
    top, rule = float(timed.scores[row, column]), timed.rule
    best = f"The highest is {timed.names[column]}, {100 * top:.0f} % at {start:.1f} s."
    if timed.events:
        return f"No event. {best}"
    reached = f"stays there for {rule.min_length:g} s" if top >= rule.enter else f"reaches {100 * rule.enter:g} %"
    return f"No event: no name {reached}. {best}"


def lit_html(found: Lit) -> str:
    """The frames as they are and lit where the best name comes from."""
    name, before = escape(found.name), f"{100 * found.before:.1f} %"
    if found.faint:
        text, strip = f"No one region speaks for “{name}”: whichever is covered, it stays near {before}.", ""
    else:
        pairs = enumerate(zip(found.frames, found.heat, strict=True), 1)
        strip = f'<div class="th-strip">{"".join(_pair(number, *pair) for number, pair in pairs)}</div>'
        after = f"{100 * found.after:.1f} %"
        text = (
            f"Lit: what “{name}” needs to be seen. With the brightest region covered it falls from {before} to {after}."
        )
    return f'<section class="th-part"><h2>Where</h2><p>{text}</p>{strip}</section>'


def _pair(number: int, frame: UInt8[np.ndarray, "height width 3"], heat: Float[np.ndarray, "rows columns"]) -> str:
    return (
        f'<figure><img src="{_jpeg(frame)}" alt="frame {number}"><img src="{_jpeg(lit(frame, heat))}" '
        f'alt="frame {number}, lit where it matters"></figure>'
    )


def _jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def downloads_html(named: Named, timed: Timed | None) -> str:
    """Links that save the answer: what `predict` and `timeline` print, of this file."""
    path = named.found.path
    entry = json_entry(named.found, named.calibration)
    columns = csv_columns(named.calibration, sets=False)
    links = [_file(f"{path.stem}.csv", "text/csv", csv_text([columns, *csv_rows([named.found], columns)]), "CSV")]
    if timed is not None:
        found = list(timed.events)
        entry["timeline"] = timeline_json(path, named.seconds, timed.sliding, timed.rule, found, named.calibration)
        rows = csv_text([events.CSV_COLUMNS, *map(events.csv_row, found)])
        links.append(_file(f"{path.stem}-events.csv", "text/csv", rows, "events as CSV"))
        links.append(_file(f"{path.stem}.srt", "application/x-subrip", events.srt(found), "as subtitles"))
    whole = json.dumps(entry, indent=1, ensure_ascii=False) + "\n"
    links.insert(0, _file(f"{path.stem}.json", "application/json", whole, "JSON"))
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
