"""Every plot of the library but the strips: plain numbers in, a matplotlib `Figure` out.

Matplotlib is imported inside the functions, because it costs half a second that most commands don't need.
Only its object interface is used, so nothing global changes and no window opens. All figures are drawn for
100 pixels an inch: none is wider than 7 inches, none has a label under 6 points.

Names are data: dollar signs in them are not formulas (`parse_math=False`), line breaks become spaces.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from texthead.errors import TextheadError

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

    from texthead.reliability import Bins

Records = Sequence[Mapping[str, object]]

# Okabe and Ito's palette without its yellow, which is too pale on white; differs in lightness, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", ":")
GREY, DARK, PALE = "#7a7a7a", "#222222", "#e9e9e9"

WIDTH = 5.8  # inches; on a phone this shrinks to two thirds, and the labels can still be read
MAP_WIDTH = 7.0
SMALL_MAP_WIDTH = 4.5  # two of them stand side by side on a page of 1000 pixels
NAME_LENGTH = 24  # characters of a class name in a map; the rest becomes "…"
CELL_NUMBERS = 12  # up to so many classes the cells of a map hold their numbers
NAME_FONTS = (9.0, 8.0, 7.0, 6.5, 6.0)  # points; the largest that fits is taken for the names of a map

_PANEL_TITLES = {
    "loss": "training loss",
    "lr": "learning rate",
    "clips_per_second": "clips per second",
    "top1": "validation top-1 (%)",
    "top5": "validation top-5 (%)",
}


# ---------------------------------------------------------------- curves


def plot_curves(
    records: Records | Mapping[str, Records],
    *,
    x: str = "step",
    keys: Sequence[str] | None = None,
    title: str = "",
) -> "matplotlib.figure.Figure":
    """One panel a key, one above the other, over a shared `x`.

    A mapping of names to records overlays several runs. `records` are the lines of `metrics.jsonl`. Keys that
    start with `top` are read from the validation lines, all others from the training lines. Without `keys`,
    the loss and the top-1 are drawn, whichever of them is recorded. Lines that share an `x` are averaged, so
    `x="epoch"` gives the mean loss of each epoch. Long noisy curves are drawn faint, with their running mean
    on top.

    Source: Fig. 4 (training loss of two frameworks).
    Raises: TextheadError when a key is in no line, or a line has no `x`.
    """
    from matplotlib.figure import Figure

    runs = records if isinstance(records, Mapping) else {"": records}
    drawn = [key for key in ("loss", "top1") if _recorded(runs, key)] if keys is None else list(keys)
    for key in drawn:
        if not _recorded(runs, key):
            raise TextheadError(f"no record holds {key!r}; the records hold {', '.join(_known_keys(runs))}")
    if not drawn:
        raise TextheadError("no record holds 'loss' or 'top1'; name what to draw in `keys`")
    figure = Figure(figsize=(WIDTH, 0.6 + 2.3 * len(drawn)), layout="constrained")
    panels = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    for panel, key in zip(panels, drawn, strict=True):
        _draw_curves(panel, runs, key, x)
    panels[-1].set_xlabel(x)
    panels[-1].xaxis.get_major_locator().set_params(integer=x in ("step", "epoch"))
    if len(runs) > 1:
        _add_legend(panels[0], list(runs))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", parse_math=False)
    return figure


def _draw_curves(panel: "matplotlib.axes.Axes", runs: Mapping[str, Records], key: str, x: str) -> None:
    window = 1
    for index, records in enumerate(runs.values()):
        positions, values = _series(records, key, x)
        style = _style(index)
        window = max(window, _window(key, len(values)))
        if _window(key, len(values)) > 1:
            panel.plot(positions, values, color=style["color"], linewidth=0.8, alpha=0.3)
            values = running_mean(values, _window(key, len(values)))
        marker = "o" if len(values) <= 40 else ""
        # Not clipped: a marker at 100% lies on the edge.
        panel.plot(positions, values, linewidth=1.8, marker=marker, markersize=4, clip_on=False, **style)
        if key.startswith("top") and len(runs) == 1 and len(values):
            _mark_last(panel, float(positions[-1]), float(values[-1]))
    note = f", faint: as recorded, line: mean of {window} records" if window > 1 else ""
    panel.set_title(_PANEL_TITLES.get(key, key) + note, loc="left", fontsize=10, parse_math=False)
    _quiet(panel, grid="both")
    if key.startswith("lr"):
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    if key.startswith("top"):
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, 0), min(high, 100))


def _style(index: int) -> dict[str, Any]:
    """Colour and dashes of the run at `index`: two runs differ without colour, too."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINE_STYLES[index % len(LINE_STYLES)]}


def running_mean(values: Float[np.ndarray, " records"], window: int) -> Float[np.ndarray, " records"]:
    """The mean of the `window` values around each value, of those that exist at the two ends.

    Centred, so a falling loss isn't drawn late; what is not finite is skipped. A window of 3 turns `[4, 2,
    3]` into `[3, 3, 2.5]`.
    """
    index = np.arange(len(values))
    first = np.maximum(index - window // 2, 0)
    last = np.minimum(index + window // 2 + 1, len(values))
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    inside = counts[last] - counts[first]
    return np.where(inside > 0, (sums[last] - sums[first]) / np.maximum(inside, 1), np.nan)


def _window(key: str, count: int) -> int:
    """How many records a smoothed point averages: an odd twentieth of them; 1 for what is exact or short."""
    exact = key.startswith(("top", "lr"))
    return 1 if exact or count < 40 else count // 20 | 1


def _series(records: Records, key: str, x: str) -> tuple[np.ndarray, np.ndarray]:
    """The sorted positions that hold `key`, and the mean value at each."""
    points: dict[float, list[float]] = {}
    for record in _holding(records, key):
        if x not in record:
            raise TextheadError(f"a record has {key!r} but no {x!r}; draw it over one of {', '.join(record)}")
        points.setdefault(_number(record[x]), []).append(_number(record[key]))
    positions = sorted(points)
    return np.array(positions, dtype=float), np.array([np.mean(points[at]) for at in positions], dtype=float)


def _holding(records: Records, key: str) -> list[Mapping[str, object]]:
    kind = "val" if key.startswith("top") else "train"
    return [record for record in records if record.get("kind") == kind and key in record]


def _recorded(runs: Mapping[str, Records], key: str) -> bool:
    return any(_holding(records, key) for records in runs.values())


def _known_keys(runs: Mapping[str, Records]) -> list[str]:
    return sorted({key for records in runs.values() for record in records for key in record} - {"kind"})


def _number(value: object) -> float:
    """The value as a float; NaN, a gap in the curve, for what is no number (null, where JSON has no
    infinity)."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _mark_last(panel: "matplotlib.axes.Axes", position: float, value: float) -> None:
    panel.annotate(
        f"{value:.1f}", (position, value), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9
    )
    panel.margins(x=0.08)


def _add_legend(panel: "matplotlib.axes.Axes", names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    samples = [Line2D([], [], linewidth=1.8, **_style(index)) for index in range(len(names))]
    # The names come second: matplotlib takes a label with a leading underscore for none at all.
    places = [str(index) for index in range(len(names))]
    legend = panel.legend(samples, places, frameon=False, fontsize=9, handlelength=3)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=short(name, 40), parse_math=False)


def font_file() -> str:
    """The file of the font that names are drawn with."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def without_glyph(names: Sequence[str]) -> list[str]:
    """The names of which the font cannot draw every letter."""
    from matplotlib.ft2font import FT2Font

    known = FT2Font(font_file()).get_charmap()
    return [name for name in names if not all(ord(letter) in known for letter in name)]


# ---------------------------------------------------------------- maps


def plot_confusion(
    matrix: Integer[np.ndarray, "classes classes"], names: Sequence[str], *, title: str = ""
) -> "matplotlib.figure.Figure":
    """A map of what each class was taken for: rows are the true classes, colours the percent of the row.

    Up to 12 classes the cells hold the counts; class names stand at the axes while they fit, label numbers
    after that. Without room for names, the colours are stretched at the pale end, where single confusions
    would be lost. A class without items has a grey row.

    Raises: TextheadError when the matrix is not square or the names are not as many.
    """
    import matplotlib
    from matplotlib.colors import PowerNorm

    _check_map(matrix, names)
    room = _map_room(names, SMALL_MAP_WIDTH if len(names) <= 10 else MAP_WIDTH)
    figure, axes = _square_figure(room)
    percent = _row_percent(matrix)
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#cfcfcf")
    norm = PowerNorm(1.0 if room.font else 0.35, vmin=0, vmax=100)
    # "none" leaves the cells to the viewer of an SVG, which keeps them sharp at any zoom.
    image = axes.imshow(percent, cmap=colours, norm=norm, interpolation="none")
    if len(names) <= CELL_NUMBERS:
        _write_counts(axes, matrix, percent, room.side)
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
    """A map of how alike the classes' rows of a head are; white is `center`, red is more alike, blue less.

    The colours end where 99% of the pairs of different classes do, so the diagonal doesn't set them; the
    colour bar says where. A `center` other than 0 suits text weights whose rows all lean the same way. Up to 12
    classes the cells hold the correlations, since the most alike pair has the diagonal's colour.

    Source: Fig. 1 ("the color thresholds are adjusted").
    Raises: TextheadError when the matrix is not square or the names are not as many.
    """
    _check_map(matrix, names)
    room = _map_room(names, SMALL_MAP_WIDTH if len(names) <= 10 else MAP_WIDTH)
    figure, axes = _square_figure(room)
    limit = colour_limit([matrix], center=center)
    image = _draw_correlation(axes, matrix, limit, center)
    if len(names) <= CELL_NUMBERS:
        _write_correlations(axes, matrix, np.abs(matrix - center) / limit, room.side)
    _label_classes(axes, names, room.font)
    axes.set_xlabel("class", fontsize=9)
    axes.set_ylabel("class", fontsize=9)
    _map_title(axes, title)
    _colour_bar(figure, image, [axes], _limit_text(limit, center), extend="both")
    return figure


def plot_correlations(
    matrices: Mapping[str, Float[np.ndarray, "classes classes"]],
    names: Sequence[str],
    *,
    center: float = 0.0,
) -> "matplotlib.figure.Figure":
    """The correlation maps of several heads side by side, two in a row, in the same colours.

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
    room = _map_room(names, MAP_WIDTH, columns)
    # A column that is one map shorter has its names above the last line of maps.
    names_inches = room.names * (1 if len(matrices) % columns == 0 else 2)
    figure = Figure(figsize=(MAP_WIDTH, lines * (room.side + 0.4) + names_inches), layout="compressed")
    grid = figure.subplots(lines, columns, squeeze=False)
    limit = colour_limit(list(matrices.values()), center=center)
    image = None
    for place, (name, matrix) in enumerate(matrices.items()):
        axes = grid.flat[place]
        image = _draw_correlation(axes, matrix, limit, center)
        _label_classes(axes, names, room.font)
        # Names stand left of the first column and below the last map of each column.
        axes.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(matrices))
        _map_title(axes, name)
    for axes in grid.flat[len(matrices) :]:
        axes.set_axis_off()
    _colour_bar(figure, image, list(grid.flat), _limit_text(limit, center), extend="both")
    return figure


def colour_limit(matrices: Sequence[Float[np.ndarray, "classes classes"]], *, center: float = 0.0) -> float:
    """How far from `center` the colours reach: to where 99% of the pairs end, rounded up to 0.01.

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


def _draw_correlation(axes: "matplotlib.axes.Axes", matrix: np.ndarray, limit: float, center: float) -> Any:
    return axes.imshow(matrix, cmap="RdBu_r", vmin=center - limit, vmax=center + limit, interpolation="none")


def _check_map(matrix: np.ndarray, names: Sequence[str]) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) != len(names) or not len(names):
        shape = " x ".join(str(size) for size in matrix.shape)
        problem = f"got {shape} for {len(names)} names"
        raise TextheadError(f"a map needs one row and one column for each class name, {problem}")


def _row_percent(matrix: np.ndarray) -> np.ndarray:
    """Each row as percent of its sum; a row without items is NaN."""
    totals = matrix.sum(axis=1, keepdims=True)
    return np.divide(100.0 * matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)


def _write_counts(axes: "matplotlib.axes.Axes", matrix: np.ndarray, percent: np.ndarray, side: float) -> None:
    digits = len(str(int(matrix.max())))
    size = min(10.0, 72 * side / len(matrix) / (0.8 * max(digits, 2)))
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if percent[row, column] > 55 else DARK
        text = str(count) if count else "·"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def _write_correlations(axes: "matplotlib.axes.Axes", matrix: np.ndarray, shade: np.ndarray, side: float) -> None:
    size = min(9.0, 72 * side / len(matrix) / 3.2)
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if shade[row, column] > 0.6 else DARK
        axes.text(
            column, row, f"{round(float(value), 2) + 0.0:.2f}", ha="center", va="center", fontsize=size, color=colour
        )


class _MapRoom(NamedTuple):
    """Inches for the figure, the side of a map and the names beside it; points of their font, 0 for none."""

    width: float
    side: float
    names: float
    font: float


def _map_room(names: Sequence[str], width: float, columns: int = 1) -> _MapRoom:
    """How `columns` square maps share `width` with the names, the colour bar and its label (1 inch)."""
    longest = max(len(short(name)) for name in names)
    for font in NAME_FONTS:
        beside = 0.15 + 0.0074 * font * longest  # a letter is about half as wide as it is high
        side = (width - 1.0 - beside) / columns
        if 72 * side / len(names) >= 1.08 * font:
            return _MapRoom(width, side, beside, font)
    return _MapRoom(width, (width - 1.4) / columns, 0.4, 0.0)


def _square_figure(room: _MapRoom) -> tuple["matplotlib.figure.Figure", "matplotlib.axes.Axes"]:
    """A figure for one map and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(room.width, room.side + room.names + 0.65), layout="compressed")
    return figure, figure.subplots()


def _label_classes(axes: "matplotlib.axes.Axes", names: Sequence[str], font: float) -> None:
    """Writes the class names at the axes, `font` points high; label numbers stay where that is 0."""
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


# ---------------------------------------------------------------- how sure


def plot_reliability(
    confidences: Float[np.ndarray, " items"],
    correct: Bool[np.ndarray, " items"],
    bins: int = 10,
    *,
    title: str = "",
) -> "matplotlib.figure.Figure":
    """How often answers are right, by how sure they are (0-1), in equal bins; below it, how many items each bin has.

    On the diagonal the two are the same. The grey bars are where 95% of the points of a model that is on it would lie,
    with as many items: a point outside of its bar is more than chance.

    Source: Guo et al., On Calibration of Modern Neural Networks, Fig. 1, with Broecker and Smith's consistency bars.
    Raises: TextheadError without items, or when a confidence is outside 0..1.
    """
    from texthead.reliability import reliability_bins

    if not len(correct) or confidences.min() < 0 or confidences.max() > 1:
        raise TextheadError(f"reliability needs confidences between 0 and 1, got {confidences}")
    return plot_bins(reliability_bins(confidences, correct, bins), title=title)


def plot_bins(found: "Bins", *, title: str = "") -> "matplotlib.figure.Figure":
    """`plot_reliability` of items that are counted already."""
    from matplotlib.figure import Figure
    from scipy.stats import binom

    full = found.counts > 0
    counts, sure, right = found.counts[full], found.confidence[full], found.accuracy[full]
    low, high = (100 * end / counts for end in binom.interval(0.95, counts, sure))
    figure = Figure(figsize=(SMALL_MAP_WIDTH, 4.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1.2)
    axes.vlines(100 * sure, low, high, color="#cfcfcf", linewidth=7)
    axes.plot(100 * sure, 100 * right, "o", color=COLOURS[0], markersize=6, clip_on=False)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_ylabel("answers that are right (%)", fontsize=9)
    heading = f"{short(title, 40)}: " if title else ""
    axes.set_title(
        f"{heading}ECE {found.error:.1f} points, {found.counts.sum()} items",
        loc="left",
        fontsize=10,
        fontweight="bold",
        parse_math=False,
    )
    below.bar(
        100 * found.edges[:-1], found.counts, width=100 / len(found.counts), align="edge", color=GREY, edgecolor="white"
    )
    below.yaxis.get_major_locator().set_params(integer=True)
    below.set_ylabel("items", fontsize=9)
    below.set_xlabel("probability of the answer (%)", fontsize=9)
    for panel in (axes, below):
        _quiet(panel, grid="both")
    return figure


# ---------------------------------------------------------------- methods


def plot_bars(
    rows: Sequence[tuple[str, float, float | None]],
    *,
    label: str = "top-1 (%)",
    chance: float | None = None,
    title: str = "",
) -> "matplotlib.figure.Figure":
    """Methods one below the other: a bar and its number each, with a whisker where a half-width is known.

    A row is a name, a percent 0-100 and the half-width of its interval in points. `chance` (percent) is a
    dashed line.

    Raises: TextheadError without rows.
    """
    from matplotlib.figure import Figure

    if not rows:
        raise TextheadError("no rows to compare; give at least one (name, percent, half-width or None)")
    figure = Figure(figsize=(WIDTH, 0.9 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = list(range(len(rows)))
    axes.barh(places, [value for _, value, _ in rows], height=0.62, color=COLOURS[0])
    for place, (_, value, half) in enumerate(rows):
        if half is not None:
            axes.errorbar(value, place, xerr=half, color=DARK, capsize=3, linewidth=1.4)
        number = f"{value:.1f}" if half is None else f"{value:.1f} ± {half:.1f}"
        axes.text(value + (half or 0) + 1, place, number, va="center", fontsize=9)
    if chance is not None:
        axes.axvline(chance, color=DARK, linestyle="--", linewidth=1.2)
        axes.text(chance, -0.55, f" chance {chance:.3g}", fontsize=8, ha="left", va="bottom")
    axes.set_yticks(places, [short(name, 32) for name, _, _ in rows], fontsize=9, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5 if chance is None else -0.9)
    # Bars start at 0: their lengths are compared. The room on the right is for the numbers.
    axes.set_xlim(0, 1.3 * max(*(value + (half or 0) for _, value, half in rows), chance or 0, 1))
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 100])
    axes.set_xlabel(label, fontsize=9, parse_math=False)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", parse_math=False)
    axes.tick_params(axis="y", length=0)
    _quiet(axes, grid="x")
    return figure


# ---------------------------------------------------------------- shared


def short(name: str, length: int = NAME_LENGTH) -> str:
    """The name on one line, cut to `length` characters."""
    line = " ".join(name.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _quiet(axes: "matplotlib.axes.Axes", *, grid: str) -> None:
    """Takes away the box and leaves a pale grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(visible=True, axis=grid, color=PALE, linewidth=0.8)  # pyright: ignore[reportArgumentType]
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
