"""What is scored, and never by mistake what was trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from made import items
from texthead import cli
from texthead.commands.eval import _show_classes
from texthead.data.dataset import Dataset
from texthead.data.reading import read_dataset
from texthead.errors import DataError
from texthead.evaluation.evaluate import Evaluation
from texthead.evaluation.intervals import grouped_interval, share, wilson_interval
from texthead.runs import run as runs
from texthead.runs.scored_items import choose_scored


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
    own, name = choose_scored(run, dataset, None)
    assert (name, [str(i.path.resolve()) for i in own.items]) == ("the run's held-out", list(run.held_out))
    seen, _ = choose_scored(run, dataset, "train")
    assert {str(i.path.resolve()) for i in seen.items} == run.trained_on
    with pytest.raises(DataError, match="leave out --split to score what the run held out"):
        choose_scored(run, dataset, "test")
    other = items(("x", "red", None))
    assert choose_scored(run, other, None) == (other, "all")
    split = items(("x", "red", "train"), ("y", "red", "val"))
    assert choose_scored(run, split, None)[1] == "val"
    with pytest.raises(DataError, match="no item of split 'test'"):
        choose_scored(run, split, "test")
    with pytest.raises(DataError, match="--split train"):
        choose_scored(run, split.split("train"), None)
    with pytest.raises(DataError, match="8 of 8 items were trained on"):
        choose_scored(run, Dataset(seen.items, "again"), None)


def test_items_that_were_trained_on_are_counted(trained, say):
    data, folder = trained
    code, _, err = say("eval", folder, data, "--split", "train", "--baselines", "never", "--workers", 0)
    assert code == 0
    assert "note: 8 of these 8 items were trained on" in err
    code, _, err = say("eval", folder, data, "--baselines", "never", "--workers", 0)
    assert code == 0
    assert "trained on" not in err


@pytest.mark.slow
def test_other_classes_keep_center_and_scale(trained):
    run = runs.load_run(trained[1])
    old = run.model.head
    head = run.with_classes(["x", "y", "z"], names=["a lake", "a tree", "a dog"]).model.head
    assert run.model.head is old
    assert head.names == ("x", "y", "z")
    assert torch.equal(head.center, old.center)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    assert float(head.scale) == pytest.approx(float(old.scale))  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]


def test_run_without_baselines_shows_one_row(trained):
    about = json.loads((trained[1] / "recipe.json").read_text())
    assert about["head"]["type"] == "TrainableHead"
    page = (trained[1] / "report.html").read_text()
    assert "this run (text head)" in page
    assert "logistic probe" not in page


@pytest.mark.parametrize(("classes", "more"), [(10, ""), (11, "and 1 more pair ("), (14, "and 4 more pairs (")])
def test_more_confused_pairs_than_are_shown_are_counted(classes, more, capsys):
    names = tuple(f"class {i}" for i in range(classes))
    # Each is taken for the next.
    scores = torch.eye(classes).roll(1, 1)
    _show_classes(Evaluation(names, [Path(name) for name in names], torch.arange(classes), scores))
    lines = capsys.readouterr().out.splitlines()
    assert sum("taken for class" in line for line in lines) == 10
    said = [line for line in lines if " more pair" in line]
    assert said == ([f"{more}--out FILE writes what each item is taken for)"] if more else [])


def test_a_share_is_no_surer_than_its_scenes():
    hits = torch.tensor([True] * 8 + [False] * 4)
    low, high = grouped_interval(hits.numpy(), [place // 4 for place in range(12)])
    assert share(hits, [place // 4 for place in range(12)]) == f"66.7 % ({low:.1f}-{high:.1f})"
    alone = wilson_interval(8, 12)
    assert low < alone[0]
    assert share(hits, None) == f"66.7 % ({alone[0]:.1f}-{alone[1]:.1f})"
