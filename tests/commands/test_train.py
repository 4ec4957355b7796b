"""`texthead train` with only data: the text-probe first, and the better of the two methods at the end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import texthead as th
from made import write_image
from texthead.data.reading import read_dataset
from texthead.files import write_csv
from texthead.runs.run import load_run
from texthead.runs.scores import read_scores
from worlds import images


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of each of two colours: two for training, one for evaluation."""
    return images(tmp_path_factory.mktemp("few"), ["blue", "red"], 3)


@pytest.mark.slow
def test_few_items_a_class_leave_the_text_probe(few: Path, works: Callable, tmp_path: Path) -> None:
    run = tmp_path / "run"
    out, _ = works("train", few, "--workers", 0, "--cache", tmp_path / "cache", "--out", run)
    assert "text-probe: 100.0 % of 2 val items" in out
    assert "the run is the text-probe: class 'blue' has 2 training items" in out
    assert not (run / "metrics.jsonl").exists()
    assert (run / "report.html").is_file()
    scores = read_scores(run)
    assert scores is not None
    assert [score.method for score in scores.methods][-1] == "this run (text-probe)"
    assert load_run(run).head.kind == "text and items"
    red = write_image(tmp_path / "new.png", "red", seed=9)
    assert works("predict", run, red, "--workers", 0, "--top", 1)[0].split()[-1] == "red"


@pytest.mark.slow
def test_tune_none_leaves_the_text_probe_whatever_the_number_of_items(
    few: Path, works: Callable, tmp_path: Path
) -> None:
    data = images(tmp_path / "more", ["blue", "red"], 8)
    options = ("--tune", "none", "--baselines", "never", "--unlabelled", few, "--workers", 0)
    out, _ = works("train", data, *options, "--cache", tmp_path / "cache", "--out", tmp_path / "run")
    assert "the run is the text-probe: --tune none" in out
    assert "│ zero-shot" not in out
    assert load_run(tmp_path / "run").head.kind == "text and items, unlabelled files"


def test_what_says_how_to_fine_tune_is_named_beside_unlabelled_files(
    few: Path, refused: Callable, tmp_path: Path
) -> None:
    for option in (("--epochs", 2), ("--head", "linear"), ("--tune", "all"), ("--recipe", "paper")):
        refused(("--unlabelled", option[0]), "train", few, *option, "--unlabelled", few, "--out", tmp_path / "run")


@pytest.mark.slow
def test_an_interrupted_trial_leaves_the_text_probe(
    works: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("texthead.transfer.trial.try_tuning", stop)
    monkeypatch.setattr("texthead.commands.quick_answer.NOTHING_TO_GAIN", 1.1)
    data = images(tmp_path / "data", ["blue", "red"], 5)
    out, err = works("train", data, "--workers", 0, "--cache", tmp_path / "cache", "--out", tmp_path / "run")
    assert "--tune all would skip this trial" in err
    assert "the run is the text-probe: the trial of fine-tuning was interrupted" in out
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (about["chosen"], about["recipe"]["tune"]) == ("text-probe", "none")
    assert "interrupted" in about["why"]
    monkeypatch.undo()
    out, _ = works("train", data, "--workers", 0, "--cache", tmp_path / "cache", "--out", tmp_path / "again")
    assert "cross-validated, 100.0 % of the training items are correct" in out


@pytest.mark.slow
def test_fine_tuning_is_left_where_it_is_ahead_on_training_items(shared: Path, works: Callable, tmp_path: Path) -> None:
    """Five hand signs, for which text embeddings are useless and the encoder is weak."""
    run, data = tmp_path / "run", tmp_path / "signs.csv"
    signs = read_dataset(shared / "image" / "handdigits" / "images.csv")
    rows = [(item.path, item.label, item.split) for item in signs.with_classes(signs.classes[5:]).items]
    write_csv(data, ["path", "label", "split"], rows)
    out, _ = works("train", data, "--k", 16, "--cache", tmp_path / "cache", "--out", run)
    assert "cross-validated training items, fine-tuning classifies" in out
    assert "fine-tuning on all of them" in out
    scores = read_scores(run)
    assert scores is not None
    *_, quick, own = scores.methods
    assert (quick.method, own.method) == ("text-probe", "this run (text head)")
    assert own.top1 > quick.top1
    assert th.load_run(run).head.kind == "text"
