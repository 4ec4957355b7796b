"""`texthead train`: a text-probe in seconds, fine-tuning if asked, and what Python does alike."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import texthead as th
from made import COLOURS, colour_encoder, write_video
from messages import prints, refuses
from texthead.data.reading import read_dataset
from texthead.errors import DataError, RunError
from texthead.files import write_csv
from texthead.prediction import run_training
from texthead.prediction.load import load_run
from texthead.runs.scores import read_scores, score_of
from worlds import images, split_colours


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of each of two colours: two for training, one for evaluation."""
    return images(tmp_path_factory.mktemp("few"), ["blue", "red"], 3)


@pytest.mark.parametrize("own_splits", [True, False])
def test_groups_in_two_splits_are_noted_once_by_train_and_by_eval(own_splits, few, works, tmp_path) -> None:
    rows = [
        (path, path.parent.name, "test" if i % 3 == 2 else "train") for i, path in enumerate(read_dataset(few).paths)
    ]
    grouped = [(*row, f"scene of {row[1]}" if row[1] == "red" else f"scene {i}") for i, row in enumerate(rows)]
    columns, options = ["path", "label", "split", "group"], ("--workers", 0, "--verbose")
    for name in ("train", "test"):
        write_csv(tmp_path / f"{name}.csv", columns, [row for row in grouped if row[2] == name])
    write_csv(tmp_path / "all.csv", columns, grouped)
    train, test = [tmp_path / "all.csv"] * 2 if own_splits else [tmp_path / "train.csv", tmp_path / "test.csv"]
    val = () if own_splits else ("--val", test)
    out, err = works("train", train, *val, "--out", tmp_path / "run", *options)
    assert "zero-shot " in (first := out.splitlines()[0])
    assert "linear probe " in first
    note = f"1 of 2 {'test' if own_splits else 'val'} items share a group with training items"
    assert err.count(note) == err.count("optimistic") == 1
    _, err = works("eval", tmp_path / "run", test, *options)
    assert err.count("1 of 2 test items share a group with training items") == err.count("optimistic") == 1
    _, err = works("eval", tmp_path / "run", *options)
    assert err.count("optimistic") == 1, "of the run's own held-out items"


@pytest.mark.parametrize("own_splits", [True, False])
def test_copies_of_training_items_are_noted_by_train_eval_and_calibrate(own_splits, few, works, tmp_path) -> None:
    # Each picture is in two folders.
    for path in read_dataset(few).paths:
        for number, folder in enumerate(("camera", "backup")):
            split = ("train", "test")[number] if own_splits else ""
            copied = tmp_path / "data" / split / path.parent.name / folder / path.name
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copied)
    _, err = works("train", tmp_path / "data", "--out", tmp_path / "run", "--workers", 0)
    notes = [line for line in err.splitlines() if "copies of training items" in line]
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    count, name = sum(each in split["train_content"] for each in split["held_out_content"]), "held-out"
    assert count == (6 if own_splits else len(split["held_out"]))
    assert f"{count} of {count} {'test' if own_splits else name} items are copies" in notes[0]
    assert len(notes) == 1
    for command in (["eval"], ["eval", tmp_path / "data"], ["calibrate"]):
        _, err = works(command[0], tmp_path / "run", *command[1:], "--workers", 0)
        assert err.count(f"{count} of {count} ") == err.count("copies of training items") == 1


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_colours(tmp_path_factory.mktemp("coloured"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["text-probe", "probe", "zero-shot", "zero-shot-centered", "linear head", "text head"])
def test_each_way_makes_a_run_that_is_the_one_in_its_folder(way: str, coloured: Path, tmp_path: Path) -> None:
    out, data, fine_tune = tmp_path / "run", read_dataset(coloured), way.endswith("head")
    own: Any = {"fine_tune": True, "head": way.split()[0]} if fine_tune else {"method": way}
    values = {"size": 32, "tune": "all" if way == "text head" else "none", **({"epochs": 1} if fine_tune else {})}
    run = th.train(data, out, **own, overrides=values)
    loaded = load_run(out)
    assert replace(run, model=loaded.model) == loaded
    assert run.predict(data.paths) == loaded.predict(data.paths)
    others = [each.with_classes(["a kite", "a crow"]).predict(data.paths) for each in (run, loaded)]
    assert others[0] == others[1]
    assert run.calibrate().calibration == loaded.calibrate().calibration
    about = json.loads((out / "recipe.json").read_text())
    assert (about.get("chosen", way), about["recipe"]["size"], about["pixels"]["size"]) == (way, 32, 32)
    # The scores were computed from features; files give the same ones.
    scores = read_scores(out)
    assert scores is not None
    assert scores.methods[-1].method == f"this run ({way})"
    assert len(scores.methods) == 4
    score = score_of(f"this run ({way})", run.evaluate(data).result)
    assert scores.methods[-1][:-1] == score[:-1]
    assert scores.methods[-1].calibration_error == pytest.approx(score.calibration_error, abs=1e-3)


def test_python_saves_the_run_of_the_command(coloured: Path, works: Callable, tmp_path: Path) -> None:
    works("train", coloured, "--out", tmp_path / "run", "--workers", 0)
    data, out = read_dataset(coloured), tmp_path / "own"
    run = th.train(data, out)
    assert repr(run) == f"Run('{out}', 3 classes)"
    assert torch.equal(run.head.weight, load_run(tmp_path / "run").head.weight)
    assert run.scores is not None
    assert run.scores.scores() == read_scores(out) == read_scores(tmp_path / "run")
    with refuses(RunError, "own"):
        th.train(data, out, method="probe")
    with refuses(DataError, "zero-shot"):
        th.train(data, tmp_path / "new", method="zero-shot", unlabelled=str(coloured.parent))
    with refuses(DataError, "`method` probe", "fine_tune"):
        th.train(data, tmp_path / "new", method="probe", fine_tune=True)
    values = [
        {name: value} for name, value in {"tune": "lora", "epochs": 3, "temporal": "mean", "origin": "first"}.items()
    ]
    for options in (
        {"head": "lda"},
        {"train_head": True},
        {"recipe": "paper"},
        *({"overrides": own} for own in values),
    ):
        with refuses(DataError, "fine_tune=True"):
            th.train(data, tmp_path / "new", **options)


def test_an_encoder_that_is_given_is_not_trained(coloured: Path, tmp_path: Path) -> None:
    """So a second run starts where the first did."""
    encoder, data = colour_encoder(), read_dataset(coloured)
    before = {name: tensor.clone() for name, tensor in encoder.visual.state_dict().items()}
    for name in ("first", "second"):
        values = {"epochs": 1, "size": 32, "resize": 32}
        run = th.train(data, tmp_path / name, encoder, fine_tune=True, overrides=values)
        assert not torch.equal(run.model.visual.state_dict()["net.conv_stem.weight"], before["net.conv_stem.weight"])
        after = encoder.visual.state_dict()
        assert [name for name, tensor in before.items() if not torch.equal(tensor, after[name])] == []


@pytest.mark.parametrize(("workers", "reading", "used"), [(None, 2, 2), (0, 2, 0), (1, 2, 1), (1, 0, 1)])
def test_no_workers_are_not_those_of_the_reading(workers, reading, used, coloured, tmp_path, monkeypatch) -> None:
    class Planned(Exception):
        pass

    def fine_tune(*_: object, reading: th.ReadOptions, **others: object) -> None:
        raise Planned(reading.workers)

    monkeypatch.setattr(run_training, "fine_tune", fine_tune)
    how: Any = {"fine_tune": True, "reading": th.ReadOptions(reading), "workers": workers}
    with pytest.raises(Planned, match=str(used)):
        th.train(read_dataset(coloured), tmp_path / "run", colour_encoder(), **how)


def test_a_text_probe_predicts_and_takes_a_class(coloured, works, refused, tmp_path, monkeypatch) -> None:
    run, red = tmp_path / "run", coloured.parent / "red7.png"
    out, err = works("train", coloured, "--out", run, "--workers", 0)
    assert out.partition("%")[2].startswith(" of 12 test images are correct")
    assert "--tune all" not in err
    assert not (run / "metrics.jsonl").exists()
    assert (run / "report.html").is_file()
    assert works("predict", run, red, "--workers", 0, "--top", 1)[0].split()[-1] == "red"
    head = load_run(run).head
    assert head.kind == "text and items"
    monkeypatch.setenv("COLUMNS", "120")  # Wide enough for the method's name on one line.
    evaluation = works("eval", run, coloured, "--workers", 0, "--verbose")
    assert "this run (text-probe)" in evaluation[0]
    works("classes", run, "add", "a tie", "--out", tmp_path / "wider")
    wider = load_run(tmp_path / "wider").head
    assert torch.equal(wider.weight[:-1], head.weight)
    files = (red, "--workers", 0)
    prints(works("predict", run, "--classes", "red, a tie", *files)[1], "note: ", "red", "texthead classes", "add")
    assert "texthead classes" not in works("predict", run, "--classes", "a tie, a hat", *files)[1]
    assert torch.isclose(wider.weight[-1].norm(), 1.25 * head.weight.norm(dim=1).mean())
    assert "red" in works("predict", tmp_path / "wider", red, "--workers", 0)[0]
    assert torch.equal(load_run(run).with_classes(["a tree", "a house"]).head.center, head.center)


def test_one_item_a_class_and_sentences(coloured: Path, works: Callable, refused: Callable, tmp_path: Path) -> None:
    sentences, run = tmp_path / "classes.json", tmp_path / "run"
    # They describe other classes, so they recognise none better than by chance, whichever items are drawn.
    sentences.write_text(json.dumps({"red": ["a lawn", "something green"], "green": "something blue", "blue": None}))
    options = ("--set", "size=32", "--k", 1, "--workers", 0)
    _, err = works("train", coloured, "--classes", sentences, "--out", run, *options, "--verbose")
    assert "'a lawn', 'something green'" in err
    assert load_run(run).head.kind == "items"
    refused("'items'", "classes", run, "add", "a tie", "--out", tmp_path / "none")
    linear = ("train", coloured, "--classes", sentences, "--out", tmp_path / "none", *options, "--tune", "none")
    refused(("linear", "sentences", sentences), *linear, "--head", "linear")


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--tune", "all"), ("--head", "linear", "--tune", "none")])
def test_two_processes_train_the_same_to_the_bit(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The runs differ in hash seed and number of workers; one has a cold cache, one a warm cache."""
    for number in range(8):
        colour = list(COLOURS)[number % 2]
        write_video(tmp_path / "data" / colour / f"{number}.mp4", colour, seed=number)
    runs = []
    for workers in ("0", "2"):
        out = tmp_path / f"run{workers}"
        few = ["--set", "size=32", "--set", "frames=2", "--set", "epochs=2", "--set", "batch=3", "--seed", "5"]
        words = ["train", str(tmp_path / "data"), *few, "--workers", workers, "--out", str(out), *options]
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": workers}
        subprocess.run([sys.executable, "-m", "texthead", *words], env=alone, check=True, capture_output=True)
        lines = (out / "metrics.jsonl").read_text().splitlines()
        timeless = [line.partition(', "clips_per_second"')[0] for line in lines]
        assert sum('"loss"' in line for line in timeless) == 4
        runs.append((timeless, (out / "model.safetensors").read_bytes(), (out / "split.json").read_bytes()))
    assert runs[0] == runs[1]
