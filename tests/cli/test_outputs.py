"""Outputs never replace an input, a file of another kind or a file of a run; each is refused before any work."""

import subprocess
import sys
from pathlib import Path

import pytest

from made import write_image
from platforms import symlink


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
