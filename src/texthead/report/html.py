"""One self-contained HTML page: what a run did, to look at, send on or print.

The page loads nothing: style and pictures are inside it, and its content policy forbids everything else, so
it can be opened from a mail. Every string given is escaped; nobody's class name becomes markup.
"""

import base64
import io
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from texthead.errors import TextheadError
from texthead.files import replacing

if TYPE_CHECKING:
    import matplotlib.figure


Cell = str | int | float | None

PIXELS_PER_INCH = 100  # the scale that figures.py draws for

PNG_SCALE = 2  # twice as many: sharp on dense screens

PHOTO_QUALITY = 85  # of JPEG, for figures that hold pictures

_STYLE = """
:root { color-scheme: light dark; --text: #1d1d1f; --faint: #5f6368; --page: #fff; --card: #f4f5f7;
  --line: #d9dce1; --mark: #dcecf9; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8ea; --faint: #a2a7ae; --page: #17181b; --card: #24262b;
    --line: #3c4047; --mark: #1c3c58; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; color: var(--text); background: var(--page);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.subtitle, caption, figcaption, .note, .label { color: var(--faint); }
nav { margin: .8rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
nav a { color: inherit; }
.numbers { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.numbers div { flex: 1 1 9.5rem; background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.label, .note { display: block; font-size: .85rem; }
.value { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.25; }
.scroll { overflow: auto; max-height: 34rem; margin: .8rem 0; }
table { border-collapse: collapse; min-width: min(100%, 24rem); font-size: .93rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: .88rem; padding-bottom: .4rem; }
caption span { display: block; position: sticky; left: 0; max-width: min(46rem, calc(100vw - 2rem)); }
th, td { padding: .3rem .8rem .3rem .4rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: break-word; max-width: 34rem; }
thead th { position: sticky; top: 0; background: var(--page); }
td.left { overflow-wrap: anywhere; min-width: 5rem; }
.right { text-align: right; white-space: nowrap; }
.center { text-align: center; }
.highlight td { background: var(--mark); font-weight: 600; }
.figures { display: flex; flex-wrap: wrap; gap: .8rem; align-items: flex-start; margin: .8rem 0; }
.beside { width: min(96vw, 90rem); margin-left: 50%; transform: translateX(-50%); justify-content: center; }
figure { margin: 0; max-width: 100%; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: .5rem; }
figcaption { font-size: .88rem; padding: .3rem .2rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: .8rem 0; }
.tiles figure { width: min-content; }
.tiles div { display: grid; grid-template-columns: repeat(2, auto); gap: .2rem; justify-content: start; }
.tiles img { width: 5.4rem; height: 5.4rem; object-fit: contain; background: var(--card); border: 0;
  border-radius: .25rem; }
.tiles figcaption { padding-top: 0; line-height: 1.3; }
pre { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto;
  font-size: .88rem; }
@media (max-width: 40rem) { table { font-size: .82rem; } th, td { padding: .25rem .5rem .25rem .2rem; }
  td.left { min-width: 6rem; } }
@media print { .scroll { max-height: none; } nav { display: none; } figure, tr { break-inside: avoid; } }
"""

# Nothing is fetched, whatever a string in the page says.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Report:
    """A page that grows from top to bottom, one call a block; `write` puts it into a file."""

    def __init__(self, title: str, subtitle: str = ""):
        self.title = title
        self.subtitle = subtitle
        self._blocks: list[str] = []
        self._sections: list[str] = []

    def section(self, title: str) -> None:
        """Starts a section; pages of three sections or more link to them at the top."""
        self._sections.append(title)
        self._blocks.append(f'<h2 id="section-{len(self._sections)}">{escape(title)}</h2>')

    def text(self, paragraph: str) -> None:
        """Adds a paragraph of plain text."""
        self._blocks.append(f"<p>{escape(paragraph)}</p>")

    def code(self, lines: str) -> None:
        """Adds text in which every space and line break counts, such as a command."""
        self._blocks.append(f"<pre><code>{escape(lines)}</code></pre>")

    def numbers(self, entries: Sequence[tuple[str, str, str]]) -> None:
        """Adds a row of large numbers: each a label above, the number, and a note below it."""
        boxes = [
            f'<div><span class="label">{escape(label)}</span><span class="value">{escape(value)}</span>'
            f'<span class="note">{escape(note)}</span></div>'
            for label, value, note in entries
        ]
        self._blocks.append(f'<div class="numbers">{"".join(boxes)}</div>')

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        caption: str | None = None,
        align: Sequence[str] | None = None,
        highlight_row: int | None = None,
    ) -> None:
        """Adds a table; `highlight_row` is the index of a row to stand out.

        Numbers appear as given, so round them first; None is a dash. `align` holds `left`, `right` or
        `center` for each column; without it, columns of numbers are right-aligned. Long tables scroll under
        their headers.

        Raises: TextheadError when a row or `align` is not as long as the headers, or `highlight_row` names no
        row.
        """
        for index, row in enumerate(rows):
            if len(row) != len(headers):
                raise TextheadError(f"row {index} has {len(row)} cells, the table has {len(headers)} headers")
        sides = _alignment(rows, len(headers)) if align is None else list(align)
        if len(sides) != len(headers) or not set(sides) <= {"left", "right", "center"}:
            raise TextheadError(f"align needs left, right or center for each of {len(headers)} columns, got {sides}")
        if highlight_row is not None and not 0 <= highlight_row < len(rows):
            raise TextheadError(f"highlight_row must be below {len(rows)}, the number of rows, got {highlight_row}")
        top = f"<caption><span>{escape(caption)}</span></caption>" if caption else ""
        head = _row_html("th", headers, sides)
        body = [_row_html("td", row, sides, index == highlight_row) for index, row in enumerate(rows)]
        table = f"<table>{top}<thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
        self._blocks.append(f'<div class="scroll">{table}</div>')

    def figure(self, figure: "matplotlib.figure.Figure", caption: str) -> None:
        """Adds a figure and the sentence below it."""
        self.figures([(figure, caption)])

    def figures(self, pairs: Sequence[tuple["matplotlib.figure.Figure", str]], *, wide: bool = False) -> None:
        """Adds figures with their captions, side by side where the screen is wide enough.

        `wide` ones may reach beyond the column of text.
        """
        kind = "figures beside" if wide else "figures"
        self._blocks.append(f'<div class="{kind}">{"".join(_figure_html(*pair) for pair in pairs)}</div>')

    def tiles(self, groups: Sequence[tuple[str, Sequence[tuple[str, bytes]]]]) -> None:
        """Adds small pictures in groups, side by side: each a caption, and what each picture is with its JPEG.

        What a picture is can be read by pointing at it.
        """
        figures = [
            f"<figure><div>{''.join(_tile_html(*picture) for picture in pictures)}</div>"
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for caption, pictures in groups
        ]
        self._blocks.append(f'<div class="tiles">{"".join(figures)}</div>')

    def html(self) -> str:
        """The whole page."""
        links = [f'<a href="#section-{i}">{escape(name)}</a>' for i, name in enumerate(self._sections, 1)]
        nav = f"<nav>{''.join(links)}</nav>" if len(links) > 2 else ""
        subtitle = f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else ""
        lines = [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>{escape(self.title)}</h1>{subtitle}{nav}",
            *self._blocks,
            "</body>\n</html>\n",
        ]
        return "\n".join(lines)

    def write(self, path: str | Path) -> None:
        """Puts the page at `path`, whole or not at all: whoever reads meanwhile sees the old page.

        Raises:
            TextheadError: the folder is missing, or the page cannot be written.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise TextheadError(f"{path}: there is no folder {path.parent}; make it first")
        # Replace: the name of a file may hold bytes that are no Unicode.
        with replacing(path) as beside, beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(self.html())


def _alignment(rows: Sequence[Sequence[Cell]], columns: int) -> list[str]:
    """`right` for the columns that hold numbers and no text."""
    sides = []
    for column in range(columns):
        cells = [row[column] for row in rows if row[column] is not None]
        sides.append("right" if cells and not any(isinstance(cell, str) for cell in cells) else "left")
    return sides


def _row_html(tag: str, cells: Sequence[Cell], sides: Sequence[str], highlight: bool = False) -> str:
    inner = "".join(
        f'<{tag} class="{side}">{"–" if cell is None else escape(str(cell))}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f'<tr class="highlight">{inner}</tr>' if highlight else f"<tr>{inner}</tr>"


def _figure_html(figure: "matplotlib.figure.Figure", caption: str) -> str:
    """The figure as wide as it was drawn, or as the screen where that is narrower."""
    kind, data = picture(figure)
    return (
        f'<figure style="width:{round(figure.get_figwidth() * PIXELS_PER_INCH)}px">'
        f'<img src="{_source(kind, data)}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _tile_html(what: str, jpeg: bytes) -> str:
    return f'<img src="{_source("image/jpeg", jpeg)}" alt="{escape(what)}" title="{escape(what)}">'


def _source(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def picture(figure: "matplotlib.figure.Figure") -> tuple[str, bytes]:
    """The media type and bytes of a figure: an SVG, or a PNG of 200 pixels an inch if smaller; a JPEG of photos."""
    with warnings.catch_warnings():
        # The page says which names have none.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        return _drawn(figure)


def _drawn(figure: "matplotlib.figure.Figure") -> tuple[str, bytes]:
    vector, pixels = io.BytesIO(), io.BytesIO()
    drawn = [image.get_array() for axes in figure.axes for image in axes.images]
    if any(array is not None and array.ndim == 3 for array in drawn):
        options = {"quality": PHOTO_QUALITY, "optimize": True}
        figure.savefig(pixels, format="jpeg", dpi=PIXELS_PER_INCH * PNG_SCALE, pil_kwargs=options)
        return "image/jpeg", pixels.getvalue()
    # Without a date, the same figure takes the same room whenever it is drawn.
    figure.savefig(vector, format="svg", metadata={"Date": None})
    figure.savefig(pixels, format="png", dpi=PIXELS_PER_INCH * PNG_SCALE)
    if len(vector.getvalue()) <= len(pixels.getvalue()):
        return "image/svg+xml", vector.getvalue()
    return "image/png", pixels.getvalue()
