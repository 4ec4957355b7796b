"""Plots of correlation matrices (Fig. 1)."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from texthead.errors import printable

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


GREY, DARK = "#7a7a7a", "#222222"

MAP_WIDTH, SMALL_MAP_WIDTH = 7.0, 4.5  # inches

NAME_LENGTH = 24  # characters of a class name; longer names end with "…"

CELL_NUMBERS = 12  # maps of at most this many classes show numbers in their cells

NAME_FONTS = (9.0, 8.0, 7.0, 6.5, 6.0)  # font sizes for the names of a map, in points; the largest that fits is used


class _MapLayout(NamedTuple):
    """Figure width, map side and space for names, in inches; font size of the names in points, 0 for no names."""

    width: float
    side: float
    names: float
    font: float


def correlation_limit(matrices: Iterable[Float[np.ndarray, "classes classes"]]) -> float:
    """Return the end of a colour scale that covers 99 % of the pairs of different classes, rounded up to 0.01.

    At least 0.05: below, all is noise (the rows of an orthogonal head differ from 0 only by rounding), which full
    colours would make look like structure.
    """
    distances = np.concatenate([np.abs(each)[~np.eye(len(each), dtype=bool)] for each in matrices])
    distances = distances[np.isfinite(distances)]
    return max(0.05, np.ceil(100 * np.quantile(distances, 0.99) - 1e-6) / 100) if len(distances) else 1.0


def plot_correlations(
    matrix: Float[np.ndarray, "classes classes"], names: Sequence[str], title: str = "", limit: float | None = None
) -> "matplotlib.figure.Figure":
    """Draw the correlations between the rows of a head: white is 0, red is higher, blue lower.

    The colour scale ends at `limit`, by default that of `correlation_limit`, so the diagonal doesn't set it. With up to
    12 classes, the cells show the numbers, because the most similar pair has the same colour as the diagonal.

    Source: Fig. 1 (text vectors on the left, a learned classifier's rows on the right; "the color thresholds are
    adjusted").
    """
    from matplotlib.figure import Figure

    layout = _map_layout(names)
    figure = Figure(figsize=(layout.width, layout.side + layout.names + 0.65), layout="compressed")
    axes = figure.subplots()
    limit = correlation_limit([matrix]) if limit is None else limit
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="none")
    _write_cells(axes, np.char.mod("%.2f", matrix.round(2) + 0.0), np.abs(matrix) > 0.6 * limit, layout)
    _label_classes(axes, names, layout.font)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", parse_math=False)
    label = f"correlation; colour scale ends at ±{limit:g}\n(99 % of pairs are inside; diagonal: 1)"
    _colour_bar(figure, image, axes, label, extend="both")
    return figure


def _write_cells(axes: "matplotlib.axes.Axes", texts: np.ndarray, dark: np.ndarray, layout: _MapLayout) -> None:
    """Write the texts into the cells, white on dark ones, unless there are too many classes."""
    if len(texts) > CELL_NUMBERS:
        return
    size = min(10.0, 72 * layout.side / len(texts) / (0.8 * max(np.char.str_len(texts).max(), 2)))
    for (row, column), text in np.ndenumerate(texts):
        colour = "white" if dark[row, column] else DARK
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def _map_layout(names: Sequence[str]) -> _MapLayout:
    """Fit a square map, the names, and the colour bar with its label (1 inch) into the width."""
    width = SMALL_MAP_WIDTH if len(names) <= 10 else MAP_WIDTH
    longest = max(len(short(name)) for name in names)
    for font in NAME_FONTS:
        margin = 0.15 + 0.0074 * font * longest  # a letter is about half as wide as it is high
        side = width - 1.0 - margin
        if 72 * side / len(names) >= 1.08 * font:
            return _MapLayout(width, side, margin, font)
    return _MapLayout(width, width - 1.4, 0.4, 0.0)


def _label_classes(axes: "matplotlib.axes.Axes", names: Sequence[str], font: float) -> None:
    """Label the axes with class names in `font` points; keep label numbers if it is 0."""
    for spine in axes.spines.values():
        spine.set(color=GREY, linewidth=0.6)
    if not font:
        axes.tick_params(labelsize=8, length=3)
        return
    labels = [short(name) for name in names]
    ticks = list(range(len(names)))
    axes.set_xticks(ticks, labels, fontsize=font, rotation=90, parse_math=False)
    axes.set_yticks(ticks, labels, fontsize=font, parse_math=False)
    axes.tick_params(length=0)


def _colour_bar(figure: "matplotlib.figure.Figure", image: Any, axes: Any, label: str, *, extend: str) -> Any:
    bar = figure.colorbar(image, ax=axes, extend=extend, extendfrac=0.03, fraction=0.05, aspect=30, pad=0.02)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return bar


def short(name: str, length: int = NAME_LENGTH) -> str:
    """Return the name on one line, cut to `length` characters."""
    line = printable(" ".join(name.split()))
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
