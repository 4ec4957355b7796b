"""Classes whose steps happen in order, scored by the best alignment of frames to steps. No table uses it.

`th.Recognizer(visual, AllFrames(), steps_head(encoder, {"drink": ("reach for the cup", "lift it", "drink")}))`
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

import texthead as th
from texthead.models import CosineHead, Temporal
from texthead.text import flat


class AllFrames(Temporal, nn.Flatten):
    """The features of a clip's frames, concatenated, as `StepsHead` takes them."""

    kind = "all-frames"


def align(similarity: Float[Tensor, "*batch frames steps"]) -> Float[Tensor, "*batch steps"]:
    """Return the largest mean similarity of frames to steps in order, for the first step, the first two, and so on.

    Every frame belongs to one step and every step has a frame: dynamic time warping. The mean over frames makes classes
    with different numbers of steps comparable; minus infinity if there are fewer frames than steps.
    """
    first, *frames = similarity.unbind(-2)
    best = F.pad(first[..., :1], (0, first.shape[-1] - 1), value=-torch.inf)
    for frame in frames:
        best = torch.maximum(best, F.pad(best[..., :-1], (1, 0), value=-torch.inf)) + frame
    return best / similarity.shape[-2]


class StepsHead(CosineHead):
    """Scores = scale x mean cosine between frames and the steps of a class, by the best alignment in order (`align`).

    A class of one step has the mean cosine, one with more steps than the clip has frames minus infinity.

    Args:
        steps: the rows of each class's steps, from one on.
        options: as for `CosineHead`.

    Source: ActAlign (arXiv:2506.22967), without its smoothing and its language model.
    """

    frozen = True
    steps: Tensor
    counts: Tensor

    def __init__(self, steps: Sequence[Float[Tensor, "steps dim"]], **options: Any):
        super().__init__(torch.stack([rows.mean(0) for rows in steps]), **options)
        self.register_buffer("steps", nn.utils.rnn.pad_sequence([*steps], batch_first=True))
        self.register_buffer("counts", torch.tensor([len(rows) for rows in steps]))

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return {**super().config(), "steps": self.counts.tolist()}

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        names: Sequence[str],
        *,
        dim: int,
        prompts: Sequence[str | Sequence[str]] | None = None,
    ) -> "StepsHead":
        """Return the head described by `config`, to load weights into."""
        options = cls.empty_options(config, dim)
        return cls([torch.ones(count, dim) for count in options.pop("steps")], names=names, prompts=prompts, **options)

    def rows(self) -> None:
        """Return that the classes cannot be edited."""

    def forward(self, features: Float[Tensor, "*batch frames_dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logits of each class."""
        frames = self.directions(features.unflatten(-1, (-1, self.weight.shape[1])))
        cosines = F.linear(frames, self.steps.flatten(0, 1)).unflatten(-1, self.steps.shape[:2]).transpose(-3, -2)
        best = align(cosines)
        return self.log_scale.exp() * best.gather(-1, (self.counts - 1).expand(best.shape[:-1])[..., None])[..., 0]


def steps_head(encoder: th.Encoder, steps: Mapping[str, Sequence[str]]) -> StepsHead:
    """Return a head of text rows from the sentences of each class's steps, in their order."""
    counts, prompts = [len(each) for each in steps.values()], [tuple(each) for each in steps.values()]
    rows = encoder.text_rows(flat(prompts)).split(counts)
    return StepsHead(rows, names=[*steps], scale=encoder.scale, center=encoder.center, kind="steps", prompts=prompts)
