"""Does a data set need time at all? The same items with their frames shuffled, reversed, and as they are."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from texthead.data.dataset import Dataset, label_indices
from texthead.data.protocol import Protocol
from texthead.evaluation.intervals import lead_interval
from texthead.features.frames import readable
from texthead.features.reading import Reading
from texthead.features.views import item_features
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.progress import Progress

SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Reordered:
    """What another order of frames does to a score.

    Attributes:
        top1: percent; over several orders their mean.
        lost: points of top-1 that the frames as they are have more; `low` to `high` is its 95 % interval over
            groups of items.
        changed: percent of items that get another answer.
    """

    order: str
    top1: float
    lost: float
    low: float
    high: float
    changed: float


@dataclass(frozen=True)
class OrderTest:
    """Top-1 in percent of `count` items with their frames as they are, and what other orders do to it."""

    count: int
    top1: float
    seeds: tuple[int, ...]
    rows: tuple[Reordered, ...]


def blind_to_order(model: Recognizer, frames: int) -> str | None:
    """Why the order of frames cannot matter to this model, as a sentence; None where it can."""
    if frames < 2:
        return "Clips have one frame, which has no order."
    if isinstance(model.temporal, MeanPool):
        return (
            "The mean over frames is blind to their order: shuffled or reversed, the score is the same by "
            "construction. A run with temporal=transformer can be asked whether this data needs time."
        )
    return None


def shuffled(frames: int, seed: int) -> list[int]:
    """An order of frames other than their own, drawn from the seed.

    Two frames can only change places: [1, 0] for every seed.
    """
    generator = torch.Generator().manual_seed(seed)
    order = list(range(frames))
    while order == sorted(order):
        order = torch.randperm(frames, generator=generator).tolist()
    return order


def order_test(
    model: Recognizer,
    dataset: Dataset,
    protocol: Protocol,
    reading: Reading = Reading(),
    *,
    labels: Sequence[str] | None = None,
    seeds: Sequence[int] = SEEDS,
    progress: Progress | None = None,
) -> OrderTest:
    """The score with frames shuffled and reversed beside the score with frames as they are, on the same items.

    Each frame is encoded once, unless the encoder sees its neighbours: then once for each order. A model can lose by an
    order merely because it never met it in training, and a model that learned nothing of time loses nothing on data
    that needs it: the test is of both.

    Args:
        labels: the data's label of each row of the head; the model's own names if None.
        protocol: of one clip and one crop.
        seeds: one order each, the same for all items.

    Raises:
        DataError: a label that the head has no row for.
        MediaError: an item that cannot be read, unless the reading skips such items.
    """
    frames = protocol.frames
    orders = [list(range(frames)), list(reversed(range(frames))), *(shuffled(frames, seed) for seed in seeds)]
    targets = torch.tensor(label_indices(dataset, labels or model.names))
    if not model.sees_frames_apart:  # What is kept is of frames as they are.
        reading = replace(reading, cache=None)
    entries = item_features(
        _in_orders(model, orders),
        [item.path for item in dataset.items],
        protocol,
        reading,
        progress,
    )
    positions, _ = readable(entries, skip=reading.skip_unreadable)
    scores = torch.stack([entry[0] for entry in entries if not isinstance(entry, Exception)])
    answers = scores.unflatten(-1, (len(orders), -1)).argmax(-1)
    right = answers == targets[positions][:, None]
    columns = {"reversed": [1], "shuffled": list(range(2, len(orders)))}
    groups = dataset.pick(positions).groups
    rows = tuple(_reordered(name, right, answers, places, groups) for name, places in columns.items() if places)
    return OrderTest(len(right), _percent(right[:, 0]), tuple(seeds), rows)


def _reordered(name: str, right: Tensor, answers: Tensor, columns: list[int], groups: Sequence[Hashable]) -> Reordered:
    """A row of the test: the orders at `columns` beside the first, each count a mean over these orders."""
    plain, other = right[:, :1], right[:, columns]
    only_plain, only_other = (plain & ~other).float().mean(1), (other & ~plain).float().mean(1)
    low, high = lead_interval(only_plain.numpy(), only_other.numpy(), groups)
    changed = _percent(answers[:, columns] != answers[:, :1])
    return Reordered(name, _percent(other), _percent(plain) - _percent(other), low, high, changed)


def _percent(hits: Tensor) -> float:
    return 100 * float(hits.double().mean())


def _in_orders(model: Recognizer, orders: Sequence[Sequence[int]]) -> Recognizer:
    """The model with the scores of each order of a clip's frames, one after the other, in place of its features."""
    if model.sees_frames_apart:
        return Recognizer(model.visual, _ScoredInOrders(model.temporal, model.head, orders), nn.Identity())
    return _EncodedInOrders(model, orders)


class _ScoredInOrders(nn.Module):
    """Frames that were encoded once, in several orders through the temporal module and the head."""

    def __init__(self, temporal: nn.Module, head: nn.Module, orders: Sequence[Sequence[int]]):
        super().__init__()
        self.temporal, self.head, self.orders = temporal, head, orders

    def forward(self, features: Float[Tensor, "batch frames dim"]) -> Float[Tensor, "batch scores"]:
        return torch.cat([self.head(self.temporal(features[:, order])) for order in self.orders], dim=-1)


class _EncodedInOrders(Recognizer):
    """Frames in several orders through the whole model."""

    def __init__(self, model: Recognizer, orders: Sequence[Sequence[int]]):
        super().__init__(model.visual, model.temporal, model.head)
        self.orders = orders

    def features(self, clips: Shaped[Tensor, "batch frames *frame"]) -> Float[Tensor, "batch scores"]:
        return torch.cat(
            [self.head(super(_EncodedInOrders, self).features(clips[:, order])) for order in self.orders], -1
        )
