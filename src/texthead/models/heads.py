"""The heads: features -> one score per class (Sec. 2.2). Each defines how a run saves and restores it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn

from texthead.encoders.encoder import Encoder, Prompts
from texthead.errors import DataError, PositiveFloat, RunError, checked
from texthead.models.head_rows import RowInputs
from texthead.text.class_names import check_names
from texthead.text.prompts import class_prompts

Names = Sequence[str]

Config = Mapping[str, Any]


class Head(nn.Module):
    """A head that a run can hold: scores = W n(features - center) + bias, where n normalises to length 1.

    A subclass has a name in the table of heads (`head_table.py`).

    Args:
        weight: one row per class.
        bias: added to the scores; minus infinity for a class that is never predicted; None adds nothing.

    Attributes:
        needs_text: whether `from_inputs` needs a text encoder.
        min_items_per_class: training items per class whose features `from_inputs` needs.
        frozen: whether the rows stay fixed in training.
        multilabel: whether each class is a binary label (`MultiLabelHead`); else a file has one class.
        weight: one row per class.
        center: subtracted from the features before they are normalised, without a gradient; None subtracts nothing.
        names: the class names, in row order.
        kind: where the rows came from: a key of `recipes.HEADS`, or your own word. It is saved with a run.
        prompts: the prompt of each text row, or the prompts whose mean it is.
        text_source, text_map: the text-only encoder that made the rows and its map into the feature space, if any.

    Raises:
        DataError: an empty or repeated name, or names and rows differ in number.
    """

    needs_text: ClassVar[bool] = False
    min_items_per_class: ClassVar[int] = 0
    frozen: ClassVar[bool] = False
    multilabel: ClassVar[bool] = False
    weight: Tensor
    bias: Any  # A tensor in some heads, None in others.
    center: Tensor | None
    text_map: Tensor | None

    def __init__(
        self,
        weight: Real[Tensor, "classes dim"],
        *,
        names: Sequence[str],
        kind: str = "own",
        bias: Float[Tensor, " classes"] | None = None,
        center: Float[Tensor, " dim"] | None = None,
        prompts: Prompts | None = None,
        text_source: str | None = None,
        text_map: Float[Tensor, "width dim"] | None = None,
    ):
        super().__init__()
        check_names(names)
        if len(names) != len(weight):
            raise DataError(f"{len(names)} class names for {len(weight)} rows of the head; pass one name per row")
        self.names = tuple(names)
        self.kind = kind
        self.prompts = None if prompts is None else tuple(p if isinstance(p, str) else tuple(p) for p in prompts)
        self.text_source = text_source
        if self.frozen:
            self.register_buffer("weight", _own(weight))
        else:
            self.weight = nn.Parameter(_own(weight))
        self.bias = None if bias is None else nn.Parameter(_own(bias))
        self.register_buffer("text_map", None if text_map is None else _own(text_map))
        self.register_buffer("center", None if center is None else _own(center))

    @property
    def title(self) -> str:
        """The name of the head in tables."""
        return f"{self.kind} head"

    @classmethod
    def from_inputs(cls, inputs: RowInputs) -> "Head":
        """Return the head before training.

        Raises:
            RunError: such a head cannot be made from names and training items.
        """
        raise RunError(f"a {cls.__name__} comes with a run or a checkpoint, so training cannot start with it")

    def config(self) -> dict[str, object]:
        """Return what `recipe.json` stores about the head, as JSON values, apart from its name in the table."""
        return {
            "kind": self.kind,
            "center": self.center is not None,
            "text": self.text_source,
            "text_map": None if self.text_map is None else list(self.text_map.shape),
        }

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "Head":
        """Return the head described by `config`, for features of length `dim`; load its weights afterwards.

        A subclass whose own entries in `config` are options of its constructor needs no method of its own.
        """
        return cls(torch.ones(len(names), dim), names=names, prompts=prompts, **cls.empty_options(config, dim))

    @staticmethod
    def empty_options(config: Config, dim: int) -> dict[str, Any]:
        """Return the constructor options of a head with this config, with zero tensors; entries of a subclass stay."""
        options = {key: value for key, value in config.items() if key not in ("type", "text")}
        return options | {
            "center": torch.zeros(dim) if config["center"] else None,
            "text_source": config["text"],
            "text_map": None if config["text_map"] is None else torch.zeros(config["text_map"]),
        }

    def rows(self) -> Float[Tensor, "classes rows numbers"] | None:
        """Return a copy of each class's row or rows, with its bias; None if the classes cannot be edited."""
        columns = [self.weight] if self.bias is None else [self.weight, self.bias[:, None]]
        return torch.cat(columns, dim=1).detach()[:, None]

    def state_of(self, rows: Float[Tensor, "classes rows numbers"]) -> dict[str, Tensor]:
        """Return the entries of the state dict that hold `rows`."""
        dim = self.weight.shape[1]
        return {"weight": rows[:, 0, :dim]} | ({"bias": rows[:, 0, dim]} if rows.shape[2] > dim else {})

    def with_rows(
        self, rows: Float[Tensor, "classes rows numbers"], names: Sequence[str], prompts: Prompts | None = None
    ) -> "Head":
        """Return a copy of this head with other classes; `rows` has the layout of `rows()` and is copied exactly."""
        head = self.from_config(self.config(), names, dim=self.weight.shape[1], prompts=prompts)
        head.load_state_dict({**self.state_dict(), **self.state_of(rows)})
        return head.to(self.weight.device).train(self.training)

    def encode_rows(self, encoder: Encoder, prompts: Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows for new classes, in the layout of `rows()`.

        Raises:
            DataError: a class has too few or too many prompts.
        """
        return encoder.text_rows(prompts)[:, None]

    def with_names(
        self, encoder: Encoder, names: Names, *, labels: Names | None = None, prompts: Prompts | None = None
    ) -> "Head":
        """Return a head of text rows for other names, with this head's center and logit scale.

        Args:
            names: the text for the text encoder.
            labels: the head's class names; `names` if None.
            prompts: one or more prompts per name; if None, the names themselves.
        """
        head = text_head(
            encoder,
            names,
            labels=labels,
            scale=self.scale,
            center=None if self.center is None else self.center.cpu(),
            prompts=prompts,
        )
        if self.center is None:  # Else `text_head` takes that of the encoder.
            head.center = None
        return head.to(self.weight.device)

    def directions(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Return the features minus the center, normalised to length 1."""
        if self.center is not None:
            features = features - self.center
        return F.normalize(features, dim=-1)

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the scores of each class."""
        return F.linear(self.directions(features), self.weight, self.bias)

    @property
    def scale(self) -> float | None:
        """The logit scale; None if the scores are not scaled cosines."""
        return None

    @property
    def is_text(self) -> bool:
        """Whether the rows were text embeddings before training."""
        return self.kind == "text" or self.needs_text

    @property
    def takes_text(self) -> bool:
        """Whether text rows can be added to the head's own rows."""
        return self.is_text


def _own(values: Tensor) -> Tensor:
    """Return a copy in float32, without its gradient."""
    return values.detach().float().clone()


class CosineHead(Head):
    """Scores = scale x cosine(features - center, row), with frozen rows (FrozenHead) or trainable ones (TrainableHead).

    `log_scale` is a parameter; exp(log_scale) is the factor in training and in evaluation.

    Args:
        weight: one row per class, of any length, integers allowed; rows are normalised here.
        names: the class names, in row order.
        scale: the initial logit scale, > 0.
        options: as for `Head`.

    Differs: the paper writes W g_V(x); its code normalises the features and applies a scale, as here.

    Raises:
        DataError: as `Head`, a row is zero, or the scale is not positive.
    """

    @checked
    def __init__(
        self,
        weight: Real[Tensor, "classes dim"],
        *,
        names: Sequence[str],
        scale: PositiveFloat = 100.0,
        **options: Any,
    ):
        rows = weight.detach().float()
        super().__init__(rows if rows.is_meta else F.normalize(rows, dim=-1), names=names, **options)
        if not rows.is_meta:  # Meta tensors hold no values to check, and `norm` takes a second to import for them.
            lengths = rows.norm(dim=-1)
            lost = ~((lengths > 0) & lengths.isfinite())
            if bool(lost.any()):
                name = names[int(lost.int().argmax())]
                raise DataError(f"row of {name!r} is zero or not finite; rows must have a direction")
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def scale(self) -> float:
        """The logit scale, exp(log_scale)."""
        return float(self.log_scale.detach().exp())

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logits of each class.

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
    """A cosine head whose rows are trained.

    Source: Sec. 2.2, "the unfrozen results are given in the supplementary materials".
    """


class LinearHead(Head):
    """Scores = W g_V(x), trained from random rows: no normalisation, no scale.

    Args:
        dim: feature dimension.
        names: the class names, in row order.
        generator: draws the initial rows, uniform in +-1/sqrt(dim), as in torch's linear layer.
        bias: whether a bias is added to the scores, as in published classifiers; at first 0.

    Source: Eq. 1, exactly.
    """

    def __init__(self, dim: int, *, names: Sequence[str], generator: torch.Generator | None = None, bias: bool = False):
        bound = 1 / math.sqrt(dim)
        rows = torch.empty(len(names), dim).uniform_(-bound, bound, generator=generator)
        super().__init__(rows, names=names, kind="linear", bias=torch.zeros(len(names)) if bias else None)

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return super().config() | ({} if self.bias is None else {"bias": True})

    @classmethod
    def from_inputs(cls, inputs: RowInputs) -> "Head":
        """Return the head before training, drawn from the recipe's seed."""
        return cls(inputs.encoder.dim, names=inputs.labels, generator=inputs.generator())

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "Head":
        """Return a head of the right shape, to load weights into."""
        return cls(dim, names=names, bias=bool(config.get("bias")))

    def directions(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Return the features as they are."""
        return features


# The kind of a `ProbeHead` that was fitted starting from text rows.
TEXT_AND_ITEMS = "text and items"

# Length of new text rows relative to fitted ones: 38 to 52 % of the new classes' photos and 20 to 28 % of their clips
# are recognised, at a cost of 0 to 4 points for the other classes (docs/decisions.md).
LONGER = 1.25


class ProbeHead(Head):
    """A linear probe on frozen features, with a center and a bias; `kind` is how it was fitted, in a word.

    The length of a row includes the scale.
    """

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "Head":
        """Return a head of the right shape, to load weights into."""
        return super().from_config({**config, "bias": torch.zeros(len(names))}, names, dim=dim, prompts=prompts)

    @property
    def title(self) -> str:
        """The name of the head in tables, as `texthead compare` has it."""
        first, *more = self.kind.split(", ")
        return ", ".join(["probe" if first == "logistic" else "text-probe", *more])

    @property
    def takes_text(self) -> bool:
        """Whether the rows were fitted starting from text rows."""
        return self.kind.startswith(TEXT_AND_ITEMS)

    def encode_rows(self, encoder: Encoder, prompts: Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows for new classes, `LONGER` times the head's mean length, with its mean bias.

        Raises: DataError as `Head.encode_rows`.
        """
        length = LONGER * self.weight.norm(dim=1).mean()
        text = encoder.text_rows(prompts).to(self.weight) * length
        bias = self.bias[self.bias.isfinite()].mean().expand(len(text), 1)
        return torch.cat([text, bias], dim=1)[:, None].detach()


def text_head(
    encoder: Encoder,
    names: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    template: str | Sequence[str] = "{}",
    scale: float | None = None,
    center: Float[Tensor, " dim"] | None = None,
    prompts: Prompts | None = None,
) -> FrozenHead:
    """Return a frozen head of text rows.

    Args:
        names: the text for the text encoder.
        labels: the head's class names; `names` if None.
        template: one or more templates; the rows are means over them.
        scale, center: the encoder's own if None.
        prompts: one or more prompts per name, used instead of the template.
    """
    check_names(names)
    prompts = class_prompts(template, names) if prompts is None else prompts
    return FrozenHead(
        encoder.text_rows(prompts),
        names=names if labels is None else labels,
        scale=encoder.scale if scale is None else scale,
        center=encoder.center if center is None else center,
        kind="text",
        prompts=prompts,
        text_source=encoder.text_source,
        text_map=encoder.text_map,
    )
