"""Predictions in a file: the rows of `csv_rows` or objects of `json_entry`, written as they come and continued."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from made import write_broken
from messages import prints, refuses
from texthead.commands.prediction_file import PredictionFile
from texthead.errors import DataError
from texthead.prediction.predictions import CSV_COLUMNS, Prediction, csv_rows, json_entry

PREDICTIONS = [
    Prediction(Path("a.png"), (("kite", 0.75), ("bird, small", 0.25))),
    Prediction(Path("b\udcff.png"), error="no image"),
    Prediction(Path("c.png"), (("bird, small", 0.5), ("kite", 0.5))),
]


# Of two models.
ONE, OTHER = ({"model": name, "labels": ["kite", "bird, small"], "top": 2, "views": (1, 1)} for name in "ab")


def write(path: Path, *predictions: Prediction, request: dict[str, object] = ONE) -> set[str]:
    """Write the predictions that the file does not have; return those that it had."""
    file = PredictionFile(path, CSV_COLUMNS, request)
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
            rows = [[*map(str, row)] for each in PREDICTIONS for row in csv_rows(each, CSV_COLUMNS)]
            assert [*csv.reader(file)] == [[*CSV_COLUMNS], *rows]
    else:
        lines = whole.decode("utf-8", "surrogateescape").splitlines()
        assert [json.loads(line) for line in lines] == [json_entry(each) for each in PREDICTIONS]
    assert write(path, *PREDICTIONS) == {"a.png", "c.png"}, "an error is tried again"
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        write(path, *PREDICTIONS)
        assert path.read_bytes() == whole, size


@pytest.mark.posix("limits of a file's size")
def test_a_row_that_is_cut_by_a_full_disk_is_an_error(tmp_path: Path) -> None:
    import resource

    path, limits = tmp_path / "predictions.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    file = PredictionFile(path, CSV_COLUMNS, ONE)
    file.write(PREDICTIONS[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.write(PREDICTIONS[2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        file.close()
    assert write(path, *PREDICTIONS) == {"a.png"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "path,label\na,b\n"), ("a.jsonl", "[]\n"), ("a.jsonl", '{"error": 1}\n'), ("a.jsonl", "text\n")],
)
def test_another_file_is_not_continued(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with refuses(DataError, name, "name another file"):
        write(tmp_path / name, *PREDICTIONS)
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_repaired_file_has_its_prediction_alone(tmp_path: Path, suffix: str) -> None:
    first, repaired = (tmp_path / f"{name}{suffix}" for name in ("first", "repaired"))
    now = [replace(each, top=PREDICTIONS[0].top, error=None) if each.error else each for each in PREDICTIONS]
    write(first, *PREDICTIONS)
    write(first, *now)
    write(repaired, *now)
    assert sorted(first.read_bytes().splitlines()) == sorted(repaired.read_bytes().splitlines())


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_only_the_request_that_began_a_file_continues_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, PREDICTIONS[1])
    write(path, PREDICTIONS[0], request=OTHER)  # Nothing but errors is nothing.
    before = path.read_bytes()
    for key, value in {"model": "a", "labels": ["kite"], "top": 3, "views": (2, 1)}.items():
        with refuses(DataError, path.name, f"different {key};"):
            write(path, *PREDICTIONS, request={**OTHER, key: value})
    assert path.read_bytes() == before
    assert write(path, *PREDICTIONS, request=OTHER) == {"a.png"}
    mark = tmp_path / f".a{suffix}.json"
    mark.unlink()
    with refuses(DataError, path.name, mark.name):
        write(path, *PREDICTIONS, request=OTHER)
    path.unlink()
    assert write(path, *PREDICTIONS) == set()


def test_predict_never_mixes_models_and_tries_errors_again(world, works, say, refused, tmp_path: Path) -> None:
    files, out = sorted(world.images.rglob("*.png"))[:2], tmp_path / "predictions.csv"
    broken = write_broken(tmp_path / "broken.png")
    arguments = ("predict", "--workers", 0, "--out", out, *files, broken)

    def answers() -> dict[str, str]:
        return {row["path"]: row["name"] or row["error"] for row in csv.DictReader(out.open())}

    for _ in range(2):
        code, _, err = say(*arguments, "--classes", "hand, foot")
        assert (code, len(answers())) == (1, 3)
        prints(err, "1 file cannot be read", "broken.png")
    works(*arguments, "--classes", "hand, foot", "--skip-unreadable")
    before = out.read_bytes()
    refused("different labels, model", *arguments, "--classes", "cat, dog")
    refused("different model", "predict", world.run, *arguments[1:], "--classes", "hand, foot")
    refused("different top", *arguments, "--classes", "hand, foot", "--top", 1)
    refused("different", "predict", world.run, *arguments[1:])
    assert out.read_bytes() == before
    broken.write_bytes(files[0].read_bytes())
    works(*arguments, "--classes", "hand, foot")
    assert answers()[str(broken)] == answers()[str(files[0])]


def test_predict_continues_its_file(world, works, refused, tmp_path: Path, monkeypatch) -> None:
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
    assert sorted(named) == sorted(map(str, files))
    # Other shards may have clips of the same names.
    shutil.copytree(tmp_path / "shards", tmp_path / "others")
    refused(("different shards", "name another file"), *arguments[:-1], tmp_path / "named.csv", tmp_path / "others")
    both = (tmp_path / "shards", tmp_path / "others")
    refused("may have clips of the same name", *arguments[:-1], tmp_path / "both.csv", *both)
    # Relative names are of other files elsewhere.
    monkeypatch.chdir(files[0].parent)
    works(*arguments[:-1], tmp_path / "here.csv", files[0].name)
    monkeypatch.chdir(tmp_path)
    shutil.copy(files[1], files[0].name)
    refused("different working directory", *arguments[:-1], tmp_path / "here.csv", files[0].name)
    lines = tmp_path / "predictions.jsonl"
    works("predict", world.run, *files[:3], "--workers", 0, "--out", lines)
    expected = json.loads(works("predict", world.run, *files[:3], "--workers", 0, "--json")[0])
    assert [json.loads(line) for line in lines.read_text().splitlines()] == expected
