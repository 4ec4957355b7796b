"""A multi-label head: each class is a binary label."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from texthead.encoders.encoder import Encoder
from texthead.models.head_table import head_json, head_of_json
from texthead.models.heads import Config, Head, Names, Prompts

# The highest F1 (0-1) where it cannot be measured.
_UNKNOWN_F1 = 0.5

# The inverse variance of the factor of log-odds before any item.
CERTAINTY = 18.0


def _inner(name: str) -> Any:
    """Return a property with the value that the head inside has."""
    return property(lambda self: getattr(self.head, name))


class MultiLabelHead(Head):
    """Any head, with scores that are log-odds: score + bias, whose sigmoid is the probability that a file has a class.

    Args:
        head: gives the scores.
        bias: added to the scores of each class; it is trained.
        thresholds: log-odds from which on a file is assigned a class.
    """

    multilabel = True
    thresholds: Tensor
    weight, center, log_scale = map(_inner, ("weight", "center", "log_scale"))
    text_source, text_map = map(_inner, ("text_source", "text_map"))
    kind, frozen = map(_inner, ("kind", "frozen"))
    title, scale, takes_text = map(_inner, ("title", "scale", "takes_text"))  # pyright: ignore[reportIncompatibleMethodOverride]

    def __init__(self, head: Head, *, bias: Float[Tensor, " classes"], thresholds: Float[Tensor, " classes"]):
        nn.Module.__init__(self)  # All else belongs to the head inside.
        self.head = head
        self.names, self.prompts = head.names, head.prompts
        self.bias = nn.Parameter(bias.detach().float().clone())
        self.register_buffer("thresholds", thresholds.detach().float().clone())

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return {"kind": self.kind, "head": head_json(self.head)}

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "MultiLabelHead":
        """Return the head described by `config`, to load weights into."""
        zeros = torch.zeros(len(names))
        return cls(head_of_json(config["head"], names, dim=dim, prompts=prompts), bias=zeros, thresholds=zeros)

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
        self, encoder: Encoder, names: Names, *, labels: Names | None = None, prompts: Prompts | None = None
    ) -> Head:
        """Return a head of text rows for other names; arguments as for `Head.with_names`."""
        prompts = names if prompts is None else prompts
        head = self.with_rows(self.encode_rows(encoder, prompts), labels or names, prompts)
        head.prompts = tuple(each if isinstance(each, str) else tuple(each) for each in prompts)
        return head

    def set_threshold(self, log_odds: Float[Tensor, "items classes"], targets: Bool[Tensor, "items classes"]) -> None:
        """Set the threshold, one for all classes, from the log-odds of items that the head was not fitted to.

        It is the middle between two log-odds: of half of the highest F1 that any threshold has on these items, which is
        optimal for exact probabilities (Lipton, Elkan and Narayanaswamy, ECML 2014), and where as many labels are
        assigned as the items have. The first alone says yes too often where items are few, the second too rarely; the
        threshold of the highest F1 itself, for all classes or for each, is worse on unseen items.
        """
        order = log_odds.flatten().argsort(descending=True, stable=True)
        right, sorted_odds = targets.flatten()[order].double(), log_odds.flatten()[order]
        ranks, count = torch.arange(1, len(right) + 1, device=right.device), int(right.sum())
        best = 2 * (right.cumsum(0) / (ranks + count)).max() if count else torch.tensor(_UNKNOWN_F1)
        half = float((best / 2).logit())
        same = float(sorted_odds[count - 1 : count + 1].mean()) if count else half
        self.thresholds.fill_((half + same) / 2)

    def fit_threshold(self, scores: Float[Tensor, "items classes"], targets: Bool[Tensor, "items classes"]) -> None:
        """Set the threshold from the scores of items that the head was not fitted to, which need not be log-odds."""
        factor, bias = log_odds_fit(scores.double().cpu().numpy(), targets.cpu().numpy())
        self.set_threshold(factor * scores + bias, targets)
        self.thresholds.sub_(bias).div_(factor)

    def chosen(self, scores: Float[Tensor, "*items classes"]) -> Bool[Tensor, "*items classes"]:
        """Return which classes each item is assigned."""
        return scores >= self.thresholds.to(scores)

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the log-odds of each class."""
        return self.head(features) + self.bias


def log_odds_fit(
    scores: Float[np.ndarray, "items classes"], targets: Bool[np.ndarray, "items classes"], bias: float = 0.0
) -> tuple[float, float]:
    """Return (factor, bias) of the log-odds = factor x score + bias that make the labels most probable.

    The factor is near 1 where items are few, and at least 0.1: one of 0 or less would reverse the order of the scores.

    Args:
        bias: the expected one, which is returned with a factor of 1 if no item has a class.

    Source: Platt 1999, with a prior on the factor.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(both: np.ndarray) -> tuple[float, np.ndarray]:
        odds, moved = both[0] * scores + both[1], both[0] - 1
        error = expit(odds) - targets
        value = (np.logaddexp(0, odds) - targets * odds).sum() + CERTAINTY * moved**2 / 2
        return float(value), np.array([float((error * scores).sum()) + CERTAINTY * moved, error.sum()])

    if not targets.any():
        return 1.0, bias
    factor, bias = minimize(loss, np.array([1.0, bias]), jac=True, method="BFGS").x.tolist()
    return max(factor, 0.1), bias
