"""Whether a data set needs temporal order: compare accuracy with frames in order, shuffled and reversed."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

import texthead as th
from texthead import ReadOptions, Reporter
from texthead.evaluation import lead_interval
from texthead.features import item_features, readable

ORDER_SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Reordered:
    """Results with frames in another order.

    Attributes:
        top1: percent; the mean if there are several orders.
        lost: loss of top-1 against frames in order, in points; `low` to `high` is its 95 % interval over groups of
            items.
        changed: percent of items with another prediction.
    """

    order: str
    top1: float
    lost: float
    low: float
    high: float
    changed: float


@dataclass(frozen=True)
class OrderTest:
    """Top-1, in percent, of `count` items with frames in order, and a row for each other order."""

    count: int
    top1: float
    seeds: tuple[int, ...]
    rows: tuple[Reordered, ...]


def blind_to_order(model: th.Recognizer, frames: int) -> bool:
    """Return whether the order of frames cannot matter to this model, or is not tested: with several labels."""
    unordered = isinstance(model.temporal, th.MeanPool) and not model.takes_clips
    return frames < 2 or model.multilabel or unordered


def shuffled(frames: int, seed: int) -> list[int]:
    """Return a random order of the frames, never the identity; two frames give [1, 0] for every seed."""
    generator = torch.Generator().manual_seed(seed)
    order = list(range(frames))
    while order == sorted(order):
        order = torch.randperm(frames, generator=generator).tolist()
    return order


def order_test(
    model: th.Recognizer,
    dataset: th.Dataset,
    protocol: th.Protocol,
    reading: ReadOptions = ReadOptions(),
    *,
    seeds: Sequence[int] = ORDER_SEEDS,
    reporter: Reporter = Reporter(),
) -> OrderTest:
    """Compare top-1 with frames in order, reversed and shuffled, on the same items.

    Each frame is encoded once, or once per order if its feature depends on neighbouring frames. The result depends on
    both model and data: a model can lose accuracy only because it never saw such an order in training, and a model
    that ignores order loses nothing even on data that needs it.

    Args:
        protocol: one clip and one crop per item.
        seeds: one shuffled order per seed, the same for all items.
        reporter: gets progress and messages.

    Raises:
        DataError: the head has no row for a label.
        MediaError: an item cannot be read and `reading` does not skip such items.
    """
    frames = protocol.frames
    orders = [list(range(frames)), list(reversed(range(frames))), *(shuffled(frames, seed) for seed in seeds)]
    targets = dataset.targets(model.names)
    if not model.encodes_frames_independently:  # The cache holds features of frames in order.
        reading = replace(reading, cache=False)
    paths = [item.path for item in dataset.items]
    entries = [*item_features(_in_orders(model, orders), paths, protocol, reading, reporter, "test frame order")]
    positions, _ = readable(entries, skip=reading.skip_unreadable)
    scores = torch.stack([entry[0] for entry in entries if not isinstance(entry, Exception)])
    answers = scores.unflatten(-1, (len(orders), -1)).argmax(-1)
    right = answers == targets[positions][:, None]
    columns = {"reversed": [1], "shuffled": list(range(2, len(orders)))}
    groups = dataset.select(positions).groups
    rows = tuple(_reordered(name, right, answers, chosen, groups) for name, chosen in columns.items() if chosen)
    return OrderTest(len(right), _percent(right[:, 0]), tuple(seeds), rows)


def _reordered(name: str, right: Tensor, answers: Tensor, columns: list[int], groups: Sequence[Hashable]) -> Reordered:
    """Compare the orders at `columns` with the first; rates are means over these orders."""
    plain, reordered = right[:, :1], right[:, columns]
    only_plain, only_other = (plain & ~reordered).float().mean(1), (reordered & ~plain).float().mean(1)
    low, high = lead_interval(only_plain.numpy(), only_other.numpy(), groups)
    changed = _percent(answers[:, columns] != answers[:, :1])
    return Reordered(name, _percent(reordered), _percent(plain) - _percent(reordered), low, high, changed)


def _percent(hits: Tensor) -> float:
    return 100 * float(hits.double().mean())


def _in_orders(model: th.Recognizer, orders: Sequence[Sequence[int]]) -> th.Recognizer:
    """Return a model whose features are the scores of a clip in each order of its frames, concatenated."""
    if model.encodes_frames_independently:
        return th.Recognizer(model.visual, _ScoredInOrders(model.temporal, model.head, orders), nn.Identity())
    return _EncodedInOrders(model, orders)


class _ScoredInOrders(nn.Module):
    """Temporal module and head applied to frame features in several orders."""

    def __init__(self, temporal: nn.Module, head: nn.Module, orders: Sequence[Sequence[int]]):
        super().__init__()
        self.temporal, self.head, self.orders = temporal, head, orders

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch scores"]:
        return torch.cat([self.head(self.temporal(features[:, order])) for order in self.orders], dim=-1)


class _EncodedInOrders(th.Recognizer):
    """The whole model applied to frames in several orders."""

    def __init__(self, model: th.Recognizer, orders: Sequence[Sequence[int]]):
        super().__init__(model.visual, model.temporal, model.head)
        self.orders = orders

    def features(self, clips: Shaped[Tensor, "batch frames *frame"]) -> Float[Tensor, "batch scores"]:
        return torch.cat(
            [self.head(super(_EncodedInOrders, self).features(clips[:, order])) for order in self.orders], -1
        )
