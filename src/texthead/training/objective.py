"""The loss of a recipe, and the base class of losses that packages add."""

from collections.abc import Mapping

from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from texthead.errors import RunError
from texthead.models.recognizer import Recognizer
from texthead.recipes import Recipe, named


class Objective(nn.Module):
    """Base class of losses that are computed from clips and labels, instead of from the logits alone.

    Its weights are trained at the recipe's `lr`.

    Attributes:
        trains_text: whether it trains a text encoder, whose weights a step may leave without a gradient. The encoder is
            not saved with the run.
    """

    trains_text: bool = False

    def config(self) -> Mapping[str, object]:
        """Return what `recipe.json` stores about the loss, as JSON values."""
        return {}

    def check(self, model: Recognizer, *, accumulate: int) -> None:
        """Raise RunError if the loss cannot train this model with so many passes per step."""

    def forward(
        self, model: Recognizer, clips: Shaped[Tensor, "batch frames *frame"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the mean loss of the batch.

        Args:
            labels: indices of head rows, which may be on the CPU; clips with a label below 0 do not count, but must
                pass through the encoder.
        """
        raise NotImplementedError

    def refresh(self, model: Recognizer) -> None:
        """Update the model after an epoch, such as the rows of its head."""


def cross_entropy(_: Recognizer) -> None:
    """Return that the loss is the cross-entropy of the logits, which the training loop computes itself."""


def make_objective(recipe: Recipe, model: Recognizer) -> Objective | None:
    """Return the recipe's loss for a model; None for the cross-entropy of the logits.

    Raises:
        RunError: no installed package has the loss, or the package is broken.
    """
    entry = named("loss", recipe.loss)
    make = entry.load()
    with entry.errors():
        objective = make(model)
    if not (entry.ours or isinstance(objective, Objective)):
        raise RunError(entry.broken(f"returned a {type(objective).__name__}, not an Objective"))
    return objective
