"""Occlusion saliency: the regions of a clip's frames that a prediction depends on.

The map shows how much a score drops when a region is covered. It uses only scores, so it works alike for convolutional
encoders and ViTs. Only one region is covered at a time: if either of two objects is enough for the prediction, neither
shows up, and a class predicted because of what is absent has no hot region. The cover adds edges of its own, so weak
heat on an empty background is noise.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.features.engine import Engine
from texthead.models.recognizer import Recognizer
from texthead.recipes import EngineName

GRID = 7

# Covering a region must lower the log-odds of a class by this much, or its heat, which is relative, would mislead.
FAINT = 0.2

# An encoder of clips encodes the whole clip for each region, so it has fewer.
CLIP_GRID = 4


class Covered(NamedTuple):
    """Scores of a clip without a cover, and with one region of one frame covered."""

    plain: Float[Tensor, " classes"]
    covered: Float[Tensor, "frames rows columns classes"]

    def at_temperature(self, temperature: float) -> "Covered":
        """Return the scores divided by a temperature of `calibrate`, so that probabilities agree with `predict`."""
        return Covered(self.plain / temperature, self.covered / temperature)

    def heat(self, target: int) -> Float[Tensor, "frames rows columns"]:
        """Return how much covering each region lowers the score of class `target`, relative to the largest drop (0-1).

        Drops are of the log-odds against all other classes, which do not saturate when the probability is close to 1.
        All are 0 if no cover lowers the score.
        """
        lost = self._drops(target)
        return lost / lost.max() if lost.max() > 0 else lost

    def strength(self, target: int) -> float:
        """Return the largest drop of the log-odds of class `target`: 0.7 halves the odds, below 0.1 is negligible."""
        return float(self._drops(target).max())

    def is_faint(self, target: int) -> bool:
        """Return whether covering any one region hardly lowers class `target`, so that its heat would mislead."""
        return self.strength(target) < FAINT

    def probabilities(self, target: int) -> tuple[float, float]:
        """Return the probability of class `target` without a cover and with its hottest region covered."""
        lowest = self._log_odds(self.covered, target).argmin()
        before, after = self.plain.softmax(-1)[target], self.covered.softmax(-1)[..., target].flatten()[lowest]
        return float(before), float(after)

    def _drops(self, target: int) -> Float[Tensor, "frames rows columns"]:
        return (self._log_odds(self.plain, target) - self._log_odds(self.covered, target)).clamp(min=0)

    def _log_odds(self, scores: Float[Tensor, "*covers classes"], target: int) -> Float[Tensor, "*covers"]:
        """Return log(p / (1 - p)) of the class; its score if it is the only class."""
        if scores.shape[-1] == 1:
            return scores[..., target]
        others = [other for other in range(scores.shape[-1]) if other != target]
        return scores[..., target] - scores[..., others].logsumexp(-1)


@torch.inference_mode()
def cover(
    model: Recognizer,
    clip: UInt8[Tensor, "frames 3 height width"],
    *,
    engine: EngineName = "eager",
) -> Covered:
    """Score a clip without a cover and with each region of each frame covered, one at a time.

    The cover is a rectangle of the frame's mean colour, centered on the region and twice as wide: a cover of the same
    width would leave half of an object on the border visible. The cost is frames x grid x grid encoder passes of one
    frame. With an encoder of clips and with temporal convolutions, the region is covered in all frames at once, so that
    all share one map; the cost is grid x grid passes of the clip.

    Args:
        clip: frames cropped to the model's input size.
        engine: as in `ReadOptions`.
    """
    frames, _, height, width = clip.shape
    grid = min(CLIP_GRID if model.takes_clips else GRID, height, width)
    model.eval()
    if model.encodes_frames_independently:
        encoder = Engine(model.visual, engine, frames * (1 + grid * grid))
        plain, covered = _cover_each(model, encoder, clip, grid)
    else:
        plain = model(clip[None].to(model.device))[0]
        covered = Engine(model)(_covers(clip, grid).to(model.device)).expand(frames, -1, -1)
    return Covered(plain.float().cpu(), covered.float().cpu().unflatten(1, (grid, grid)))


def _cover_each(
    model: Recognizer, encoder: Engine, clip: UInt8[Tensor, "frames 3 height width"], grid: int
) -> tuple[Tensor, Tensor]:
    """Cover the region in one frame at a time; only that frame is encoded again."""
    plain = encoder(clip.to(model.device))
    scores = []
    for index, frame in enumerate(clip):
        covered = plain.expand(grid * grid, -1, -1).clone()
        covered[:, index] = encoder(_covers(frame[None], grid)[:, 0].to(model.device))
        scores.append(model.head(model.temporal(covered)))
    return model.head(model.temporal(plain[None]))[0], torch.stack(scores)


def _covers(clip: UInt8[Tensor, "frames 3 height width"], grid: int) -> UInt8[Tensor, "covers frames 3 height width"]:
    """Return a copy of the clip for each region, row by row, with that region covered in all frames."""
    height, width = clip.shape[-2:]
    colour = clip.float().mean((-2, -1), keepdim=True).round().to(torch.uint8)
    copies = clip.expand(grid * grid, *clip.shape).clone()
    for index, copy in enumerate(copies):
        top, bottom = _box(index // grid, height, grid)
        left, right = _box(index % grid, width, grid)
        copy[..., top:bottom, left:right] = colour
    return copies


def _box(index: int, side: int, grid: int) -> tuple[int, int]:
    """Return where a cover begins and ends along a side: half a region beyond its own on either side.

    Worked example, side 112, grid 7: regions of 16. The first cover is 0..24, the second 8..40, the last 88..112.
    """
    begin, end = (index - 0.5) * side / grid, (index + 1.5) * side / grid
    return max(0, math.floor(begin)), min(side, math.ceil(end))
