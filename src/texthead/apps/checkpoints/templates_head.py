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
from texthead.models import CosineHead
from texthead.text import flat

_Prompts = Sequence[str | Sequence[str]]


class PromptsHead(CosineHead):
    """A frozen cosine head with as many text rows for each class.

    Args:
        all_rows: the rows of each class.
        options: as for `CosineHead`.
    """

    frozen = True
    all_rows: Tensor

    def __init__(self, all_rows: Float[Tensor, "classes rows dim"], **options: Any):
        rows = F.normalize(all_rows.detach().float(), dim=-1)
        super().__init__(self.weight_of(rows), **options)
        self.register_buffer("all_rows", rows)

    @staticmethod
    def weight_of(rows: Float[Tensor, "classes rows dim"]) -> Float[Tensor, "classes dim"]:
        """Return the rows of `weight`, of any length."""
        return rows.mean(1)

    @staticmethod
    def encode(encoder: Encoder, prompts: _Prompts) -> Float[Tensor, "classes rows dim"]:
        """Return the rows of each class.

        Raises:
            DataError: a class has too few or too many prompts.
        """
        raise NotImplementedError

    @classmethod
    def from_prompts(cls, encoder: Encoder, prompts: _Prompts, **options: Any) -> "PromptsHead":
        """Return a head with the rows of prompts; `options` as for `CosineHead`.

        Raises:
            DataError: as `encode`.
        """
        sources = {"text_source": encoder.text_source, "text_map": encoder.text_map}
        return cls(cls.encode(encoder, prompts), **{"kind": "text", "prompts": prompts, **sources, **options})

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return {**super().config(), "rows": self.all_rows.shape[1]}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], names: Sequence[str], *, dim: int, prompts: _Prompts | None = None
    ) -> "PromptsHead":
        """Return the head described by `config`, to load weights into."""
        options = cls.empty_options(config, dim)
        return cls(torch.ones(len(names), options.pop("rows"), dim), names=names, prompts=prompts, **options)

    def rows(self) -> Float[Tensor, "classes rows dim"]:
        """Return a copy of the rows of each class."""
        return self.all_rows.clone()

    def state_of(self, rows: Float[Tensor, "classes rows dim"]) -> dict[str, Tensor]:
        """Return the entries of the state dict that hold `rows`."""
        return {"weight": F.normalize(self.weight_of(rows), dim=-1), "all_rows": rows}

    def encode_rows(self, encoder: Encoder, prompts: _Prompts) -> Float[Tensor, "classes rows dim"]:
        """Return the rows of new classes."""
        rows, needed = self.encode(encoder, prompts), self.all_rows.shape[1]
        if rows.shape[1] != needed:
            raise DataError(
                f"this head needs {needed} prompts per class, got {rows.shape[1]}; write that many, or remove "
                "them to use the run's templates"
            )
        return rows

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
        return self.from_prompts(encoder, prompts or names, **options).to(self.weight.device)


class MeanProbabilityHead(PromptsHead):
    """Scores = log of the mean over templates of the probabilities, softmax(scale x cosine(features, row)).

    A class has a row for each template; `weight` is the mean direction of these.

    Source: ActionCLIP (Wang et al., arXiv:2109.08472), its published code.
    """

    @staticmethod
    def encode(encoder: Encoder, prompts: _Prompts) -> Float[Tensor, "classes templates dim"]:
        """Return the text row of each prompt of each class.

        Raises:
            DataError: classes have different numbers of prompts, or one each.
        """
        groups = [[prompt] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
        counts = sorted({len(group) for group in groups})
        if len(counts) > 1 or counts[0] < 2:
            numbers = " to ".join(map(str, counts))
            raise DataError(f"classes have {numbers} prompts; use the same number for each class, at least two")
        return encoder.text_rows(flat(groups)).unflatten(0, (len(groups), -1))

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logarithm of the mean probability of each class."""
        logits = self._logits(features, self.all_rows.flatten(0, 1)).unflatten(-1, self.all_rows.shape[:2])
        return logits.log_softmax(dim=-2).logsumexp(dim=-1) - math.log(self.all_rows.shape[1])
