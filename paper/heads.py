"""The heads that only tables compare: random and orthogonal rows (Table 1), one row per template (Table 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

import texthead as th
from texthead.errors import DataError
from texthead.models import CosineHead, RowInputs, empty_options, text_rows
from texthead.text import flat

Prompts = Sequence[str | Sequence[str]]


def normal(inputs: RowInputs) -> Float[Tensor, "classes dim"]:
    """Return rows of normal numbers, drawn from the recipe's seed."""
    return th.random_weights(len(inputs.labels), inputs.encoder.dim, generator=inputs.generator())


def orthogonal(inputs: RowInputs) -> Float[Tensor, "classes dim"]:
    """Return orthogonal rows, drawn from the recipe's seed."""
    return th.orthogonal_weights(len(inputs.labels), inputs.encoder.dim, generator=inputs.generator())


def variant_rows(encoder: th.Encoder, prompts: Prompts) -> Float[Tensor, "templates classes dim"]:
    """Return the text row of each prompt of each class: the first prompt of every class, then the second, and so on.

    Raises:
        DataError: classes have different numbers of prompts, or one each.
    """
    groups = [[prompt] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    counts = sorted({len(group) for group in groups})
    if len(counts) > 1 or counts[0] < 2:
        numbers = " to ".join(map(str, counts))
        raise DataError(f"classes have {numbers} prompts; to draw among them, give every class as many, two or more")
    return text_rows(encoder, flat(groups)).unflatten(0, (len(groups), -1)).transpose(0, 1)


class TemplatesHead(CosineHead):
    """A frozen cosine head with one row for each template and class.

    In training, each call draws one template's row for each class, with torch's generator; in testing the mean row
    counts.

    Args:
        variants: a row for each template and class; `weight` is the mean direction of a class's rows.
        options: as for `CosineHead`.

    Source: Table 4, "multiple fixed templates".
    Differs: the paper does not say when templates are drawn or how they are tested; ActionCLIP averages probabilities.
    """

    of_text = True
    frozen = True
    variants: Tensor

    def __init__(self, variants: Float[Tensor, "templates classes dim"], **options: Any):
        rows = F.normalize(variants.detach().float(), dim=-1)
        super().__init__(rows.mean(0), **options)
        self.register_buffer("variants", rows)

    @classmethod
    def start(cls, inputs: RowInputs) -> "TemplatesHead":
        """Return the head before training."""
        encoder, prompts = inputs.encoder, inputs.prompts
        sources = {"text_source": encoder.text_source, "text_map": encoder.text_map}
        return cls(variant_rows(encoder, prompts), prompts=prompts, kind="templates", **sources, **inputs.options)

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return {**super().config(), "templates": len(self.variants)}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], names: Sequence[str], *, dim: int, prompts: Prompts | None = None
    ) -> "TemplatesHead":
        """Return the head described by `config`, to load weights into."""
        options = empty_options(config, dim)
        return cls(torch.ones(options.pop("templates"), len(names), dim), names=names, prompts=prompts, **options)

    def rows(self) -> Float[Tensor, "classes rows numbers"]:
        """Return a copy of the rows of each class, one per template."""
        return self.variants.transpose(0, 1).clone()

    def state_of(self, rows: Float[Tensor, "classes rows numbers"]) -> dict[str, Tensor]:
        """Return the entries of the state dict that hold `rows`."""
        return {"weight": F.normalize(rows.mean(1), dim=-1), "variants": rows.transpose(0, 1)}

    def encode_rows(self, encoder: th.Encoder, prompts: Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows for new classes, one per template."""
        rows, needed = variant_rows(encoder, prompts).transpose(0, 1), len(self.variants)
        if rows.shape[1] != needed:
            raise DataError(
                f"this head needs {needed} prompts per class, got {rows.shape[1]}; give that many per class"
            )
        return rows

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logits of each class."""
        if not self.training:
            return self._logits(features, self.weight)
        classes = len(self.names)
        drawn = torch.randint(len(self.variants), (classes,)).to(features.device)
        return self._logits(features, self.variants[drawn, torch.arange(classes, device=features.device)])
