"""The maps of Fig. 1 show the given numbers, with any names."""

import numpy as np
from matplotlib.colors import to_hex

from messages import prints
from paper.maps import plot_correlations
from plots import HOSTILE, draw, read_texts


def test_correlation_is_centered_and_limited_off_the_diagonal():
    matrix = np.array([[1.0, 0.2, -0.31], [0.2, 1.0, 0.1], [-0.31, 0.1, 1.0]])
    axes, bar = plot_correlations(matrix, ["a", "b", "c"], "text vectors").axes
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), matrix)
    assert image.get_clim() == (-0.31, 0.31)
    prints(bar.get_ylabel(), "±0.31")
    assert axes.get_title(loc="left") == "text vectors"
    assert to_hex(image.cmap(image.norm(0.0))) == "#f7f6f6"
    assert read_texts(axes)[:4] == ["1.00", "0.20", "-0.31", "0.20"]
    assert not plot_correlations(np.eye(13), [f"class {index}" for index in range(13)]).axes[0].texts


def test_names_are_text_not_formulas():
    figure = draw(plot_correlations(np.eye(len(HOSTILE)), HOSTILE, HOSTILE[0]))
    # On one line and shortened.
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert (labels[1], labels[4]) == ("a b", "x" * 23 + "…")
