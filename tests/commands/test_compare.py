"""`texthead compare` on real files, from the command line to a run that predicts."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

import texthead as th
from made import write_broken, write_image, write_video
from texthead.cli import main
from texthead.commands.compare import FramesApart
from texthead.runs.scores import Score, read_scores

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


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
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of each of two colours, in class folders."""
    folder = tmp_path_factory.mktemp("videos")
    for place, colour in enumerate(COLOURS[:2]):
        for number in range(3):
            write_video(folder / colour / f"{number}.mp4", colour, seed=10 * place + number)
    return folder


def compare(*arguments: object) -> int:
    return main(["compare", *map(str, arguments), "--size", "32", "--workers", "0"])


def test_frames_apart_can_be_put_together_again() -> None:
    frames = torch.arange(24.0).view(2, 3, 4)
    assert torch.equal(FramesApart()(frames).unflatten(1, (3, -1)), frames)


@pytest.mark.slow
def test_pictures_from_the_table_to_a_run_that_predicts(
    images: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    assert compare(images, "--cache", cache, "--choose", "--out", run) == 0
    out, err = capsys.readouterr()
    assert "15 training items of 3 classes, 12 test items that nothing is chosen by" in err
    methods = [
        "text + class means",
        "zero-shot",
        "zero-shot, centred",
        "text, projection tuned",
        "text-only encoder, projection tuned",
    ]
    methods += [
        "logistic probe",
        "LDA, projection tuned",
        "random normal, projection tuned",
        "random orthogonal, projection tuned",
    ]
    assert all(method in out for method in [*methods, "linear probe"])
    assert "temporal transformer" not in out  # A picture has no order.
    assert "5 folds" in out
    about = json.loads((run / "recipe.json").read_text())
    assert f"* {about['chosen']} is taken unless" in out or f"* {about['chosen']} leads" in out

    loaded = th.load_run(run)
    assert loaded.labels == ("blue", "green", "red")
    split = json.loads((run / "split.json").read_text())
    assert len(split["train"]) == 15
    assert len(split["held_out"]) == 12
    # The run is what was in the table: its score on the test items, by another way.
    line = next(line for line in out.splitlines() if f"{about['chosen']} *" in line)
    data = th.read_dataset(images).split("test")
    found = th.evaluate(loaded.model, data, th.Protocol(1, loaded.pixels, th.Views(origin="centre")))
    assert line.split("│")[3].split("(")[0].strip() == f"{found.top1:.1f}".replace("100.0", "100")
    # And so is what the run keeps, beside the other methods.
    kept = read_scores(run)
    assert kept is not None
    assert kept.scored == "test"
    assert sorted(score.method for score in kept.methods[:-1]) == sorted({*methods, "linear probe"} - {about["chosen"]})
    own = Score.of(f"this run ({about['chosen']})", found)
    assert kept.methods[-1][:-1] == own[:-1]
    assert kept.methods[-1].calibration_error == pytest.approx(own.calibration_error, abs=1e-3)
    table = [line for line in out.splitlines() if line[0] in "┏┃┡│└"]
    assert len(table) == 14, "a method is wrapped"
    assert max(map(len, table)) <= 80
    assert [cell.strip() for cell in table[1].split("┃")[1:-1]] == ["method", "cross-validated", "test"]
    assert main(["predict", str(run), str(images.parent / "red7.png"), "--workers", "0"]) == 0
    assert "red" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_of_a_probe_is_scored_edited_and_given_other_names(
    images: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # Room for the method's name in one line.
    run = tmp_path / "run"
    assert compare(images, "--cache", cache, "--choose", "--out", run) == 0
    assert th.load_run(run).model.head.kind == "tuned projection"
    before = th.load_run(run)
    assert main(["eval", str(run), str(images), "--cache", cache, "--workers", "0"]) == 0
    assert "this run (tuned projection head)" in capsys.readouterr().out
    assert main(["classes", str(run), "rename", "red", "crimson"]) == 0
    assert main(["classes", str(run), "remove", "green"]) == 0
    after = th.load_run(run)
    assert after.labels == ("blue", "crimson")
    assert torch.equal(after.model.head.weight, before.model.head.weight[[0, 2]])
    assert torch.equal(after.model.head.bias, before.model.head.bias[[0, 2]])
    capsys.readouterr()
    assert main(["classes", str(run), "add", "a tie"]) == 2
    assert "a text row cannot be compared with such rows" in capsys.readouterr().err
    assert main(["classes", str(run), "merge", "blue", "crimson", "--into", "colour"]) == 2
    assert "lengths that count" in capsys.readouterr().err
    other = after.with_classes(["a tree", "a house"])
    assert torch.equal(other.model.head.center, before.model.head.center)


@pytest.mark.slow
def test_one_item_a_class_takes_what_was_settled(
    images: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert compare(images, "--cache", cache, "--k", 1, "--choose", "--out", tmp_path / "run") == 0
    out, err = capsys.readouterr()
    assert "3 training items of 3 classes (K = 1, drawn with seed 0)" in err
    assert "* text + class means, with the weight that was set on drawn videos: nothing is cross-validated" in out
    assert "too few items" in next(line for line in out.splitlines() if "LDA" in line)
    assert th.load_run(tmp_path / "run").model.head.kind == "text and means"


@pytest.mark.slow
def test_videos_have_a_temporal_transformer_too_and_no_split_is_needed(
    videos: Path, cache: str, capsys: pytest.CaptureFixture
) -> None:
    assert compare(videos, "--cache", cache, "--frames", 2) == 0
    out, err = capsys.readouterr()
    assert "6 training items of 2 classes\n" in err
    assert "not used" not in err
    assert "text, temporal transformer" in out
    assert "3 folds" in out
    assert "run:" not in out


def test_an_encoder_without_text_starts_from_the_probe(
    images: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = timm.create_model("test_efficientnet", pretrained=False)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    source = f"timm:test_efficientnet/{tmp_path / 'net.safetensors'}"
    items, rows = images.parent / "with_val.csv", images.read_text().splitlines()
    items.write_text("\n".join(row.replace(",test", ",val") if "8.png" in row else row for row in rows))
    assert compare(items, "--cache", cache, "--encoder", source, "--choose", "--out", tmp_path / "run") == 0
    out, err = capsys.readouterr()
    assert "9 test items that nothing is chosen by\nnote: 3 val items are not used\n" in err
    kept = read_scores(tmp_path / "run")
    assert kept is not None
    assert (kept.scored, kept.methods[-1].method) == ("test", "this run (logistic probe)")
    assert {score.items for score in kept.methods} == {9}
    assert "zero-shot" not in out
    assert "text" not in out.split("run:")[0]
    assert "* logistic probe" in out


@pytest.mark.slow
def test_unreadable_items_are_an_error_or_listed(
    images: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(images.parent, tmp_path / "copy")
    write_broken(tmp_path / "copy" / "red0.png")
    assert compare(tmp_path / "copy" / "items.csv", "--cache", cache, "--k", 5) == 2
    assert "red0.png" in capsys.readouterr().err
    assert compare(tmp_path / "copy" / "items.csv", "--cache", cache, "--skip-unreadable") == 0
    out, err = capsys.readouterr()
    assert "skipped: " in err
    assert "red0.png" in err
    assert "14 training items" in out


def test_mistakes_are_one_line(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert compare(images, "--choose") == 2
    assert "give both or neither" in capsys.readouterr().err
    assert compare(images, "--out", tmp_path / "x") == 2
    assert "give both or neither" in capsys.readouterr().err
    assert compare(images, "--frames", 4) == 2
    assert "--frames 4: all items are images" in capsys.readouterr().err
    assert compare(images, "--k", 6) == 2
    assert "class 'blue' has 5 items < k = 6" in capsys.readouterr().err
