"""The paper's kinds of plots, from plain numbers; in the look of `texthead.report.figures`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paper.stats import interval
from texthead.report.figures import COLOURS, LINE_STYLES, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = ("o", "s", "^", "D", "v", "P")


def _panel() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e9e9e9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def lines(
    series: Mapping[str, Sequence[tuple[float, Sequence[float]]]], *, x: str, y: str, log: bool = False
) -> "Figure":
    """One line a name through the means at each place; bars are 95 % intervals over the values there."""
    figure, axes = _panel()
    for index, (name, at) in enumerate(series.items()):
        at = [(place, values) for place, values in at if len(values)]
        told = [interval(values) for _, values in at]
        axes.errorbar(
            [place for place, _ in at],
            [mean for mean, _ in told],
            yerr=[half if half == half else 0.0 for _, half in told],
            label=name,
            color=COLOURS[index % len(COLOURS)],
            linestyle=LINE_STYLES[index % len(LINE_STYLES)],
            marker=MARKS[index % len(MARKS)],
            markersize=4,
            capsize=2,
            linewidth=1.6,
        )
    if log:
        axes.set_xscale("symlog", linthresh=1)
        places = sorted({place for at in series.values() for place, _ in at})
        axes.set_xticks(places, [f"{place:.2g}" for place in places])
        axes.minorticks_off()
    _label(axes, x, y)
    return figure


def curves(series: Mapping[str, Sequence[Sequence[tuple[float, float]]]], *, y: str, x: str = "step") -> "Figure":
    """One thin line a seed, one colour a name."""
    figure, axes = _panel()
    for index, (name, runs) in enumerate(series.items()):
        for number, run in enumerate(runs):
            axes.plot(
                [at for at, _ in run],
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
