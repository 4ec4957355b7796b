"""Heads with several text rows per class, and ActionCLIP's: the mean of the probabilities that each template gives."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from texthead import Encoder
from texthead.errors import DataError
from texthead.models import CosineHead, empty_options, text_rows
from texthead.text import flat

_Prompts = Sequence[str | Sequence[str]]


class PromptsHead(CosineHead):
    """A frozen cosine head with several text rows for each class."""

    frozen = True

    @classmethod
    def of_prompts(cls, encoder: Encoder, prompts: _Prompts, **options: Any) -> "PromptsHead":
        """Return a head with the rows of prompts; `options` as for `CosineHead`.

        Raises:
            DataError: a class has too few or too many prompts.
        """
        raise NotImplementedError

    def with_names(
        self,
        encoder: Encoder,
        names: Sequence[str],
        *,
        labels: Sequence[str] | None = None,
        prompts: _Prompts | None = None,
    ) -> "PromptsHead":
        """Return a head for other names, with the same center and scale."""
        center = None if self.center is None else self.center.cpu()
        options = {"names": labels or names, "scale": self.scale, "center": center}
        return self.of_prompts(encoder, prompts or names, **options).to(self.weight.device)


class MeanProbabilityHead(PromptsHead):
    """Scores = log of the mean over templates of the probabilities, softmax(scale x cosine(features, row)).

    Args:
        variants: a row for each template and class; `weight` is the mean direction of a class's rows.
        options: as for `CosineHead`.

    Source: ActionCLIP (Wang et al., arXiv:2109.08472), its published code.
    """

    variants: Tensor

    def __init__(self, variants: Float[Tensor, "templates classes dim"], **options: Any):
        rows = F.normalize(variants.detach().float(), dim=-1)
        super().__init__(rows.mean(0), **options)
        self.register_buffer("variants", rows)

    @classmethod
    def of_prompts(cls, encoder: Encoder, prompts: _Prompts, **options: Any) -> "MeanProbabilityHead":
        """Return a head with a row for each prompt of each class.

        Raises:
            DataError: classes have different numbers of prompts, or one each.
        """
        rows = _rows(encoder, prompts).transpose(0, 1)
        sources = {"text_source": encoder.text_source, "text_map": encoder.text_map}
        return cls(rows, **{"kind": "text", "prompts": prompts, **sources, **options})

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return {**super().config(), "templates": len(self.variants)}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], names: Sequence[str], *, dim: int, prompts: _Prompts | None = None
    ) -> CosineHead:
        """Return the head described by `config`, to load weights into."""
        options = empty_options(config, dim)
        return cls(torch.ones(options.pop("templates"), len(names), dim), names=names, prompts=prompts, **options)

    def rows(self) -> Float[Tensor, "classes rows numbers"]:
        """Return a copy of the rows of each class, one per template."""
        return self.variants.transpose(0, 1).clone()

    def state_of(self, rows: Float[Tensor, "classes rows numbers"]) -> dict[str, Tensor]:
        """Return the entries of the state dict that hold `rows`."""
        return {"weight": F.normalize(rows.mean(1), dim=-1), "variants": rows.transpose(0, 1)}

    def encode_rows(self, encoder: Encoder, prompts: _Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows for new classes, one per template."""
        rows, needed = _rows(encoder, prompts), len(self.variants)
        if rows.shape[1] != needed:
            raise DataError(
                f"this head needs {needed} prompts per class, got {rows.shape[1]}; give that many per class, or none "
                "to use the run's templates"
            )
        return rows

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logarithm of the mean probability of each class."""
        logits = self._logits(features, self.variants.flatten(0, 1)).unflatten(-1, self.variants.shape[:2])
        return logits.log_softmax(dim=-1).logsumexp(dim=-2) - math.log(len(self.variants))


def _rows(encoder: Encoder, prompts: _Prompts) -> Float[Tensor, "classes templates dim"]:
    """Return the text row of each prompt of each class.

    Raises:
        DataError: classes have different numbers of prompts, or one each.
    """
    groups = [[prompt] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
    counts = sorted({len(group) for group in groups})
    if len(counts) > 1 or counts[0] < 2:
        numbers = " to ".join(map(str, counts))
        raise DataError(f"classes have {numbers} prompts; give every class as many, two or more")
    return text_rows(encoder, flat(groups)).unflatten(0, (len(groups), -1))
