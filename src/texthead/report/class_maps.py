"""Plots of confusion and correlation matrices."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from texthead.errors import TextheadError
from texthead.report.figures import CELL_NUMBERS, DARK, GREY, MAP_WIDTH, NAME_FONTS, SMALL_MAP_WIDTH, short

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


class _MapRoom(NamedTuple):
    """Inches for the figure, the side of a map and the names beside it; points of their font, 0 for none."""

    width: float
    side: float
    names: float
    font: float


# ---------------------------------------------------------------- maps


def plot_confusion(
    matrix: Integer[np.ndarray, "classes classes"], names: Sequence[str], *, title: str = ""
) -> "matplotlib.figure.Figure":
    """Draw a map of what each class was taken for: rows are true classes, colours the percent of the row.

    Up to 12 classes the cells hold the counts; class names stand at the axes while they fit, label numbers
    after that. Without room for names, the colours are stretched at the pale end, where single confusions
    would be lost. A class without items has a grey row.

    Raises: TextheadError when the matrix is not square or the names are not as many.
    """
    import matplotlib
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    _check_map(matrix, names)
    room = _map_room(names)
    figure = Figure(figsize=(room.width, room.side + room.names + 0.65), layout="compressed")
    axes = figure.subplots()
    percent = _row_percent(matrix)
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#cfcfcf")
    norm = PowerNorm(1.0 if room.font else 0.35, vmin=0, vmax=100)
    # "none" leaves the cells to the viewer of an SVG, which keeps them sharp at any zoom.
    image = axes.imshow(percent, cmap=colours, norm=norm, interpolation="none")
    _write_cells(axes, np.where(matrix, matrix.astype(str), "·"), percent > 55, room)
    _label_classes(axes, names, room.font)
    axes.set_xlabel("predicted class", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)
    _map_title(axes, title)
    note = "grey rows: no items" if np.isnan(percent).any() else "a row: 100%"
    # Two lines, as beside a correlation map: then both maps are of one size.
    bar = _colour_bar(figure, image, [axes], f"% of the true class's items\n({note})", extend="neither")
    bar.set_ticks([0, 20, 40, 60, 80, 100] if room.font else [0, 1, 5, 20, 50, 100])
    bar.minorticks_off()
    return figure


def plot_correlation(
    matrix: Float[np.ndarray, "classes classes"],
    names: Sequence[str],
    title: str = "",
    *,
    center: float = 0.0,
) -> "matplotlib.figure.Figure":
    """Draw how alike the rows of a head are; white is `center`, red is more alike, blue less.

    The colours end where 99% of the pairs of different classes do, so the diagonal doesn't set them; the
    colour bar says where. A `center` other than 0 suits text weights whose rows all lean the same way.

    Source: Fig. 1 ("the color thresholds are adjusted").
    Raises: TextheadError when the matrix is not square or the names are not as many.
    """
    figure = plot_correlations({title: matrix}, names, center=center)
    figure.axes[0].set_xlabel("class", fontsize=9)
    figure.axes[0].set_ylabel("class", fontsize=9)
    return figure


def plot_correlations(
    matrices: Mapping[str, Float[np.ndarray, "classes classes"]],
    names: Sequence[str],
    *,
    center: float = 0.0,
) -> "matplotlib.figure.Figure":
    """Draw the correlation maps of several heads side by side, two in a row, in the same colours.

    Up to 12 classes the cells of a single map hold the correlations, since the most alike pair has the diagonal's
    colour.

    Source: Fig. 1 (text vectors on the left, a learned classifier's rows on the right).
    Raises: TextheadError without a map, or when one is not square or doesn't fit the names.
    """
    from matplotlib.figure import Figure

    if not matrices:
        raise TextheadError("no correlation map to draw; give at least one name and its matrix")
    for matrix in matrices.values():
        _check_map(matrix, names)
    columns = min(len(matrices), 2)
    lines = -(-len(matrices) // columns)
    room = _map_room(names, columns)
    # A column that is one map shorter has its names above the last line of maps.
    names_inches = room.names * (1 if len(matrices) % columns == 0 else 2)
    figure = Figure(figsize=(room.width, lines * (room.side + 0.4) + names_inches + 0.25), layout="compressed")
    grid = figure.subplots(lines, columns, squeeze=False)
    limit = colour_limit(list(matrices.values()), center=center)
    image = None
    for place, (name, matrix) in enumerate(matrices.items()):
        axes = grid.flat[place]
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=center - limit, vmax=center + limit, interpolation="none")
        if len(matrices) == 1:
            _write_cells(axes, np.char.mod("%.2f", matrix.round(2) + 0.0), np.abs(matrix - center) > 0.6 * limit, room)
        _label_classes(axes, names, room.font)
        # Names stand left of the first column and below the last map of each column.
        axes.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(matrices))
        _map_title(axes, name)
    for axes in grid.flat[len(matrices) :]:
        axes.set_axis_off()
    _colour_bar(figure, image, list(grid.flat), _limit_text(limit, center), extend="both")
    return figure


def colour_limit(matrices: Sequence[Float[np.ndarray, "classes classes"]], *, center: float = 0.0) -> float:
    """Return how far from `center` the colours reach: to where 99% of the pairs end, rounded up to 0.01.

    At least 0.05: less is noise (the rows of an orthogonal head differ from 0 by rounding alone), and drawing
    it in full colours would make it look like structure.
    """
    pairs = [np.abs(matrix - center)[~np.eye(len(matrix), dtype=bool)] for matrix in matrices]
    distances = np.concatenate(pairs)
    distances = distances[np.isfinite(distances)]
    if not len(distances):
        return 1.0
    return max(0.05, float(np.ceil(100 * np.quantile(distances, 0.99) - 1e-6) / 100))


def _limit_text(limit: float, center: float) -> str:
    ends = f"±{limit:g}" if center == 0 else f"{center - limit:.2g} and {center + limit:.2g}"
    return f"correlation; colours end at {ends}\n(99% of pairs lie within; diagonal: 1)"


def _check_map(matrix: np.ndarray, names: Sequence[str]) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) != len(names) or not len(names):
        shape = " x ".join(str(size) for size in matrix.shape)
        problem = f"got {shape} for {len(names)} names"
        raise TextheadError(f"a map needs one row and one column for each class name, {problem}")


def _row_percent(matrix: np.ndarray) -> np.ndarray:
    """Return each row as percent of its sum; a row without items is NaN."""
    totals = matrix.sum(axis=1, keepdims=True)
    return np.divide(100.0 * matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)


def _write_cells(axes: "matplotlib.axes.Axes", texts: np.ndarray, dark: np.ndarray, room: _MapRoom) -> None:
    """Write into the cells of a map of few classes, in white where they are dark."""
    if len(texts) > CELL_NUMBERS:
        return
    size = min(10.0, 72 * room.side / len(texts) / (0.8 * max(np.char.str_len(texts).max(), 2)))
    for (row, column), text in np.ndenumerate(texts):
        colour = "white" if dark[row, column] else DARK
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def _map_room(names: Sequence[str], columns: int = 1) -> _MapRoom:
    """Return how `columns` square maps share the width with the names, the colour bar and its label (1 inch)."""
    width = SMALL_MAP_WIDTH if columns == 1 and len(names) <= 10 else MAP_WIDTH
    longest = max(len(short(name)) for name in names)
    for font in NAME_FONTS:
        beside = 0.15 + 0.0074 * font * longest  # a letter is about half as wide as it is high
        side = (width - 1.0 - beside) / columns
        if 72 * side / len(names) >= 1.08 * font:
            return _MapRoom(width, side, beside, font)
    return _MapRoom(width, (width - 1.4) / columns, 0.4, 0.0)


def _label_classes(axes: "matplotlib.axes.Axes", names: Sequence[str], font: float) -> None:
    """Write the class names at the axes, `font` points high; label numbers stay where that is 0."""
    for spine in axes.spines.values():
        spine.set(color=GREY, linewidth=0.6)
    if not font:
        axes.tick_params(labelsize=8, length=3)
        return
    shown = [short(name) for name in names]
    places = list(range(len(names)))
    axes.set_xticks(places, shown, fontsize=font, rotation=90, parse_math=False)
    axes.set_yticks(places, shown, fontsize=font, parse_math=False)
    axes.tick_params(length=0)


def _map_title(axes: "matplotlib.axes.Axes", title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", parse_math=False)


def _colour_bar(figure: "matplotlib.figure.Figure", image: Any, axes: Sequence[Any], label: str, *, extend: str) -> Any:
    bar = figure.colorbar(image, ax=list(axes), extend=extend, extendfrac=0.03, fraction=0.05, aspect=30, pad=0.02)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return bar
