"""`texthead compare` on real files, from the command line to a run that predicts."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import texthead as th
from made import write_broken, write_image, write_video
from messages import prints
from text_models import bert
from texthead.runs.scores import Score, read_scores
from texthead.transfer.comparison import FramesApart

COLOURS = ("red", "green", "blue")
SMALL = ("--size", 32, "--workers", 0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training and four test pictures of each of three colours."""
    folder = tmp_path_factory.mktemp("images")
    with (folder / "items.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        for place, colour in enumerate(COLOURS):
            for number in range(9):
                path = write_image(folder / f"{colour}{number}.png", colour, seed=100 * place + number)
                rows.writerow([path.name, colour, "train" if number < 5 else "test"])
    return folder / "items.csv"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def compare(works, cache: Path) -> Callable[..., tuple[str, str]]:
    """Return a function that runs a comparison that must succeed and returns (standard output, standard error)."""
    return lambda *arguments: works("compare", *arguments, "--cache", cache, *SMALL)


def test_frames_apart_can_be_put_together_again():
    frames = torch.arange(24.0).view(2, 3, 4)
    assert torch.equal(FramesApart()(frames).unflatten(1, (3, -1)), frames)


@pytest.mark.slow
def test_pictures_from_the_table_to_a_run_that_predicts_and_is_edited(
    images, compare, works, refused, cache, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    out, err = compare(images, "--choose", "--out", run)
    prints(err, 15, 3, 12, "test")
    methods = ["text-probe", "probe", "zero-shot", "zero-shot-centred"]
    assert all(method in out for method in methods)
    assert "15 training items correctly (chance 33 %)" in out
    about = json.loads((run / "recipe.json").read_text())
    chosen = about["chosen"]
    assert about["engine"] in out.splitlines()[0]
    prints(out, "* the chosen method", "5 folds")
    assert chosen == "text-probe"

    loaded = th.load_run(run)
    assert loaded.labels == ("blue", "green", "red")
    split = json.loads((run / "split.json").read_text())
    assert (len(split["train"]), len(split["held_out"])) == (15, 12)
    # The run has the score of the table, computed in another way.
    line = next(line for line in out.splitlines() if "text-probe *" in line)
    data = th.read_dataset(images).split("test")
    evaluation = th.evaluate(loaded.model, data, th.Protocol(1, loaded.pixels, th.Views(origin="centre")))
    assert line.split("│")[3].split("(")[0].strip() == f"{evaluation.top1:.1f}".replace("100.0", "100")
    # The run's scores file has the same score, next to the other methods.
    scores = read_scores(run)
    assert scores is not None
    assert scores.scored == "test"
    assert sorted(score.method for score in scores.methods[:-1]) == sorted({*methods} - {"text-probe"})
    own = Score.of("this run (text-probe)", evaluation)
    assert scores.methods[-1][:-1] == own[:-1]
    assert scores.methods[-1].calibration_error == pytest.approx(own.calibration_error, abs=1e-3)
    table = [line for line in out.splitlines() if line[0] in "┏┃┡│└"]
    assert len(table) == 4 + len(methods), "a method is wrapped"
    assert max(map(len, table)) <= 80
    assert [cell.strip() for cell in table[1].split("┃")[1:-1]] == ["method", "cross-validated", "test"]
    assert "red" in works("predict", run, images.parent / "red7.png", "--workers", 0)[0]

    head = loaded.model.head
    assert head.kind == "text and items"
    monkeypatch.setenv("COLUMNS", "120")  # Wide enough for the method's name on one line.
    assert "this run (text-probe)" in works("eval", run, images, "--cache", cache, "--workers", 0)[0]
    works("classes", run, "rename", "red", "crimson", "--out", tmp_path / "renamed")
    works("classes", tmp_path / "renamed", "remove", "green", "--out", tmp_path / "cut")
    after = th.load_run(tmp_path / "cut")
    assert after.labels == ("blue", "crimson")
    assert torch.equal(after.model.head.weight, head.weight[[0, 2]])
    assert torch.equal(after.model.head.bias, head.bias[[0, 2]])
    works("classes", run, "add", "a tie", "--out", tmp_path / "wider")
    wider = th.load_run(tmp_path / "wider").model.head
    assert torch.equal(wider.weight[:-1], head.weight)
    assert torch.isclose(wider.weight[-1].norm(), 1.25 * head.weight.norm(dim=1).mean())
    assert "red" in works("predict", tmp_path / "wider", images.parent / "red7.png", "--workers", 0)[0]
    refused("linear", "classes", run, "merge", "blue", "red", "--into", "colour", "--out", tmp_path / "none")
    assert torch.equal(after.with_classes(["a tree", "a house"]).model.head.center, head.center)


@pytest.mark.slow
def test_one_item_a_class_has_no_folds_and_a_method_can_be_named(images, compare, refused, tmp_path):
    sentences = tmp_path / "classes.json"
    sentences.write_text(json.dumps({"red": ["a red picture", "something red"], "green": "a lawn", "blue": None}))
    out, err = compare(images, "--k", 1, "--choose", "--out", tmp_path / "run", "--classes", sentences)
    prints(err, 3, "K = 1", "seed 0")
    prints(out, "not cross-validated")
    # With these sentences no class is recognised better than by chance.
    assert th.load_run(tmp_path / "run").model.head.kind == "items"
    refused("'items'", "classes", tmp_path / "run", "add", "a tie", "--out", tmp_path / "none")
    assert "'a red picture', 'something red'" in err
    more = tmp_path / "more"
    more.mkdir()
    for place, colour in enumerate(COLOURS):
        write_image(more / f"{place}.png", colour, seed=500 + place)
    compare(images, "--k", 1, "--unlabelled", more, "--choose", "--out", tmp_path / "refined")
    assert th.load_run(tmp_path / "refined").model.head.kind == "text and items, unlabelled files"
    out, _ = compare(images, "--method", "probe", "--choose", "--out", tmp_path / "probe")
    assert "│ probe *" in out
    assert json.loads((tmp_path / "probe" / "recipe.json").read_text())["chosen"] == "probe"


@pytest.mark.slow
def test_videos_need_no_split(compare, tmp_path):
    for place, colour in enumerate(COLOURS[:2]):
        for number in range(3):
            write_video(tmp_path / colour / f"{number}.mp4", colour, seed=10 * place + number)
    out, err = compare(tmp_path, "--frames", 2)
    prints(err, "6 training", 2)
    assert "note: " not in err
    assert "3 folds" in out
    assert "run:" not in out


def test_an_encoder_without_text_starts_from_the_probe(images, compare, tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("test_efficientnet", pretrained=False)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    source = f"timm:test_efficientnet/{tmp_path / 'net.safetensors'}"
    items, rows = images.parent / "with_val.csv", images.read_text().splitlines()
    # Three training items per class give three folds instead of five.
    rows = [row for row in rows if "3.png" not in row and "4.png" not in row]
    items.write_text("\n".join(row.replace(",test", ",val") if "8.png" in row else row for row in rows))
    out, err = compare(items, "--encoder", source, "--choose", "--out", tmp_path / "run")
    prints(err, "9 training", 3, "9 test")
    prints(err, "note: ", "3 val")
    scores = read_scores(tmp_path / "run")
    assert scores is not None
    assert (scores.scored, scores.methods[-1].method) == ("test", "this run (probe)")
    assert {score.items for score in scores.methods} == {9}
    assert "zero-shot" not in out
    assert "text" not in out.split("run:")[0]
    assert "│ probe *" in out


@pytest.mark.slow
def test_unreadable_items_are_an_error_or_listed(images, compare, refused, tmp_path):
    items = Path(shutil.copytree(images.parent, tmp_path / "copy")) / "items.csv"
    broken = write_broken(tmp_path / "copy" / "red0.png")
    refused(broken, "compare", items, "--k", 5, *SMALL)
    out, err = compare(items, "--skip-unreadable")
    prints(err, "skipped: ", broken)
    assert "14 training items" in out


def test_mistakes_are_one_line(images, refused, tmp_path):
    for parts, *arguments in (
        (("choose", "out"), "--choose"),
        (("choose", "out"), "--out", tmp_path / "x"),
        (("frames", 4), "--frames", 4),
        (("'blue'", 5, 6), "--k", 6),
        (("method", "'best'"), "--method", "best"),
    ):
        refused(parts, "compare", images, *arguments, *SMALL)


@pytest.mark.slow
def test_rows_of_a_text_only_encoder(images, compare, works, tmp_path):
    """An encoder without text takes its rows from a text-only encoder, in the chosen run too."""
    text, run = bert(tmp_path / "bert", 16), tmp_path / "run"
    torch.manual_seed(0)
    save_file(timm.create_model("resnet10t", num_classes=0).state_dict(), tmp_path / "a.safetensors")
    encoder = ("--encoder", f"timm:resnet10t/{tmp_path / 'a.safetensors'}")
    assert "text-probe" not in compare(images, *encoder)[0]
    prints(compare(images, *encoder, "--text", text, "--choose", "--out", run)[0], "text-probe *")
    assert th.load_run(run).head.text_source == text
    works("predict", run, images.parent / "red0.png", "--classes", "a cat, a dog")
