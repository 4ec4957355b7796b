"""Tables of results as a notebook shows them. Without Jupyter it needs nothing."""

import sys
import warnings
from collections.abc import Sequence
from html import escape

from texthead.errors import printable

# Longer tables are cut, with a line on what is left out.
MOST_ROWS = 20

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
    # Without ipywidgets tqdm shows text, and need not say so.
    warnings.filterwarnings("ignore", message="IProgress not found")
