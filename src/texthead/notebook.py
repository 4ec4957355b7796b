"""What a notebook shows: tables of results, and a progress bar while work goes on. Without Jupyter it needs nothing."""

import importlib
import sys
import time
import warnings
from collections.abc import Sequence
from html import escape
from typing import Any

from texthead.errors import printable

# Longer tables are cut, with a line on what is left out.
MOST_ROWS = 20

# Between two pictures of a progress bar, and before the first: work that takes less time shows none.
REFRESH_SECONDS = 0.5

# No colour is set, so that text and lines fit light and dark pages.
_TABLE = "border-collapse: collapse; color: inherit; background: transparent"
_CELL = "padding: 2px 10px; border-bottom: 1px solid rgba(128, 128, 128, 0.4); text-align: {}"
_CAPTION = "padding: 4px 10px; caption-side: top; text-align: left; font-weight: bold; color: inherit"
_NOTE = "padding: 4px 10px; font-size: smaller"


def html_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = "", notes: Sequence[str] = ()
) -> str:
    """Return a table as HTML in which all text is escaped; a column of numbers is aligned to the right.

    Args:
        rows: one value a column. None is an empty cell; a float has one decimal.
        notes: lines below the table.
    """
    filled = ([row[index] for row in rows if row[index] is not None] for index in range(len(columns)))
    right = [bool(cells) and all(isinstance(cell, int | float) for cell in cells) for cells in filled]
    lines = [f'<div><table style="{_TABLE}">']
    if caption:
        lines.append(f'<caption style="{_CAPTION}">{_text(caption)}</caption>')
    lines += ["<thead>", _row("th", columns, right), "</thead>", "<tbody>"]
    lines += [_row("td", row, right) for row in rows[:MOST_ROWS]]
    lines += ["</tbody></table>"]
    if len(rows) > MOST_ROWS:
        notes = [f"{len(rows) - MOST_ROWS:,} more rows", *notes]
    lines += [f'<div style="{_NOTE}">{_text(note)}</div>' for note in notes]
    return "\n".join([*lines, "</div>"])


def _row(tag: str, cells: Sequence[object], right: Sequence[bool]) -> str:
    styles = (_CELL.format("right" if to_right else "left") for to_right in right)
    filled = (f'<{tag} style="{style}">{_text(cell)}</{tag}>' for style, cell in zip(styles, cells, strict=True))
    return f"<tr>{''.join(filled)}</tr>"


def _text(cell: object) -> str:
    text = "" if cell is None else f"{cell:.1f}" if isinstance(cell, float) else str(cell)
    return escape(printable(text))


def in_notebook() -> bool:
    """Return whether an IPython kernel runs this process, as in Jupyter; in a terminal, IPython has none."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


if in_notebook():
    # tqdm, which transformers imports, asks for ipywidgets in every notebook without them; nothing here needs them.
    warnings.filterwarnings("ignore", message="IProgress not found")


class NotebookBar:
    """A progress bar below the cell that runs: called with (done, total), and closed when the work ends.

    IPython alone draws it: a bar of rich needs ipywidgets, and a text bar of tqdm stays in the saved notebook as lines
    of standard error.
    """

    def __init__(self, title: str, unit: str):
        self._title, self._unit = title, unit
        self._drawn = time.monotonic()
        self._handle: Any = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        line = f"{self._title}: {done:,} of {total:,} {self._unit}"
        bar = f'<progress value="{done}" max="{max(total, 1)}" style="vertical-align: middle"></progress>'
        self._show({"text/plain": line, "text/html": f"<div>{bar} {_text(line)}</div>"})

    def close(self) -> None:
        """Remove the bar."""
        if self._handle is not None:
            self._show({"text/plain": "", "text/html": ""})

    def _show(self, data: dict[str, str]) -> None:
        if self._handle is None:
            self._handle = importlib.import_module("IPython.display").display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class TerminalBar(NotebookBar):
    """The same as a line on a terminal, which is cleared when the work ends."""

    def _show(self, data: dict[str, str]) -> None:
        self._handle = sys.stderr
        self._handle.write(f"\r{data['text/plain'][:79]:<79}\r")
        self._handle.flush()
