"""Line plots in the style of `texthead.report.figures`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paper.stats import interval
from texthead.report import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_STYLES = ("-", "--", "-.", ":")

MARKERS = ("o", "s", "^", "D", "v", "P")


def _panel() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.8, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e9e9e9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def lines(
    series: Mapping[str, Sequence[tuple[float, Sequence[float]]]], *, x: str, y: str, log: bool = False
) -> "Figure":
    """Plot one line per name through the mean values at each x; error bars are 95 % intervals."""
    figure, axes = _panel()
    for index, (name, points) in enumerate(series.items()):
        points = [(position, values) for position, values in points if len(values)]
        intervals = [interval(values) for _, values in points]
        axes.errorbar(
            [position for position, _ in points],
            [mean for mean, _ in intervals],
            yerr=[half if half == half else 0.0 for _, half in intervals],
            label=name,
            color=COLOURS[index % len(COLOURS)],
            linestyle=LINE_STYLES[index % len(LINE_STYLES)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4,
            capsize=2,
            linewidth=1.6,
        )
    if log:
        axes.set_xscale("symlog", linthresh=1)
        ticks = sorted({position for points in series.values() for position, _ in points})
        axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        axes.minorticks_off()
    _label(axes, x, y)
    return figure


def curves(series: Mapping[str, Sequence[Sequence[tuple[float, float]]]], *, y: str, x: str = "step") -> "Figure":
    """Plot one thin line per seed, one colour per name."""
    figure, axes = _panel()
    for index, (name, runs) in enumerate(series.items()):
        for number, run in enumerate(runs):
            axes.plot(
                [step for step, _ in run],
                [value for _, value in run],
                color=COLOURS[index % len(COLOURS)],
                linestyle=LINE_STYLES[index % len(LINE_STYLES)],
                linewidth=1.0,
                alpha=0.8,
                label=name if number == 0 else None,
            )
    _label(axes, x, y)
    return figure


def _label(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8, handlelength=3)
