"""Plots of curves and calibration, as matplotlib figures.

Functions import matplotlib when called, because it takes half a second that most commands don't need. They use
only its object interface, so no global state changes and no window opens. Figures are made for 100 pixels per
inch, with labels of at least 6 points.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

    from texthead.evaluation.reliability import Reliability


Records = Sequence[Mapping[str, object]]

# Okabe and Ito's palette without yellow, which is too pale on white. The colours also differ in lightness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


GREY, PALE = "#7a7a7a", "#e9e9e9"

BINS_WIDTH = 4.5  # inches; two fit side by side on a page

FIGURE_WIDTH = 5.8  # inches; labels are still readable at two thirds of the size, as on a phone

_PANEL_TITLES = {"loss": "training loss", "top1": "validation top-1 (%)", "mean_ap": "validation mAP (%)"}

# ---------------------------------------------------------------- curves


def plot_curves(records: Records) -> "matplotlib.figure.Figure | None":
    """Draw the loss and the validation scores over the steps, one panel each, as far as they are recorded.

    `records` are the lines of `metrics.jsonl`; None if they hold none of these.

    Source: Fig. 4 (training loss of two frameworks).
    """
    from matplotlib.figure import Figure

    curves: dict[str, list[Mapping[str, object]]] = {}
    for key in _PANEL_TITLES:
        kind = "train" if key == "loss" else "val"
        if own := [each for each in records if each.get("kind") == kind and {key, "step"} <= each.keys()]:
            curves[key] = own
    if not curves:
        return None
    figure = Figure(figsize=(FIGURE_WIDTH, 0.6 + 2.3 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (key, own) in zip(panels, curves.items(), strict=True):
        steps, values = (np.array([_number(record[name]) for record in own]) for name in ("step", key))
        marker = "o" if len(values) <= 40 else ""
        # Unclipped, so that a marker at 100%, on the edge, is drawn whole.
        panel.plot(steps, values, linewidth=1.8, marker=marker, markersize=4, clip_on=False, color=COLOURS[0])
        panel.set_title(_PANEL_TITLES[key], loc="left", fontsize=10)
        _quiet(panel)
        if key != "loss":
            offset: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            panel.annotate(f"{values[-1]:.1f}", (steps[-1], values[-1]), fontsize=9, **offset)
            panel.margins(x=0.08)
            low, high = panel.get_ylim()
            panel.set_ylim(max(low, 0), min(high, 100))
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _number(value: object) -> float:
    """Return the value as a float, null as NaN (a gap in the curve): JSON has no infinity."""
    return float(value) if isinstance(value, int | float) else float("nan")


# ---------------------------------------------------------------- calibration


def plot_bins(rates: "Reliability", title: str = "") -> "matplotlib.figure.Figure":
    """Draw accuracy over confidence in bins, and below it the number of items in each bin.

    `title` begins the heading. A perfectly calibrated model is on the diagonal. With the same number of items, 95 % of
    its points would be inside the grey bars, so a point outside its bar is unlikely to be chance.

    Source: Guo et al., On Calibration of Modern Neural Networks, Fig. 1, with Broecker and Smith's consistency bars.
    """
    from matplotlib.figure import Figure
    from scipy.stats import binom

    counts, confidence, accuracy = np.array([row for row in rates.rows if row[0]]).T
    low, high = (100 * end / counts for end in binom.interval(0.95, counts, confidence))
    figure = Figure(figsize=(BINS_WIDTH, 4.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1.2)
    axes.vlines(100 * confidence, low, high, color="#cfcfcf", linewidth=7)
    axes.plot(100 * confidence, 100 * accuracy, "o", color=COLOURS[0], markersize=6, clip_on=False)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_ylabel("correct predictions (%)", fontsize=9)
    heading = f"{title}ECE {rates.error:.1f} points, {rates.items} items"
    axes.set_title(heading, loc="left", fontsize=10, fontweight="bold")
    width, heights = 100 / len(rates.rows), [row[0] for row in rates.rows]
    below.bar(width * np.arange(len(heights)), heights, width=width, align="edge", color=GREY, edgecolor="white")
    below.yaxis.get_major_locator().set_params(integer=True)
    below.set_ylabel("items", fontsize=9)
    below.set_xlabel("probability of the predicted class (%)", fontsize=9)
    for panel in (axes, below):
        _quiet(panel)
    return figure


# ---------------------------------------------------------------- shared


def _quiet(axes: "matplotlib.axes.Axes") -> None:
    """Replace the frame by a pale grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(visible=True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
