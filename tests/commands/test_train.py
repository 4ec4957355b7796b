"""Who trains and who is held out, and what the recipe becomes on the data."""

import json
from argparse import Namespace
from dataclasses import replace

import pytest

from made import items, write_frames, write_image
from texthead import recipes
from texthead.commands.train import named
from texthead.data.dataset import Dataset
from texthead.data.division import divide, with_validation
from texthead.data.reading import read_dataset
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import load_encoder
from texthead.errors import DataError, RunError
from texthead.training.fit_recipe import check_given_is_used, suit


@pytest.fixture(scope="module")
def mini() -> Encoder:
    return load_encoder("mini")


def many(count: int, classes: tuple[str, ...] = ("a", "b"), suffix: str = ".mp4") -> Dataset:
    """The same number of training items in each class."""
    return items(*((f"{c}{i}", c, "train") for c in classes for i in range(count)), suffix=suffix)


def test_divide_draws_where_there_are_no_splits():
    data = items(*((f"{c}{i}", c, None) for c in "ab" for i in range(10)))
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
    with pytest.raises(DataError, match="no item of split 'train'"):
        divide(items(*rows[2:]), seed=0, part=None, k=None)
    with pytest.raises(DataError, match=r"--held-out 0\.3: .* has its own splits \{'train': 2, .*leave it out"):
        divide(items(*rows), seed=0, part=0.3, k=None)


def test_divide_k_leaves_held_out_items_alone():
    data = items(*((f"{c}{i}", c, None) for c in "ab" for i in range(10)))
    whole, few = (divide(data, seed=0, part=0.2, k=k) for k in (None, 3))
    assert sorted(few.train.labels) == ["a"] * 3 + ["b"] * 3
    assert set(few.train.items) < set(whole.train.items)
    assert few.scored == whole.scored
    with pytest.raises(DataError, match="k = 9"):
        divide(data, seed=0, part=0.2, k=9)


# --- a second source ------------------------------------------------------------------------------------------------


def test_a_second_source_is_what_is_validated():
    train_set = replace(items(("a0", "a", None), ("b0", "b", None)), notes=("one", "both"))
    val_set = replace(items(("a1", "a", None), ("b1", "b", None)), source="there", notes=("both", "two"))
    dataset = with_validation(train_set, val_set)
    assert [(item.path.stem, item.split) for item in dataset.items] == [
        ("a0", "train"),
        ("b0", "train"),
        ("a1", "val"),
        ("b1", "val"),
    ]
    assert (dataset.source, dataset.notes) == ("here", ("one", "both", "two"))
    parts = divide(dataset, seed=0, part=None, k=None)
    assert (parts.train.labels, parts.scored.labels, parts.scored_name) == (["a", "b"], ["a", "b"], "val")
    assert parts.val == parts.scored
    # One split that says the same is no contradiction.
    same = with_validation(items(("a0", "a", "train")), items(("a1", "a", "test")))
    assert [item.split for item in same.items] == ["train", "val"]


def test_sources_with_splits_of_their_own():
    split, plain = items(("a0", "a", "train"), ("a1", "a", "val")), items(("a2", "a", None))
    with pytest.raises(DataError, match=r"has its own splits {'train': 1, 'val': 1}, so it cannot be DATA beside"):
        with_validation(split, plain)
    with pytest.raises(DataError, match="so it cannot be --val beside another source"):
        with_validation(plain, split)
    with pytest.raises(DataError, match=r"{'train': 1}, so it cannot be --val"):
        with_validation(plain, items(("a3", "a", "train")))


def test_an_item_in_both_sources_is_refused(tmp_path):
    write_image(tmp_path / "a" / "1.png", "red")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    train_set = items((str(tmp_path / "a/1"), "a", None), ("x", "a", None), suffix=".png")
    val_set = items((str(tmp_path / "link/1"), "a", None), ("x", "a", None), ("y", "a", None), suffix=".png")
    with pytest.raises(DataError, match=r"2 of 3 items of here are in here too \(the first: .*link/1.png\)"):
        with_validation(train_set, val_set)


def test_copies_and_classes_without_training_items_are_noted(tmp_path):
    for split, label, seed in [("one", "a", 0), ("one", "b", 1), ("two", "a", 0), ("two", "c", 2)]:
        write_image(tmp_path / split / label / f"{split}.png", "red", seed=seed)
    dataset = with_validation(read_dataset(tmp_path / "one"), read_dataset(tmp_path / "two"))
    two = tmp_path / "two"
    assert dataset.notes == (
        f"{two}: 1 of 2 items are copies of training items and not scored ({two / 'a/two.png'})",
        f"{two}: 1 of 2 items are of classes without a training item ('c') and not scored",
    )
    clips = [write_frames(tmp_path / name / "{:03d}.png", "red") for name in ("v1", "v2")]
    pair = [
        replace(items(("x", "a", None)), items=(replace(items(("x", "a", None)).items[0], path=path),))
        for path in clips
    ]
    assert [item.label for item in dataset.split("val").items] == ["c"]
    with pytest.raises(DataError, match="1 of 1 items are copies of training items: name other data in --val"):
        with_validation(*pair)
    assert with_validation(items(("x", "a", None)), items(("y", "a", None))).notes == (), (
        "files that are not there are no copies"
    )


# --- suit -----------------------------------------------------------------------------------------------------------


def asked(**options) -> Namespace:
    return Namespace(**{"classes": None, "names": "clean", "head": "text", "template": None, **options})


def test_names_come_from_the_labels_or_from_given_classes(tmp_path):
    data = many(1, ("push_up", "TaiChi"))
    assert named(asked(), data) == (["tai chi", "push up"], [None, None], [])
    assert named(asked(names="verbatim"), data)[0] == ["TaiChi", "push_up"]
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"rowing": "a boat", "push up": ["arms bend", "a push-up"], "TaiChi": None}))
    names, sentences, (said,) = named(asked(classes=str(file)), data)
    assert (names, sentences) == (["tai chi", "push up"], [None, ("arms bend", "a push-up")])
    assert said == f"{file}: without a training item, and so left out: rowing"


def test_given_classes_that_do_not_fit_are_an_error(tmp_path):
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"push up": "arms bend", "Push up!": None}))
    with pytest.raises(DataError, match="label 'yoga' is not among the 2 names of --classes"):
        named(asked(classes=str(file)), many(1, ("push_up", "yoga")))
    with pytest.raises(DataError, match="'push up' and 'push_up' are both 'push up' of --classes"):
        named(asked(classes=str(file)), many(1, ("push up", "push_up")))
    for head in ("orthogonal", "prompt"):
        with pytest.raises(DataError, match=f"--head {head} makes no rows of sentences: leave them out of"):
            named(asked(classes=str(file), head=head), many(1, ("push_up",)))
    file.write_text(json.dumps({"push_up": "arms bend"}))
    with pytest.raises(DataError, match="would do nothing: every class has sentences"):
        named(asked(classes=str(file), template="a {}"), many(1, ("push_up",)))


def test_suit_leaves_a_fitting_recipe(mini):
    assert suit(recipes.small(), many(100), mini, given=frozenset()) == (recipes.small(), [])


def test_suit_images(mini):
    data = many(100, suffix=".png")
    changed, said = suit(recipes.small(), data, mini, given=frozenset())
    assert changed == recipes.small(frames=1, temporal="mean")
    assert said == ["all items are images: 1 frame a clip, mean pooling"]
    with pytest.raises(RunError, match="--frames 4: all items are images"):
        suit(recipes.small(frames=4), data, mini, given=frozenset({"frames"}))
    one = recipes.small(frames=1)
    assert suit(one, data, mini, given=frozenset({"frames"}))[0] == recipes.small(frames=1, temporal="mean")


def test_suit_flips(mini):
    data = many(100, classes=("turn left", "turn right"))
    changed, said = suit(recipes.small(), data, mini, given=frozenset())
    assert changed == recipes.small(flip=0.0)
    assert "2 class names say left or right ('turn left')" in said[0]
    assert suit(recipes.small(), data, mini, given=frozenset({"flip"})) == (recipes.small(), [])


def test_suit_few_items(mini):
    # 10 items are one step of 16 an epoch: 40 steps are 40 epochs, a tenth of them warm-up.
    changed, said = suit(recipes.small(), many(5), mini, given=frozenset())
    assert (changed.epochs, changed.warmup) == (40, 4.0)
    assert said == ["few items: epochs 10 -> 40, for at least 40 steps"]
    assert suit(recipes.small(), many(5), mini, given=frozenset({"epochs"})) == (recipes.small(), [])
    changed, _ = suit(recipes.small(warmup=2.0), many(5), mini, given=frozenset({"warmup"}))
    assert (changed.epochs, changed.warmup) == (40, 2.0)
    assert suit(recipes.paper(), many(5), mini, given=frozenset()) == (recipes.paper(), [])


@pytest.mark.parametrize(
    ("changes", "head", "told"),
    [
        ({"conv_start": "identity"}, "text", "--conv-start does nothing without --temporal conv or token-conv"),
        ({"context": 4}, "text", "--context does nothing without --head prompt"),
        ({"template_use": "drawn"}, "linear", "--template-use does nothing without --head text"),
        ({"grad_checkpointing": True, "freeze_encoder": True}, "text", "does nothing with --freeze-encoder"),
        ({"patch_dropout": 0.5, "freeze_encoder": True}, "text", "--patch-dropout does nothing with --freeze-encoder"),
    ],
)
def test_an_option_that_would_do_nothing_is_an_error(changes, head, told):
    with pytest.raises(RunError, match=told):
        check_given_is_used(recipes.small(**changes), head, given=frozenset(changes))
    check_given_is_used(recipes.small(), head, given=frozenset())
    used = recipes.small(temporal="conv", conv_start="identity", context=4)
    check_given_is_used(used, "prompt", given=frozenset({"temporal", "conv_start", "context"}))
