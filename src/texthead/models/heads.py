"""The heads: features -> one score a class name, and the four ways to make the frozen rows (Sec. 2.2)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn

from texthead.errors import DataError
from texthead.recipes import HeadKind
from texthead.text.class_names import check_names


class CosineHead(nn.Module):
    """Scores = scale x cosine(features - center, row); the rows are frozen or trainable: FrozenHead, TrainableHead.

    `log_scale` is a parameter: exp(log_scale) is the same factor in training and in evaluation.

    Args:
        weight: one row a class, any length, whole numbers too; rows are normalised here.
        names: the class names, in row order.
        scale: the logit scale at the start, > 0.
        center: subtracted from the features before they are normalised; None subtracts nothing.
        kind: where the rows came from: one of `recipes.HeadKind`, or a word of your own. It is written down in a run.
        prompts: the exact string behind each text row, or the strings that it is the mean of.
        text_source, text_map: the text-only encoder behind the rows and its way into this space, where there is one.

    Differs: the paper writes W g_V(x); normalised features and the scale are what its code does.

    Raises:
        DataError: names and rows differ in number, a row is zero, or the scale is not positive.
    """

    frozen: ClassVar[bool]  # rows in a buffer that no optimiser can see, or in a parameter
    weight: Tensor
    center: Tensor | None
    text_map: Tensor | None

    def __init__(
        self,
        weight: Real[Tensor, "classes dim"],
        *,
        names: Sequence[str],
        scale: float = 100.0,
        center: Float[Tensor, " dim"] | None = None,
        kind: str = "own",
        prompts: Sequence[str | Sequence[str]] | None = None,
        text_source: str | None = None,
        text_map: Float[Tensor, "width dim"] | None = None,
    ):
        super().__init__()
        check_names(names)
        if len(names) != len(weight):
            raise DataError(f"{len(names)} names for {len(weight)} rows: a head needs one name a row")
        if scale <= 0:
            raise DataError(f"scale must be positive, got {scale}")
        weight = weight.detach().float()
        lengths = weight.norm(dim=-1)
        if not bool((lengths > 0).all()):
            raise DataError(f"row of {names[int(lengths.argmin())]!r} is zero: it has no direction to compare with")
        rows = F.normalize(weight, dim=-1)
        if self.frozen:
            self.register_buffer("weight", rows)
        else:
            self.weight = nn.Parameter(rows)
        self.text_source = text_source
        self.register_buffer("text_map", None if text_map is None else text_map.detach().float().clone())
        self.register_buffer("center", None if center is None else center.detach().float().clone())
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.names = tuple(names)
        self.kind = kind
        self.prompts = None if prompts is None else tuple(p if isinstance(p, str) else tuple(p) for p in prompts)

    def renamed(self, names: Sequence[str]) -> "CosineHead":
        """This head, with its rows called by other names (the data's labels instead of what was encoded)."""
        if len(names) != len(self.names):
            raise DataError(f"{len(names)} names for {len(self.names)} rows: a head needs one name a row")
        self.names = tuple(names)
        return self

    @property
    def scale(self) -> float:
        """The logit scale, exp(log_scale)."""
        return float(self.log_scale.detach().exp())

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Logits of each class.

        Source: Eq. 3.
        """
        return self._logits(features, self.weight)

    def directions(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The features minus the center, with length 1: what is compared with the rows."""
        if self.center is not None:
            features = features - self.center
        return F.normalize(features, dim=-1)

    def _logits(self, features: Tensor, rows: Float[Tensor, "rows dim"]) -> Tensor:
        return self.log_scale.exp() * F.linear(self.directions(features), F.normalize(rows, dim=-1))


class FrozenHead(CosineHead):
    """A cosine head whose rows are a buffer: bit-identical after training.

    Source: Eq. 3, W~.
    """

    frozen = True


class TrainableHead(CosineHead):
    """A cosine head whose rows start where they are given and are trained.

    Source: Sec. 2.2, "the unfrozen results are given in the supplementary materials".
    """

    frozen = False


def mean_probability(scores: Float[Tensor, "*shape classes"], dim: int) -> Tensor:
    """The logarithm of the mean over `dim` of the probabilities that the scores stand for; none is too small for it."""
    return scores.log_softmax(dim=-1).logsumexp(dim=dim) - math.log(scores.shape[dim])


class TemplatesHead(CosineHead):
    """A frozen cosine head with a row for every class in every template.

    Args:
        variants: a row for each template and class; `weight` is the mean direction of a class's rows.
        draw: in training, each call takes one template's row of each class, drawn by torch's generator; else the mean.
        pooling: in testing, "features" scores with the mean rows, "probabilities" with the mean over templates of
            each template's probabilities (whose logarithm comes back).
        options: as of `CosineHead`.

    Source: Table 4, "multiple fixed templates".
    Differs: the paper says neither when a template is drawn nor how it is tested; ActionCLIP averages probabilities.
    """

    frozen = True
    variants: Tensor

    def __init__(
        self,
        variants: Float[Tensor, "templates classes dim"],
        *,
        draw: bool = False,
        pooling: Literal["features", "probabilities"] = "features",
        **options: Any,
    ):
        rows = F.normalize(variants.detach().float(), dim=-1)
        super().__init__(rows.mean(0), **options)
        self.register_buffer("variants", rows)
        self.draw = draw
        self.pooling: Literal["features", "probabilities"] = pooling

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Logits of each class."""
        if self.draw and self.training:
            classes = len(self.names)
            drawn = torch.randint(len(self.variants), (classes,)).to(features.device)
            return self._logits(features, self.variants[drawn, torch.arange(classes, device=features.device)])
        if self.training or self.pooling == "features":
            return self._logits(features, self.weight)
        each = self._logits(features, self.variants.flatten(0, 1)).unflatten(-1, self.variants.shape[:2])
        return mean_probability(each, dim=-2)


class LinearHead(nn.Module):
    """Scores = W g_V(x): learned from a random start, no normalisation, no scale, no bias.

    Args:
        dim: length of a feature.
        names: the class names, in row order.
        generator: draws the start, uniform in +-1/sqrt(dim) as torch's own linear layer.

    Source: Eq. 1, to the letter.
    """

    def __init__(self, dim: int, *, names: Sequence[str], generator: torch.Generator | None = None):
        super().__init__()
        check_names(names)
        bound = 1 / math.sqrt(dim)
        self.weight = nn.Parameter(torch.empty(len(names), dim).uniform_(-bound, bound, generator=generator))
        self.names = tuple(names)
        self.kind: HeadKind = "linear"

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Logits of each class."""
        return F.linear(features, self.weight)


class ProbeHead(nn.Module):
    """Scores = W n(features - center) + bias, where n gives length 1: a linear classifier on frozen features.

    Its center has no gradient.

    Args:
        weight: one row a class, of any length: it holds the scale too.
        bias: added to the scores; minus infinity for a class that is never named.
        center: subtracted from the features before they are normalised.
        names: the class names, in row order.
        kind: how it was fitted, in a word.

    Raises:
        DataError: names and rows differ in number.
    """

    center: Tensor

    def __init__(
        self,
        weight: Float[Tensor, "classes dim"],
        *,
        bias: Float[Tensor, " classes"],
        center: Float[Tensor, " dim"],
        names: Sequence[str],
        kind: str = "probe",
    ):
        super().__init__()
        check_names(names)
        if len(names) != len(weight):
            raise DataError(f"{len(names)} names for {len(weight)} rows: a head needs one name a row")
        self.weight = nn.Parameter(weight.detach().float().clone())
        self.bias = nn.Parameter(bias.detach().float().clone())
        self.register_buffer("center", center.detach().float().clone())
        self.names = tuple(names)
        self.kind = kind

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Logits of each class."""
        return F.linear(F.normalize(features - self.center, dim=-1), self.weight, self.bias)
