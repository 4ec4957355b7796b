"""Pictures of a clip: they show the given numbers, mark right and wrong without colour, and show heat as light."""

import numpy as np
import pytest

from messages import prints
from plots import HOSTILE, draw, read_texts
from texthead.report import strips
from texthead.report.strips import Strip


def clip(frames: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, height, width, 3), dtype=np.uint8)


TOP = [("archery", 0.7), ("yoga", 0.2), ("zumba", 0.1)]


def strip_of(frames: np.ndarray, top: list[tuple[str, float]] = TOP, truth: tuple[str, ...] = (), **more) -> Strip:
    return Strip("clip.mp4", frames, top, truth, **more)


def test_strip_shows_frames_and_probabilities():
    figure = strip_of(clip(4)).picture()
    *pictures, bars = figure.axes
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in pictures] == [0, 1, 2, 3]
    # Behind each bar is a pale one for the whole range.
    assert [bar.get_width() for bar in bars.patches] == [1.0, 0.7, 1.0, 0.2, 1.0, 0.1]
    assert read_texts(bars) == ["✗ archery", "70.0 %", "yoga", "20.0 %", "zumba", "10.0 %"]


@pytest.mark.parametrize(
    ("truth", "rank", "num_predicted", "title", "labels", "hatched"),
    [
        (("archery",), 1, 1, ("✓", "archery"), ["✓ archery", "yoga", "zumba"], 0),
        (("yoga",), 2, 1, ("✗", 2, "yoga"), ["✗ archery", "✓ yoga", "zumba"], 1),
        (("zumba",), 17, 1, ("✗", 17, "zumba"), ["✗ archery", "yoga", "✓ zumba"], 1),
        (("archery", "yoga"), None, 2, ("✓", "archery, yoga"), ["✓ archery", "✓ yoga", "zumba"], 0),
        (("archery", "zumba"), None, 2, ("✗", "archery, zumba"), ["✓ archery", "✗ yoga", "✓ zumba"], 1),
        ((), None, 1, ("✗", "no class"), ["✗ archery", "yoga", "zumba"], 1),
        ((), None, 0, ("✓", "no class"), ["archery", "yoga", "zumba"], 0),
    ],
)
def test_right_and_wrong_differ_without_colour(truth, rank, num_predicted, title, labels, hatched):
    figure = strip_of(clip(1), truth=truth, rank=rank, num_predicted=num_predicted).picture()
    bars = figure.axes[-1]
    prints(figure.get_suptitle(), *title)
    assert read_texts(bars)[::2] == labels
    assert sum(bool(bar.get_hatch()) for bar in bars.patches) == hatched


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
    figure = draw(strip_of(200 + clip(3), heats=heats).heat_picture())
    pixels = [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes]
    dark = round(strips.DIM * 200)
    assert pixels == [200, 201, 202, dark, dark, dark, 200, 201, 202]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title][1:] == list(heats)


@pytest.mark.slow
def test_strip_and_saliency_show_same_frames():
    strip = strip_of(clip(15), heats={"yoga": np.zeros((15, 7, 7))})
    pictures = draw(strip.picture()), strip.heat_picture()
    assert len(pictures[0].axes) == 9
    prints(str(pictures[0].get_supxlabel()), 8, 15)
    for figure in pictures:
        assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes[:8]] == [0, 2, 4, 6, 8, 10, 12, 14]


@pytest.mark.parametrize("frames", [1, 2])
def test_names_are_text_not_formulas(frames):
    heats = {name: np.zeros((frames, 7, 7)) for name in HOSTILE}
    strip = strip_of(clip(frames), [(name, 0.1) for name in HOSTILE], (HOSTILE[0],), heats=heats)
    assert len(read_texts(draw(strip.picture()).axes[-1])) == 2 * len(HOSTILE)
    draw(strip.heat_picture())
