"""Which items are evaluated: never, by mistake, those that were trained on."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from made import PIXELS, SPEC, items, noise, tiny_visual, write_image
from messages import prints, refuses
from texthead import Dataset, MeanPool, Recognizer, load_run, read_dataset
from texthead.errors import DataError
from texthead.evaluation.intervals import binomial_interval
from texthead.models.heads import FrozenHead
from texthead.recipes import Recipe
from texthead.runs import write_run
from texthead.training.start import split_json


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return (five images in each of two classes, a run that holds out the last of each)."""
    root = tmp_path_factory.mktemp("jobs")
    for colour in ("blue", "red"):
        for i in range(5):
            write_image(root / "data" / colour / f"{i}.png", colour, i)
    dataset = read_dataset(root / "data")
    split = split_json(dataset.select([0, 1, 2, 3, 5, 6, 7, 8]), dataset.select([4, 9]))
    model = Recognizer(tiny_visual(), MeanPool(), FrozenHead(noise(2, SPEC.dim), names=["blue", "red"]))
    write_run(root / "run", model, Recipe(name="test", frames=1, size=32, resize=36), PIXELS, ["blue", "red"], split)
    return root / "data", root / "run"


def test_choose_scored(trained, tmp_path):
    data, folder = trained
    run, dataset = load_run(folder), read_dataset(data)
    own, _ = run.split.choose(dataset, None)
    assert [str(i.path.resolve()) for i in own.items] == run.split.lists["held_out"]
    seen, _ = run.split.choose(dataset, "train")
    assert {str(i.path.resolve()) for i in seen.items} == run.split.trained_on
    with refuses(DataError, "'test'", data):
        run.split.choose(dataset, "test")
    other = items(("x", "red", None))
    assert run.split.choose(other, None) == (other, "all")
    split = items(("x", "red", "train"), ("y", "red", "val"))
    assert run.split.choose(split, None)[1] == "val"
    with refuses(DataError, "'test'", "{'train': 1, 'val': 1}"):
        run.split.choose(split, "test")
    with refuses(DataError, "{'train': 1}", "split"):
        run.split.choose(split.split("train"), None)
    with refuses(DataError, "8 of 8", seen.items[0].path):
        run.split.choose(Dataset(seen.items, "again"), None)
    # Copies are recognised by their content.
    copies = Path(shutil.copytree(data, tmp_path / "copies"))
    assert [i.path.stem for i in run.split.choose(read_dataset(copies), None)[0].items] == ["4", "4"]
    for item in own.items:
        (copies / item.path.relative_to(data)).unlink()
    with refuses(DataError, "8 of 8", copies):
        run.split.choose(read_dataset(copies), None)


def test_items_that_were_trained_on_are_counted(trained, works):
    data, folder = trained
    _, err = works("eval", folder, data, "--split", "train", "--workers", 0)
    prints(err, "note: ", "8 of these 8")
    _, err = works("eval", folder, data, "--workers", 0)
    prints(err, "note: ", "8 of these 10", "not scored")
    _, err = works("eval", folder, "--workers", 0)
    assert "note: " not in err


def test_new_items_beside_the_held_out_ones_are_counted(trained, works, tmp_path):
    """The run's held-out items alone are scored; nothing told that the others are not."""
    data, folder = trained
    rows = [f"{path},{path.parent.name}" for path in sorted(data.rglob("*.png"))]
    rows += [f"{write_image(tmp_path / f'new{seed}.png', 'red', seed)},red" for seed in (7, 8)]
    (tmp_path / "more.csv").write_text("\n".join(["path,label", *rows]))
    _, err = works("eval", folder, tmp_path / "more.csv", "--workers", 0)
    prints(err, "note: ", "8 of these 12")
    prints(err, "note: not scored", "2 new items")


def test_json_has_the_split_the_scores_and_each_class(trained, works, tmp_path, monkeypatch):
    data, folder = trained
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))  # Without the graphs of other tests.
    rows, how = tmp_path / "rows.csv", ("--workers", 0)
    out, err = works("eval", folder, data, *how, "--json", "--out", rows)
    assert str(rows) in err
    with rows.open() as file:
        items = [(row["label"], row["predicted"]) for row in csv.DictReader(file)]
    found = json.loads(out)
    assert [found[key] for key in ("run", "data", "split")] == [str(folder), str(data), "held-out"]
    assert found["skipped"] == found["notes"] == []
    assert found["engine"] == "eager"
    assert json.loads(works("eval", folder, *how, "--json")[0]) == found, "without data, those held out are scored"
    (own,), right = found["methods"], sum(label == predicted for label, predicted in items)
    assert [own[key] for key in ("items", "top1", "low", "high")] == [2, 50 * right, *binomial_interval(right, 2)]
    for row, label in zip(found["classes"], ("blue", "red"), strict=True):
        hits, named = items.count((label, label)), sum(predicted == label for _, predicted in items)
        assert [row[key] for key in ("name", "items", "predicted")] == [label, 1, named]
        assert row["recall"]["percent"] == 100 * hits
        assert (row["precision"] and row["precision"]["percent"]) == (100 * hits / named if named else None)
