"""Outputs never replace an input, a file of another kind or a file of a run; each is refused before any work."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from made import write_broken, write_image
from messages import prints
from platforms import WINDOWS, symlink


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_image(tmp_path / "photo.png", "red")


def test_an_output_is_of_its_kind_and_no_input(world, refused, photo, tmp_path):
    run, names, before = world.run, tmp_path / "names.csv", photo.read_bytes()
    names.write_text("id,name\n0,blue\n1,red\n")
    weights = (run / "model.safetensors").read_bytes()
    score = ("eval", run, world.manifest, "--out")
    refused(("--out", ".csv"), *score, photo)
    refused(("--out", ".csv"), *score, run / "model.safetensors")
    refused(("--out", "input"), *score, world.manifest)
    link = tmp_path / "link.csv"
    symlink(link, world.manifest)
    refused(("--out", "input"), *score, link)
    refused(("--out", ".html"), "report", run, "--out", run / "recipe.json")
    video = world.videos / "red" / "0.mp4"
    refused(("--out", "input"), "timeline", video, "--classes", names, "--out", names)
    assert (photo.read_bytes(), (run / "model.safetensors").read_bytes()) == (before, weights)
    assert names.read_text().startswith("id,name")
    refused(("--out", "input"), "predict", video, "--classes", names, "--out", names)


@pytest.mark.parametrize("command", [("train", "--tune", "none"), ("prepare",), ("doctor", "--quick")])
def test_a_folder_that_is_a_file_is_refused_before_the_work(command, world, refused):
    name, *options = command
    before = world.manifest.read_bytes()
    refused((world.manifest, "not a folder"), name, world.manifest, *options, "--out", world.manifest)
    assert world.manifest.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("epochs: 1\nepochs: 7\n", ("epochs", "twice")),
        ("weight-decay: 0.1\n", ("weight-decay", "weight_decay?")),
        ("batch: 0x10\n", ("batch", "0x10")),
        ("warmup: 1:30\n", ("warmup", "1:30")),
        ("epochs: null\n", ("epochs", "null")),
        ("epochs: [1, 2]\n", ("epochs", "1,2")),
        ("lr: ~\n", ("lr", "null")),
        ("base: best\n", ("base", "small", "best")),
        ("- epochs\n", ("mapping",)),
        ("template: no\n", ("template", "'no'")),
    ],
)
def test_a_recipe_file_has_one_meaning(text, parts, world, refused, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(text)
    refused(parts, "train", world.images, "--out", tmp_path / "run", "--recipe", file)


@pytest.mark.slow
def test_concurrent_trainings_into_one_folder(world, tmp_path):
    """Both find the folder empty; the later one leaves the other's run alone."""
    line = [sys.executable, "-m", "texthead", "train", world.images, "--out", tmp_path / "run", "--tune", "none"]
    options = ["--workers", "0"]
    both = [subprocess.Popen([*map(str, line), *options, "--seed", seed], stderr=subprocess.PIPE) for seed in "12"]
    errors = [each.communicate()[1].decode() for each in both]
    assert sorted(each.returncode for each in both) == [0, 2], errors
    assert sum("already contains a run" in error or "in use" in error for error in errors) == 1


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
