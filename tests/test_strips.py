"""Pictures of a clip: what is drawn is what was given, right and wrong are told in words, heat is light."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from texthead import strips
from texthead.errors import TextheadError

HOSTILE = ["$x^{", "a\nb", "_hidden", "<script>&", "x" * 300]


def drawn(figure: Figure) -> Figure:
    """The figure after it was rendered, which is when labels are laid out and bad strings would fail."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def clip(frames: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, height, width, 3), dtype=np.uint8)


TOP = [("archery", 0.7), ("yoga", 0.2), ("zumba", 0.1)]


def test_strip_shows_frames_and_probabilities():
    figure = strips.plot_strip(clip(4), TOP)
    *pictures, bars = figure.axes
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in pictures] == [0, 1, 2, 3]
    # A pale bar for the whole range lies below each.
    assert [bar.get_width() for bar in bars.patches] == [1.0, 0.7, 1.0, 0.2, 1.0, 0.1]
    assert texts(bars) == ["archery", "70.0%", "yoga", "20.0%", "zumba", "10.0%"]
    assert figure.get_suptitle() == "predicted: archery"


@pytest.mark.parametrize(
    ("truth", "title", "labels", "hatched"),
    [
        ("archery", "✓ right: archery", ["✓ archery", "yoga", "zumba"], 0),
        ("yoga", "✗ wrong, truth at place 2: yoga", ["✗ archery", "✓ yoga", "zumba"], 1),
        ("golf", "✗ wrong, truth not in the first 3: golf", ["✗ archery", "yoga", "zumba"], 1),
    ],
)
def test_right_and_wrong_are_told_without_colour(truth, title, labels, hatched):
    figure = strips.plot_strip(clip(1), TOP, truth=truth)
    bars = figure.axes[-1]
    assert figure.get_suptitle() == title
    assert texts(bars)[::2] == labels
    assert sum(bool(bar.get_hatch()) for bar in bars.patches) == hatched


def test_many_frames_are_thinned_and_said_so():
    figure = drawn(strips.plot_strip(clip(15), TOP))
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes[:-1]] == [
        0,
        2,
        4,
        6,
        8,
        10,
        12,
        14,
    ]
    assert figure.get_supxlabel() == "8 of 15 frames"


@pytest.mark.parametrize(
    ("frames", "top", "message"),
    [(0, TOP, "got 0 and 3"), (1, [], "got 1 and 0"), (1, [("a", 1.5)], "got 1.5 for 'a'")],
)
def test_strip_rejects(frames, top, message):
    with pytest.raises(TextheadError, match=message):
        strips.plot_strip(clip(frames), top)


def test_a_true_class_further_behind_keeps_its_place():
    figure = strips.plot_strip(clip(8), [*TOP, ("golf", 0.0001)], truth="golf", place=17)
    assert figure.get_suptitle() == "✗ wrong, truth at place 17: golf"
    assert texts(figure.axes[-1])[-2:] == ["✓ golf", "<0.1%"]


@pytest.mark.parametrize(
    ("probability", "told"),
    [(0.0, "0.0%"), (0.0001, "<0.1%"), (0.0006, "0.1%"), (0.123, "12.3%"), (0.9996, ">99.9%"), (1.0, "100.0%")],
)
def test_no_percent_is_rounded_to_certainty(probability, told):
    assert strips.percent(probability) == told


def test_what_is_hot_is_lit_and_what_is_not_is_dark_and_grey():
    frame = np.zeros((63, 63, 3), np.uint8)
    frame[...] = (200, 40, 90)
    heat = np.zeros((7, 7))
    heat[2, 5] = 1.0
    shown = strips.lit(frame, heat)
    assert shown[22, 49].tolist() == [200, 40, 90]
    dark = shown[58, 4].tolist()
    assert dark[0] == dark[1] == dark[2] == round(strips.DIM * 110)
    assert strips.lit(frame, np.ones((7, 7))).tolist() == frame.tolist()


def test_saliency_has_a_row_a_name_under_the_frames():
    heats = {"said: yoga": np.zeros((3, 7, 7)), "true: archery": np.ones((3, 7, 7))}
    figure = drawn(strips.plot_saliency(200 + clip(3), heats))
    shown = [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes]
    dark = round(strips.DIM * 200)
    assert shown == [200, 201, 202, dark, dark, dark, 200, 201, 202]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["as they are", *heats]


def test_a_single_frame_has_its_saliency_beside_it():
    figure = drawn(strips.plot_saliency(clip(1), {"said: yoga": np.zeros((1, 7, 7))}))
    drawings = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in drawings] == ["as it is", "said: yoga"]
    assert len({round(axes.get_position().y0, 2) for axes in drawings}) == 1


def test_saliency_of_a_long_clip_shows_the_frames_that_the_strip_shows():
    heat = np.zeros((15, 7, 7))
    figure = strips.plot_saliency(clip(15), {"said: yoga": heat})
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes[:8]] == [0, 2, 4, 6, 8, 10, 12, 14]


@pytest.mark.parametrize(
    ("frames", "heats", "message"),
    [
        (0, {"a": np.zeros((0, 7, 7))}, "got 0 and 1"),
        (2, {}, "got 2 and 0"),
        (2, {"a": np.zeros((3, 7, 7))}, "3 frames"),
    ],
)
def test_saliency_rejects(frames, heats, message):
    with pytest.raises(TextheadError, match=message):
        strips.plot_saliency(clip(frames), heats)


def test_names_are_text_not_formulas():
    drawn(strips.plot_strip(clip(2), [(name, 0.1) for name in HOSTILE], truth=HOSTILE[0]))
    drawn(strips.plot_saliency(clip(2), {name: np.zeros((2, 7, 7)) for name in HOSTILE}))
    drawn(strips.plot_saliency(clip(1), {name: np.zeros((1, 7, 7)) for name in HOSTILE}))


@pytest.mark.parametrize("frames", [1, 4, 8])
def test_a_long_name_does_not_run_into_its_number(frames):
    top = [("a strawberry that jumps", 0.993), ("a strawberry spinning", 0.005), ("a bicycle, moving right", 0.002)]
    canvas = FigureCanvasAgg(strips.plot_strip(clip(frames, 32, 32), top, truth="a strawberry spinning"))
    canvas.draw()
    (*_, bars) = canvas.figure.axes
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in bars.texts]
    for name, number in zip(boxes[::2], boxes[1::2], strict=True):
        assert name.x1 + 3 < number.x0
