"""Pictures of a clip: they show the given numbers, mark right and wrong without colour, and show heat as light."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from messages import prints
from plots import HOSTILE, draw, read_texts
from texthead.report import strips


def clip(frames: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, height, width, 3), dtype=np.uint8)


TOP = [("archery", 0.7), ("yoga", 0.2), ("zumba", 0.1)]


def test_strip_shows_frames_and_probabilities():
    figure = strips.plot_strip(clip(4), TOP)
    *pictures, bars = figure.axes
    assert "archery" in figure.get_suptitle()
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in pictures] == [0, 1, 2, 3]
    # Behind each bar is a pale one for the whole range.
    assert [bar.get_width() for bar in bars.patches] == [1.0, 0.7, 1.0, 0.2, 1.0, 0.1]
    assert read_texts(bars) == ["archery", "70.0 %", "yoga", "20.0 %", "zumba", "10.0 %"]


@pytest.mark.parametrize(
    ("truth", "rank", "title", "labels", "hatched"),
    [
        ("archery", None, ("✓", "archery"), ["✓ archery", "yoga", "zumba", "surf"], 0),
        ("yoga", None, ("✗", 2, "yoga"), ["✗ archery", "✓ yoga", "zumba", "surf"], 1),
        ("golf", None, ("✗", 4, "golf"), ["✗ archery", "yoga", "zumba", "surf"], 1),
        ("surf", 17, ("✗", 17, "surf"), ["✗ archery", "yoga", "zumba", "✓ surf"], 1),
    ],
)
def test_right_and_wrong_differ_without_colour(truth, rank, title, labels, hatched):
    figure = strips.plot_strip(clip(1), [*TOP, ("surf", 0.0001)], truth=truth and [truth], rank=rank)
    bars = figure.axes[-1]
    prints(figure.get_suptitle(), *title)
    assert read_texts(bars)[::2] == labels
    assert sum(bool(bar.get_hatch()) for bar in bars.patches) == hatched


@pytest.mark.parametrize(
    ("truth", "said", "title", "labels", "hatched"),
    [
        (("archery", "yoga"), 2, ("✓", "archery, yoga"), ["✓ archery", "✓ yoga", "zumba"], 0),
        (("archery", "zumba"), 2, ("✗", "archery, zumba"), ["✓ archery", "✗ yoga", "✓ zumba"], 1),
        ((), 1, ("✗", "no class"), ["✗ archery", "yoga", "zumba"], 1),
        ((), 0, ("✓", "no class"), ["archery", "yoga", "zumba"], 0),
    ],
)
def test_several_labels_are_marked_one_by_one(truth, said, title, labels, hatched):
    figure = strips.plot_strip(clip(1), TOP, truth=truth, said=said)
    prints(figure.get_suptitle(), *title)
    assert read_texts(figure.axes[-1])[::2] == labels
    assert sum(bool(bar.get_hatch()) for bar in figure.axes[-1].patches) == hatched


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "0.0 %"), (0.0001, "<0.1 %"), (0.0006, "0.1 %"), (0.123, "12.3 %"), (0.9996, ">99.9 %"), (1.0, "100.0 %")],
)
def test_no_percent_is_rounded_to_certainty(probability, text):
    assert strips.percent(probability) == text


def test_hot_regions_bright_others_grey():
    frame = np.zeros((63, 63, 3), np.uint8)
    frame[...] = (200, 40, 90)
    heat = np.zeros((7, 7))
    heat[2, 5] = 1.0
    pixels = strips.overlay_heat(frame, heat)
    assert pixels[22, 49].tolist() == [200, 40, 90]
    dark = pixels[58, 4].tolist()
    assert dark[0] == dark[1] == dark[2] == round(strips.DIM * 110)
    assert strips.overlay_heat(frame, np.ones((7, 7))).tolist() == frame.tolist()


def test_saliency_has_a_row_a_name_under_the_frames():
    heats = {"yoga": np.zeros((3, 7, 7)), "true: archery": np.ones((3, 7, 7))}
    figure = draw(strips.plot_saliency(200 + clip(3), heats))
    pixels = [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes]
    dark = round(strips.DIM * 200)
    assert pixels == [200, 201, 202, dark, dark, dark, 200, 201, 202]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title][1:] == list(heats)


def test_a_single_frame_has_its_saliency_beside_it():
    figure = draw(strips.plot_saliency(clip(1), {"yoga": np.zeros((1, 7, 7))}))
    plain, heated = [axes for axes in figure.axes if axes.images]
    assert heated.get_title(loc="left") == "yoga"
    assert plain.get_position().y0 == pytest.approx(heated.get_position().y0, abs=0.005)


@pytest.mark.slow
def test_strip_and_saliency_show_same_frames():
    strip = draw(strips.plot_strip(clip(15), TOP))
    assert len(strip.axes) == 9
    prints(str(strip.get_supxlabel()), 8, 15)
    for figure in (strip, strips.plot_saliency(clip(15), {"yoga": np.zeros((15, 7, 7))})):
        assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes[:8]] == [0, 2, 4, 6, 8, 10, 12, 14]


def test_names_are_text_not_formulas():
    draw(strips.plot_strip(clip(2), [(name, 0.1) for name in HOSTILE], truth=HOSTILE[:1]))
    draw(strips.plot_saliency(clip(2), {name: np.zeros((2, 7, 7)) for name in HOSTILE}))
    draw(strips.plot_saliency(clip(1), {name: np.zeros((1, 7, 7)) for name in HOSTILE}))


@pytest.mark.parametrize("frames", [1, 4, 8])
def test_a_long_name_does_not_run_into_its_number(frames):
    top = [("a strawberry that jumps", 0.993), ("a strawberry spinning", 0.005), ("a bicycle, moving right", 0.002)]
    canvas = FigureCanvasAgg(strips.plot_strip(clip(frames, 32, 32), top, truth=["a strawberry spinning"]))
    canvas.draw()
    (*_, bars) = canvas.figure.axes
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in bars.texts]
    for name, number in zip(boxes[::2], boxes[1::2], strict=True):
        assert name.x1 + 3 < number.x0
