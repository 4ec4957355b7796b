"""Labels of items, one each or several: manifests, JSON lists, prepared shards, splits, and what a run keeps of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from made import items, write_image
from messages import prints, refuses
from texthead import Dataset, Item, read_dataset
from texthead.data.division import divide
from texthead.data.labels import (
    are_unbalanced,
    item_weights,
    join_labels,
    log_ratio,
    split_labels,
    unbalanced_text,
    weighted_text,
)
from texthead.data.prepare import prepare
from texthead.errors import DataError


def manifest(root: Path, text: str, name: str = "clips.csv") -> Path:
    path = root / name
    path.write_text(text)
    return path


def labels_of(path: Path) -> dict[str, str]:
    dataset = read_dataset(path)
    assert dataset.multilabel
    return {item.name: item.label for item in dataset.items}


def toys(texts: list[str], groups: list[str] | None = None) -> Dataset:
    pairs = zip(texts, groups or [None] * len(texts), strict=True)
    items = (Item(Path(f"{i}.jpg"), split_labels(text), None, group) for i, (text, group) in enumerate(pairs))
    return Dataset(tuple(items), "toys.csv", multilabel=True)


def test_labels_are_sorted_text_that_can_be_read_back() -> None:
    assert join_labels(["frisbee", "dog", "dog"]) == "dog; frisbee"
    assert split_labels(" frisbee;dog;; ") == ("dog", "frisbee")
    assert (join_labels([]), split_labels("")) == ("", ())
    with pytest.raises(DataError, match="class name 'a;b' contains ';'"):
        join_labels(["a;b"])
    with pytest.raises(DataError, match="class name 'a;b' contains ';'"):
        Dataset((Item(Path("0.jpg"), ("a;b",)),), multilabel=True)
    with refuses(DataError, "0.jpg has 2 labels: pass `multilabel=True`"):
        Dataset((Item(Path("0.jpg"), ("a", "b")),))


def test_which_classes_an_item_has_and_how_many_have_each() -> None:
    data = toys(["dog; frisbee", "dog", "", "cat; dog"])
    assert data.counts == {"dog": 3, "frisbee": 1, "cat": 1}
    assert data.strata == ["frisbee", "dog", "", "cat"]
    names = ["cat", "dog", "frisbee"]
    expected = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]]).bool()
    assert torch.equal(data.targets(names), expected)
    with refuses(DataError, "toys.csv: 1 of 4 items have labels that are not among the 2 classes (frisbee)"):
        data.targets(["cat", "dog"])


def test_what_needs_one_label_refuses_several() -> None:
    data = toys(["a; b", "b", "c"])
    with refuses(DataError, "toys.csv: expected single-label data"):
        _ = data.labels
    assert [item.label for item in data.with_classes(["b"]).items] == ["b", "b", ""], "the items stay"


def test_a_k_shot_takes_no_more_items_than_it_needs() -> None:
    data = toys(["a; b", "a; b", "a", "b", "c", "c", ""])
    drawn = data.k_shot(2, seed=0)
    assert min(drawn.counts.values()) == 2
    assert len(drawn) <= 6
    both = toys(["a; b"] * 3 + ["a"] * 3 + ["b"] * 3)
    assert all(1 <= len(both.k_shot(1, seed=seed)) <= 2 for seed in range(9))
    with pytest.raises(DataError, match="class 'c' has 2 items, fewer than `k=3`"):
        data.k_shot(3, seed=0)


@pytest.mark.parametrize("seed", range(6))
def test_held_out_items_leave_every_class_in_training(seed: int) -> None:
    texts = ["a; b", "a", "a", "b", "b; c", "c", "a; c", "b", "", ""] * 3
    data = toys(texts, [f"g{i // 2}" for i in range(30)]).with_drawn_split(0.3, seed=seed)
    assert {*data.split("train").classes} == {"a", "b", "c"}
    assert len(data.split("val"))
    assert not {*data.split("train").groups} & {*data.split("val").groups}
    # Of both items of "rest" another class is the rarest.
    data = toys(["a; rest; top", "b; rest; top", *["a; top"] * 4, *["b; top"] * 4])
    assert "rest" in data.with_drawn_split(0.3, seed=seed).split("train").classes


def test_the_column_labels_holds_several_or_none(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,Labels,split,fps\na.jpg,frisbee;dog ,train,25\nb.jpg,,test,\nc.jpg, dog,test,\n")
    dataset = read_dataset(path)
    assert dataset.items == (
        Item(tmp_path / "a.jpg", ("dog", "frisbee"), "train", None, (("fps", "25"),)),
        Item(tmp_path / "b.jpg", (), "test", None, (("fps", ""),)),
        Item(tmp_path / "c.jpg", ("dog",), "test", None, (("fps", ""),)),
    )
    assert (dataset.multilabel, dataset.classes) == (True, ["dog", "frisbee"])
    (note,) = dataset.notes
    prints(note, path, "1 of 3 files have several labels", f"at most 2, as {tmp_path / 'a.jpg'}", "1 have none")
    names = manifest(tmp_path, "id,name\ndog,a dog\nfrisbee,a frisbee\n", "names.csv")
    assert [item.label for item in read_dataset(path, labels=names).items] == ["a dog; a frisbee", "", "a dog"]
    # One each, if the column says that there could be more.
    assert labels_of(manifest(tmp_path, "path,labels\na.jpg,dog\nb.jpg,cat\n")) == {"a.jpg": "dog", "b.jpg": "cat"}


def test_semicolons_in_the_column_label(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,label\na.jpg,dog; frisbee\nb.jpg,dog\n")
    assert labels_of(path) == {"a.jpg": "dog; frisbee", "b.jpg": "dog"}
    with refuses(DataError, path, "label and labels"):
        read_dataset(manifest(tmp_path, "path,label,labels\na.jpg,dog,dog; frisbee\n"))
    with refuses(DataError, f"{path}:3", "'labels'"):
        read_dataset(manifest(tmp_path, "path,label\na.jpg,dog; frisbee\nb.jpg,\n"))
    assert not read_dataset(manifest(tmp_path, "path,label\na.jpg,dog\nb.jpg,cat\n")).multilabel


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("path,dog,cat\na.jpg,1,0\n", ["path and label", "path, dog, cat", "'labels'", "columns: {path"]),
        ("path,labels\na.jpg,\n", ["none of its 1 files has a label", "path,label"]),
    ],
)
def test_what_a_manifest_of_several_labels_may_not_be(tmp_path: Path, text: str, parts: list[str]) -> None:
    with refuses(DataError, *parts):
        read_dataset(manifest(tmp_path, text))


def test_a_folder_is_read_by_its_manifest(tmp_path: Path) -> None:
    write_image(tmp_path / "red" / "a.png", "red")
    assert not read_dataset(tmp_path).multilabel
    manifest(tmp_path, "path,time\na.jpg,3\n", "labels.bad.csv")
    assert not read_dataset(tmp_path).multilabel
    manifest(tmp_path, "path,labels\na.jpg,dog;cat\n")
    assert labels_of(tmp_path) == {"a.jpg": "cat; dog"}


def test_prepared_shards_keep_that_labels_are_several(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", "red")
    dataset = read_dataset(manifest(tmp_path, "path,labels\na.png,dog;cat\nb.png,\n"))
    prepare(dataset, tmp_path / "shards")
    back = read_dataset(tmp_path / "shards")
    assert (back.multilabel, [item.label for item in back.items]) == (True, ["cat; dog", ""])
    one = replace(dataset.items[0], labels=("cat; dog",))
    prepare(replace(dataset, multilabel=False, items=(one,)), tmp_path / "one")
    assert read_dataset(tmp_path / "one").labels == ["cat; dog"]


def multilabel(*rows: tuple[str, str, str | None]) -> Dataset:
    dataset = items(*rows)
    labelled = (replace(item, labels=split_labels(item.label)) for item in dataset.items)
    return replace(dataset, items=tuple(labelled), multilabel=True)


def test_divide_drops_labels_without_training_items_with_a_note() -> None:
    data = multilabel(("a", "x; y", "train"), ("b", "x", "train"), ("c", "y; z", "test"), ("d", "w", "test"))
    parts = divide(data, seed=0, held_out=None, k=None)
    assert [item.label for item in parts.scored.items] == ["y", ""]
    everywhere, lost = parts.notes
    prints(everywhere, "all 2 training items have x")
    prints(lost, "2 of 2 test items", "(w, z)", "not scored")
    data = multilabel(("a", "x; y", "train"), ("b", "x", "train"), ("c", "", "test"), ("d", "w", "test"))
    with refuses(DataError, "none of its 2 test items", "remove them"):
        divide(data, seed=0, held_out=None, k=None)
    with refuses(DataError, "all 2 training items", "'x, y'"):
        divide(multilabel(("a", "x; y", None), ("b", "y; x", None)), seed=0, held_out=0.0, k=None)
    drawn = divide(multilabel(*((f"{i}", "x" if i % 2 else "y", None) for i in range(10))), seed=0, held_out=0.2, k=1)
    assert (len(drawn.train), len(drawn.scored), drawn.scored.multilabel) == (2, 2, True)


def test_classes_that_are_never_the_rarest_are_held_out_too() -> None:
    rows = [(f"{number}", "many; few" if number < 8 else "many; other", None) for number in range(19)]
    drawn = multilabel(*rows, ("alone", "many", None), ("none", "", None)).with_drawn_split(0.2, seed=0)
    assert drawn.split("val").classes == ["few", "many", "other"]
    assert drawn.notes == ()
    (note,) = multilabel(*rows, ("once", "many; once", None)).with_drawn_split(0.2, seed=0).notes
    prints(note, "1 of 4 classes", "'once'")


def test_odd_separators_are_refused(tmp_path: Path) -> None:
    for mark in (", ", "|"):
        (tmp_path / "labels.csv").write_text(f'path,labels\na.jpg,"lamp{mark}chair"\nb.jpg,lamp\n')
        with refuses(DataError, "labels.csv", "separated by ';'", f"lamp{mark}chair", "'label'"):
            read_dataset(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text('path,labels\na.jpg,"lamp, small; chair"\nb.jpg,lamp\n')
    assert read_dataset(tmp_path / "labels.csv").classes == ["chair", "lamp", "lamp, small"]


def test_classes_without_items_do_not_count() -> None:
    assert are_unbalanced([3, 0, 2])
    assert not are_unbalanced([4, 0, 3])
    assert not are_unbalanced([])


def test_the_ratio_of_target_and_label_shares() -> None:
    assert log_ratio("equal", np.array([2, 6, 8])) == pytest.approx(np.log([16 / 6, 16 / 18, 16 / 24]))
    assert not log_ratio("labels", np.array([2, 6, 8])).any()
    for number in range(1, 50):
        assert not log_ratio("equal", np.full(3, number)).any()


def test_weights_give_each_class_its_share() -> None:
    targets = np.array([0, 1, 1, 1, 2, 2])
    weights = item_weights("equal", 3, targets)
    assert np.bincount(targets, weights) == pytest.approx([2, 2, 2])
    assert weighted_text(weights) == ", weighted by class"
    assert (item_weights("labels", 3, targets) == 1).all()
    assert weighted_text(item_weights("equal", 3, np.array([0, 1, 2]))) == ""
    # Where a group counts as one item: of two classes of four items, one is of half a group and the other of 4 groups.
    targets, groups = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]), [*"aaaabcdeaaaa"]
    weights = item_weights("equal", 3, targets, groups)
    shared = weights / np.array([groups.count(group) for group in groups])
    assert np.bincount(targets, shared) == pytest.approx(np.full(3, shared.sum() / 3))
    assert item_weights("equal", 3, targets, range(12)) == pytest.approx(item_weights("equal", 3, targets))


def test_what_is_printed() -> None:
    assert "2 to 20 per class" in unbalanced_text("equal", [2, 20, 7])
    assert not unbalanced_text("equal", [10, 14])
    assert unbalanced_text("labels", [2, 20]).endswith("predictions assume the same frequencies")
