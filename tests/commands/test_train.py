"""Which items train and which are held out, and how the recipe is fitted to the data."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from made import items, write_frames, write_image
from messages import prints, refuses
from texthead import recipes
from texthead.commands.options import NameOptions
from texthead.commands.train import Train, named
from texthead.data.dataset import Dataset
from texthead.data.division import divide, with_validation
from texthead.data.reading import read_dataset
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import load_encoder
from texthead.errors import DataError, RunError
from texthead.training.fit_recipe import check_overrides_are_used, suit


@pytest.fixture(scope="module")
def mini() -> Encoder:
    return load_encoder("mini")


def many(count: int, classes: Sequence[str] = "ab", split: str | None = "train", suffix: str = ".mp4") -> Dataset:
    """The same number of items in each class."""
    return items(*((f"{c}{i}", c, split) for c in classes for i in range(count)), suffix=suffix)


def test_divide_draws_where_there_are_no_splits():
    data = many(10, split=None)
    parts = divide(data, seed=0, part=0.2, k=None)
    assert (len(parts.train), len(parts.scored), parts.scored_name) == (16, 4, "val")
    assert parts.val == parts.scored
    assert not set(parts.train.items) & set(parts.scored.items)
    assert parts == divide(data, seed=0, part=0.2, k=None)
    assert parts != divide(data, seed=1, part=0.2, k=None)


def test_divide_takes_the_datas_splits():
    rows = [("a0", "a", "train"), ("b0", "b", "train"), ("a1", "a", "val"), ("b1", "b", "test"), ("c1", "c", "test")]
    parts = divide(items(*rows), seed=0, part=None, k=None)
    assert parts.scored_name == "test"
    assert parts.val is not None
    assert [i.path.stem for i in parts.val.items] == ["a1"]
    # Class c has no row in the head.
    assert [i.path.stem for i in parts.scored.items] == ["b1"]
    only = divide(items(*rows[:3]), seed=0, part=None, k=None)
    assert (only.scored_name, len(only.scored)) == ("val", 1)
    none = divide(items(*rows[:2]), seed=0, part=None, k=None)
    assert (none.val, len(none.scored)) == (None, 0)
    with refuses(DataError, "'train'", "{'val': 1, 'test': 2}"):
        divide(items(*rows[2:]), seed=0, part=None, k=None)
    with refuses(DataError, "0.3", "{'train': 2, 'val': 1, 'test': 2}"):
        divide(items(*rows), seed=0, part=0.3, k=None)


def test_divide_k_leaves_held_out_items_alone():
    data = many(10, split=None)
    whole, few = (divide(data, seed=0, part=0.2, k=k) for k in (None, 3))
    assert sorted(few.train.labels) == ["a"] * 3 + ["b"] * 3
    assert set(few.train.items) < set(whole.train.items)
    assert few.scored == whole.scored
    with refuses(DataError, "k", 9, 8):
        divide(data, seed=0, part=0.2, k=9)


# --- a second source ------------------------------------------------------------------------------------------------


def test_a_second_source_is_what_is_validated():
    train_set = replace(items(("a0", "a", None), ("b0", "b", None)), notes=("one", "both"))
    val_set = replace(items(("a1", "a", None), ("b1", "b", None)), source="there", notes=("both", "two"))
    dataset = with_validation(train_set, val_set)
    assert [item.path.stem for item in dataset.split("train").items] == ["a0", "b0"]
    assert [item.path.stem for item in dataset.split("val").items] == ["a1", "b1"]
    assert (dataset.source, dataset.notes) == ("here", ("one", "both", "two"))
    parts = divide(dataset, seed=0, part=None, k=None)
    assert (parts.train.labels, parts.scored.labels, parts.scored_name) == (["a", "b"], ["a", "b"], "val")
    assert parts.val == parts.scored
    # One split that says the same is no contradiction.
    same = with_validation(items(("a0", "a", "train")), items(("a1", "a", "test")))
    assert [item.split for item in same.items] == ["train", "val"]


def test_sources_with_splits_of_their_own():
    split, plain = items(("a0", "a", "train"), ("a1", "a", "val")), items(("a2", "a", None))
    with refuses(DataError, "{'train': 1, 'val': 1}"):
        with_validation(split, plain)
    with refuses(DataError, "{'train': 1, 'val': 1}"):
        with_validation(plain, split)
    with refuses(DataError, "{'train': 1}"):
        with_validation(plain, items(("a3", "a", "train")))


def test_an_item_in_both_sources_is_refused(tmp_path):
    write_image(tmp_path / "a" / "1.png", "red")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    train_set = items((str(tmp_path / "a/1"), "a", None), ("x", "a", None), suffix=".png")
    val_set = items((str(tmp_path / "link/1"), "a", None), ("x", "a", None), ("y", "a", None), suffix=".png")
    with refuses(DataError, "2 of 3", tmp_path / "link/1.png"):
        with_validation(train_set, val_set)


def test_copies_and_classes_without_training_items_are_noted(tmp_path):
    for split, label, seed in [("one", "a", 0), ("one", "b", 1), ("two", "a", 0), ("two", "c", 2)]:
        write_image(tmp_path / split / label / f"{split}.png", "red", seed=seed)
    dataset = with_validation(read_dataset(tmp_path / "one"), read_dataset(tmp_path / "two"))
    copies, classes = dataset.notes
    prints(copies, "1 of 2", tmp_path / "two/a/two.png")
    prints(classes, "1 of 2", "'c'")
    assert [item.label for item in dataset.split("val").items] == ["c"]
    clips = [write_frames(tmp_path / name / "{:03d}.png", "red") for name in ("v1", "v2")]
    with refuses(DataError, "1 of 1", "val"):
        with_validation(*(items((str(path.with_suffix("")), "a", None), suffix=".png") for path in clips))
    # Files that are missing are no copies.
    assert with_validation(items(("x", "a", None)), items(("y", "a", None))).notes == ()


# --- suit -----------------------------------------------------------------------------------------------------------


def options(*, names: Literal["clean", "verbatim"] = "clean", template: str | None = None, **changes) -> Train:
    overrides = {} if template is None else {"template": template}
    return Train(data="", out="", naming=NameOptions(names=names), overrides=overrides, **changes)


def test_names_come_from_the_labels_or_from_given_classes(tmp_path):
    data = many(1, ("push_up", "TaiChi"))
    assert named(options(), data) == (["tai chi", "push up"], [None, None], [])
    assert named(options(names="verbatim"), data)[0] == ["TaiChi", "push_up"]
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"rowing": "a boat", "push up": ["arms bend", "a push-up"], "TaiChi": None}))
    names, sentences, (note,) = named(options(classes=str(file)), data)
    assert (names, sentences) == (["tai chi", "push up"], [None, ("arms bend", "a push-up")])
    prints(note, file, "rowing")


def test_given_classes_that_do_not_fit_are_an_error(tmp_path):
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"push up": "arms bend", "Push up!": None}))
    with refuses(DataError, "'yoga'", 2, "classes"):
        named(options(classes=str(file)), many(1, ("push_up", "yoga")))
    with refuses(DataError, "'push up'", "'push_up'", "classes"):
        named(options(classes=str(file)), many(1, ("push up", "push_up")))
    for head in ("orthogonal", "prompt"):
        with refuses(DataError, head, file):
            named(options(classes=str(file), head=head), many(1, ("push_up",)))
    file.write_text(json.dumps({"push_up": "arms bend"}))
    with refuses(DataError, "template", "'a {}'"):
        named(options(classes=str(file), template="a {}"), many(1, ("push_up",)))


def test_suit_images(mini):
    data = many(100, suffix=".png")
    changed, (note,) = suit(recipes.small, {}, data, mini)
    assert changed == recipes.small(frames=1, temporal="mean")
    prints(note, "1 frame", "mean")
    with refuses(RunError, "frames", 4):
        suit(recipes.small, {"frames": 4}, data, mini)
    assert suit(recipes.small, {"frames": 1}, data, mini)[0] == recipes.small(frames=1, temporal="mean")


def test_suit_flips_and_leaves_a_fitting_recipe(mini):
    assert suit(recipes.small, {}, many(100), mini) == (recipes.small(), [])
    data = many(100, classes=("turn left", "turn right"))
    changed, (note,) = suit(recipes.small, {}, data, mini)
    assert changed == recipes.small(flip=0.0)
    prints(note, "flip", 2, "'turn left'")
    assert suit(recipes.small, {"flip": 0.5}, data, mini) == (recipes.small(), [])


def test_suit_few_items(mini):
    # 10 items are one step of 16 an epoch: 40 steps are 40 epochs, a tenth of them warm-up.
    changed, (note,) = suit(recipes.small, {}, many(5), mini)
    assert (changed.epochs, changed.warmup) == (40, 4.0)
    prints(note, "epochs", 10, 40)
    assert suit(recipes.small, {"epochs": 10}, many(5), mini) == (recipes.small(), [])
    changed, _ = suit(recipes.small, {"warmup": 2.0}, many(5), mini)
    assert (changed.epochs, changed.warmup) == (40, 2.0)
    assert suit(recipes.paper, {}, many(5), mini) == (recipes.paper(), [])


@pytest.mark.parametrize(
    ("changes", "head", "parts"),
    [
        ({"conv_start": "identity"}, "text", ("start", "temporal")),
        ({"context": 4}, "text", ("context", "prompt")),
        ({"template_use": "drawn"}, "linear", ("template", "text")),
        ({"grad_checkpointing": True, "freeze_encoder": True}, "text", ("grad", "freeze")),
        ({"patch_dropout": 0.5, "freeze_encoder": True}, "text", ("dropout", "freeze")),
    ],
)
def test_an_option_that_would_do_nothing_is_an_error(changes, head, parts):
    with refuses(RunError, *parts):
        check_overrides_are_used(recipes.small, changes, head)
    check_overrides_are_used(recipes.small, {}, head)
    used = {"temporal": "conv", "conv_start": "identity", "context": 4}
    check_overrides_are_used(recipes.small, used, "prompt")
