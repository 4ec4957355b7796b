"""Where in its frames a clip's answer comes from: what a score loses when a region is covered.

Nothing but scores is used, so it is the same for a convolutional encoder and for a ViT. It says what the score needs to
see, not what the model reasons, and it covers one region at a time: where either of two things would do, neither is
hot, and what is called so because nothing else is there is hot nowhere. A cover is an edge of its own, so weak heat on
an empty ground is noise.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.errors import DataError
from texthead.features.engine import Engine
from texthead.features.frames import frames_together
from texthead.models.recognizer import Recognizer
from texthead.recipes import EngineName

GRID = 7


class Covered(NamedTuple):
    """Scores of a clip as it is, and with one region covered: in one frame, at one row and column of the grid."""

    plain: Float[Tensor, " classes"]
    covered: Float[Tensor, "frames rows columns classes"]

    def at_temperature(self, temperature: float) -> "Covered":
        """The same after a temperature, as `calibrate` fits it: with the probabilities that `predict` then says."""
        return Covered(self.plain / temperature, self.covered / temperature)

    def heat(self, place: int) -> Float[Tensor, "frames rows columns"]:
        """How much covering a region speaks against the class at `place`: 1 where most, 0 where not at all or for it.

        In terms of log-odds against all other classes, which still move where a probability is next to 1. All 0 where
        nothing speaks for the class.
        """
        lost = self._lost(place)
        return lost / lost.max() if lost.max() > 0 else lost

    def strength(self, place: int) -> float:
        """The log-odds that the hottest region takes from the class: 0.7 halves its odds, below 0.1 is hardly any."""
        return float(self._lost(place).max())

    def probabilities(self, place: int) -> tuple[float, float]:
        """(the probability of the class at `place`, what is left of it with its hottest region covered)."""
        lowest = _log_odds(self.covered, place).argmin()
        covered = self.covered.softmax(-1)[..., place].flatten()[lowest]
        return float(self.plain.softmax(-1)[place]), float(covered)

    def _lost(self, place: int) -> Float[Tensor, "frames rows columns"]:
        return (_log_odds(self.plain, place) - _log_odds(self.covered, place)).clamp(min=0)


def _log_odds(scores: Float[Tensor, "*places classes"], place: int) -> Float[Tensor, "*places"]:
    """log(p / (1 - p)) of the class; its bare score where it is the only one."""
    if scores.shape[-1] == 1:
        return scores[..., 0]
    others = [other for other in range(scores.shape[-1]) if other != place]
    return scores[..., place] - scores[..., others].logsumexp(-1)


def saliency(
    model: Recognizer, clip: UInt8[Tensor, "frames 3 height width"], name: str, *, grid: int = GRID
) -> Float[Tensor, "frames {grid} {grid}"]:
    """Heat 0..1 of each region of each frame: how much the clip needs it to be called `name`.

    Args:
        clip: cropped as the model takes it.
        name: one of the model's class names.
        grid: regions along each side.

    Raises:
        DataError: no such class, or a grid that the frames are too small for.
    """
    if name not in model.names:
        raise DataError(f"no class {name!r} among {len(model.names)}: name one of {', '.join(model.names[:8])}")
    return cover(model, clip, grid=grid).heat(model.names.index(name))


@torch.inference_mode()
def cover(
    model: Recognizer,
    clip: UInt8[Tensor, "frames 3 height width"],
    *,
    grid: int = GRID,
    engine: EngineName = "eager",
) -> Covered:
    """The scores of a clip as it is and with each region of each frame covered, one at a time.

    The cover is a square of the frame's mean colour, centred on the region and twice as wide: one as wide as the region
    leaves half of a thing on its border to be seen. It takes frames x grid x grid passes of a frame through the
    encoder. Behind convolutions over frames, where a frame's feature depends on its neighbours, the region is covered
    in all frames at once, so that all frames share a map.

    Args:
        engine: what runs the encoder, as `Reading` has it.

    Raises:
        DataError: a grid that the frames are too small for.
    """
    frames, _, height, width = clip.shape
    if not 1 <= grid <= min(height, width):
        raise DataError(f"grid must be 1 to {min(height, width)}, the short side of the frames, got {grid}")
    model.eval()
    if model.sees_frames_apart:
        encoder = Engine(model.visual, engine, frames * (1 + grid * grid))
        plain, covered = _apart(model, encoder, clip, grid)
    else:
        plain, covered = _together(model, clip, grid)
    return Covered(
        plain.float().cpu(), covered.float().cpu().reshape(-1, grid, grid, plain.shape[-1]).expand(frames, -1, -1, -1)
    )


def _apart(
    model: Recognizer, encoder: Engine, clip: UInt8[Tensor, "frames 3 height width"], grid: int
) -> tuple[Tensor, Tensor]:
    """Each covered frame is encoded alone, and takes its frame's place among the features of the others."""
    seen = _encoded(encoder, clip, model.device)
    found = []
    for place, frame in enumerate(clip):
        other = seen.expand(grid * grid, -1, -1).clone()
        other[:, place] = _encoded(encoder, _covers(frame[None], grid)[:, 0], model.device)
        found.append(model.head(model.temporal(other)))
    return model.head(model.temporal(seen[None]))[0], torch.stack(found)


def _together(model: Recognizer, clip: UInt8[Tensor, "frames 3 height width"], grid: int) -> tuple[Tensor, Tensor]:
    """The region is covered in all frames of the clip."""
    device = model.device
    most = max(1, frames_together(device) // len(clip))
    parts = torch.cat([clip[None], _covers(clip, grid)]).split(most)
    scores = torch.cat([model(part.to(device)) for part in parts])
    return scores[0], scores[1:]


def _encoded(
    encoder: Engine, frames: UInt8[Tensor, "frames 3 height width"], device: torch.device
) -> Float[Tensor, "frames dim"]:
    return torch.cat([encoder(part.to(device)) for part in frames.split(frames_together(device))])


def _covers(clip: UInt8[Tensor, "frames 3 height width"], grid: int) -> UInt8[Tensor, "places frames 3 height width"]:
    """The clip once for each region, row by row, with that region covered in all its frames."""
    height, width = clip.shape[-2:]
    colour = clip.float().mean((-2, -1), keepdim=True).round().to(torch.uint8)
    copies = clip.expand(grid * grid, *clip.shape).clone()
    for place, copy in enumerate(copies):
        top, bottom = _box(place // grid, height, grid)
        left, right = _box(place % grid, width, grid)
        copy[..., top:bottom, left:right] = colour
    return copies


def _box(place: int, side: int, grid: int) -> tuple[int, int]:
    """Where a cover begins and ends along a side: half a region beyond its own on either hand.

    Worked example, side 112, grid 7: regions of 16. The first cover is 0..24, the second 8..40, the last 88..112.
    """
    begin, end = (place - 0.5) * side / grid, (place + 1.5) * side / grid
    return max(0, math.floor(begin)), min(side, math.ceil(end))
