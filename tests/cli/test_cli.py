"""The command line end to end: small real files, real runs, every user error as one line and exit code 2."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from made import write_broken
from media_files import truncate
from messages import prints
from pages import Page, assert_self_contained
from texthead import __version__, recipes
from texthead.cli.parser import build, read_words
from texthead.commands.predict import Predict
from texthead.commands.train import Train
from texthead.errors import DataError
from texthead.files import read_json
from texthead.parallel.loaders import FileDataset, data_loader
from texthead.runs import read_scores
from training_runs import on_disk
from worlds import images, video


def test_run_folder_is_whole(world):
    names = {"recipe.json", "classes.json", "split.json", "metrics.jsonl", "model.safetensors", "report.html"}
    assert names <= {p.name for p in world.run.iterdir()}
    recipe = read_json(world.run / "recipe.json")["recipe"]
    assert (recipe["epochs"], recipe["size"], recipe["frames"], recipe["name"]) == (2, 32, 1, "small")
    split = read_json(world.run / "split.json")
    assert (len(split["train"]), len(split["held_out"])) == (8, 2)
    assert not set(split["train"]) & set(split["held_out"])
    assert [r["epoch"] for r in on_disk(world.run) if r["kind"] == "val"] == [0, 1]
    scores = read_scores(world.run)
    assert scores is not None
    methods = ["probe", "zero-shot", "zero-shot-centered", "this run (text head)"]
    assert [score.method.split(",")[0] for score in scores.methods] == methods
    page = (world.run / "report.html").read_text()
    assert_self_contained(page, Page(page))


def test_predict_prints_what_it_could_read_and_names_the_rest(world, say, works, refused, tmp_path):
    folder = Path(shutil.copytree(world.images, tmp_path / "mixed"))
    write_broken(folder / "red" / "bad.mp4")
    (folder / "notes.txt").write_text("no media")
    predict = ("predict", world.run, folder, "--workers", 0)
    code, out, err = say(*predict)
    good = works("predict", world.run, world.images, "--workers", 0)[0].replace(str(world.images), str(folder))
    (bad,) = set(out.splitlines()) - set(good.splitlines())
    assert set(good.splitlines()) < set(out.splitlines())
    assert bad.startswith(f"{folder / 'red' / 'bad.mp4'}  not read: cannot be read as a video")
    assert code == 1
    assert f"texthead: 1 file cannot be read: {folder / 'red' / 'bad.mp4'}" in err.splitlines()
    assert "note: skipped notes.txt: not media" in err
    skipped, err = works(*predict, "--skip-unreadable")
    assert skipped == out
    assert "cannot be read" not in err
    code, out, _ = say(*predict[:2], folder / "red" / "bad.mp4", folder / "red" / "0.png", "--json")
    assert (code, [bool(entry["top"]) for entry in json.loads(out)]) == (1, [False, True])
    refused("bad.mp4: cannot be read", *predict[:2], folder / "red" / "bad.mp4")
    refused(("*.jpg", "no such file or folder"), *predict[:2], folder / "red" / "*.jpg")
    _, err = works(*predict[:2], folder / "red" / "0.png", "--unlabelled", folder / "red", "--skip-unreadable")
    assert "note: 1 of 5 unlabelled files cannot be read and are skipped" in err.splitlines()


def test_predict_run_with_other_classes(world, works):
    names = {"[/b] a lake", ":smile: juggling", "[running]x"}
    out, err = works("predict", world.run, world.images / "red" / "0.png", "--classes", ", ".join(names))
    assert {line.split("%  ")[1] for line in out.splitlines()[1:]} == names
    prints(err, "mini", "openclip")
    assert "texthead calibrate" not in err


def test_predict_without_run_from_names_file(works, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("a fire engine\n\na lake\n")
    item = video(tmp_path / "clip.mp4", "red")
    out, err = works("predict", item, "--classes", names, "--json", "--verbose")
    assert {t["name"] for t in json.loads(out)[0]["top"]} == {"a fire engine", "a lake"}
    prompt, note, suggested = err.splitlines()
    prints(note, "zero-shot", "not calibrated")
    prints(prompt, "'a fire engine'", 1)
    assert suggested == f"next: texthead label {tmp_path} --classes {names} --out labels.csv"


def test_files_may_stand_on_both_sides_of_an_option() -> None:
    values = read_words(Predict, ["run", "--top", "2", "a.mp4", "b.mp4", "--sets"])
    assert (values["inputs"], values["top"], values["sets"]) == (["run", "a.mp4", "b.mp4"], 2, True)
    with pytest.raises(DataError, match="unrecognized arguments: --tpo"):
        read_words(Predict, ["run", "--tpo", "2", "a.mp4"])
    for typed, meant in (
        (["--epochs", "5"], "--set epochs=5"),
        (["--class-shares=labels"], "--set class_shares=labels"),
        (["--see", "1"], "--seed"),
    ):
        with pytest.raises(DataError, match=f"did you mean {re.escape(meant)}"):
            read_words(Train, ["data", "--out", "run", *typed])


def recipe_of(*arguments: str) -> recipes.Recipe:
    """Return the recipe that a `train` command line specifies."""
    command = build(Train, read_words(Train, ["DATA", "--out", "run", *arguments]))
    return recipes.RECIPES[command.chosen.name](**command.chosen.values)


def test_recipe_precedence(tmp_path):
    assert recipe_of() == recipes.small()
    assert recipe_of("--recipe", "paper") == recipes.paper()
    assert recipe_of("--recipe", "paper", "--set", "epochs=12") == recipes.paper(epochs=12)
    assert recipe_of("--recipe", "paper", "--set", "epochs=12", "--set", "warmup=1") == recipes.paper(
        epochs=12, warmup=1.0
    )
    small = recipes.small(epochs=2, warmup=0.2, center=False, lr=0.5)
    assert recipe_of("--set", "epochs=2", "--set", "center=false", "--set", "lr=0.5") == small
    assert recipe_of("--tune", "norm", "--seed", "3") == recipes.small(tune="norm", seed=3)
    assert recipe_of("--set", "size=null", "--set", "area=[0.5, 1.0]") == recipes.small(size=None, area=(0.5, 1.0))
    file = tmp_path / "own.yaml"
    file.write_text("base: text4vis\nepochs: 9\nbatch: 4\n")
    assert recipe_of("--recipe", str(file), "--set", "batch=8") == recipes.text4vis(epochs=9, batch=8)
    file.write_text("batch: 010\narea: [0.5, 1.0]\ncenter: false\nsize: null\nlr: 1e-5\n")
    own = {"batch": 10, "area": (0.5, 1.0), "center": False, "size": None, "lr": 1e-5}
    assert recipe_of("--recipe", str(file)) == recipes.small(**own)
    file.with_suffix(".txt").write_text("a {} thing.\nit is {}\n")
    templates = recipe_of("--set", f"template={file.with_suffix('.txt')}").template
    assert templates == ("a {} thing.", "it is {}")


def test_a_printed_recipe_is_read_back(works, tmp_path):
    typed = ["train", "--recipe", "paper", "--set", "size=64", "--set", "template='{}', a kite"]
    out, err = works(*typed, "--print-recipe")
    assert err == ""
    file = tmp_path / "recipe.yaml"
    file.write_text(out)
    assert recipe_of("--recipe", str(file)) == recipes.paper(size=64, template="'{}', a kite")
    assert works("train", "--recipe", file, "--print-recipe") == (out, "")


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**46), lambda: bytearray(2**62)])
def test_too_little_memory_is_one_line(allocate, refused, monkeypatch):
    monkeypatch.setattr("texthead.commands.encoders.Encoders.__call__", lambda _: allocate())
    refused(("not enough memory", "size"), "encoders")


def test_no_more_workers_than_processors_and_files(works, monkeypatch, tmp_path):
    """A thousand would take the memory of the machine, and hours to start."""
    data = images(tmp_path / "data", ["blue", "red"], 2)
    monkeypatch.setattr("texthead.cli.options.processors", lambda: 1)
    _, err = works("doctor", data, "--quick", "--workers", 1000)
    prints(err, "note: ", "--workers 1000", 1)
    assert "note" not in works("doctor", data, "--quick", "--workers", 1)[1]
    assert data_loader(FileDataset(str, ["a", "b"]), 1000).num_workers == 2


def test_bare_command_version_and_interrupt(say, monkeypatch, tmp_path):
    assert "predict" in say()[1]
    assert say("--version")[1] == f"texthead {__version__}\n"

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("texthead.commands.encoders.Encoders.__call__", stop)
    monkeypatch.setattr("texthead.commands.train.Train.__call__", stop)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    # Before the run folder is created there is nothing to resume.
    for command in (("encoders",), ("train", "data", "--out", tmp_path / "run")):
        code, out, err = say(*command)
        assert (code, out, "--resume" in err) == (130, "", False)
        prints(err, "texthead: ")

    def stop_when_begun(*_: object) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "recipe.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr("texthead.commands.train.Train.__call__", stop_when_begun)
    code, out, err = say("train", "data", "--out", tmp_path / "run")
    assert (code, out) == (130, "")
    prints(err, "texthead: interrupted", "--resume")


def test_missing_and_mistyped_options(refused, say, tmp_path):
    file, listed = tmp_path / "recipe.yaml", tmp_path / "clips.csv"
    train = ("train", "data", "--out", tmp_path / "run")
    file.write_text("epohcs: 3\n")
    listed.write_text("path,label\n" + "a.mp4,red\n" * 500)
    for parts, *command in (
        (("epohcs", "epochs?"), *train, "--recipe", file),
        (("clips.csv", ".yaml"), *train, "--recipe", listed),
        (("papre", "paper"), *train, "--recipe", "papre"),
        (("none.yaml", "no such file"), *train, "--recipe", tmp_path / "none.yaml"),
        (("size", "whole number"), *train, "--set", "size="),
        (("held-out", "number"), *train, "--held-out="),
        (("epohcs", "epochs?"), *train, "--set", "epohcs=3"),
        (("--set epochs", "epochs=10"), *train, "--set", "epochs"),
        (("epochs", "twice"), *train, "--set", "epochs=3", "--set", "epochs=4"),
        (("--set epochs=3", "--tune all"), "train", tmp_path, "--out", tmp_path / "run", "--set", "epochs=3"),
        (("--head linear", "--tune all"), "train", tmp_path, "--out", tmp_path / "run", "--head", "linear"),
        (("--seed 3", "seed=4"), *train, "--set", "seed=4", "--seed", 3),
        (("head must be", "cosine", "'txt'"), *train, "--head", "txt"),
        (("--workers", 0, "got -1"), *train, "--workers", -1),
        (("--next", "got ten"), "label", "data", "--next", "ten"),
        (("train", "--out"), "train", "data"),
        (("train", "DATA"), "train", "--out", "run"),
        (("predict", "RUN_OR_FILE"), "predict"),
        (("'trian'", "train?"), "trian", "x"),
        (("--recpie", "--recipe?"), "train", "x", "--out", "y", "--recpie", 3),
    ):
        assert "[options]" not in refused(parts, *command)
    code, _, err = say("trian")
    assert (code, "trian" in err.splitlines()[-1]) == (2, True)


def test_argument_order_and_unused_arguments(world, refused, tmp_path):
    data, item, run, fast = world.images, world.images / "red" / "0.png", world.run, world.fast(tmp_path / "run")
    for parts, *command in (
        (run, "predict", item, run, "--classes", "a lake, a tree"),
        (run, "train", run, "--out", tmp_path / "run"),
        (run, "eval", run, run),
        (data, "train", data, "--out", data),
        (("encoder", "mini", run), "predict", run, item, "--encoder", "mini"),
        (("json", "out"), "predict", run, item, "--json", "--out", "new.csv"),
        (("sets", "unlabelled"), "predict", run, item, "--unlabelled", data, "--sets"),
        (("views", "'many'"), "predict", run, data, "--views", "many"),
        (("'a lake'", "look the same"), "predict", run, item, "--classes", "a lake, a lake"),
        ("", "predict", run, item, "--classes", ""),
        ("", "eval", run, data, "--classes", ""),
        ("classes", "predict", item),
        (run, "predict", run),
        ("'a photo'", "train", data, "--out", tmp_path / "run", "--set", "template=a photo"),
        ("held-out", "train", data, "--out", tmp_path / "run", "--held-out", 2),
        (("held-out", 0.5, "val"), "train", data, *fast, "--held-out", 0.5, "--val", data),
        ("freeze", "train", data, "--out", tmp_path / "run", "--freeze", ""),
        (("--unlabelled", "frozen encoder"), "train", data, *fast, "--unlabelled", data),
        ("'blue'", "train", images(tmp_path / "single", ["blue", "red"], 1), *fast),
    ):
        refused(parts, *command)
    assert not (tmp_path / "run").exists()
    assert sorted(path.name for path in data.iterdir()) == ["blue", "red"]


@pytest.mark.slow
def test_unreadable_training_and_held_out_files(world, works, refused, tmp_path):
    root, run = tmp_path / "data", tmp_path / "run"
    images(root / "train", ["blue", "red"], 3)
    images(root / "val", ["blue", "red"], 2)
    held, odd = root / "val" / "red" / "1.png", root / "train" / "red" / "odd.mp4"
    held.write_bytes(b"")
    train = ["train", root, *world.fast(run, tune="none")]
    refused((held, "--skip-unreadable"), *train)
    truncate(video(odd, "red", frames=12), 0.5)
    refused((odd, "--skip-unreadable"), *train)
    assert not run.exists()
    out, err = works(*train, "--skip-unreadable")
    assert all(f"skipped: {path}" in err for path in (odd, held))
    split = read_json(run / "split.json")
    assert (len(split["train"]), len(split["held_out"])) == (6, 4)
    assert str(odd.resolve()) not in split["train"]
    prints(out, "unreadable and not counted: 1")
    refused(held, "eval", run, root, *world.run_options())
    prints(works("eval", run, root, *world.run_options(), "--skip-unreadable")[0], "unreadable and not counted: 1")


def test_encoders_are_listed_those_on_this_machine_first(works, monkeypatch, tmp_path):
    weights = tmp_path / "models--timm--PE-Core-S-16-384" / "snapshots" / "1" / "open_clip_model.safetensors"
    weights.parent.mkdir(parents=True)
    save_file({"a": torch.zeros(500_000)}, weights)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path))
    out, err = works("encoders")
    rows = [line.split("\t") for line in out.splitlines()]
    first = ["openclip:PE-Core-S-16-384/meta", "mini", "mini:lite1", "mini:lite2"]  # All three packages are installed.
    assert [row[0] for row in rows[:4]] == first
    (row,) = (row for row in rows if row[0] == "openclip:ViT-B-16/openai")
    assert row[2:6] == ["image-text", "149620000", "224", "68.34"]
    assert f"{os.sep}features, 0 GB; delete this folder" in " ".join(err.split())
    (result,) = (
        row for row in json.loads(works("encoders", "--json")[0]) if row["source"] == "openclip:PE-Core-B-16/meta"
    )
    assert (result["kinetics"], result["parameters"], result["download"]) == (65.6, 447_660_000, 4 * 447_660_000)
    assert result["on_disk"] is None
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    out, err = works("encoders")
    here, _, rest = out.partition("to download")
    assert [cell for cell in ("on this machine", "PE-Core-S", "image-text", "384", "2") if cell not in here] == []
    assert [cell for cell in ("ImageNet 74.0", "siglip2", "about 1.5 GB") if cell not in rest] == []
    prints(err, "mini:lite2", "openclip:ARCH/TAG")


def test_processes_without_torchrun_are_error(world, refused, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    refused(("WORLD_SIZE", 2, "LOCAL_RANK"), "train", world.images, "--out", world.root / "none")
    assert not (world.root / "none").exists()


def test_mix_scores_between_encoders(world, works, refused):
    for mix, named in (("0.5", True), ("1", False)):
        out, _ = works("eval", world.run, world.images, "--mix", mix, *world.run_options())
        (line,) = (line for line in out.splitlines() if "images are correct" in line)
        assert ("mix" in line) == named
    refused(("mix", "1.5"), "eval", world.run, world.images, "--mix", "1.5", *world.run_options())
