"""`compare`, `train`, `predict`, `eval` and `report` on files with several labels."""

import csv
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from made import pictures
from messages import prints
from texthead import TextHeadClassifier
from texthead.errors import DataError

COLOURS = ("red", "green", "blue")
FROZEN = ("--workers", "0", "--baselines", "never")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures of one to three colours: 32 to train on, 16 to test."""
    root = tmp_path_factory.mktemp("colours")
    rows = []
    for number in range(48):
        names = [colour for bit, colour in enumerate(COLOURS) if (number % 7 + 1) >> bit & 1]
        parts = [pictures(name, 1, number)[0] for name in names]
        PIL.Image.fromarray(np.concatenate(parts, axis=1)).save(root / f"{number:02d}.png")
        rows.append((f"{number:02d}.png", ";".join(names), "train" if number < 32 else "test"))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return root / "labels.csv"


@pytest.fixture(scope="module")
def run(labels: Path) -> Path:
    from texthead.cli import main as cli

    assert cli.main(["train", str(labels), "--tune", "none", *FROZEN, "--out", str(labels.parent / "run")]) == 0
    return labels.parent / "run"


def test_methods_are_compared_by_map(labels: Path, works) -> None:
    out, err = works("compare", labels, "--workers", 0)
    assert all(text in out for text in ("mAP in percent", "cross-validated", "text-probe", "zero-shot"))
    prints(err, "several labels", "yes-or-no question")
    assert "top-1" not in out
    out, _ = works("compare", labels, "--workers", 0, "--json")
    for row in json.loads(out)["methods"]:
        for score in (row["cross_validated"], row["scored"]):
            assert score["low"] <= score["mean_ap"] <= score["high"]
            assert len(score["f1"]) == len(score["exact"]) == 3


def test_a_run_says_all_names_above_their_thresholds(run: Path, works) -> None:
    picture = run.parent / "37.png"  # red and green
    out, _ = works("predict", run, picture, "--workers", 0)
    said = [line.split()[-1] for line in out.splitlines() if line.split()[0] == "yes"]
    assert set(said) == {"green", "red"}
    out, _ = works("predict", run, picture, "--workers", 0, "--json")
    (entry,) = json.loads(out)
    assert {*entry["labels"]} == {"green", "red"}
    assert sum(each["probability"] for each in entry["top"]) > 1.2
    out, _ = works("predict", run, run.parent, "--workers", 0, "--csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert {row["chosen"] for row in rows} == {"yes", "no"}
    assert [row["name"] for row in rows if row["path"] == str(picture) and row["chosen"] == "yes"] == entry["labels"]


def test_a_run_is_scored_and_reported(run: Path, labels: Path, works, tmp_path: Path) -> None:
    out, _ = works("eval", run, labels, *FROZEN, "--per-class", "--verbose", "--out", tmp_path / "items.csv")
    assert all(text in out for text in ("mAP", "F1 micro", "all labels right", "recall", "precision"))
    rows = list(csv.DictReader((tmp_path / "items.csv").open()))
    assert len(rows) == 16
    assert all(len(row["predicted"].split(";")) == len(row["probability"].split(";")) for row in rows)
    assert (labels.parent / "37.png").read_bytes()[:4] == b"\x89PNG"
    works("report", run, labels, *FROZEN, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert all(text in page for text in ("mAP", "all labels right", "F1"))
    assert "top-1" not in page


def test_what_needs_one_label_is_refused_in_one_line(run: Path, labels: Path, refused, tmp_path: Path) -> None:
    for option in ("--sets", "--unlabelled"):
        value = (run.parent,) if option == "--unlabelled" else ()
        refused("one label per file", "predict", run, run.parent, option, *value, "--workers", 0)
    refused("one label per file", "predict", run, run.parent, "--at-least", 0.9, "--workers", 0)
    train = ("train", labels, "--out", tmp_path / "out", "--workers", 0)
    (tmp_path / "shares.json").write_text('{"red": 2, "green": 1, "blue": 1}')
    refused("one label each", *train, "--tune", "none", "--class-shares", tmp_path / "shares.json")
    refused("one label each", *train, "--tune", "all", "--head", "lda", "--epochs", 1)
    refused("one label each", *train, "--unlabelled", run.parent)


def test_the_estimator_takes_a_table(labels: Path) -> None:
    rows = list(csv.DictReader(labels.open()))
    table = np.array([[name in row["label"].split(";") for name in COLOURS] for row in rows]).astype(int)
    paths = [labels.parent / row["path"] for row in rows]
    estimator = TextHeadClassifier(class_names=dict(enumerate(COLOURS))).fit(paths[:32], table[:32])
    predicted = estimator.predict(paths[32:])
    assert predicted.shape == (16, 3)
    assert (predicted == table[32:]).mean() > 0.9
    assert np.abs(estimator.predict_proba(paths[32:]).sum(1) - 1).max() > 0.5
    assert estimator.score(paths[32:], table[32:]) == (predicted == table[32:]).all(1).mean()
    with pytest.raises(DataError, match="MultiLabelBinarizer"):
        estimator.fit(paths[:2], [["red"], ["red", "blue"]])
