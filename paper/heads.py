"""The heads that only tables compare: random and orthogonal rows (Table 1), one row per template (Table 4)."""

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.apps.checkpoints import MeanProbabilityHead
from texthead.errors import DataError
from texthead.models import Head, RowInputs


def normal(inputs: RowInputs) -> Float[Tensor, "classes dim"]:
    """Return rows of normal numbers, drawn from the recipe's seed.

    Source: Eq. 4; "Random normal matrix" in Table 1.
    """
    return torch.randn(len(inputs.labels), inputs.encoder.dim, generator=inputs.generator())


def orthogonal(inputs: RowInputs) -> Float[Tensor, "classes dim"]:
    """Return the first rows of the orthogonal factor of a random normal dim x dim matrix: W W^T = I.

    Source: Eq. 5; "Random orthogonal matrix" in Table 1.

    Raises:
        DataError: there are more classes than dimensions, so the rows cannot be orthogonal.
    """
    classes, dim = len(inputs.labels), inputs.encoder.dim
    if classes > dim:
        raise DataError(f"{classes} classes > {dim} dimensions: at most {dim} rows can be orthogonal; use other rows")
    # Double precision, so that W W^T = I holds to float32 precision.
    square = torch.randn(dim, dim, generator=inputs.generator(), dtype=torch.float64)
    return torch.linalg.qr(square).Q[:classes].float()


class TemplatesHead(MeanProbabilityHead):
    """A frozen cosine head with one row for each template and class.

    In training, each call draws one template's row for each class, with torch's generator; in testing the mean row
    counts.

    Source: Table 4, "multiple fixed templates".
    Differs: the paper does not say when templates are drawn or how they are tested; ActionCLIP averages probabilities.
    """

    needs_text = True

    @classmethod
    def from_inputs(cls, inputs: RowInputs) -> Head:
        """Return the head before training."""
        return cls.from_prompts(inputs.encoder, inputs.prompts, kind="templates", **inputs.options)

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logits of each class."""
        if not self.training:
            return self._logits(features, self.weight)
        classes = len(self.names)
        drawn = torch.randint(self.all_rows.shape[1], (classes,)).to(features.device)
        return self._logits(features, self.all_rows[torch.arange(classes, device=features.device), drawn])
