"""Labels of items: one each, or several."""

from pathlib import Path

import pytest
import torch

import texthead as th
from messages import refuses
from texthead.data.labels import Labels, split_labels
from texthead.errors import DataError

SEVERAL = Labels(("dog; frisbee", "dog", "", "cat; dog"), several=True, source="toys.csv")


def several(texts: list[str], groups: list[str] | None = None) -> th.Dataset:
    pairs = zip(texts, groups or [None] * len(texts), strict=True)
    items = (th.Item(Path(f"{i}.jpg"), text, None, group) for i, (text, group) in enumerate(pairs))
    return th.Dataset(tuple(items), "toys.csv", several=True)


def test_a_label_of_several_is_sorted_text_that_can_be_read_back() -> None:
    assert Labels.join(["frisbee", "dog", "dog"]) == "dog; frisbee"
    assert split_labels(" frisbee;dog;; ") == ("dog", "frisbee")
    assert (Labels.join([]), split_labels("")) == ("", ())
    with pytest.raises(DataError, match="class name 'a;b' contains ';'"):
        Labels.join(["a;b"])


def test_classes_are_counted_once_per_item_that_has_them() -> None:
    assert SEVERAL.counts == {"dog": 3, "frisbee": 1, "cat": 1}
    assert SEVERAL.strata == ["frisbee", "dog", "", "cat"]
    assert Labels(("a; b", "c")).counts == {"a; b": 1, "c": 1}


def test_targets_say_which_classes_an_item_has() -> None:
    names = ["cat", "dog", "frisbee"]
    expected = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]]).bool()
    assert torch.equal(SEVERAL.targets(names), expected)
    assert torch.equal(SEVERAL.table(names)[SEVERAL.numbers(names)], expected)
    assert Labels(("b", "a", "b")).targets(["a", "b"]).tolist() == [1, 0, 1]
    with refuses(DataError, "toys.csv: 1 of 4 items have labels that are not among the 2 classes (frisbee)"):
        SEVERAL.targets(["cat", "dog"])


def test_what_needs_one_label_refuses_several() -> None:
    data = several(["a; b", "b", "c"])
    with refuses(DataError, "toys.csv: its files have several labels, but this needs"):
        _ = data.labels
    assert [item.label for item in data.with_classes(["b"]).items] == ["b", "b", ""], "the items stay"


def test_a_k_shot_takes_no_more_items_than_it_needs() -> None:
    data = several(["a; b", "a; b", "a", "b", "c", "c", ""])
    drawn = data.k_shot(2, seed=0)
    assert min(drawn.labelling.counts.values()) == 2
    assert len(drawn) <= 6
    both = several(["a; b"] * 3 + ["a"] * 3 + ["b"] * 3)
    assert all(1 <= len(both.k_shot(1, seed=seed)) <= 2 for seed in range(9))
    with pytest.raises(DataError, match="class 'c' has 2 items, fewer than `k=3`"):
        data.k_shot(3, seed=0)


@pytest.mark.parametrize("seed", range(6))
def test_held_out_items_leave_every_class_in_training(seed: int) -> None:
    texts = ["a; b", "a", "a", "b", "b; c", "c", "a; c", "b", "", ""] * 3
    data = several(texts, [f"g{i // 2}" for i in range(30)]).with_drawn_split(0.3, seed=seed)
    assert {*data.split("train").classes} == {"a", "b", "c"}
    assert len(data.split("val"))
    assert not {*data.split("train").groups} & {*data.split("val").groups}
    # Of both items of "rest" another class is the rarest.
    data = several(["a; rest; top", "b; rest; top", *["a; top"] * 4, *["b; top"] * 4])
    assert "rest" in data.with_drawn_split(0.3, seed=seed).split("train").classes
