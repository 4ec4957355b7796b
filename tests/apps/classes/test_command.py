"""`texthead classes` end to end, and edited runs in predict, eval and train."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import texthead as th
from messages import prints
from texthead import predict
from texthead.runs.run import load_run
from worlds import images

LABELS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of each colour in class folders."""
    return images(tmp_path_factory.mktemp("classes"), list(LABELS), 5)


def train(data: Path, out: Path, *, train_head: bool = False, **recipe: object) -> Path:
    """Fine-tune a run with these values of its recipe."""
    options = th.RunOptions(fine_tune=True, train_head=train_head, overrides={"size": 32, **recipe}, baselines="never")
    th.train(th.read_dataset(data), out, options)
    return out


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with a frozen text head that recognises the colours, and one with a trained head."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "text": train(data, root / "text", epochs=4, warmup=1.0),
        "trained": train(data, root / "trained", epochs=2, tune="none", train_head=True),
    }


@pytest.fixture
def run(trained: dict[str, Path]) -> Path:
    return trained["text"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def edit(works: Callable[..., tuple[str, str]], tmp_path: Path) -> Callable[..., tuple[Path, str, str]]:
    """Return a function that edits a run and returns (new run, standard output, standard error)."""

    def make(run: Path, *arguments: object) -> tuple[Path, str, str]:
        new = tmp_path / f"edited {len(list(tmp_path.glob('edited *')))}"
        out, err = works("classes", run, *arguments, "--out", new)
        assert f"run: {new}" in out
        return new, out, err

    return make


def predicted(works: Callable, run: Path, path: Path) -> dict[str, float]:
    out, _ = works("predict", run, path, "--json", "--top", 20, "--workers", 0)
    return {each["name"]: each["probability"] for each in json.loads(out)[0]["top"]}


def odds(found: dict[str, float], a: str, b: str) -> float:
    """Return the difference of two logits, which other classes do not change."""
    return float(np.log(found[a] / found[b]))


# --- each edit, and predictions after it -----------------------------------------------------------------------------


@pytest.mark.slow
def test_every_edit_from_start_to_end(run, data, works, edit):
    path = data / "red" / "0.png"
    before = predicted(works, run, path)
    assert max(before, key=before.__getitem__) == "red"
    new, out, err = edit(run, "add", "archery", "a_kite", "a boat")
    prints(out, "'archery', 'a_kite', 'a boat'", 6)
    prints(err, "a_kite -> a kite")
    added = predicted(works, new, path)
    assert set(added) == {*LABELS, "archery", "a_kite", "a boat"}
    assert odds(added, "red", "blue") == pytest.approx(odds(before, "red", "blue"), abs=1e-3)
    # The second prediction uses the cached graph, whose last bits differ.
    assert predicted(works, run, path) == pytest.approx(before, abs=1e-6), "the run that was edited is as it was"

    new, _, err = edit(
        new, "add", "bow", "--sentence", "a person shooting a bow", "--sentence", "an archer", "--verbose"
    )
    prints(err, "bow: 'a person shooting a bow', 'an archer'")
    new, out, _ = edit(new, "rename", "red", "crimson")
    prints(out, "'red'", "'crimson'", 7)
    renamed = predicted(works, new, path)
    assert max(renamed, key=renamed.__getitem__) == "crimson"
    assert odds(renamed, "crimson", "blue") == pytest.approx(odds(before, "red", "blue"), abs=1e-3)

    new, out, _ = edit(new, "rename", "archery", "shooting", "--sentence", "a photo of shooting")
    prints(out, "'archery'", "'shooting'", "'a photo of shooting'")
    encoded = new
    new, out, _ = edit(new, "remove", "bow", "a boat", "green")
    prints(out, "'bow', 'a boat', 'green'", 4)
    last = predicted(works, new, path)
    assert set(last) == {"crimson", "shooting", "a_kite", "blue"}

    out, _ = works("classes", new, "list")
    assert [line.split("│")[2].strip() for line in out.splitlines() if line.startswith("│")] == [
        "blue", "crimson", "shooting", "a_kite",
    ]  # fmt: skip
    for value in ("a photo of shooting", "'bow'", encoded):
        assert str(value) in out
    listed = json.loads(works("classes", new, "list", "--json")[0])
    assert [(c["label"], c["name"], c["row"]) for c in listed["classes"]] == [
        ("blue", "blue", "text"),
        ("crimson", "red", "text"),
        ("shooting", "shooting", "text"),
        ("a_kite", "a kite", "text"),
    ]
    assert listed["edited"] == {"run": str(encoded), "edits": ["removed 'bow', 'a boat', 'green'"]}
    assert json.loads(works("classes", run, "list", "--json")[0])["edited"] is None
    new, _, _ = edit(new, "rename", "blue", "blue", "--sentence", "something blue", "--sentence", "something green")
    assert "'something blue | something green'" in works("classes", new, "list")[0]


@pytest.mark.slow
def test_names_that_read_as_other_values_stay_names(run, edit):
    new, _, _ = edit(run, "add", "1", "true", "null")
    new, _, _ = edit(new, "rename", "1", "2.0")
    new, _, _ = edit(new, "remove", "null")
    assert load_run(new).labels == (*LABELS, "2.0", "true")


# --- heads that are not frozen text ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trained_head_takes_a_text_row_with_a_note(trained, data, works, edit):
    new, _, err = edit(trained["trained"], "add", "a kite")
    prints(err, "note: ", "text", "trained")
    out, _ = works("classes", new, "list")
    assert out.count("text, trained") == 3
    assert "a kite" in predicted(works, new, data / "red" / "0.png")


# --- edited runs in other commands -----------------------------------------------------------------------------------


def score(
    works: Callable, run: Path, data: Path, out: Path, *options: object
) -> tuple[list[tuple[str, str]], str, str]:
    """Return (label and best name of each item, standard output, standard error) of an evaluation."""
    text, err = works("eval", run, data, "--workers", 0, "--out", out, *options)
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    return [(row["label"], row["predicted"]) for row in rows], text, err


def relabelled(data: Path, labels: dict[str, str], path: Path) -> Path:
    """Write a manifest of the items with these labels, under new labels."""
    rows = [f"{item},{now}" for label, now in labels.items() for item in sorted((data / label).iterdir())]
    path.write_text("\n".join(["path,label", *rows]))
    return path


@pytest.mark.slow
def test_an_edited_run_is_scored_on_data_with_its_names(run, data, works, wrong, edit, tmp_path):
    before, _, _ = score(works, run, data, tmp_path / "0.csv")
    assert [label for label, _ in before] == [*LABELS]
    new, _, _ = edit(run, "rename", "red", "crimson")
    assert "(red)" in wrong("eval", new, data, "--workers", 0)
    other = relabelled(data, {"blue": "blue", "green": "green", "red": "crimson"}, tmp_path / "renamed.csv")
    renamed, out, _ = score(works, new, other, tmp_path / "1.csv")
    assert [label for label, _ in renamed] == ["blue", "green", "crimson"]
    assert "labels alone" in out, "the training items have their new labels"
    more, _, _ = edit(new, "add", "a kite", "a boat")
    _, out, _ = score(works, more, other, tmp_path / "2.csv")
    assert "labels alone" in out, "classes without a training item score minus infinity there"

    left, _, _ = edit(more, "remove", "blue", "green")
    other = relabelled(data, {"red": "crimson"}, tmp_path / "left.csv")
    assert [label for label, _ in score(works, left, other, tmp_path / "3.csv")[0]] == ["crimson"]
    # The name is free again: the run's old items of that name do not belong to the new class.
    free, _, _ = edit(left, "rename", "a boat", "blue")
    assert json.loads((free / "split.json").read_text())["train_labels"].count(None) == 8
    none, _, _ = edit(free, "remove", "crimson")
    other = relabelled(data, {"red": "a kite"}, tmp_path / "none.csv")
    _, out, _ = score(works, none, other, tmp_path / "4.csv", "--split", "train")
    assert "labels alone" not in out, "no class that is left has a training item"


@pytest.mark.slow
def test_several_sentences_per_class(run, data, works, tmp_path):
    path = tmp_path / "classes.json"
    path.write_text('{"red": ["something red", "a red wall"], "blue": "a blue wall", "green": null}')
    item, quick = data / "red" / "0.png", ["--workers", 0]
    result = json.loads(works("predict", item, "--classes", path, "--json", *quick)[0])[0]["top"]
    assert {each["name"] for each in result} == {*LABELS}
    ours = json.loads(works("predict", run, item, "--classes", path, "--json", *quick)[0])
    direct = load_run(run).with_classes(
        ["red", "blue", "green"], prompts=[["something red", "a red wall"], "a blue wall", "green"]
    )
    assert direct.model.head.prompts == (("something red", "a red wall"), "a blue wall", "green")
    for name, value in predict(direct, [item])[0].top:
        assert {each["name"]: each["probability"] for each in ours[0]["top"]}[name] == pytest.approx(value, abs=1e-5)
    rows, out, err = score(works, run, data, tmp_path / "eval.csv", "--classes", path)
    assert len(rows) == 3
    assert err == ""
    assert "names alone" in out


# --- user errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "RUN"),
        (["list", "--jsn"], "--json"),
        (["add"], "NAME"),
        (["add", "x", "y", "--sentence", "z"], "--sentence"),
        (["rename", "red"], "NEW"),
        (["rename", "red", "red"], "'red'"),
        (["remove"], "NAME"),
        (["remove", "gren"], "'green'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, wrong, tmp_path, arguments, part):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    out = ["--out", tmp_path / "new"] if arguments and arguments[0] != "list" else []
    assert part in wrong("classes", run, *arguments, *out)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert not list(tmp_path.iterdir())


def test_an_edit_needs_a_folder_of_its_own(run, wrong):
    assert "--out" in wrong("classes", run, "remove", "red")
    assert str(run) in wrong("classes", run, "remove", "red", "--out", run)


def test_no_action_and_no_run(trained, wrong, data):
    assert "list, add, rename or remove" in wrong("classes", trained["text"], "lst")
    assert "recipe.json" in wrong("classes", data, "list")
    assert "RUN" in wrong("classes")
