"""Plots of curves, calibration and methods, as matplotlib figures.

Functions import matplotlib when called, because it takes half a second that most commands don't need. They use
only its object interface, so no global state changes and no window opens. Figures are made for 100 pixels per
inch, at most 7 inches wide, with labels of at least 6 points.

Names are data: a dollar sign doesn't start a formula (`parse_math=False`), line breaks become spaces.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from texthead.errors import TextheadError, printable

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

    from texthead.evaluation.reliability import Bins


Records = Sequence[Mapping[str, object]]

# Okabe and Ito's palette without yellow, which is too pale on white. The colours also differ in lightness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

LINE_STYLES = ("-", "--", "-.", ":")

GREY, DARK, PALE = "#7a7a7a", "#222222", "#e9e9e9"

FIGURE_WIDTH = 5.8  # inches; labels are still readable at two thirds of the size, as on a phone

MAP_WIDTH = 7.0

SMALL_MAP_WIDTH = 4.5  # two fit side by side on a page of 1000 pixels

NAME_LENGTH = 24  # characters of a class name in a map; longer names end with "…"

CELL_NUMBERS = 12  # maps of at most this many classes show numbers in their cells

NAME_FONTS = (9.0, 8.0, 7.0, 6.5, 6.0)  # font sizes for the names of a map, in points; the largest that fits is used

_PANEL_TITLES = {
    "loss": "training loss",
    "lr": "learning rate",
    "clips_per_second": "clips per second",
    "top1": "validation top-1 (%)",
    "mean_ap": "validation mAP (%)",
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
    """Draw one panel per key, stacked, with a shared x axis.

    `records` are the lines of `metrics.jsonl`; pass a mapping of names to records to overlay several runs. Keys
    that start with `top` are read from validation records, all others from training records. Without `keys`, draw
    the loss and top-1 as far as they are recorded. Records with the same `x` are averaged, so `x="epoch"` gives
    the mean loss of each epoch. Long noisy curves are drawn faint, with their running mean on top.

    Source: Fig. 4 (training loss of two frameworks).
    Raises: TextheadError if no record has a key, or a record lacks `x`.
    """
    from matplotlib.figure import Figure

    runs = records if isinstance(records, Mapping) else {"": records}
    drawn = [key for key in ("loss", "top1", "mean_ap") if _recorded(runs, key)] if keys is None else list(keys)
    for key in drawn:
        if not _recorded(runs, key):
            raise TextheadError(f"no record has {key!r}; choose from {', '.join(_known_keys(runs))}")
    if not drawn:
        raise TextheadError("no record has 'loss' or 'top1'; choose what to draw with `keys`")
    figure = Figure(figsize=(FIGURE_WIDTH, 0.6 + 2.3 * len(drawn)), layout="constrained")
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
        # Unclipped, so that a marker at 100%, on the edge, is drawn whole.
        panel.plot(positions, values, linewidth=1.8, marker=marker, markersize=4, clip_on=False, **style)
        if key.startswith("top") and len(runs) == 1 and len(values):
            _mark_last(panel, float(positions[-1]), float(values[-1]))
    note = f" (faint: as recorded; line: mean of {window} records)" if window > 1 else ""
    panel.set_title(_PANEL_TITLES.get(key, key) + note, loc="left", fontsize=10, parse_math=False)
    _quiet(panel, grid="both")
    if key.startswith("lr"):
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    if key.startswith("top"):
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, 0), min(high, 100))


def _style(index: int) -> dict[str, Any]:
    """Return the colour and line style of the run at `index`; runs also differ without colour."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINE_STYLES[index % len(LINE_STYLES)]}


def running_mean(values: Float[np.ndarray, " records"], window: int) -> Float[np.ndarray, " records"]:
    """Return the centred running mean over `window` values, over fewer at the ends.

    Centred, so a falling loss isn't drawn late. Values that are not finite are skipped. A window of 3 turns
    `[4, 2, 3]` into `[3, 3, 2.5]`.
    """
    finite, ones = np.isfinite(values), np.ones(window)
    around = slice(window // 2, window // 2 + len(values))
    sums, counts = (np.convolve(x, ones)[around] for x in (np.where(finite, values, 0.0), finite.astype(float)))
    return sums / np.where(counts, counts, np.nan)


def _window(key: str, count: int) -> int:
    """Return the window of the running mean: a twentieth of the records, made odd; 1 for exact or short curves."""
    exact = key.startswith(("top", "lr"))
    return 1 if exact or count < 40 else count // 20 | 1


def _series(records: Records, key: str, x: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted `x` positions that have `key`, and the mean value at each."""
    points: dict[float, list[float]] = {}
    for record in _records_with(records, key):
        if x not in record:
            raise TextheadError(f"a record has {key!r} but no {x!r}; set `x` to one of {', '.join(record)}")
        points.setdefault(_number(record[x]), []).append(_number(record[key]))
    positions = sorted(points)
    return np.array(positions, dtype=float), np.array([np.mean(points[at]) for at in positions], dtype=float)


def _records_with(records: Records, key: str) -> list[Mapping[str, object]]:
    kind = "val" if key in ("top1", "top5", "mean_ap") else "train"
    return [record for record in records if record.get("kind") == kind and key in record]


def _recorded(runs: Mapping[str, Records], key: str) -> bool:
    return any(_records_with(records, key) for records in runs.values())


def _known_keys(runs: Mapping[str, Records]) -> list[str]:
    return sorted({key for records in runs.values() for record in records for key in record} - {"kind"})


def _number(value: object) -> float:
    """Return the value as a float, null as NaN (a gap in the curve): JSON has no infinity."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _mark_last(panel: "matplotlib.axes.Axes", position: float, value: float) -> None:
    panel.annotate(
        f"{value:.1f}", (position, value), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9
    )
    panel.margins(x=0.08)


def _add_legend(panel: "matplotlib.axes.Axes", names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    samples = [Line2D([], [], linewidth=1.8, **_style(index)) for index in range(len(names))]
    # Names are set afterwards, because matplotlib ignores labels with a leading underscore.
    numbers = [str(index) for index in range(len(names))]
    legend = panel.legend(samples, numbers, frameon=False, fontsize=9, handlelength=3)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=short(name, 40), parse_math=False)


def font_file() -> str:
    """Return the path of the font used for names."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def without_glyph(names: Sequence[str]) -> list[str]:
    """Return the names with letters that the font lacks."""
    from matplotlib.ft2font import FT2Font

    characters = FT2Font(font_file()).get_charmap()
    return [name for name in names if not all(ord(letter) in characters for letter in name)]


# ---------------------------------------------------------------- calibration


def plot_bins(bins: "Bins", *, title: str = "") -> "matplotlib.figure.Figure":
    """Draw accuracy over confidence in bins, and below it the number of items in each bin.

    A perfectly calibrated model is on the diagonal. With the same number of items, 95 % of its points would be inside
    the grey bars, so a point outside its bar is unlikely to be chance.

    Source: Guo et al., On Calibration of Modern Neural Networks, Fig. 1, with Broecker and Smith's consistency bars.
    """
    from matplotlib.figure import Figure
    from scipy.stats import binom

    filled = bins.counts > 0
    counts, confidence, accuracy = bins.counts[filled], bins.confidence[filled], bins.accuracy[filled]
    low, high = (100 * end / counts for end in binom.interval(0.95, counts, confidence))
    figure = Figure(figsize=(SMALL_MAP_WIDTH, 4.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1.2)
    axes.vlines(100 * confidence, low, high, color="#cfcfcf", linewidth=7)
    axes.plot(100 * confidence, 100 * accuracy, "o", color=COLOURS[0], markersize=6, clip_on=False)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_ylabel("correct predictions (%)", fontsize=9)
    heading = f"{short(title, 40)}: " if title else ""
    axes.set_title(
        f"{heading}ECE {bins.error:.1f} points, {bins.counts.sum()} items",
        loc="left",
        fontsize=10,
        fontweight="bold",
        parse_math=False,
    )
    below.bar(
        100 * bins.edges[:-1], bins.counts, width=100 / len(bins.counts), align="edge", color=GREY, edgecolor="white"
    )
    below.yaxis.get_major_locator().set_params(integer=True)
    below.set_ylabel("items", fontsize=9)
    below.set_xlabel("probability of the predicted class (%)", fontsize=9)
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
    """Draw a horizontal bar for each method, with its number and, if known, its interval.

    A row is a name, a percentage 0-100, and the half-width of its interval in percentage points or None. `chance`
    (percent) is a dashed line.

    Raises: TextheadError if there are no rows.
    """
    from matplotlib.figure import Figure

    if not rows:
        raise TextheadError("no rows to compare; give at least one (name, percent, half-width or None)")
    figure = Figure(figsize=(FIGURE_WIDTH, 0.9 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots()
    positions = list(range(len(rows)))
    axes.barh(positions, [value for _, value, _ in rows], height=0.62, color=COLOURS[0])
    for position, (_, value, half) in enumerate(rows):
        if half is not None:
            axes.errorbar(value, position, xerr=half, color=DARK, capsize=3, linewidth=1.4)
        number = f"{value:.1f}" if half is None else f"{value:.1f} ± {half:.1f}"
        axes.text(value + (half or 0) + 1, position, number, va="center", fontsize=9)
    if chance is not None:
        axes.axvline(chance, color=DARK, linestyle="--", linewidth=1.2)
        axes.text(chance, -0.55, f" chance {chance:.3g}", fontsize=8, ha="left", va="bottom")
    axes.set_yticks(positions, [short(name, 32) for name, _, _ in rows], fontsize=9, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5 if chance is None else -0.9)
    # Bars start at 0 because people compare their lengths. The space on the right is for the numbers.
    axes.set_xlim(0, 1.3 * max(*(value + (half or 0) for _, value, half in rows), chance or 0, 1))
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 100])
    axes.set_xlabel(label, fontsize=9, parse_math=False)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", parse_math=False)
    axes.tick_params(axis="y", length=0)
    _quiet(axes, grid="x")
    return figure


# ---------------------------------------------------------------- shared


def short(name: str, length: int = NAME_LENGTH) -> str:
    """Return the name on one line, cut to `length` characters."""
    line = printable(" ".join(name.split()))
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _quiet(axes: "matplotlib.axes.Axes", *, grid: str) -> None:
    """Replace the frame by a pale grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(visible=True, axis=grid, color=PALE, linewidth=0.8)  # pyright: ignore[reportArgumentType]
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
