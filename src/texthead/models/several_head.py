"""A head of several labels: each class is a yes-or-no question."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from texthead.encoders.encoder import Encoder
from texthead.models.head_table import head_json, saved_kind
from texthead.models.heads import Config, Head, Names, Prompts, check_count


class SeveralHead(Head):
    """Any head, with scores that are log-odds: score + bias, whose sigmoid is the probability that a file has a class.

    Args:
        head: gives the scores.
        bias: added to the scores of each class; it is trained.
        thresholds: log-odds from which on a file is said to have a class.

    Raises:
        DataError: the number of biases or thresholds is not that of the classes.
    """

    several = True
    thresholds: Tensor

    def __init__(self, head: Head, *, bias: Float[Tensor, " classes"], thresholds: Float[Tensor, " classes"]):
        nn.Module.__init__(self)  # All else belongs to the head inside.
        check_count(head.names, bias[:, None])
        check_count(head.names, thresholds[:, None])
        self.head = head
        self.names, self.kind, self.prompts, self.pooling = head.names, head.kind, head.prompts, head.pooling
        self.frozen, self.lengths_count, self.learned_template = head.frozen, head.lengths_count, head.learned_template  # pyright: ignore[reportAttributeAccessIssue]
        self.bias = nn.Parameter(bias.detach().float().clone())
        self.register_buffer("thresholds", thresholds.detach().float().clone())

    @property
    def weight(self) -> Float[Tensor, "classes dim"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One row per class."""
        return self.head.weight

    @property
    def center(self) -> Float[Tensor, " dim"] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Subtracted from the features."""
        return self.head.center

    @property
    def text_source(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The text-only encoder that made the rows."""
        return self.head.text_source

    @property
    def text_map(self) -> Float[Tensor, "width dim"] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Its map into the feature space."""
        return self.head.text_map

    @property
    def title(self) -> str:
        """The name of the head in tables."""
        return self.head.title

    @property
    def scale(self) -> float | None:
        """The logit scale; None if the scores are not scaled cosines."""
        return self.head.scale

    @property
    def takes_text(self) -> bool:
        """Whether text rows can be added to the head's own rows."""
        return self.head.takes_text

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return {"kind": self.kind, "head": head_json(self.head)}

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "SeveralHead":
        """Return the head described by `config`, to load weights into."""
        inner, zeros = config["head"], torch.zeros(len(names))
        return cls(
            saved_kind(inner["type"]).from_config(inner, names, dim=dim, prompts=prompts), bias=zeros, thresholds=zeros
        )

    def rows(self) -> Float[Tensor, "classes rows numbers"] | None:
        """Return a copy of each class's rows, each followed by the class's bias and threshold."""
        rows, own = self.head.rows(), torch.stack([self.bias.detach(), self.thresholds], dim=1)
        return None if rows is None else torch.cat([rows, own[:, None].expand(-1, rows.shape[1], -1)], dim=2)

    def state_of(self, rows: Float[Tensor, "classes rows numbers"]) -> dict[str, Tensor]:
        """Return the entries of the state dict that hold `rows`."""
        inner = {f"head.{key}": value for key, value in self.head.state_of(rows[..., :-2]).items()}
        return {**inner, "bias": rows[:, 0, -2], "thresholds": rows[:, 0, -1]}

    def encode_rows(self, encoder: Encoder, prompts: Prompts) -> Float[Tensor, "classes rows numbers"]:
        """Return text rows for new classes, with the head's mean bias and threshold."""
        rows = self.head.encode_rows(encoder, prompts)
        own = torch.stack([self.bias.detach().mean(), self.thresholds.mean()]).to(rows)
        return torch.cat([rows, own.expand(*rows.shape[:2], 2)], dim=2)

    def with_names(
        self,
        encoder: Encoder,
        names: Sequence[str],
        *,
        labels: Sequence[str] | None = None,
        prompts: Prompts | None = None,
    ) -> Head:
        """Return a head of text rows for other names; arguments as for `Head.with_names`."""
        if prompts is None and self.learned_template:
            head = self.head.with_names(encoder, names, labels=labels)
            own = (each.mean().expand(len(names)) for each in (self.bias.detach(), self.thresholds))
            return SeveralHead(head, **dict(zip(("bias", "thresholds"), own, strict=True))).to(self.weight.device)
        prompts = names if prompts is None else prompts
        head = self.with_rows(self.encode_rows(encoder, prompts), labels or names, prompts)
        head.prompts = tuple(each if isinstance(each, str) else tuple(each) for each in prompts)
        return head

    def chosen(self, scores: Float[Tensor, "*items classes"]) -> Bool[Tensor, "*items classes"]:
        """Return which classes each item is said to have."""
        return scores >= self.thresholds.to(scores)

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the log-odds of each class."""
        return self.head(features) + self.bias
