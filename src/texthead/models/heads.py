"""The heads: features -> one score a class name (Sec. 2.2). Each says how a run writes it down and reads it back."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn

from texthead.encoders.encoder import Encoder
from texthead.errors import DataError, RunError
from texthead.models.head_rows import RowInputs, text_rows, variant_rows
from texthead.text.class_names import check_names
from texthead.text.prompts import fill_templates

Names = Sequence[str]

Prompts = Sequence[str | Sequence[str]]

Config = Mapping[str, Any]


class Head(nn.Module):
    """The base class of heads that a run can hold: a new kind is a subclass and a line in `build.HEADS`.

    Attributes:
        START: what `train --head` calls it, if `start` can make it from names and training items.
        frozen: whether training leaves its rows alone.
        lengths_count: whether the length of a row matters to the scores.
        learned_template: whether it has learned a template for class names.
        weight: one row a class.
        center: subtracted from the features before they are normalised; None subtracts nothing.
        names: the class names, in row order.
        kind: where the rows came from: one of `recipes.HeadKind`, or a word of your own. It is written down in a run.
        prompts: the exact string behind each text row, or the strings that it is the mean of.
        text_source, text_map: the text-only encoder behind the rows and its way into this space, where there is one.

    Raises:
        DataError: an empty or repeated name.
    """

    START: ClassVar[str | None] = None
    frozen: ClassVar[bool] = False
    lengths_count: ClassVar[bool] = False
    learned_template: ClassVar[bool] = False
    pooling: Literal["features", "probabilities"] = "features"
    weight: Tensor
    center: Tensor | None
    text_map: Tensor | None

    def __init__(
        self,
        names: Sequence[str],
        kind: str,
        *,
        center: Float[Tensor, " dim"] | None = None,
        prompts: Prompts | None = None,
        text_source: str | None = None,
        text_map: Float[Tensor, "width dim"] | None = None,
    ):
        super().__init__()
        check_names(names)
        self.names = tuple(names)
        self.kind = kind
        self.prompts = None if prompts is None else tuple(p if isinstance(p, str) else tuple(p) for p in prompts)
        self.text_source = text_source
        self.register_buffer("text_map", None if text_map is None else text_map.detach().float().clone())
        self.register_buffer("center", None if center is None else center.detach().float().clone())

    @classmethod
    def start(cls, inputs: RowInputs) -> "Head":
        """Return the head before training, for a class with `START`."""
        raise NotImplementedError

    def config(self) -> dict[str, object]:
        """Return what `recipe.json` holds of the head: JSON values."""
        return {
            "kind": self.kind,
            "type": type(self).__name__,
            "center": self.center is not None,
            "text": self.text_source,
            "text_map": None if self.text_map is None else list(self.text_map.shape),
        }

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "Head":
        """Return the head that `config` describes, for features of length `dim`; its weights are to be loaded."""
        raise NotImplementedError

    def rows(self) -> Float[Tensor, "classes rows numbers"] | None:
        """Return a copy of what the head holds of each class: its row, or several.

        None of a head whose classes cannot be edited.
        """
        return self.weight.detach()[:, None].clone()

    def state_of(self, rows: Float[Tensor, "classes rows numbers"]) -> dict[str, Tensor]:
        """Return the entries of the state dict in which `rows` are held."""
        return {"weight": rows[:, 0]}

    def with_rows(
        self, rows: Float[Tensor, "classes rows numbers"], names: Sequence[str], prompts: Prompts | None = None
    ) -> "Head":
        """Return a copy of this head with other classes; `rows` are as those of `rows()` and stay to the bit."""
        head = self.from_config(self.config(), names, dim=self.weight.shape[1], prompts=prompts)
        head.load_state_dict({**self.state_dict(), **self.state_of(rows)})
        return head.to(self.weight.device).train(self.training)

    def encode_rows(self, encoder: Encoder, prompts: Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows for new classes, as this head holds rows.

        Raises:
            DataError: a class with too few or too many prompts.
        """
        return text_rows(encoder, prompts)[:, None]

    def with_names(
        self,
        encoder: Encoder,
        names: Sequence[str],
        *,
        labels: Sequence[str] | None = None,
        prompts: Prompts | None = None,
    ) -> "Head":
        """Return a head of text rows for other names, behind the center and the logit scale of this one.

        Args:
            names: what the text encoder reads.
            labels: what the head calls its rows; `names` if None.
            prompts: one string a name, or several; if None the learned template, or the names themselves.
        """
        head = text_head(
            encoder,
            names,
            labels=labels,
            scale=self.scale,
            center=None if self.center is None else self.center.cpu(),
            pooling=self.pooling,
            prompts=prompts,
        )
        return head.to(self.weight.device)

    def directions(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The features minus the center, with length 1: what is compared with the rows."""
        if self.center is not None:
            features = features - self.center
        return F.normalize(features, dim=-1)

    @property
    def scale(self) -> float | None:
        """The logit scale, if scores are scaled cosines."""
        return None

    @property
    def is_text(self) -> bool:
        """Whether the rows were text embeddings before training."""
        return self.kind in ("text", "prompt")

    @property
    def takes_text(self) -> bool:
        """Whether a row made of text can stand beside those that the head has."""
        return self.is_text


def empty_options(config: Config, dim: int) -> dict[str, Any]:
    """Return the options of a head that `Head.config` wrote down, with tensors of zeros."""
    return {
        "kind": config["kind"],
        "center": torch.zeros(dim) if config["center"] else None,
        "text_source": config["text"],
        "text_map": None if config["text_map"] is None else torch.zeros(config["text_map"]),
    }


def check_count(names: Sequence[str], rows: Real[Tensor, "classes dim"]) -> None:
    """Raise DataError if there is not one name a row."""
    if len(names) != len(rows):
        raise DataError(f"{len(names)} names for {len(rows)} rows: a head needs one name a row")


class CosineHead(Head):
    """Scores = scale x cosine(features - center, row); the rows are frozen or trainable: FrozenHead, TrainableHead.

    `log_scale` is a parameter: exp(log_scale) is the same factor in training and in evaluation.

    Args:
        weight: one row a class, any length, whole numbers too; rows are normalised here.
        names: the class names, in row order.
        scale: the logit scale at the start, > 0.
        kind: where the rows came from.
        options: as of `Head`.

    Differs: the paper writes W g_V(x); normalised features and the scale are what its code does.

    Raises:
        DataError: names and rows differ in number, a row is zero, or the scale is not positive.
    """

    def __init__(
        self,
        weight: Real[Tensor, "classes dim"],
        *,
        names: Sequence[str],
        scale: float = 100.0,
        kind: str = "own",
        **options: Any,
    ):
        super().__init__(names, kind, **options)
        check_count(names, weight)
        if scale <= 0:
            raise DataError(f"scale must be positive, got {scale}")
        weight = weight.detach().float()
        rows = weight
        if not weight.is_meta:  # There a head has a shape and no numbers, and a norm takes a second to import.
            lengths = weight.norm(dim=-1)
            if not bool((lengths > 0).all()):
                raise DataError(f"row of {names[int(lengths.argmin())]!r} is zero: it has no direction to compare with")
            rows = F.normalize(weight, dim=-1)
        if self.frozen:
            self.register_buffer("weight", rows)
        else:
            self.weight = nn.Parameter(rows)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "CosineHead":
        """Return the head that `config` describes, to load weights into."""
        return cls(torch.ones(len(names), dim), names=names, prompts=prompts, **empty_options(config, dim))

    @property
    def scale(self) -> float:
        """The logit scale, exp(log_scale)."""
        return float(self.log_scale.detach().exp())

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Logits of each class.

        Source: Eq. 3.
        """
        return self._logits(features, self.weight)

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


def as_frozen(head: nn.Module) -> FrozenHead:
    """Return the head, if it is a frozen one of one row a class.

    Raises:
        RunError: another head.
    """
    if type(head) is not FrozenHead:  # A subclass may score in another way.
        raise RunError(f"matching needs a FrozenHead, got a {type(head).__name__}: make it with text_head")
    return head


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
        self.pooling = pooling

    def config(self) -> dict[str, object]:
        """Return what `recipe.json` holds of the head."""
        return {**super().config(), "templates": len(self.variants), "draw": self.draw, "pooling": self.pooling}

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "TemplatesHead":
        """Return the head that `config` describes, to load weights into."""
        variants, own = torch.ones(config["templates"], len(names), dim), ("draw", "pooling")
        options = empty_options(config, dim) | {key: config[key] for key in own}
        return cls(variants, names=names, prompts=prompts, **options)

    def rows(self) -> Float[Tensor, "classes rows numbers"]:
        """Return a copy of the rows of each class, one a template."""
        return self.variants.transpose(0, 1).clone()

    def state_of(self, rows: Float[Tensor, "classes rows numbers"]) -> dict[str, Tensor]:
        """Return the entries of the state dict in which `rows` are held."""
        return {"weight": F.normalize(rows.mean(1), dim=-1), "variants": rows.transpose(0, 1)}

    def encode_rows(self, encoder: Encoder, prompts: Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows for new classes, one a template."""
        rows, needed = variant_rows(encoder, prompts).transpose(0, 1), len(self.variants)
        if rows.shape[1] != needed:
            raise DataError(
                f"classes of this head have {needed} prompts each, got {rows.shape[1]}: give as many, each with a "
                "prompt of its own, or leave all to the run's templates"
            )
        return rows

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


class LinearHead(Head):
    """Scores = W g_V(x): learned from a random start, no normalisation, no scale, no bias.

    Args:
        dim: length of a feature.
        names: the class names, in row order.
        generator: draws the start, uniform in +-1/sqrt(dim) as torch's own linear layer.

    Source: Eq. 1, to the letter.
    """

    START = "linear"
    lengths_count = True

    def __init__(self, dim: int, *, names: Sequence[str], generator: torch.Generator | None = None):
        super().__init__(names, "linear")
        bound = 1 / math.sqrt(dim)
        self.weight = nn.Parameter(torch.empty(len(names), dim).uniform_(-bound, bound, generator=generator))

    @classmethod
    def start(cls, inputs: RowInputs) -> "Head":
        """Return the head before training, drawn from the recipe's seed."""
        return cls(inputs.encoder.dim, names=inputs.labels, generator=inputs.generator())

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "Head":
        """Return a head of the right shape, to load weights into."""
        return cls(dim, names=names)

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Logits of each class."""
        return F.linear(features, self.weight)


# The kind of a `ProbeHead` whose rows started from text rows.
TEXT_AND_ITEMS = "text and items"

# Rows of new classes against fitted ones: 38 to 52 % of the new classes' photos are found, 20 to 28 % of the clips, for
# 0 to 4 points of the others' (LOG.md).
LONGER = 1.25


class ProbeHead(Head):
    """Scores = W n(features - center) + bias, where n gives length 1: a linear classifier on frozen features.

    Its center has no gradient.

    Args:
        weight: one row a class, of any length: it holds the scale too.
        bias: added to the scores; minus infinity for a class that is never named.
        center: subtracted from the features before they are normalised.
        names: the class names, in row order.
        kind: how it was fitted, in a word.
        text_source, text_map: as `Head` has them, of the text rows that it was fitted from.

    Raises:
        DataError: names and rows differ in number.
    """

    lengths_count = True

    def __init__(
        self,
        weight: Float[Tensor, "classes dim"],
        *,
        bias: Float[Tensor, " classes"],
        center: Float[Tensor, " dim"],
        names: Sequence[str],
        kind: str = "probe",
        text_source: str | None = None,
        text_map: Float[Tensor, "width dim"] | None = None,
    ):
        super().__init__(names, kind, center=center, text_source=text_source, text_map=text_map)
        check_count(names, weight)
        self.weight = nn.Parameter(weight.detach().float().clone())
        self.bias = nn.Parameter(bias.detach().float().clone())

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "Head":
        """Return a head of the right shape, to load weights into."""
        options = {**empty_options(config, dim), "center": torch.zeros(dim)}
        return cls(torch.zeros(len(names), dim), bias=torch.zeros(len(names)), names=names, **options)

    def rows(self) -> Float[Tensor, "classes rows numbers"]:
        """Return a copy of each class's row with its bias behind it."""
        return torch.cat([self.weight, self.bias[:, None]], dim=1)[:, None].detach()

    def state_of(self, rows: Float[Tensor, "classes rows numbers"]) -> dict[str, Tensor]:
        """Return the entries of the state dict in which `rows` are held."""
        return {"weight": rows[:, 0, :-1], "bias": rows[:, 0, -1]}

    @property
    def takes_text(self) -> bool:
        """Whether the rows were fitted from text rows that knew the classes."""
        return self.kind.startswith(TEXT_AND_ITEMS)

    def encode_rows(self, encoder: Encoder, prompts: Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows, a little longer than the head's own, with its mean bias: no item speaks for them.

        Raises: DataError as `Head.encode_rows`.
        """
        length = LONGER * self.weight.norm(dim=1).mean()
        text = text_rows(encoder, prompts).to(self.weight) * length
        bias = self.bias[self.bias.isfinite()].mean().expand(len(text), 1)
        return torch.cat([text, bias], dim=1)[:, None].detach()

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Logits of each class."""
        return F.linear(self.directions(features), self.weight, self.bias)


def text_head(
    encoder: Encoder,
    names: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    template: str | Sequence[str] = "{}",
    scale: float | None = None,
    center: Float[Tensor, " dim"] | None = None,
    pooling: Literal["features", "probabilities"] = "features",
    prompts: Prompts | None = None,
) -> FrozenHead | TemplatesHead:
    """A frozen head of text rows, with the encoder's own scale and center unless others are given.

    Args:
        names: what the text encoder reads.
        labels: what the head calls its rows; `names` if None.
        template: several give rows that are the mean over them.
        pooling: of several prompts a class, "probabilities" averages those instead of the rows.
        prompts: stand in for the filled template: one string a name, or several.
    """
    check_names(names)
    prompts = fill_templates(template, names) if prompts is None else prompts
    options: dict[str, Any] = {
        "names": names if labels is None else labels,
        "scale": encoder.scale if scale is None else scale,
        "center": encoder.center if center is None else center,
        "kind": "text",
        "prompts": prompts,
        "text_source": encoder.text_source,
        "text_map": encoder.text_map,
    }
    if pooling == "features":
        return FrozenHead(text_rows(encoder, prompts), **options)
    return TemplatesHead(variant_rows(encoder, prompts), pooling=pooling, **options)
