"""The plots show the given numbers."""

import numpy as np

from messages import prints
from plots import draw, read_texts
from texthead.evaluation.reliability import Reliability, reliability_bins
from texthead.report import figures


def records(steps: int = 100, per_epoch: int = 20) -> list[dict[str, object]]:
    """Return the records of a made-up run: a falling loss, and a validation after each epoch."""
    lines: list[dict[str, object]] = []
    for step in range(steps):
        epoch = step // per_epoch
        lines.append({"kind": "train", "epoch": epoch, "step": step, "loss": 2.0 / (step + 1), "lr": 1e-4})
        if step % per_epoch == per_epoch - 1:
            lines.append({"kind": "val", "epoch": epoch, "step": step, "top1": 50.0 + epoch, "count": 80})
    return lines


def test_curves_hold_the_recorded_numbers():
    lines = records()
    loss, top1 = figures.plot_curves(lines).axes
    (raw,) = loss.lines
    np.testing.assert_array_equal(raw.get_xdata(), np.arange(100))
    np.testing.assert_allclose(raw.get_ydata(), 2.0 / np.arange(1, 101))
    np.testing.assert_array_equal(top1.lines[0].get_xdata(), [19, 39, 59, 79, 99])
    np.testing.assert_array_equal(top1.lines[0].get_ydata(), [50, 51, 52, 53, 54])
    assert read_texts(top1) == ["54.0"]
    prints(loss.get_title(loc="left"), "loss")
    prints(top1.get_title(loc="left"), "top-1", "%")
    assert top1.get_xlabel() == "step"


def test_curves_that_are_short_have_gaps_or_are_none():
    (loss,) = figures.plot_curves(records(39, per_epoch=50)).axes
    assert [line.get_marker() for line in loss.lines] == ["o"]
    (panel,) = figures.plot_curves([{"kind": "val", "step": step, "top1": 100.0} for step in range(3)]).axes
    assert panel.get_ylim()[1] == 100
    lines = records(10)
    lines[4]["loss"] = None
    (panel,) = figures.plot_curves(lines).axes
    assert np.isnan(np.asarray(panel.lines[0].get_ydata())).nonzero()[0].tolist() == [4]
    assert figures.plot_curves([{"kind": "train", "step": 1, "lr": 0.1}, {"kind": "val", "top1": 50.0}]) is None


def test_reliability_shows_each_bin_with_what_chance_allows():
    confidences = np.array([0.25] * 8 + [0.95] * 4)
    correct = np.array([True] * 2 + [False] * 6 + [True, False, False, False])
    rates = Reliability(reliability_bins(confidences, correct), 0, 0, 0)
    axes, below = draw(figures.plot_bins(rates, "all: ")).axes
    diagonal, points = axes.lines
    np.testing.assert_allclose(points.get_xydata(), [[25, 25], [95, 25]])
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    # Bin 3 is well calibrated (gap 0); bin 10, with 4 of the 12 items, is off by 70 points.
    prints(axes.get_title(loc="left"), "all: ECE", 23.3, 12)
    assert [bar.get_height() for bar in below.patches] == [0, 0, 8, 0, 0, 0, 0, 0, 0, 4]
    (segments,) = (each.get_segments() for each in axes.collections)
    ends = [(float(low[1]), float(high[1])) for low, high in segments]
    # 95 % of the time at most 5 of 8 items are correct at 0.25, and at least 3 of 4 at 0.95.
    np.testing.assert_allclose(ends, [(0, 62.5), (75, 100)])
