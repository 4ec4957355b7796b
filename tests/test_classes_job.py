"""`texthead classes` as a user meets it, and what predict, eval and train make of an edited run."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text_models import bert
from texthead import cli
from texthead.runs import load_run

COLOURS = {"blue": (30, 30, 220), "green": (30, 200, 40), "red": (220, 30, 30)}


def images(root: Path) -> Path:
    """Five pictures of each colour in class folders."""
    for label, colour in COLOURS.items():
        (root / label).mkdir(parents=True)
        for i in range(5):
            noise = np.random.default_rng(i).integers(-25, 25, (48, 48, 3))
            picture = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / label / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images(tmp_path_factory.mktemp("classes") / "data")


def train(data: Path, out: Path, *options: str) -> Path:
    """A run on frozen features."""
    plain = [
        "--size",
        "32",
        "--epochs",
        "2",
        "--workers",
        "0",
        "--baselines",
        "never",
        "--cache",
        str(out.parent / "c"),
    ]
    assert cli.main(["train", str(data), "--out", str(out), *plain, *options]) == 0
    return out


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with a frozen text head that finds the colours, one with a trained one, and a linear one."""
    root = tmp_path_factory.mktemp("runs")
    rates = ["--epochs", "4", "--warmup", "1"]
    return {
        "text": train(data, root / "text", *rates),
        "trained": train(data, root / "trained", "--freeze-encoder", "--train-head"),
        "linear": train(data, root / "linear", "--freeze-encoder", "--head", "linear"),
    }


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained["text"], tmp_path / "run"))


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """Runs a command that must work: standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "200")

    def told(*arguments: object) -> tuple[str, str]:
        capsys.readouterr()
        assert cli.main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
        out, err = capsys.readouterr()
        return out, err

    return told


@pytest.fixture
def wrong(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail as a user's mistake: its line."""

    def told(*arguments: object) -> str:
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        err = capsys.readouterr().err
        assert code == 2, err
        assert [line.startswith("texthead: ") for line in err.splitlines()].count(True) == 1
        return err.splitlines()[-1]

    return told


def predicted(say: Callable, run: Path, path: Path) -> dict[str, float]:
    out, _ = say("predict", run, path, "--json", "--top", 20, "--workers", 0)
    return {each["name"]: each["probability"] for each in json.loads(out)[0]["top"]}


def odds(found: dict[str, float], a: str, b: str) -> float:
    """The difference of two logits: other classes do not change it."""
    return float(np.log(found[a] / found[b]))


# --- each edit, and what is predicted after it -----------------------------------------------------------------------


@pytest.mark.slow
def test_every_edit_from_start_to_end(run, data, say):
    path = data / "red" / "0.png"
    before = predicted(say, run, path)
    assert max(before, key=before.__getitem__) == "red"
    out, err = say("classes", run, "add", "archery", "a_kite", "a boat")
    assert "added 'archery', 'a_kite', 'a boat'; 6 classes now" in out
    assert "class names cleaned: a_kite -> a kite" in err
    assert "prompt: 'archery' and 2 more" in err
    added = predicted(say, run, path)
    assert set(added) == {*COLOURS, "archery", "a_kite", "a boat"}
    assert odds(added, "red", "blue") == pytest.approx(odds(before, "red", "blue"), abs=1e-3)

    out, err = say("classes", run, "add", "bow", "--sentence", "a person shooting a bow", "--sentence", "an archer")
    assert "bow: 'a person shooting a bow', 'an archer'" in err
    out, _ = say("classes", run, "rename", "red", "crimson")
    assert "renamed 'red' to 'crimson'; 7 classes now" in out
    renamed = predicted(say, run, path)
    assert max(renamed, key=renamed.__getitem__) == "crimson"
    assert odds(renamed, "crimson", "blue") == pytest.approx(odds(before, "red", "blue"), abs=1e-3)

    out, err = say("classes", run, "rename", "archery", "shooting", "--encode", "--template", "a photo of {}")
    assert "renamed 'archery' to 'shooting', its row made anew from 'a photo of shooting'" in out
    anew = predicted(say, run, path)
    assert odds(anew, "bow", "blue") == pytest.approx(odds(predicted(say, run, path), "bow", "blue"), abs=1e-3)
    assert abs(odds(anew, "shooting", "blue") - odds(renamed, "archery", "blue")) > 1e-3

    assert (
        "merged 'blue', 'green' into 'cold'; 6 classes now"
        in say("classes", run, "merge", "blue", "green", "--into", "cold")[0]
    )
    assert "removed 'bow', 'a boat'; 4 classes now" in say("classes", run, "remove", "bow", "a boat")[0]
    last = predicted(say, run, path)
    assert set(last) == {"crimson", "shooting", "a_kite", "cold"}
    assert odds(last, "crimson", "a_kite") == pytest.approx(odds(added, "red", "a_kite"), abs=1e-3)

    out, _ = say("classes", run, "list")
    assert "4 classes of" in out
    assert [line.split("│")[2].strip() for line in out.splitlines() if line.startswith("│")] == [
        "crimson", "shooting", "a_kite", "cold",
    ]  # fmt: skip
    for words in (
        "a photo of shooting",
        "blue | green",
        "mean of blue, green",
        "added 'bow'",
        "renamed 'red' to 'crimson'",
    ):
        assert words in out
    listed = json.loads(say("classes", run, "list", "--json")[0])
    assert [(c["label"], c["name"], c["row"]) for c in listed["classes"]] == [
        ("crimson", "red", "text"),
        ("shooting", "shooting", "text"),
        ("a_kite", "a kite", "text"),
        ("cold", "cold", "mean of blue, green"),
    ]
    assert len(listed["history"]) == 6
    say("classes", run, "rename", "cold", "cold", "--sentence", "something blue", "--sentence", "something green")
    assert "made the row of 'cold' anew from 'something blue | something green'" in say("classes", run, "list")[0]


def test_classes_from_a_file(run, say, tmp_path, wrong):
    (tmp_path / "more.json").write_text('{"archery": ["a bow", "an archer"], "a_kite": null, "boat": "a ship"}')
    say("classes", run, "add", "--from", tmp_path / "more.json", "--template", "a photo of {}")
    (tmp_path / "names.txt").write_text("null\n[x]\n1: 2\n")
    say("classes", run, "add", "--from", tmp_path / "names.txt", "--names", "verbatim")
    prompts = {c["label"]: c["prompt"] for c in json.loads((run / "classes.json").read_text())["classes"]}
    assert prompts == {
        "blue": "blue", "green": "green", "red": "red",
        "archery": ["a bow", "an archer"], "a_kite": "a photo of a kite", "boat": "a ship",
        "null": "null", "[x]": "[x]", "1: 2": "1: 2",
    }  # fmt: skip
    assert load_run(run).labels == tuple(prompts)
    assert "has a class 'archery' already" in wrong("classes", run, "add", "--from", tmp_path / "more.json")
    # The file of one class or another is not at fault for the run.
    assert "expected an object" in wrong("classes", run, "add", "--from", _put(tmp_path / "x.json", "[]"))


def _put(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.mark.slow
def test_names_that_yaml_would_read_are_names(run, say):
    say("classes", run, "add", "null", "1", "[x]", "true")
    say("classes", run, "rename", "1", "2.0")
    say("classes", run, "remove", "null")
    assert load_run(run).labels == (*COLOURS, "2.0", "[x]", "true")


# --- heads that are not frozen text ------------------------------------------------------------------------------------


def test_a_trained_head_takes_a_text_row_and_says_so(trained, data, say, tmp_path):
    run = Path(shutil.copytree(trained["trained"], tmp_path / "run"))
    _, err = say("classes", run, "add", "a kite")
    assert "note: the other rows were trained after they were text; a new one is text as it is encoded" in err
    out, _ = say("classes", run, "list")
    assert out.count("text, trained") == 3
    assert "a kite" in predicted(say, run, data / "red" / "0.png")


def test_a_linear_head_is_renamed_and_cut_and_no_more(trained, say, wrong, tmp_path):
    run = Path(shutil.copytree(trained["linear"], tmp_path / "run"))
    assert "its head is 'linear', and a text row cannot be compared" in wrong("classes", run, "add", "a kite")
    assert "its head is 'linear'" in wrong("classes", run, "rename", "red", "crimson", "--encode")
    assert "lengths that count" in wrong("classes", run, "merge", "red", "blue", "--into", "x")
    say("classes", run, "rename", "red", "crimson")
    say("classes", run, "remove", "blue")
    assert load_run(run).labels == ("green", "crimson")
    assert json.loads(say("classes", run, "list", "--json")[0])["classes"][1] == {
        "label": "crimson", "name": "crimson", "prompt": None, "row": "trained",
    }  # fmt: skip


@pytest.mark.slow
def test_the_loss_of_a_saved_map_is_said(data, say, wrong, tmp_path):
    text = bert(tmp_path / "bert", 1284)
    run = train(data, tmp_path / "run", "--freeze-encoder", "--train-head", "--text", text)
    _, err = say("classes", run, "add", "a cat on a lake", "--sentence", "a cat", "--sentence", "a lake")
    assert "the map of the run loses 0." in err
    rows = load_run(run).encoder().encode_text(["a cat", "a lake"]).detach()
    mean = torch.nn.functional.normalize(rows, dim=-1).mean(0)
    assert float(torch.cosine_similarity(load_run(run).model.head.weight[3].detach(), mean, dim=0)) == pytest.approx(
        1, abs=1e-5
    )
    shutil.rmtree(tmp_path / "bert")
    assert "cannot be loaded" in wrong("classes", run, "add", "a dog")
    say("classes", run, "rename", "red", "crimson")


# --- what other commands make of it ----------------------------------------------------------------------------------


def score(say: Callable, run: Path, data: Path, out: Path, *options: object) -> tuple[list[tuple[str, str]], str, str]:
    """(label and best name of each item, standard output, standard error) of an evaluation."""
    told, err = say("eval", run, data, "--workers", 0, "--cache", run.parent / "c", "--out", out, *options)
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    return [(row["label"], row["predicted"]) for row in rows], told, err


@pytest.mark.slow
def test_eval_follows_the_edits(run, data, say, wrong, tmp_path):
    before, _, _ = score(say, run, data, tmp_path / "0.csv")
    assert [label for label, _ in before] == [*COLOURS]
    say("classes", run, "rename", "red", "crimson")
    after, out, err = score(say, run, data, tmp_path / "1.csv")
    crimson = {"red": "crimson"}
    assert after == [(crimson.get(a, a), crimson.get(b, b)) for a, b in before]
    assert "note: 'red' is called 'crimson' in the run now: 1 of its items scored so" in err
    assert "logistic probe" in out, "the training items are found under their new label"
    assert "zero-shot" in out
    # Data that says it as the run does needs no note.
    other = tmp_path / "other"
    shutil.copytree(data / "red", other / "crimson")
    assert "is called" not in score(say, run, other, tmp_path / "2.csv", "--split", "train")[2]

    say("classes", run, "merge", "blue", "green", "--into", "cold")
    merged, out, err = score(say, run, data, tmp_path / "3.csv")
    assert [label for label, _ in merged] == ["cold", "cold", "crimson"]
    assert "logistic probe" in out
    assert "'green' is called 'cold'" in err
    say("classes", run, "add", "a kite", "a boat")
    more, out, _ = score(say, run, data, tmp_path / "4.csv")
    assert [label for label, _ in more] == ["cold", "cold", "crimson"]
    assert "logistic probe" in out, "classes without a training item score minus infinity there"

    say("classes", run, "remove", "cold")
    left, out, err = score(say, run, data, tmp_path / "5.csv")
    assert [label for label, _ in left] == ["crimson"]
    assert "note: 'blue' was removed from the run: 1 of its items not scored" in err
    assert "logistic probe" in out
    # Its name is free: the run's old items of that name are not the new class's.
    say("classes", run, "rename", "a boat", "cold")
    assert json.loads((run / "split.json").read_text())["train_labels"].count(None) == 8
    say("classes", run, "remove", "crimson")
    line = wrong("eval", run, data, "--workers", 0)
    assert "all 3 items are of classes that were removed from the run" in line
    shutil.copytree(data / "red", other / "a kite")
    shutil.rmtree(other / "crimson")
    only, out, _ = score(say, run, other, tmp_path / "7.csv", "--split", "train")
    assert {label for label, _ in only} == {"a kite"}
    assert "logistic probe" not in out, "no class that is left has a training item"
    # Other names are other rows: edits have no say in them.
    assert score(say, run, data, tmp_path / "6.csv", "--zero-shot")[0][2][0] == "red"


def test_an_edited_run_is_not_resumed(run, data, say, wrong):
    say("classes", run, "rename", "red", "crimson")
    line = wrong("train", data, "--out", run, "--resume")
    assert "its classes were edited after training (1 edit in classes.json)" in line
    assert load_run(run).labels == ("blue", "green", "crimson")


@pytest.mark.slow
def test_several_sentences_a_class_wherever_classes_are_named(run, data, say, wrong, tmp_path):
    path = tmp_path / "classes.json"
    path.write_text('{"red": ["something red", "a red wall"], "blue": "a blue wall", "green": null}')
    item, quick = data / "red" / "0.png", ["--workers", 0]
    found = json.loads(say("predict", item, "--classes", path, "--json", *quick)[0])[0]["top"]
    assert {each["name"] for each in found} == {*COLOURS}
    ours = json.loads(say("predict", run, item, "--classes", path, "--json", "--template", "a {} thing", *quick)[0])
    direct = load_run(run).with_classes(
        ["red", "blue", "green"], prompts=[["something red", "a red wall"], "a blue wall", "a green thing"]
    )
    assert direct.model.head.prompts == (("something red", "a red wall"), "a blue wall", "a green thing")
    from texthead import predict

    for name, value in predict(direct, [item])[0].top:
        assert {each["name"]: each["probability"] for each in ours[0]["top"]}[name] == pytest.approx(value, abs=1e-5)
    rows, out, err = score(say, run, data, tmp_path / "eval.csv", "--classes", path)
    assert len(rows) == 3
    assert "prompts, averaged where a class has several: red: 'something red', 'a red wall'; blue: 'a blue wall'" in err
    assert "zero-shot, before training" in out
    out, err = say("head", path)
    assert "3 rows of 1280 numbers (text)" in out
    assert "red: 'something red', 'a red wall'" in err
    assert "makes rows without text" in wrong("head", path, "--init", "normal")
    own = _put(tmp_path / "own.json", '{"red": "a red wall", "blue": ["x"]}')
    for command in (["predict", item], ["predict", run, item], ["eval", run, data]):
        line = wrong(*command, "--classes", own, "--template", "a {}", *quick)
        assert "--template 'a {}' would do nothing" in line
    assert "--template 'a {}' would do nothing" in wrong("head", own, "--template", "a {}")
    for command in (["predict", item], ["head"]):
        given = ["--classes"] if command[0] == "predict" else []
        assert "has []" in wrong(*command, *given, _put(tmp_path / "none.json", '{"a": []}'))


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_an_unknown_action_names_those_that_there_are(trained, wrong):
    # Newer Pythons name choices without quotes.
    told = wrong("classes", trained["text"], "lst")
    assert "(choose from list, add, rename, remove, merge)" in told.replace("'", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "classes RUN needs list, add, rename, remove or merge"),
        (["lst"], "invalid choice: 'lst' (choose from "),
        (["list", "--jsn"], "did you mean --json? (see texthead classes RUN list --help)"),
        (["add"], "name the classes to add, or name a file of them by --from: one of the two"),
        (["add", "x", "--from", "y.txt"], "one of the two"),
        (["add", "--from", "y.json"], "--from y.json: no such file"),
        (["add", "--from", "y.txt", "--sentence", "z"], "with --from, put sentences into the .json"),
        (["add", "x", "y", "--sentence", "z"], "--sentence makes the row of one NAME, got 2"),
        (["add", "x", "--sentence", "z", "--template", "a {}"], "--template 'a {}' would do nothing"),
        (["add", "x", "--sentence", ""], "class 'x' has an empty sentence or none"),
        (["add", "x", "x"], "occurs 2 times"),
        (["add", "red"], "has a class 'red' already"),
        (["add", "Red"], "the text encoder reads 'Red' as it reads 'red'"),
        (["add", "Red", "--sentence", "a red wall"], "labels 'red' and 'Red' both read 'red'"),
        (["add", "x", "--template", "x"], "exactly one '{}'"),
        (["rename", "red"], "classes RUN rename needs NEW"),
        (["rename", "rad", "x"], "no class 'rad': did you mean 'red'?"),
        (["rename", "red", "blue"], "has a class 'blue' already"),
        (["rename", "red", "red"], "is called that already"),
        (["rename", "red", "x", "--template", "a {}"], "makes a row anew: give --encode too"),
        (["rename", "red", "x", "--sentence", "y", "--template", "a {}"], "would do nothing"),
        (["remove"], "classes RUN remove needs NAME"),
        (["remove", "red", "green", "blue"], "at least one must stay"),
        (["remove", "gren"], "did you mean 'green'?"),
        (["merge", "red", "blue"], "classes RUN merge needs --into"),
        (["merge", "red", "--into", "x"], "at least two classes"),
        (["merge", "red", "blue", "--into", "green"], "has a class 'green' already"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(trained, wrong, arguments, words):
    run = trained["text"]
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != ".lock"}
    assert words in wrong("classes", run, *arguments)
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file() and p.name != ".lock"} == before


def test_no_run(wrong, data):
    assert "no run (no recipe.json in it)" in wrong("classes", data, "list")
    assert "needs list, add" in wrong("classes")
