"""Which items train, which validate and which are scored."""

from dataclasses import replace
from pathlib import Path

import pytest

from made import items, write_frames, write_image
from messages import prints, refuses
from platforms import symlink
from texthead.data.dataset import Dataset, Item
from texthead.data.division import divide, shared_groups
from texthead.data.reading import read_dataset
from texthead.errors import DataError


def test_divide_draws_where_there_are_no_splits():
    data = items(*((f"{c}{i}", c, None) for c in "ab" for i in range(10)))
    parts = divide(data, seed=0, held_out=0.2, k=None)
    assert (len(parts.train), len(parts.scored), parts.scored_name) == (16, 4, "val")
    assert parts.val == parts.scored
    drawn = [replace(item, split=None) for item in (*parts.train.items, *parts.scored.items)]
    assert {*drawn} == {*data.items}, "every item is in one part"
    assert sorted(parts.scored.labels) == ["a", "a", "b", "b"]
    assert parts == divide(data, seed=0, held_out=0.2, k=None)
    assert parts != divide(data, seed=1, held_out=0.2, k=None)


def test_divide_takes_the_datas_splits():
    rows = [("a0", "a", "train"), ("b0", "b", "train"), ("a1", "a", "val"), ("b1", "b", "test"), ("a2", "a", "test")]
    parts = divide(items(*rows), seed=0, held_out=None, k=None)
    assert parts.scored_name == "test"
    assert parts.val is not None
    assert [i.path.stem for i in parts.val.items] == ["a1"]
    assert [i.path.stem for i in parts.scored.items] == ["b1", "a2"]
    assert parts.notes == ()
    only = divide(items(*rows[:3]), seed=0, held_out=None, k=None)
    assert (only.scored_name, len(only.scored)) == ("val", 1)
    none = divide(items(*rows[:2]), seed=0, held_out=None, k=None)
    assert (none.val, len(none.scored)) == (None, 0)
    with refuses(DataError, "'train'", "{'val': 1, 'test': 2}"):
        divide(items(*rows[2:]), seed=0, held_out=None, k=None)
    with refuses(DataError, "0.3", "{'train': 2, 'val': 1, 'test': 2}"):
        divide(items(*rows), seed=0, held_out=0.3, k=None)
    with refuses(DataError, "1 of 6 items have no split"):
        divide(items(*rows, ("b2", "b", None)), seed=0, held_out=None, k=None)


def test_divide_k_leaves_held_out_items_alone():
    data = items(*((f"{c}{i}", c, None) for c in "ab" for i in range(10)))
    whole, few = (divide(data, seed=0, held_out=0.2, k=k) for k in (None, 3))
    assert sorted(few.train.labels) == ["a"] * 3 + ["b"] * 3
    assert set(few.train.items) < set(whole.train.items)
    assert few.scored == whole.scored
    with refuses(DataError, "k", 9, 8):
        divide(data, seed=0, held_out=0.2, k=9)


def test_single_class_training_set_refused():
    data = items(*((f"a{i}", "a", None) for i in range(5)))
    with refuses(DataError, 4, "'a'"):
        divide(data, seed=0, held_out=0.2, k=None)
    with refuses(DataError, 5, "'a'"):
        divide(data, seed=0, held_out=0.0, k=2)
    with refuses(DataError, 1, "'a'"):
        divide(items(("a", "a", "train"), ("a1", "a", "test"), ("b", "b", "test")), seed=0, held_out=None, k=None)


def test_a_second_source_is_what_is_validated():
    train_set = replace(items(("a0", "a", None), ("b0", "b", None)), notes=("one", "both"))
    val_set = replace(items(("a1", "a", None), ("b1", "b", None)), source="there", notes=("both", "two"))
    dataset = train_set.with_validation(val_set)
    assert [item.path.stem for item in dataset.split("train").items] == ["a0", "b0"]
    assert [item.path.stem for item in dataset.split("val").items] == ["a1", "b1"]
    assert (dataset.source, dataset.notes) == ("here", ("one", "both", "two"))
    parts = divide(dataset, seed=0, held_out=None, k=None)
    assert (parts.train.labels, parts.scored.labels, parts.scored_name) == (["a", "b"], ["a", "b"], "val")
    assert parts.val == parts.scored
    assert train_set.with_tree(None).with_validation(val_set).tree is None
    train_set = items(("d/x", "a/x", None), ("d/y", "a/y", None)).with_tree(None)
    assert train_set.with_validation(val_set).tree == train_set.tree is not None
    # Splits that agree with how the sources are used are accepted.
    same = items(("a0", "a", "train")).with_validation(items(("a1", "a", "test")))
    assert [item.split for item in same.items] == ["train", "val"]


def test_sources_with_splits_of_their_own():
    split, plain = items(("a0", "a", "train"), ("a1", "a", "val")), items(("a2", "a", None))
    with refuses(DataError, "{'train': 1, 'val': 1}"):
        split.with_validation(plain)
    with refuses(DataError, "{'train': 1, 'val': 1}"):
        plain.with_validation(split)
    with refuses(DataError, "{'train': 1}"):
        plain.with_validation(items(("a3", "a", "train")))


def test_an_item_in_both_sources_is_refused(tmp_path):
    write_image(tmp_path / "a" / "1.png", "red")
    write_image(tmp_path / "x.png", "blue")
    symlink(tmp_path / "link", tmp_path / "a")
    train_set = items((str(tmp_path / "a/1"), "a", None), (str(tmp_path / "x"), "a", None), suffix=".png")
    val_set = items((str(tmp_path / "link/1"), "a", None), (str(tmp_path / "x"), "a", None), suffix=".png")
    with refuses(DataError, "2 of 2"):
        train_set.with_validation(val_set)


@pytest.mark.parametrize("train", ["v", "v#t=0,2"])
@pytest.mark.parametrize("held", ["v", "v#t=2,4", "folder/../v#t=2,4"])
def test_parts_of_one_file_share_a_group(train: str, held: str) -> None:
    train_set, held_out = (
        Dataset(tuple(Item(Path(name.replace("v", "v.mp4")), ("a",)) for name in (own, f"{number}v")))
        for number, own in enumerate((train, held))
    )
    notes = shared_groups(train_set, held_out, "test")
    assert [note.split(",")[0] for note in notes] == (
        ["1 of 2 test items share a group with training items"] * (train != held or "#" in train)
    )
    drawn = [item.group_key for item in (*train_set.items, *held_out.items)]
    assert drawn[0] == drawn[2]


def test_a_held_out_class_needs_training_items():
    for split in ("val", "test"):
        rows = [("a0", "a", "train"), ("b0", "b", "train"), ("b1", "b", "test"), ("c0", "c", split), ("d0", "d", split)]
        of = f"2 of {2 + (split == 'test')} {split} items"
        with refuses(DataError, of, "without training items (c, d)", "remove these items"):
            divide(items(*rows), seed=0, held_out=None, k=None)


def test_copies_are_noted(tmp_path):
    for split, label, seed in [("one", "a", 0), ("one", "b", 1), ("two", "a", 0), ("two", "c", 2)]:
        write_image(tmp_path / split / label / f"{split}.png", "red", seed=seed)
    dataset = read_dataset(tmp_path / "one").with_validation(read_dataset(tmp_path / "two"))
    (copies,) = dataset.notes
    prints(copies, "1 of 2", tmp_path / "two/a/two.png")
    assert [item.label for item in dataset.split("val").items] == ["c"]
    clips = [write_frames(Path(f"{tmp_path}/{name}/{{:03d}}.png"), "red") for name in ("v1", "v2")]
    with refuses(DataError, "1 of 1", "val"):
        Dataset.with_validation(*(items((str(path.with_suffix("")), "a", None), suffix=".png") for path in clips))
    # Missing files are not copies of each other.
    assert items(("x", "a", None)).with_validation(items(("y", "a", None))).notes == ()
