"""`texthead train` with only data: the text-probe first, and the better of the two methods at the end."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import texthead as th
from made import write_image
from messages import prints, refuses
from texthead.data.reading import read_dataset
from texthead.errors import DataError, RunError
from texthead.files import write_csv
from texthead.runs.run import load_run
from texthead.runs.scores import read_scores, score_of
from texthead.transfer.trial import TuningTrial
from worlds import images, split_colours


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of each of two colours: two for training, one for evaluation."""
    return images(tmp_path_factory.mktemp("few"), ["blue", "red"], 3)


@pytest.mark.slow
def test_few_items_a_class_leave_the_text_probe(few: Path, works: Callable, tmp_path: Path) -> None:
    run = tmp_path / "run"
    out, err = works("train", few, "--workers", 0, "--cache", tmp_path / "cache", "--out", run)
    assert out.startswith("100 % of 2 held-out images are right")
    assert "the run is the text-probe: class 'blue' has 2 training items" in err
    assert not (run / "metrics.jsonl").exists()
    assert (run / "report.html").is_file()
    scores = read_scores(run)
    assert scores is not None
    assert [score.method for score in scores.methods][-1] == "this run (text-probe)"
    assert load_run(run).head.kind == "text and items"
    red = write_image(tmp_path / "new.png", "red", seed=9)
    assert works("predict", run, red, "--workers", 0, "--top", 1)[0].split()[-1] == "red"


@pytest.mark.slow
def test_tune_none_keeps_text_probe(few: Path, works: Callable, tmp_path: Path) -> None:
    data = images(tmp_path / "more", ["blue", "red"], 8)
    options = ("--tune", "none", "--baselines", "never", "--unlabelled", few, "--workers", 0)
    out, err = works("train", data, *options, "--cache", tmp_path / "cache", "--out", tmp_path / "run", "--verbose")
    assert "the run is the text-probe: --tune none" in err
    assert "│ zero-shot" not in out
    assert load_run(tmp_path / "run").head.kind == "text and items, unlabelled files"


@pytest.mark.slow
def test_an_interrupted_trial_leaves_the_text_probe(
    works: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("texthead.transfer.run_training.try_tuning", stop)
    monkeypatch.setattr("texthead.transfer.run_training.NOTHING_TO_GAIN", 1.1)
    data = images(tmp_path / "data", ["blue", "red"], 5)
    _, err = works("train", data, "--workers", 0, "--cache", tmp_path / "cache", "--out", tmp_path / "run")
    prints(
        err,
        "fine-tuning can gain 0 points at most",
        "trying it takes minutes",
        "(Ctrl-C keeps",
        "--tune all would skip this trial",
    )
    assert "the run is the text-probe: the trial of fine-tuning was interrupted" in err
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (about["chosen"], about["recipe"]["tune"]) == ("text-probe", "none")
    assert "interrupted" in about["why"]
    monkeypatch.undo()
    _, err = works("train", data, "--workers", 0, "--cache", tmp_path / "cache", "--out", tmp_path / "again")
    assert "cross-validated, 100.0 % of the training items are correct" in err


@pytest.mark.slow
def test_estimated_shares_stay_when_fine_tuning_is_resumed(
    works: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = TuningTrial(np.array([False]), np.array([True]), ["0"], np.ones(1))
    monkeypatch.setattr("texthead.transfer.run_training.try_tuning", lambda *_, **__: ahead)
    monkeypatch.setattr("texthead.transfer.run_training.NOTHING_TO_GAIN", 1.1)
    run, data = tmp_path / "run", images(tmp_path / "data", ["blue", "red"], 5)
    files = images(tmp_path / "files", ["red"], 12)
    options = ("--unlabelled", files, "--class-shares", "estimate", "--workers", 0)
    _, err = works("train", data, *options, "--cache", tmp_path / "cache", "--out", run)
    prints(err, "estimated class shares: red", "blue")
    about = json.loads((run / "recipe.json").read_text())
    shares = about["recipe"]["class_shares"]
    assert shares["red"] > 0.5
    assert (about["command"]["class_shares"], about["command"]["unlabelled"]) == (shares, None)
    works("train", data, "--out", run, "--resume", "--workers", 0)


@pytest.mark.slow
def test_fine_tuning_chosen_if_ahead(shared: Path, works: Callable, tmp_path: Path) -> None:
    """Five hand signs, for which text embeddings are useless and the encoder is weak."""
    run, data = tmp_path / "run", tmp_path / "signs.csv"
    signs = read_dataset(shared / "image" / "handdigits" / "images.csv")
    rows = [(item.path, item.label, item.split) for item in signs.with_classes(signs.classes[5:]).items]
    write_csv(data, ["path", "label", "split"], rows)
    # On the 150 test items, the draw of seed 0 is a tie (90.0 %) and that of seed 1 a lead of 4.0 points.
    _, err = works("train", data, "--k", 16, "--seed", 1, "--cache", tmp_path / "cache", "--out", run)
    prints(err, "cross-validated training items, fine-tuning classifies", "fine-tuning on all of them")
    scores = read_scores(run)
    assert scores is not None
    *_, quick, own = scores.methods
    assert (quick.method, own.method) == ("text-probe", "this run (text head)")
    assert own.top1 > quick.top1
    assert th.load_run(run).head.kind == "text"


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_colours(tmp_path_factory.mktemp("coloured"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["text-probe", "probe", "zero-shot", "zero-shot-centred"])
def test_each_method_can_be_a_run(method: str, coloured: Path, works: Callable, tmp_path: Path) -> None:
    run, options = tmp_path / "run", ("--size", 32, "--workers", 0, "--cache", tmp_path / "cache")
    _, err = works("train", coloured, "--tune", "none", "--method", method, "--out", run, *options, "--verbose")
    prints(err, f"the run is the {method}: --method {method}")
    loaded = load_run(run)
    about = json.loads((run / "recipe.json").read_text())
    assert (about["chosen"], about["recipe"]["size"], about["pixels"]["size"]) == (method, 32, 32)
    # The scores were computed from features; files give the same ones.
    scores = read_scores(run)
    assert scores is not None
    assert scores.methods[-1].method == f"this run ({method})"
    assert len(scores.methods) == 4
    evaluation = th.evaluate(loaded.model, read_dataset(coloured).split("test"), loaded.protocol)
    own = score_of(f"this run ({method})", evaluation)
    assert scores.methods[-1][:-1] == own[:-1]
    assert scores.methods[-1].calibration_error == pytest.approx(own.calibration_error, abs=1e-3)


@pytest.mark.slow
def test_python_saves_the_run_of_the_command(coloured: Path, works: Callable, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    options = ("--tune", "none", "--method", "probe", "--engine", "eager", "--workers", 0, "--cache", cache)
    works("train", coloured, "--out", tmp_path / "run", *options)
    data, out = read_dataset(coloured), tmp_path / "own"
    trained = th.train_run(data, out, th.RunOptions(method="probe"), th.Reading(cache=cache))
    rate = f"this run (probe): top-1 {trained.table.rows[-1][1].top1:.1f} %"
    prints(repr(trained), f"TrainedRun('{out}', on the frozen encoder, ScoreTable(", f"{rate}))")
    assert "this run (probe)" in trained._repr_html_()
    assert torch.equal(trained.model.head.weight, load_run(tmp_path / "run").head.weight)
    prints(repr(trained), "top-1")
    assert "Conv2d" not in repr(trained)
    assert trained.table.scores() == read_scores(out) == read_scores(tmp_path / "run")
    with refuses(RunError, "own"):
        th.train_run(data, out, th.RunOptions(method="probe"))
    with refuses(DataError, "zero-shot"):
        th.train_run(data, tmp_path / "new", th.RunOptions(method="zero-shot", unlabelled=str(coloured.parent)))
    with refuses(DataError, "`method` probe", "fine_tune"):
        th.RunOptions(method="probe", fine_tune=True)


@pytest.mark.slow
def test_a_text_probe_predicts_and_is_edited(
    coloured: Path, works: Callable, refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, cache, red = tmp_path / "run", tmp_path / "cache", coloured.parent / "red7.png"
    works("train", coloured, "--tune", "none", "--out", run, "--workers", 0, "--cache", cache)
    assert "red" in works("predict", run, red, "--workers", 0)[0]
    head = load_run(run).head
    assert head.kind == "text and items"
    monkeypatch.setenv("COLUMNS", "120")  # Wide enough for the method's name on one line.
    evaluation = works("eval", run, coloured, "--cache", cache, "--workers", 0, "--verbose")
    assert "this run (text-probe)" in evaluation[0]
    works("classes", run, "rename", "red", "crimson", "--out", tmp_path / "renamed")
    works("classes", tmp_path / "renamed", "remove", "green", "--out", tmp_path / "cut")
    after = load_run(tmp_path / "cut")
    assert after.labels == ("blue", "crimson")
    assert torch.equal(after.head.weight, head.weight[[0, 2]])
    assert torch.equal(after.model.head.bias, load_run(run).model.head.bias[[0, 2]])
    works("classes", run, "add", "a tie", "--out", tmp_path / "wider")
    wider = load_run(tmp_path / "wider").head
    assert torch.equal(wider.weight[:-1], head.weight)
    assert torch.isclose(wider.weight[-1].norm(), 1.25 * head.weight.norm(dim=1).mean())
    assert "red" in works("predict", tmp_path / "wider", red, "--workers", 0)[0]
    refused("linear", "classes", run, "merge", "blue", "red", "--into", "colour", "--out", tmp_path / "none")
    assert torch.equal(after.with_classes(["a tree", "a house"]).head.center, head.center)


@pytest.mark.slow
def test_one_item_a_class_and_sentences(coloured: Path, works: Callable, refused: Callable, tmp_path: Path) -> None:
    sentences, run = tmp_path / "classes.json", tmp_path / "run"
    # They describe other classes, so they recognise none better than by chance, whichever items are drawn.
    sentences.write_text(json.dumps({"red": ["a lawn", "something green"], "green": "something blue", "blue": None}))
    options = ("--size", 32, "--k", 1, "--workers", 0, "--cache", tmp_path / "cache", "--method", "text-probe")
    _, err = works("train", coloured, "--classes", sentences, "--out", run, *options, "--verbose")
    assert "'a lawn', 'something green'" in err
    assert load_run(run).head.kind == "items"
    refused("'items'", "classes", run, "add", "a tie", "--out", tmp_path / "none")


@pytest.mark.slow
def test_all_items_are_for_training_if_none_is_held_out(few: Path, works: Callable, tmp_path: Path) -> None:
    options = ("--tune", "none", "--held-out", 0, "--workers", 0, "--cache", tmp_path / "cache")
    out, _ = works("train", few, *options, "--out", tmp_path / "run")
    prints(out, "trained on all 6 images of 2 classes", "no score")
    assert len(load_run(tmp_path / "run").trained_on) == 6
    assert read_scores(tmp_path / "run") is None
    assert "│" not in out


def test_what_trains_nothing_excludes_fine_tuning(few: Path, refused: Callable, tmp_path: Path) -> None:
    for option in (("--epochs", 2), ("--head", "linear"), ("--tune", "all"), ("--recipe", "paper")):
        for name, value in (("--method", "probe"), ("--unlabelled", few)):
            refused((f"{name} {value}", option[0]), "train", few, *option, name, value, "--out", tmp_path / "run")
    refused(("--method", "best"), "train", few, "--method", "best", "--out", tmp_path / "run")
