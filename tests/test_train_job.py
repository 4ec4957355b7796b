"""Who trains and who is held out, and what the recipe becomes on the data."""

import pytest

from made import items
from texthead import recipes
from texthead.datasets import Dataset
from texthead.encoders import load_encoder
from texthead.errors import DataError, RunError
from texthead.towers import Encoder
from texthead.train_job import divide, suit


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


# --- suit -----------------------------------------------------------------------------------------------------------


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
    assert suit(recipes.paper(), many(5), mini, given=frozenset()) == (recipes.paper(), [])
