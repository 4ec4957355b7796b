"""Pictures of one clip: its frames beside the predicted classes, and where in them the prediction comes from.

As in figures.py: matplotlib is imported when something is drawn, names are data and not formulas.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from texthead.errors import TextheadError
from texthead.report.figures import COLOURS, GREY, PALE, WIDTH, short

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


SHOWN_FRAMES = 8  # frames of one clip in a strip

BAR_PITCH = 0.38  # inches from one prediction to the next

DIM = 0.22  # what is left of the light where no heat is


def plot_strip(
    frames: UInt8[np.ndarray, "frames height width 3"],
    top: Sequence[tuple[str, float]],
    *,
    truth: str | None = None,
    place: int | None = None,
) -> "matplotlib.figure.Figure":
    """Draw the frames of one clip, the most probable classes as bars beside them.

    `top` holds class names and probabilities 0..1, the best first. With a `truth`, the title says in words
    whether the first is right; the true class is the bold blue bar with a tick, a wrong first answer the
    hatched one with a cross. A true class further behind may stand last in `top`: `place` says which it is of all.
    Of more than 8 frames, 8 evenly spaced ones are shown, and a line below says so. Five frames or more fill two rows.

    Raises: TextheadError without frames or predictions, or when a probability is outside 0..1.
    """
    from matplotlib.figure import Figure

    if not len(frames) or not top:
        raise TextheadError(f"a strip needs a frame and a prediction, got {len(frames)} and {len(top)}")
    for name, probability in top:
        if not 0 <= probability <= 1:
            raise TextheadError(f"a probability lies between 0 and 1, got {probability} for {name!r}")
    shown = _spaced(len(frames), SHOWN_FRAMES)
    lines = 1 if len(shown) <= 4 else 2
    columns = -(-len(shown) // lines)
    left = min(3.7, 1.9 * columns)  # inches for the frames
    high = max(min(lines * left / columns * frames.shape[1] / frames.shape[2], 3.2), BAR_PITCH * len(top))
    figure = Figure(figsize=(WIDTH, 0.4 + high), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(left, WIDTH - left))
    cells = grid[0].subgridspec(lines, columns, wspace=0.03, hspace=0.03)
    for cell, index in enumerate(shown):
        axes = figure.add_subplot(cells[cell // columns, cell % columns])
        axes.imshow(frames[index], interpolation="none")
        axes.set_anchor("S" if cell + columns < len(shown) else "N")  # the two rows lean on each other
        axes.set_axis_off()
    _draw_probabilities(figure.add_subplot(grid[1]), top, truth, high, WIDTH - left)
    heading = _verdict(top, truth, place)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=10, fontweight="bold", parse_math=False)
    if len(shown) < len(frames):
        figure.supxlabel(f"{len(shown)} of {len(frames)} frames", x=0.01, ha="left", fontsize=8, color=GREY)
    return figure


def _spaced(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` indices, evenly spaced, the first and the last among them.

    10 frames, 4 of them: [0, 3, 6, 9]. 3 frames, 4 allowed: [0, 1, 2].
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def percent(probability: float) -> str:
    """Return a probability 0..1 as a percent that is never rounded to certainty: "<0.1%", "12.3%", ">99.9%"."""
    if 0 < probability < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= probability < 1 else f"{100 * probability:.1f}%"


def _verdict(top: Sequence[tuple[str, float]], truth: str | None, place: int | None) -> str:
    names = [name for name, _ in top]
    if truth is None:
        return f"predicted: {short(names[0], 40)}"
    if names[0] == truth:
        return f"✓ right: {short(truth, 40)}"
    place = place or (names.index(truth) + 1 if truth in names else None)
    where = f"at place {place}" if place else f"not in the first {len(names)}"
    return f"✗ wrong, truth {where}: {short(truth)}"


def _draw_probabilities(
    axes: "matplotlib.axes.Axes", top: Sequence[tuple[str, float]], truth: str | None, inches: float, wide: float
) -> None:
    """Draw the bars from the top of `inches` of height and along `wide` inches, each under its name."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    room = 72 * wide - 50  # points that a name has beside its number
    for place, (name, probability) in enumerate(top):
        right = name == truth
        wrong = truth is not None and place == 0 and not right
        colour = COLOURS[0] if right else COLOURS[1] if wrong else GREY
        axes.barh(place, 1.0, height=0.3, color=PALE)
        hatch = "////" if wrong else ""
        axes.barh(place, probability, height=0.3, color=colour, hatch=hatch, edgecolor="white")
        mark = "✓ " if right else "✗ " if wrong else ""
        font: dict[str, Any] = {"fontweight": "bold" if right else "normal", "va": "bottom"}
        label = mark + short(name)
        long = TextPath((0, 0), label, size=9, prop=FontProperties(weight=font["fontweight"])).get_extents().width
        axes.text(0, place - 0.22, label, fontsize=9 * min(1, room / long), parse_math=False, **font)
        axes.text(1, place - 0.22, percent(probability), ha="right", fontsize=9, **font)
    axes.set_xlim(0, 1)
    axes.set_ylim(inches / BAR_PITCH - 0.75, -0.75)
    axes.set_axis_off()


def plot_saliency(
    frames: UInt8[np.ndarray, "frames height width 3"],
    heats: Mapping[str, Float[np.ndarray, "_ rows columns"]],
) -> "matplotlib.figure.Figure":
    """Draw the frames of one clip, and below them, once for each name, the same frames lit where the heat is.

    `heats` maps what a row is called to its heat, 0..1: where it is 1 a frame is as it was, where it is 0 it is dark
    and grey. Of more than 8 frames, 8 evenly spaced ones are shown. A single frame has its lit ones beside it.

    Raises: TextheadError without frames or heat, or when a heat is of another number of frames.
    """
    from matplotlib.figure import Figure

    if not len(frames) or not heats:
        raise TextheadError(f"a saliency strip needs a frame and a heat, got {len(frames)} and {len(heats)}")
    for name, heat in heats.items():
        if len(heat) != len(frames):
            raise TextheadError(f"heat of {name!r} is of {len(heat)} frames, the clip has {len(frames)}")
    shown = _spaced(len(frames), SHOWN_FRAMES)
    rows = {"as it is" if len(shown) == 1 else "as they are": [frames[index] for index in shown]}
    rows |= {name: [lit(frames[index], heat[index]) for index in shown] for name, heat in heats.items()}
    beside = len(shown) == 1
    columns = max(len(rows), 4) if beside else len(shown)
    side = min(WIDTH / columns, 1.9)
    high = side * frames.shape[1] / frames.shape[2] + (0.22 if beside else 0)
    figure = Figure(figsize=(WIDTH, high if beside else len(rows) * (high + 0.22)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.03, wspace=0.01, hspace=0.01)  # pyright: ignore
    grid = figure.subplots(1 if beside else len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (title, pictures) in enumerate(rows.items()):
        for column, picture in enumerate(pictures):
            axes = grid[0, row] if beside else grid[row, column]
            axes.imshow(picture, interpolation="none")
            axes.set_anchor("NW")
            if not column:
                axes.set_title(short(title, 26 if beside else 60), loc="left", fontsize=8, pad=2, parse_math=False)
    return figure


def lit(
    frame: UInt8[np.ndarray, "height width 3"], heat: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the frame as it is where the heat is 1, dark and grey where it is 0, and smoothly between."""
    size = (frame.shape[1], frame.shape[0])
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[..., None]
    dark = DIM * frame.mean(axis=-1, keepdims=True)
    return (dark + smooth.clip(0, 1) * (frame - dark)).round().clip(0, 255).astype(np.uint8)
