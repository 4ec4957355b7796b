"""`texthead classes` end to end: every edit and what predict then answers, and every mistake in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from messages import prints
from run_folders import changed

Edit = Callable[..., tuple[Path, str, str]]


@pytest.fixture
def edit(works: Callable[..., tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """Return a function that edits a run and returns (new run, standard output, standard error)."""
    monkeypatch.setenv("COLUMNS", "200")

    def make(run: Path, *arguments: object) -> tuple[Path, str, str]:
        new = tmp_path / f"edited {len(list(tmp_path.glob('edited *')))}"
        out, err = works("classes", run, *arguments, "--out", new)
        assert f"run: {new}" in out
        return new, out, err

    return make


def test_every_edit_from_start_to_end(world, works: Callable, edit: Edit) -> None:
    def predicted(run: Path) -> dict[str, float]:
        out, _ = works("predict", run, world.images / "red" / "0.png", "--json", "--top", 20, "--workers", 0)
        return {each["name"]: each["probability"] for each in json.loads(out)[0]["top"]}

    before = predicted(world.run)
    new, out, err = edit(world.run, "add", "archery", "a_kite", "1")
    prints(out, "'archery', 'a_kite', '1'", 5)
    prints(err, "a_kite -> a kite")
    sentences = ("--sentence", "a person shooting a bow", "--sentence", "an archer")
    new, _, err = edit(new, "add", "bow", *sentences, "--verbose")
    prints(err, "bow: 'a person shooting a bow', 'an archer'")
    new, out, _ = edit(new, "rename", "red", "crimson")
    prints(out, "'red'", "'crimson'", 6)
    encoded, out, _ = edit(new, "rename", "archery", "shooting", "--sentence", "a photo of shooting")
    prints(out, "'archery'", "'shooting'", "'a photo of shooting'")
    new, out, _ = edit(encoded, "remove", "bow", "1")
    prints(out, "'bow', '1'", 4)
    after = predicted(new)
    assert set(after) == {"blue", "crimson", "shooting", "a_kite"}
    # The difference of two logits, which other classes do not change.
    odds = [np.log(before["red"] / before["blue"]), np.log(after["crimson"] / after["blue"])]
    assert odds[0] == pytest.approx(odds[1], abs=1e-3)
    out, _ = works("classes", new, "list")
    assert all(str(value) in out for value in ("a photo of shooting", "'bow'", encoded))
    listed = json.loads(works("classes", new, "list", "--json")[0])
    names = [("blue", "blue"), ("crimson", "red"), ("shooting", "shooting"), ("a_kite", "a kite")]
    assert [(each["label"], each["name"], each["row"]) for each in listed["classes"]] == [(*n, "text") for n in names]
    assert listed["edited"] == {"run": str(encoded), "edits": ["removed 'bow', '1'"]}
    assert json.loads(works("classes", world.run, "list", "--json")[0])["edited"] is None


def test_a_trained_head_takes_a_text_row_with_a_note(world, works: Callable, edit: Edit, tmp_path: Path) -> None:
    run = Path(shutil.copytree(world.run, tmp_path / "run"))
    changed(run, "recipe.json", lambda about: about["head"].update(type="TrainableHead"))
    new, _, err = edit(run, "add", "a kite")
    prints(err, "note: ", "text", "trained")
    assert works("classes", new, "list")[0].count("text, trained") == 2


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], "RUN"),
        (["RUN", "lst"], "list, add, rename or remove"),
        (["RUN", "list", "--jsn"], "--json"),
        (["RUN", "remove", "red"], "--out"),
        (["RUN", "remove", "red", "--out", "RUN"], "already exists"),
        (["DATA", "list"], "recipe.json"),
        (["RUN", "add", "x", "y", "--sentence", "z", "--out", "NEW"], "--sentence"),
        (["RUN", "remove", "red", "--sentence", "z", "--out", "NEW"], "--sentence"),
        (["RUN", "add", "x, y", "--out", "NEW"], "comma"),
        (["RUN", "rename", "red", "--out", "NEW"], "NEW"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(world, refused: Callable, tmp_path: Path, arguments, parts) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.run.rglob("*")}
    paths = {"RUN": world.run, "DATA": world.images, "NEW": tmp_path / "new"}
    refused(parts, "classes", *(paths.get(word, word) for word in arguments))
    assert {path: path.stat().st_mtime_ns for path in world.run.rglob("*")} == before
    assert not list(tmp_path.iterdir())
