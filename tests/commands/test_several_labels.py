"""Commands on multi-label data: how they are scored, what a run keeps of them, and what refuses them."""

import csv
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from made import pictures
from messages import prints
from texthead import TextHeadClassifier, load_run, read_dataset
from texthead.cli import main as cli
from texthead.errors import DataError

COLOURS = ("red", "green", "blue")
FROZEN = ("--workers", "0")


def halves(path: Path, names: list[str], seed: int) -> Path:
    """Write a picture with the colours side by side, or grey without any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [pictures(name, 1, seed)[0] for name in names] or [np.full((32, 32, 3), 100 + seed, np.uint8)]
    PIL.Image.fromarray(np.concatenate(parts, axis=1)).save(path)
    return path


def write_rows(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("path", "labels")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 48 pictures of any of three colours: 32 to train on, 16 to test."""
    root = tmp_path_factory.mktemp("several")
    rows = []
    for number in range(48):
        names = [colour for bit, colour in enumerate(COLOURS) if number >> bit & 1]
        halves(root / f"{number:02d}.png", names, number)
        rows.append((f"{number:02d}.png", ";".join(names), "train" if number < 32 else "test"))
    return write_rows(root / "labels.csv", rows, ("path", "labels", "split"))


@pytest.fixture(scope="module")
def run(labels: Path) -> Path:
    assert cli.main(["train", str(labels), "--tune", "none", *FROZEN, "--out", str(labels.parent / "run")]) == 0
    return labels.parent / "run"


def test_a_run_keeps_the_labels_of_its_items(run: Path, labels: Path) -> None:
    loaded, written = load_run(run), {item.path: item.label for item in read_dataset(labels).items}
    held_out, trained = loaded.split.held_out_items(), loaded.split.items("train")
    for dataset in (held_out, trained):
        assert dataset.multilabel
        assert {item.path: item.label for item in dataset.items}.items() <= written.items()
    assert len(held_out) + len(trained) == 48
    assert json.loads((run / "split.json").read_text())["several"] is True


def test_labels_that_the_run_lacks_are_not_scored(run: Path, works, refused, tmp_path: Path) -> None:
    rows = [
        (str(halves(tmp_path / f"{n}.png", ["red"] * (n % 2), 50 + n)), "red; x" if n % 2 else "") for n in range(4)
    ]
    _, err = works("eval", run, write_rows(tmp_path / "more.csv", rows), *FROZEN)
    prints(err, "2 of 4 all items", "(x)", "not scored")
    one = write_rows(tmp_path / "one.csv", [(path, "red") for path, _ in rows], ("path", "label"))
    refused(("one.csv", "single-label", "'labels'"), "eval", run, one, *FROZEN)
    refused("single-label", "calibrate", run, "--workers", 0)


def test_doctor_counts_each_label_of_a_file_and_judges_none(labels: Path, say, tmp_path: Path) -> None:
    _, out, _ = say("doctor", labels, "--workers", 0, "--out", tmp_path / "doctor")
    prints(out, "labels are not judged", "single-label")
    assert (tmp_path / "doctor" / "doctor.html").is_file()
    report = json.loads((tmp_path / "doctor" / "doctor.json").read_text())
    assert report["classes"] == sorted(COLOURS)
    assert [sum(splits.values()) for splits in report["counts"].values()] == [24, 24, 24]
    assert report["items"] == 48
    rows = list(csv.reader(labels.open()))[1:]
    (tmp_path / "copy.png").write_bytes((labels.parent / rows[3][0]).read_bytes())
    more = [(str(labels.parent / path), text) for path, text, _ in rows[:8]] + [("copy.png", "red"), ("red/a.png", "")]
    halves(tmp_path / "red" / "a.png", ["green"], 40)
    manifest = write_rows(tmp_path / "more.csv", more)
    clean = tmp_path / "clean.csv"
    code, out, _ = say("doctor", manifest, "--quick", "--workers", 0, "--json", "--fix", clean)
    assert code == 1
    faults = {finding["fault"]: finding for finding in json.loads(out)["findings"]}
    prints(faults["one file, two labels"]["detail"], "green; red and red")
    assert (read_dataset(clean).multilabel, len(read_dataset(clean))) == (True, 8)


def test_methods_are_compared_by_map(labels: Path, works) -> None:
    out, err = works("compare", labels, "--workers", 0)
    assert all(text in out for text in ("mAP % (95 % CI)", "cross-validated", "text-probe", "zero-shot"))
    prints(err, "several labels", "independent binary label")
    assert "top-1" not in out
    out, _ = works("compare", labels, "--workers", 0, "--json")
    for row in json.loads(out)["methods"]:
        for score in (row["cross_validated"], row["scored"]):
            assert score["low"] <= score["mean_ap"] <= score["high"]
            assert len(score["f1"]) == len(score["exact"]) == 3


def test_a_run_says_all_names_above_their_thresholds(run: Path, works, tmp_path: Path) -> None:
    picture = run.parent / "35.png"  # red and green
    out, _ = works("predict", run, picture, "--workers", 0)
    said = [line.split()[-1] for line in out.splitlines() if line.split()[0] == "yes"]
    assert set(said) == {"green", "red"}
    out, _ = works("predict", run, picture, "--workers", 0, "--json")
    (entry,) = json.loads(out)
    assert {*entry["labels"]} == {"green", "red"}
    assert sum(each["probability"] for each in entry["top"]) > 1.2
    works("predict", run, run.parent, "--workers", 0, "--out", tmp_path / "predictions.csv")
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert {row["chosen"] for row in rows} == {"yes", "no"}
    assert [row["name"] for row in rows if row["path"] == str(picture) and row["chosen"] == "yes"] == entry["labels"]


def test_a_run_is_scored_and_reported(run: Path, labels: Path, works, tmp_path: Path) -> None:
    out, _ = works("eval", run, labels, *FROZEN, "--per-class", "--verbose", "--out", tmp_path / "items.csv")
    assert all(text in out for text in ("mAP", "F1 micro", "all labels correct", "recall", "precision"))
    rows = list(csv.DictReader((tmp_path / "items.csv").open()))
    assert len(rows) == 16
    assert all(len(row["predicted"].split(";")) == len(row["probability"].split(";")) for row in rows)
    works("report", run, labels, *FROZEN, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert all(text in page for text in ("mAP", "all labels correct", "F1"))
    assert "top-1" not in page


def test_what_needs_one_label_is_refused_in_one_line(run: Path, labels: Path, refused, tmp_path: Path) -> None:
    for option in ("--sets", "--unlabelled"):
        value = (run.parent,) if option == "--unlabelled" else ()
        refused("single-label", "predict", run, run.parent, option, *value, "--workers", 0)
    refused("single-label", "predict", run, run.parent, "--at-least", 0.9, "--workers", 0)
    train = ("train", labels, "--out", tmp_path / "out", "--workers", 0)
    refused("single-label", *train, "--tune", "all", "--head", "lda", "--set", "epochs=1")
    refused("single-label", *train, "--unlabelled", run.parent)


def test_the_estimator_takes_a_table(labels: Path) -> None:
    rows = list(csv.DictReader(labels.open()))
    table = np.array([[name in row["labels"].split(";") for name in COLOURS] for row in rows]).astype(int)
    paths = [labels.parent / row["path"] for row in rows]
    estimator = TextHeadClassifier(class_names=dict(enumerate(COLOURS))).fit(paths[:32], table[:32])
    predicted = estimator.predict(paths[32:])
    assert predicted.shape == (16, 3)
    assert (predicted == table[32:]).mean() > 0.9
    assert np.abs(estimator.predict_proba(paths[32:]).sum(1) - 1).max() > 0.5
    assert estimator.score(paths[32:], table[32:]) == (predicted == table[32:]).all(1).mean()
    with pytest.raises(DataError, match="MultiLabelBinarizer"):
        estimator.fit(paths[:2], [["red"], ["red", "blue"]])
