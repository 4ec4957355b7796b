"""Folds, errors of a lead, and which method is chosen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from made import SMALL
from texthead.data.dataset import Dataset, Item
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.transfer import methods
from texthead.transfer.closed_form import logistic_head
from texthead.transfer.methods import Fitted, FrozenItems, Method, choice, cross_validated, folds


def few(counts: dict[str, int], groups: list[str] | None = None) -> FrozenItems:
    """Items of some classes in order, with features that tell a class by its direction."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    where = groups or [None] * len(labels)
    items = tuple(
        Item(Path(f"{i}.mp4"), label, None, group) for i, (label, group) in enumerate(zip(labels, where, strict=True))
    )
    targets = torch.tensor([list(counts).index(label) for label in labels])
    noise = 0.1 * torch.randn(len(labels), 3, 8, generator=torch.Generator().manual_seed(0))
    return FrozenItems(Dataset(items), 5 * torch.eye(8)[targets][:, None] + noise, targets)


def test_three_to_five_folds_score_each_item_once_and_keep_every_class_in_training() -> None:
    for counts, number in (({"a": 3, "b": 7}, 3), ({"a": 4, "b": 4}, 4), ({"a": 20, "b": 30}, 5)):
        items = few(counts)
        parts, whole = folds(items, seed=0)
        assert len(parts) == number
        assert whole
        assert sorted(p for _, scored in parts for p in scored) == list(range(len(items.data)))
        assert all(not set(train) & set(scored) for train, scored in parts)
        assert all(len(set(items.targets[train].tolist())) == 2 for train, _ in parts)

    assert folds(few({"a": 2, "b": 9}), seed=0).pairs == []
    assert folds(items, seed=1) == folds(items, seed=1)
    assert folds(items, seed=1) != folds(items, seed=2)


def test_scenes_stay_whole_unless_a_class_would_train_on_less_than_two_items() -> None:
    items = few({"a": 10, "b": 10}, [f"scene {i // 2}" for i in range(20)])
    parts, whole = folds(items, seed=0)
    assert whole
    for train, scored in parts:
        assert not {items.groups[i] for i in train} & {items.groups[i] for i in scored}
    parts, whole = folds(few({"a": 4, "b": 4}, ["one"] * 3 + ["two"] + ["three"] * 4), seed=0)
    assert not whole
    assert sorted(p for _, scored in parts for p in scored) == list(range(8))


@pytest.mark.parametrize(
    ("right", "scenes", "chosen"),
    [
        ((20, 20), 40, "first"),
        # One item of forty, and three: a lead's error is about its root.
        ((20, 21), 40, "first"),
        ((20, 23), 40, "first"),
        ((20, 26), 40, "second"),
        ((20, 26, 30), 40, "third"),
        # The same lead out of two scenes is two observations.
        ((20, 26), 2, "first"),
    ],
)
def test_a_method_must_lead_by_two_errors_to_be_chosen(right: tuple[int, ...], scenes: int, chosen: str) -> None:
    places = np.arange(40)
    answers = {name: places < count for name, count in zip(("first", "second", "third"), right, strict=False)}
    assert choice("first", answers, (places * scenes // 40).tolist()) == chosen


def probe(least: int = 1) -> Method:
    def fit(items: FrozenItems) -> Fitted:
        head = logistic_head(items.features, items.targets, names=["a", "b"])
        return Fitted(Recognizer(nn.Identity(), MeanPool(), head), SMALL, [])

    return Method("probe", fit, least)


def test_an_item_is_named_by_what_was_fitted_without_it() -> None:
    items = few({"a": 6, "b": 6})
    parts, steps = folds(items, seed=0).pairs, []
    right = cross_validated(probe(), items, parts, lambda: steps.append(1))
    assert right is not None
    assert right.all()
    assert len(steps) == len(parts)
    # With the label of one item changed, that item is named wrongly: no fold that scores it has seen its label.
    items.targets[0] = 1
    changed = cross_validated(probe(), items, parts, lambda: None)
    assert changed is not None
    assert changed.tolist() == [False] + [True] * 11
    # A method that needs more items is left out.
    items = few({"a": 3, "b": 3})
    assert cross_validated(probe(least=3), items, folds(items, seed=0).pairs, lambda: None) is None


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, methods.TEXT_AND_MEANS), (2, methods.TEXT_AND_MEANS), (3, methods.TEXT_TUNED)]
)
def test_what_is_settled_depends_on_the_number_of_items(count: int, chosen: str) -> None:
    every = [Method(title, probe().fit) for title in (methods.TEXT_AND_MEANS, methods.TEXT_TUNED, methods.PROBE)]
    assert methods.settled(every, few({"a": count, "b": 5})) == chosen
    assert methods.settled(every[2:], few({"a": count, "b": 5})) == methods.PROBE
