"""What the commands decide: splits, devices, changes of the recipe, what is scored, what is printed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from texthead import cli, jobs, recipes, runs
from texthead.datasets import Dataset, Item, read_dataset
from texthead.encoders import Encoder, load_encoder
from texthead.errors import DataError, RunError
from texthead.evaluation import Evaluation


@pytest.fixture(scope="module")
def mini() -> Encoder:
    return load_encoder("mini")


def items(*rows: tuple[str, str, str | None], suffix: str = ".mp4") -> Dataset:
    """A dataset of (name, label, split) rows; no file has to be there."""
    return Dataset(tuple(Item(Path(f"{name}{suffix}"), label, split) for name, label, split in rows), "here")  # pyright: ignore[reportArgumentType]


def many(count: int, classes: tuple[str, ...] = ("a", "b"), suffix: str = ".mp4") -> Dataset:
    """The same number of training items in each class."""
    return items(*((f"{c}{i}", c, "train") for c in classes for i in range(count)), suffix=suffix)


def result(scores: list[list[float]], targets: list[int]) -> Evaluation:
    """An evaluation of two classes."""
    paths = [Path(f"{i}.png") for i in range(len(targets))]
    return Evaluation(("a", "b"), paths, torch.tensor(targets), torch.tensor(scores))


# --- devices and divisions ------------------------------------------------------------------------------------------


def test_pick_device():
    assert jobs.pick_device("cpu") == torch.device("cpu")
    assert jobs.pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(RunError, match=f"'{name}' cannot be used .*: use auto, cpu, cuda or cuda:N$"):
            jobs.pick_device(name)


def test_divide_draws_where_there_are_no_splits():
    data = items(*((f"{c}{i}", c, None) for c in "ab" for i in range(10)))
    parts = jobs.divide(data, seed=0, part=0.2, k=None)
    assert (len(parts.train), len(parts.scored), parts.scored_name) == (16, 4, "val")
    assert parts.val == parts.scored
    assert not set(parts.train.items) & set(parts.scored.items)
    assert parts == jobs.divide(data, seed=0, part=0.2, k=None)
    assert parts != jobs.divide(data, seed=1, part=0.2, k=None)


def test_divide_takes_the_datas_splits():
    rows = [("a0", "a", "train"), ("b0", "b", "train"), ("a1", "a", "val"), ("b1", "b", "test"), ("c1", "c", "test")]
    parts = jobs.divide(items(*rows), seed=0, part=None, k=None)
    assert parts.scored_name == "test"
    assert parts.val is not None
    assert [i.path.stem for i in parts.val.items] == ["a1"]
    # Class c has no row in the head.
    assert [i.path.stem for i in parts.scored.items] == ["b1"]
    only = jobs.divide(items(*rows[:3]), seed=0, part=None, k=None)
    assert (only.scored_name, len(only.scored)) == ("val", 1)
    none = jobs.divide(items(*rows[:2]), seed=0, part=None, k=None)
    assert (none.val, len(none.scored)) == (None, 0)
    with pytest.raises(DataError, match="no item of split 'train'"):
        jobs.divide(items(*rows[2:]), seed=0, part=None, k=None)
    with pytest.raises(DataError, match=r"--held-out 0\.3: .* has its own splits \{'train': 2, .*leave it out"):
        jobs.divide(items(*rows), seed=0, part=0.3, k=None)


def test_divide_k_leaves_held_out_items_alone():
    data = items(*((f"{c}{i}", c, None) for c in "ab" for i in range(10)))
    whole, few = (jobs.divide(data, seed=0, part=0.2, k=k) for k in (None, 3))
    assert sorted(few.train.labels) == ["a"] * 3 + ["b"] * 3
    assert set(few.train.items) < set(whole.train.items)
    assert few.scored == whole.scored
    with pytest.raises(DataError, match="k = 9"):
        jobs.divide(data, seed=0, part=0.2, k=9)


# --- suit -----------------------------------------------------------------------------------------------------------


def test_suit_leaves_a_fitting_recipe(mini):
    assert jobs.suit(recipes.small(), many(100), mini, given=frozenset()) == (recipes.small(), [])


def test_suit_images(mini):
    data = many(100, suffix=".png")
    changed, said = jobs.suit(recipes.small(), data, mini, given=frozenset())
    assert changed == recipes.small(frames=1, temporal="mean")
    assert said == ["all items are images: 1 frame a clip, mean pooling"]
    given = recipes.small(frames=4)
    assert jobs.suit(given, data, mini, given=frozenset({"frames"})) == (given, [])


def test_suit_flips(mini):
    data = many(100, classes=("turn left", "turn right"))
    changed, said = jobs.suit(recipes.small(), data, mini, given=frozenset())
    assert changed == recipes.small(flip=0.0)
    assert "2 class names say left or right ('turn left')" in said[0]
    assert jobs.suit(recipes.small(), data, mini, given=frozenset({"flip"})) == (recipes.small(), [])


def test_suit_few_items(mini):
    # 10 items are one step of 16 an epoch: 40 steps are 40 epochs, a tenth of them warm-up.
    changed, said = jobs.suit(recipes.small(), many(5), mini, given=frozenset())
    assert (changed.epochs, changed.warmup) == (40, 4.0)
    assert said == ["few items: epochs 10 -> 40, for at least 40 steps"]
    assert jobs.suit(recipes.small(), many(5), mini, given=frozenset({"epochs"})) == (recipes.small(), [])
    assert jobs.suit(recipes.paper(), many(5), mini, given=frozenset()) == (recipes.paper(), [])


# --- what is scored -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(images in class folders, a run on them with a frozen encoder)."""
    root = tmp_path_factory.mktemp("jobs")
    for label, colour in {"blue": (30, 30, 220), "red": (220, 30, 30)}.items():
        (root / "data" / label).mkdir(parents=True)
        for i in range(5):
            noise = np.random.default_rng(i).integers(-25, 25, (48, 48, 3))
            Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(
                root / "data" / label / f"{i}.png"
            )
    options = "--size 32 --epochs 2 --workers 0 --freeze-encoder --train-head --baselines never --cache"
    typed = ["train", str(root / "data"), "--out", str(root / "run"), *options.split(), str(root / "cache")]
    assert cli.main(typed) == 0
    return root / "data", root / "run"


def test_choose_scored(trained):
    data, folder = trained
    run, dataset = runs.load_run(folder), read_dataset(data)
    own, name = jobs.choose_scored(run, dataset, None)
    assert (name, [str(i.path.resolve()) for i in own.items]) == ("the run's held-out", list(run.held_out))
    seen, _ = jobs.choose_scored(run, dataset, "train")
    assert {str(i.path.resolve()) for i in seen.items} == run.trained_on
    assert set(jobs.choose_scored(run, dataset, "test")[0].items) == set(own.items)
    other = items(("x", "red", None))
    assert jobs.choose_scored(run, other, None) == (other, "all")
    split = items(("x", "red", "train"), ("y", "red", "val"))
    assert jobs.choose_scored(run, split, None)[1] == "val"
    with pytest.raises(DataError, match="no item of split 'test'"):
        jobs.choose_scored(run, split, "test")
    with pytest.raises(DataError, match="--split train"):
        jobs.choose_scored(run, split.split("train"), None)
    with pytest.raises(DataError, match="8 of 8 items were trained on"):
        jobs.choose_scored(run, Dataset(seen.items, "again"), None)


def test_new_head_keeps_center_and_scale(trained):
    run = runs.load_run(trained[1])
    old = run.model.head
    head = jobs.new_head(run, ["x", "y", "z"], ["a lake", "a tree", "a dog"], None)
    assert head.names == ("x", "y", "z")
    assert torch.equal(head.center, old.center)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    assert float(head.scale) == pytest.approx(float(old.scale))  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]


def test_run_without_baselines_shows_one_row(trained):
    about = json.loads((trained[1] / "recipe.json").read_text())
    assert about["head"]["type"] == "TrainableHead"
    page = (trained[1] / "report.html").read_text()
    assert "this run (text head)" in page
    assert "logistic probe" not in page


# --- results --------------------------------------------------------------------------------------------------------


def test_comparison_says_who_is_ahead(capsys):
    data = items(("x", "a", "test"), ("y", "b", "test"))
    table = jobs.Comparison(jobs.Division(data, None, data, "test"), ["a", "b"])
    table.add("simple", result([[1.0, 0.0], [0.0, 1.0]], [0, 1]))
    table.add("this run", result([[1.0, 0.0], [1.0, 0.0]], [0, 1]))
    table.show()
    out = capsys.readouterr().out
    assert "simple is ahead of this run by 50.0 points on these items" in out
    assert "test items" in out
    table.rows.reverse()
    table.show()
    assert "ahead" not in capsys.readouterr().out
    assert table.pairs()[1][1].startswith("100.0 % of 2 (95 % interval ")


def test_bar_is_silent_where_nobody_looks(capsys):
    with jobs.bar("train", "clips") as update:
        update(1, 2)
        update(2, 2)
    assert capsys.readouterr() == ("", "")
