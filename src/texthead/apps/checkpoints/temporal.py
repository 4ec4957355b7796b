"""Temporal modules of published classifiers, with which training cannot start."""

from jaxtyping import Float
from torch import Tensor, nn

from texthead import Recipe, TemporalTransformer, VisualEncoder
from texthead.errors import RunError
from texthead.models import Temporal


class _Imported(Temporal):
    @classmethod
    def from_recipe(cls, recipe: Recipe, visual: VisualEncoder) -> Temporal:
        """Raise RunError."""
        raise RunError(f"`temporal={cls.kind}` comes with a checkpoint, so training cannot start with it")


class JoinedFrames(_Imported, nn.Flatten):
    """The features of a clip's frames, concatenated.

    Source: BIKE without a temporal transformer, whose head weights the frames for each class (`SpottingHead`).
    """

    kind = "frames"


class FrameTransformer(_Imported, TemporalTransformer):
    """`TemporalTransformer` without the mean: returns the features of a clip's frames, concatenated.

    Source: BIKE, whose head weights the frames for each class (`SpottingHead`).
    """

    kind = "frame-transformer"

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch numbers"]:
        """Return the concatenated frame features of each clip."""
        return self.frames(features).flatten(1)
