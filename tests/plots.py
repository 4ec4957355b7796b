"""Helpers for tests of plots: names that break a careless plot, and readers of drawn text."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

HOSTILE = ["$x^{", "a\nb", "_hidden", "<script>&", "x" * 300]


def draw(figure: Figure) -> Figure:
    """Render the figure, which lays out labels and fails on bad strings, and return it."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def read_texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]
