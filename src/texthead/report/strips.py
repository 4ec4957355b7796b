"""Figures of one clip: its frames with the predicted classes, and its saliency maps.

As in figures.py, matplotlib is imported only to draw, and names are never formulas.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from texthead.report.figures import COLOURS, FIGURE_WIDTH, GREY, PALE, short

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


STRIP_FRAMES = 8  # drawn of one clip

BAR_PITCH = 0.38  # distance between predictions, in inches

DIM = 0.22  # relative brightness where the heat is 0


class Strip(NamedTuple):
    """One clip of the report.

    Attributes:
        name: file name.
        frames: as the model gets them.
        top: the predicted classes and the next ones with their probabilities 0..1, best first; then true classes that
            rank lower.
        truth: the true classes.
        rank: rank of the only true class by probability, from 1; None for multi-label data.
        num_predicted: how many classes are predicted, the first of `top`.
        heats: saliency maps 0..1 by title.
        note: text below the heat maps.
    """

    name: str
    frames: UInt8[np.ndarray, "frames height width 3"]
    top: Sequence[tuple[str, float]]
    truth: Sequence[str]
    rank: int | None = None
    num_predicted: int = 1
    heats: Mapping[str, Float[np.ndarray, "frames rows columns"]] = MappingProxyType({})
    note: str = ""

    @property
    def is_mistake(self) -> bool:
        """Whether the predicted classes are not the true ones."""
        return {name for name, _ in self.top[: self.num_predicted]} != set(self.truth)

    def picture(self) -> "matplotlib.figure.Figure":
        """Draw the frames with the most probable classes as bars beside them.

        True classes are bold and blue with a tick, wrong predictions are hatched with a cross. Of more than 8 frames, 8
        evenly spaced ones are drawn, with a line that says so. Five or more frames take two rows.
        """
        from matplotlib.figure import Figure

        frames = self.frames
        chosen = _spaced(len(frames))
        lines = 1 if len(chosen) <= 4 else 2
        columns = -(-len(chosen) // lines)
        left = min(3.7, 1.9 * columns)  # inches for the frames
        high = max(min(lines * left / columns * frames.shape[1] / frames.shape[2], 3.2), BAR_PITCH * len(self.top))
        figure = Figure(figsize=(FIGURE_WIDTH, 0.4 + high), layout="constrained")
        grid = figure.add_gridspec(1, 2, width_ratios=(left, FIGURE_WIDTH - left))
        cells = grid[0].subgridspec(lines, columns, wspace=0.03, hspace=0.03)
        for cell, index in enumerate(chosen):
            axes = figure.add_subplot(cells[cell // columns, cell % columns])
            axes.imshow(frames[index], interpolation="none")
            axes.set_anchor("S" if cell + columns < len(chosen) else "N")  # so that the two rows touch
            axes.set_axis_off()
        self._draw_probabilities(figure.add_subplot(grid[1]), high, FIGURE_WIDTH - left)
        labels = ", ".join(self.truth) or "no class"
        rank = "" if self.rank is None else f" class ranked {self.rank}"
        verdict = (
            f"✗ wrong, true{rank}: {short(labels, 24 if rank else 40)}"
            if self.is_mistake
            else f"✓ correct: {short(labels, 40)}"
        )
        figure.suptitle(verdict, x=0.01, ha="left", fontsize=10, fontweight="bold", parse_math=False)
        if len(chosen) < len(frames):
            figure.supxlabel(f"{len(chosen)} of {len(frames)} frames", x=0.01, ha="left", fontsize=8, color=GREY)
        return figure

    def _draw_probabilities(self, axes: "matplotlib.axes.Axes", inches: float, wide: float) -> None:
        """Draw the bars, each below its class name, into `inches` of height and `wide` inches of width."""
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import TextPath

        room = 72 * wide - 50  # points for a name, beside its number
        for index, (name, probability) in enumerate(self.top):
            mark, colour, hatch, weight = "", GREY, "", "normal"
            if name in self.truth:
                mark, colour, weight = "✓ ", COLOURS[0], "bold"
            elif index < self.num_predicted:
                mark, colour, hatch = "✗ ", COLOURS[1], "////"
            axes.barh(index, 1.0, height=0.3, color=PALE)
            axes.barh(index, probability, height=0.3, color=colour, hatch=hatch, edgecolor="white")
            label = mark + short(name)
            long = TextPath((0, 0), label, size=9, prop=FontProperties(weight=weight)).get_extents().width
            font: dict[str, Any] = {"fontweight": weight, "va": "bottom"}
            axes.text(0, index - 0.22, label, fontsize=9 * min(1, room / long), parse_math=False, **font)
            axes.text(1, index - 0.22, percent(probability), ha="right", fontsize=9, **font)
        axes.set_xlim(0, 1)
        axes.set_ylim(inches / BAR_PITCH - 0.75, -0.75)
        axes.set_axis_off()

    def heat_picture(self) -> "matplotlib.figure.Figure":
        """Draw the frames and, in a row for each heat map, the same frames lit where the heat is high.

        At heat 1 the frame is unchanged, at 0 it is dark and grey. Of more than 8 frames, 8 evenly spaced ones are
        drawn. For a single frame, the rows become columns.
        """
        from matplotlib.figure import Figure

        frames = self.frames
        chosen = _spaced(len(frames))
        in_row = len(chosen) == 1
        rows = {"frame" if in_row else "frames": [frames[index] for index in chosen]}
        rows |= {name: [overlay_heat(frames[i], heat[i]) for i in chosen] for name, heat in self.heats.items()}
        columns = max(len(rows), 4) if in_row else len(chosen)
        side = min(FIGURE_WIDTH / columns, 1.9)
        high = side * frames.shape[1] / frames.shape[2] + (0.22 if in_row else 0)
        figure = Figure(figsize=(FIGURE_WIDTH, high if in_row else len(rows) * (high + 0.22)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.03, wspace=0.01, hspace=0.01)  # pyright: ignore
        grid = figure.subplots(1 if in_row else len(rows), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for row, (title, pictures) in enumerate(rows.items()):
            for column, picture in enumerate(pictures):
                axes = grid[0, row] if in_row else grid[row, column]
                axes.imshow(picture, interpolation="none")
                axes.set_anchor("NW")
                if not column:
                    axes.set_title(short(title, 20 if in_row else 60), loc="left", fontsize=8, pad=2, parse_math=False)
        return figure


def _spaced(count: int) -> list[int]:
    """Return at most 8 of `count` indices, evenly spaced, including the first and the last: 8 of 15 are 0, 2 ... 14."""
    return np.linspace(0, count - 1, min(count, STRIP_FRAMES)).round().astype(int).tolist()


def percent(probability: float) -> str:
    """Return a probability 0..1 as a percentage, never rounded to 0 or 100: "<0.1 %", "12.3 %", ">99.9 %"."""
    if 0 < probability < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if 0.9995 <= probability < 1 else f"{100 * probability:.1f} %"


def overlay_heat(
    frame: UInt8[np.ndarray, "height width 3"], heat: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the frame with its original colours where the heat is 1, fading to dark grey where it is 0."""
    size = (frame.shape[1], frame.shape[0])
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[..., None]
    dark = DIM * frame.mean(axis=-1, keepdims=True)
    return (dark + smooth.clip(0, 1) * (frame - dark)).round().clip(0, 255).astype(np.uint8)
