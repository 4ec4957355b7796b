"""Predictions in a file: the rows of `csv_rows` or objects of `json_entry`, written as they come and continued."""

import csv
import json
from pathlib import Path

import pytest

from messages import prints, refuses
from texthead.errors import DataError
from texthead.prediction.formats import CSV_COLUMNS, Prediction, csv_rows, json_entry
from texthead.prediction.prediction_file import PredictionFile

PREDICTIONS = [
    Prediction(Path("a.png"), (("kite", 0.75), ("bird, small", 0.25))),
    Prediction(Path("b\udcff.png"), error="no image"),
    Prediction(Path("c.png"), (("bird, small", 0.5), ("kite", 0.5))),
]


def write(path: Path, *predictions: Prediction) -> set[str]:
    """Write the predictions that the file does not have; return those that it had."""
    file = PredictionFile(path, CSV_COLUMNS)
    done = {*file.done}
    for prediction in predictions:
        if str(prediction.path) not in done:
            file.write(prediction)
    file.close()
    return done


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_cut_anywhere_is_continued_to_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"predictions{suffix}"
    assert write(path, *PREDICTIONS) == set()
    whole = path.read_bytes()
    if suffix == ".csv":
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = [[str(cell) for cell in row] for row in csv_rows(PREDICTIONS)]
            assert [*csv.reader(file)] == [[*CSV_COLUMNS], *rows]
    else:
        lines = whole.decode("utf-8", "surrogateescape").splitlines()
        assert [json.loads(line) for line in lines] == [json_entry(each) for each in PREDICTIONS]
    assert write(path, *PREDICTIONS) == {str(each.path) for each in PREDICTIONS}
    assert path.read_bytes() == whole
    ends = {0}
    for count in range(1, len(PREDICTIONS)):
        write(tmp_path / f"part{suffix}", *PREDICTIONS[:count])
        ends.add((tmp_path / f"part{suffix}").stat().st_size)
    rows_end = {end for end in range(len(whole) + 1) if whole[:end].endswith(b"\n")}
    for size in range(len(whole)):
        if suffix == ".csv" and size in rows_end - ends:
            continue  # Each prediction is written in one call, so that no interruption ends between two of its rows.
        path.write_bytes(whole[:size])
        write(path, *PREDICTIONS)
        assert path.read_bytes() == whole, size


@pytest.mark.parametrize(("name", "text"), [("a.csv", "path,label\na,b\n"), ("a.jsonl", "[]\n"), ("a.jsonl", "text\n")])
def test_another_file_is_not_continued(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with refuses(DataError, name, "name another file"):
        write(tmp_path / name, *PREDICTIONS)
    assert (tmp_path / name).read_text() == text


def test_predict_continues_its_file(world, works, refused, tmp_path: Path) -> None:
    files, out = sorted(world.images.rglob("*.png")), tmp_path / "predictions.csv"
    arguments = ("predict", world.run, "--top", 1, "--workers", 0, "--out", out)
    _, err = works(*arguments, *files[:2])
    prints(err, "predictions.csv: predictions of 2 files")
    first = out.read_bytes()
    assert first.splitlines()[0] == b"path,rank,name,probability,error", "no answer without a calibration"
    printed, err = works(*arguments, world.images)
    assert printed == ""
    prints(err, "already has the predictions of 2 files")
    prints(err, f"predictions of {len(files) - 2} files")
    assert out.read_bytes().startswith(first)
    assert [row["path"] for row in csv.DictReader(out.open())] == [*map(str, files)]
    before = out.read_bytes()
    prints(works(*arguments, world.images)[1], f"already has the predictions of {len(files)} files")
    assert out.read_bytes() == before
    refused("exists", *arguments, files[0], "--unlabelled", world.images)
    # Shards and lists name the same files; a clip in a shard has its original name.
    (tmp_path / "data.yaml").write_text("list: data.csv\n")
    rows = [f"{file},{file.parent.name}" for file in files]
    (tmp_path / "data.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    for data in (tmp_path / "data.csv", tmp_path / "data.yaml"):
        prints(works(*arguments, data)[1], f"already has the predictions of {len(files)} files")
    works("prepare", tmp_path / "data.csv", "--out", tmp_path / "shards", "--workers", 1)
    for _ in range(2):
        _, err = works(*arguments[:-1], tmp_path / "named.csv", tmp_path / "shards")
    prints(err, f"already has the predictions of {len(files)} files")
    named = [row["path"] for row in csv.DictReader((tmp_path / "named.csv").open())]
    assert sorted(named) == [*map(str, files)]
    lines = tmp_path / "predictions.jsonl"
    works("predict", world.run, *files[:3], "--workers", 0, "--out", lines)
    expected = json.loads(works("predict", world.run, *files[:3], "--workers", 0, "--json")[0])
    assert [json.loads(line) for line in lines.read_text().splitlines()] == expected
