"""`predict --out`: the rows of `csv_rows` or the entries of `--json`, written as they come, to a new file."""

import csv
import json
from pathlib import Path

import pytest

from made import write_broken
from messages import prints
from platforms import WINDOWS


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_of_predictions(world, works, say, refused, tmp_path: Path, suffix: str) -> None:
    broken = write_broken(tmp_path / ("broken.png" if WINDOWS else "broken\udcff.png"))
    files, out = [*sorted(world.images.rglob("*.png"))[:3], broken], tmp_path / f"a{suffix}"
    arguments = ("predict", world.run, *files, "--workers", 0, "--top", 1, "--skip-unreadable")
    printed, err = works(*arguments, "--out", out)
    assert printed == ""
    prints(err, f"{out.name}: predictions of 4 files")
    expected = json.loads(works(*arguments, "--json")[0].encode("utf-8", "surrogateescape"))
    text = out.read_text("utf-8", "surrogateescape")
    if suffix == ".jsonl":
        assert [json.loads(line) for line in text.splitlines()] == expected
    else:
        header, *rows = csv.reader(text.splitlines())
        assert header == ["path", "rank", "name", "probability", "error"], "no answer without a calibration"
        assert [(row[0], row[2] or row[4]) for row in rows] == [
            (each["path"], each["top"][0]["name"] if each["top"] else each["error"]) for each in expected
        ]
    refused("already exists", *arguments, "--out", out)
    assert out.read_text("utf-8", "surrogateescape") == text
    code, _, _ = say("predict", world.run, files[3], "--out", tmp_path / f"none{suffix}")
    assert (code, (tmp_path / f"none{suffix}").exists()) == (2, False), "no file can be read"


def test_a_clip_in_a_shard_has_its_original_name(world, works, tmp_path: Path) -> None:
    works("prepare", world.images, "--out", tmp_path / "shards", "--workers", 1)
    works("predict", world.run, tmp_path / "shards", "--workers", 0, "--top", 1, "--out", tmp_path / "a.csv")
    named = [row["path"] for row in csv.DictReader((tmp_path / "a.csv").open())]
    assert sorted(named) == sorted(str(path.relative_to(world.images)) for path in world.images.rglob("*.png"))
