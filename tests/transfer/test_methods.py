"""Folds, the lead of a rival, and the methods of an encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from made import tiny_visual
from messages import refuses
from texthead.data.dataset import Dataset, Item
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError
from texthead.features.frozen import FrozenEncoder, FrozenItems
from texthead.models.heads import ProbeHead
from texthead.recipes import Recipe
from texthead.transfer.closed_form import logistic_head
from texthead.transfer.methods import Task, best_rival, cross_validated, folds


def few(counts: dict[str, int], groups: list[str] | None = None) -> FrozenItems:
    """Return items in class order, whose features have one direction per class."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    where = groups or [None] * len(labels)
    items = tuple(
        Item(Path(f"{i}.mp4"), label, None, group) for i, (label, group) in enumerate(zip(labels, where, strict=True))
    )
    targets = torch.tensor([list(counts).index(label) for label in labels])
    noise = 0.1 * torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(0))
    return FrozenItems(Dataset(items), 5 * torch.eye(8)[targets] + noise, targets)


def test_folds_score_items_once() -> None:
    for counts, number in (({"a": 3, "b": 7}, 3), ({"a": 4, "b": 4}, 4), ({"a": 20, "b": 30}, 5)):
        items = few(counts)
        pairs, whole = folds(items, seed=0)
        assert len(pairs) == number
        assert whole
        assert sorted(p for _, scored in pairs for p in scored) == list(range(len(items.data)))
        assert all(not set(train) & set(scored) for train, scored in pairs)
        assert all(len(set(items.targets[train].tolist())) == 2 for train, _ in pairs)

    assert folds(few({"a": 2, "b": 9}), seed=0).pairs == []
    assert folds(items, seed=1) == folds(items, seed=1)
    assert folds(items, seed=1) != folds(items, seed=2)


def test_the_order_of_the_items_does_not_matter() -> None:
    for groups in (None, [f"scene {i // 2}" for i in range(20)]):
        items = few({"a": 10, "b": 10}, groups)
        order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
        moved = items.pick(order)
        names, other_names = items.data.names, moved.data.names
        pairs = [{names[i] for i in scored} for _, scored in folds(items, seed=0).pairs]
        assert [{other_names[i] for i in scored} for _, scored in folds(moved, seed=0).pairs] == pairs


def test_folds_keep_groups_if_possible() -> None:
    items = few({"a": 10, "b": 10}, [f"scene {i // 2}" for i in range(20)])
    pairs, whole = folds(items, seed=0)
    assert whole
    for train, scored in pairs:
        assert not {items.groups[i] for i in train} & {items.groups[i] for i in scored}
    pairs, whole = folds(few({"a": 4, "b": 4}, ["one"] * 3 + ["two"] + ["three"] * 4), seed=0)
    assert not whole
    assert sorted(p for _, scored in pairs for p in scored) == list(range(8))


@pytest.mark.parametrize(
    ("right", "rival", "points"),
    [((20, 20), None, 0.0), ((20, 19), None, 0.0), ((20, 26), "second", 15.0), ((20, 26, 30), "third", 25.0)],
)
def test_the_best_rival_is_named_with_its_lead(right: tuple[int, ...], rival: str | None, points: float) -> None:
    positions, titles = np.arange(40), ("first", "second", "third")
    answers = {name: positions < count for name, count in zip(titles, right, strict=False)}
    lead = best_rival(answers, positions.tolist())
    assert (lead and lead.rival) == rival
    if lead:
        assert lead.points == pytest.approx(points)
        assert lead.low < points < lead.high
        # The same lead over fewer scenes is less certain.
        fewer = best_rival(answers, (positions // 10).tolist())
        assert fewer is not None
        assert fewer.low < lead.low


def probe(items: FrozenItems) -> ProbeHead:
    return logistic_head(items.features, items.targets, names=["a", "b"])


def test_cross_validation_leaves_item_out() -> None:
    items = few({"a": 6, "b": 6})
    pairs, steps = folds(items, seed=0).pairs, []
    right = cross_validated(probe, items, pairs, lambda: steps.append(1))
    assert right.all()
    assert len(steps) == len(pairs)
    # With one label changed, only that item is wrong: the fold that scores an item has not seen its label.
    items.targets[0] = 1
    changed = cross_validated(probe, items, pairs)
    assert changed.tolist() == [False] + [True] * 11


def test_an_encoder_without_text_has_only_the_probe() -> None:
    encoder = Encoder(tiny_visual(), None, scale=1.0)
    task = Task(FrozenEncoder(encoder), ("a", "b"), ("a", "b"), ("a", "b"), Recipe(name="test"))
    assert task.check_method(None) == task.check_method("probe") == "probe"
    with refuses(DataError, "zero-shot", "no text encoder"):
        task.check_method("zero-shot")
