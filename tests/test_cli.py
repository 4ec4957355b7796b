"""The command line as a user meets it: real small files, real runs, every mistake as one line and exit code 2."""

import csv
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from rich.progress import Progress
from safetensors import safe_open
from safetensors.torch import load, load_file, save_file

from made import sound, write_frames, write_video
from text_models import bert
from texthead import cli, recipes
from texthead.commands import options
from texthead.commands import train as train_job
from texthead.commands.console import Bar, bar
from texthead.data.reading import read_dataset
from texthead.runs.run import load_run
from worlds import World, images, picture, video


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def labelled(root: Path, make: Callable[[Path], object]) -> Path:
    """Two classes of three videos, to which `make` adds one odd file of class red."""
    for colour in ("blue", "red"):
        for i in range(3):
            video(root / colour / f"{i}.mp4", colour, seed=i)
    make(root / "red" / "odd.mp4")
    return root


def truncate(path: Path) -> None:
    """Cut a real video in half."""
    video(path, "red", frames=12)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


# --- from start to end ----------------------------------------------------------------------------------------------


def test_run_folder_is_whole(world):
    names = {"recipe.json", "classes.json", "split.json", "metrics.jsonl", "model.safetensors", "report.html"}
    assert names <= {p.name for p in world.run.iterdir()}
    recipe = json.loads((world.run / "recipe.json").read_text())["recipe"]
    assert (recipe["epochs"], recipe["size"], recipe["frames"], recipe["name"]) == (2, 32, 1, "small")
    classes = json.loads((world.run / "classes.json").read_text())["classes"]
    assert [(c["label"], c["prompt"]) for c in classes] == [("blue", "blue"), ("red", "red")]
    split = json.loads((world.run / "split.json").read_text())
    assert (len(split["train"]), len(split["held_out"])) == (8, 2)
    assert not set(split["train"]) & set(split["held_out"])
    records = [json.loads(line) for line in (world.run / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in records if r["kind"] == "val"] == [0, 1]


def test_report_refers_to_nothing_outside(world):
    page = (world.run / "report.html").read_text()
    assert "<html" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert not re.search(r"""url\(["'](?!data:|#)""", page)
    assert "<script" not in page
    assert "@import" not in page


def test_predict_own_classes_without_text_encoder(world, say, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the text encoder was loaded")

    monkeypatch.setattr("texthead.encoders.mini.Sentences", refuse)
    code, out, err = say("predict", world.run, world.images / "red" / "0.png", "--workers", 0)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(world.images / "red" / "0.png")
    assert re.fullmatch(r" +\d+\.\d %  red", lines[1])
    assert re.fullmatch(r" +\d+\.\d %  blue", lines[2])


def test_predict_json_csv_and_top(world, say):
    code, out, _ = say("predict", world.run, world.images, "--json", "--workers", 0)
    entries = json.loads(out)
    assert code == 0
    assert [e["path"] for e in entries] == [str(p) for p in sorted(world.images.rglob("*.png"))]
    assert all(sum(t["probability"] for t in e["top"]) == pytest.approx(1, abs=1e-5) for e in entries)
    assert all(Path(e["path"]).parent.name == e["top"][0]["name"] for e in entries)
    code, out, _ = say("predict", world.run, world.images, "--csv", "--top", 1, "--workers", 0)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [(r["path"], r["rank"], r["name"]) for r in rows] == [(e["path"], "1", e["top"][0]["name"]) for e in entries]


@pytest.mark.slow
def test_train_on_sentences(world, tmp_path, say, wrong):
    """Rows are the means of each class's sentences, as `head` makes them; the strings are the run's from then on."""
    file, run = tmp_path / "classes.json", tmp_path / "run"
    sentences = ["a picture that is red", "the colour of blood"]
    file.write_text(json.dumps({"red": sentences, "blue": None}))
    given = ["train", world.images, "--classes", file, "--template", "a {} thing", *world.fast(run)]
    code, _, err = say(*given)
    assert code == 0, err
    assert (
        "prompts, averaged where a class has several: blue: 'a blue thing'; red: 'a picture that is red', 'the" in err
    )
    kept = json.loads((run / "classes.json").read_text())["classes"]
    assert [entry["prompt"] for entry in kept] == ["a blue thing", sentences]
    code, _, err = say("head", file, "--template", "a {} thing", "--out", tmp_path / "rows.safetensors")
    assert code == 0, err
    with safe_open(tmp_path / "rows.safetensors", framework="pt") as rows:
        names = json.loads(rows.metadata()["names"])
        found = rows.get_tensor("weight")[[names.index(name) for name in ("blue", "red")]]
    head = load_run(run).model.head
    torch.testing.assert_close(head.weight, torch.nn.functional.normalize(found, dim=-1), atol=1e-6, rtol=0)
    assert " | ".join(sentences) in (run / "report.html").read_text()
    # What `eval --classes` makes of the same file are the same rows: its score is the run's own.
    again = load_run(run).with_classes(["blue", "red"], prompts=[None, sentences], template="a {} thing")
    torch.testing.assert_close(again.model.head.weight, head.weight, atol=1e-6, rtol=0)
    line = wrong("train", world.images, "--out", run, "--resume", "--classes", tmp_path / "others.json")
    assert "was begun with --classes" in line
    file.write_text(json.dumps({"red": "something else", "blue": None}))
    assert "was begun with another encoder, head" in wrong("train", world.images, "--out", run, "--resume")


def test_predict_other_classes_of_a_run(world, say):
    item = world.images / "red" / "0.png"
    code, out, err = say("predict", world.run, item, "--classes", "a fire engine, a lake, a tree", "--json")
    assert code == 0
    assert {t["name"] for t in json.loads(out)[0]["top"]} == {"a fire engine", "a lake", "a tree"}
    assert "mini knows objects" in err


def test_predict_without_run_from_names_file(world, say, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("a fire engine\n\na lake\n")
    item = video(tmp_path / "clip.mp4", "red")
    code, out, err = say("predict", item, "--classes", names, "--template", "a photo of {}.", "--json")
    assert code == 0
    assert {t["name"] for t in json.loads(out)[0]["top"]} == {"a fire engine", "a lake"}
    prompt, note = err.splitlines()
    assert prompt == "prompt: 'a photo of a fire engine.' and 1 more"
    assert "mini knows objects" in note


def test_one_name_alone_is_noted(world, say):
    item = world.images / "red" / "0.png"
    note = "note: one name alone is always 100 %: give others to compare it with"
    for arguments in ([item], [world.run, item]):
        code, out, err = say("predict", *arguments, "--classes", "a bird")
        assert (code, err.count(note)) == (0, 1)
        assert "100.0 %  a bird" in out
    assert note not in say("predict", item, "--classes", "a bird, a cat")[2]


@pytest.mark.parametrize("end", ["csv", "TSV", "txt"])
def test_a_list_is_no_file_to_name(world, say, wrong, tmp_path, end):
    clips = tmp_path / f"clips.{end}"
    item = world.images / "red" / "0.png"
    clips.write_text(f"path\n{item}\n" if end != "txt" else f"{item}\n")
    line = wrong("predict", world.run, item, clips, "--workers", 0)
    remedy = f"--manifest {clips} --out FOLDER"
    assert f"{clips} is a list, not a video or image: pass it by {remedy} (a CSV" in line
    assert remedy in wrong("predict", clips, "--classes", "a bird, a cat")
    assert say("predict", world.run, *remedy.replace("FOLDER", str(tmp_path / "named")).split())[0] == 0
    assert "no such file" in wrong("predict", world.run, tmp_path / f"gone.{end}")


def test_predict_lists_unreadable_files(world, say, wrong, tmp_path):
    shutil.copy(world.images / "red" / "0.png", tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    line = wrong("predict", world.run, tmp_path, "--workers", 0)
    assert "b.png" in line
    assert "--skip-unreadable" in line
    code, out, _ = say("predict", world.run, tmp_path, "--workers", 0, "--skip-unreadable", "--json")
    assert code == 0
    good, bad = json.loads(out)
    assert good["top"][0]["name"] == "red"
    assert bad["top"] == []
    assert "empty" in bad["error"]


def test_names_are_printed_as_they_are(world, say):
    item = world.images / "red" / "0.png"
    code, out, _ = say("predict", world.run, item, "--classes", "[/b] a lake, :smile: tree, [red]x")
    assert code == 0
    assert {"[/b] a lake", ":smile: tree", "[red]x"} == {line.split("%  ")[1] for line in out.splitlines()[1:]}
    code, out, _ = say("head", "[/b] a lake, :smile: tree")
    assert code == 0
    assert ":smile: tree" in out
    assert "[/b] a lake" in out


def test_csv_with_splits_from_train_to_eval(world, say, tmp_path):
    out_folder = tmp_path / "run"
    code, out, err = say("train", world.manifest, *world.fast(out_folder), "--freeze-encoder", "--train-head")
    assert code == 0
    assert "6 training items of 2 classes, 2 test items to score" in err
    assert "drawn" not in err
    assert "this run (text head)" in out
    split = json.loads((out_folder / "split.json").read_text())
    assert sorted(Path(p).stem for p in split["train"]) == ["0", "0", "1", "1", "2", "2"]
    assert [Path(p).stem for p in split["held_out"]] == ["4", "4"]
    rows = tmp_path / "rows.csv"
    code, out, err = say(
        "eval", out_folder, world.manifest, *world.run_options(), "--out", rows, "--baselines", "never"
    )
    assert code == 0
    assert "scoring 2 items (test) of 2 classes" in err
    written = list(csv.DictReader(rows.open()))
    assert [r["label"] for r in written] == ["blue", "red"]
    code, _, err = say("eval", out_folder, world.manifest, "--workers", 0, "--split", "val", "--baselines", "never")
    assert (code, "scoring 2 items (val)" in err) == (0, True)


@pytest.mark.slow
def test_videos_with_temporal_transformer(world, say, wrong, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = say("train", world.videos, *world.fast(tmp_path / "run"), "--frames", 2, "--layers", 1)
    assert code == 0
    assert "4 training items of 2 classes, 2 val items to score" in err
    assert "logistic probe" in out
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (about["temporal"]["kind"], about["recipe"]["frames"]) == ("transformer", 2)
    code, out, _ = say("predict", tmp_path / "run", world.videos, "--workers", 0, "--views", "2x1", "--json")
    assert (code, len(json.loads(out))) == (0, 6)
    more = ["--views", "2x3", "--frames", 5, "--workers", 0]
    code, out, _ = say("eval", tmp_path / "run", world.videos, *more)
    assert code == 0
    assert "frozen features, 1 view, 2 frames" in out
    assert "this run (text head), 2x3 views, mean of features, 5 frames" in out
    assert say("predict", tmp_path / "run", world.videos, *more)[0] == 0
    line = wrong("predict", tmp_path / "run", world.videos, "--workers", 0, "--frames", 78)
    assert "78" in line
    assert "77" in line


# --- lists, label files, frame folders, datasets --------------------------------------------------------------------

TEMPLATE = "img_{:05d}.png"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips as folders of frames and as videos, with the lists and the label file that benchmarks come with."""
    root = tmp_path_factory.mktemp("published")
    lines: dict[str, list[str]] = {"train": [], "val": []}
    files: dict[str, list[str]] = {"train": [], "val": []}
    for label, colour in enumerate(("blue", "red")):
        for i in range(5):
            name = f"{colour}/--v_{colour.title()}_g{i:02d}_c01"
            write_frames(root / "frames" / name / TEMPLATE, colour, 6, seed=i)
            write_video(root / "videos" / f"{name}.avi", colour, 6, seed=i)
            split = "train" if i < 3 else "val"
            lines[split].append(f"{name} 6 {label}")
            files[split].append(f"{name}.avi {label}")
    for split in ("train", "val"):
        (root / f"{split}_rgb.txt").write_text("\r\n".join(lines[split]) + "\r\n")
        (root / f"{split}_video.txt").write_text("\n".join(files[split]) + "\n")
    (root / "labels.csv").write_text("id,name\r\n0,Blue\r\n1,Red\r\n")
    return root


@pytest.mark.slow
def test_a_published_list_of_frames_from_train_to_predict(world, published, say, tmp_path):
    run, rows = tmp_path / "run", tmp_path / "rows.csv"
    how = ["--labels", published / "labels.csv", "--root", published / "frames", "--frame-template", TEMPLATE]
    data = [published / "train_rgb.txt", "--val", published / "val_rgb.txt", *how]
    code, out, err = say("train", *data, *world.fast(run), "--frames", 3, "--layers", 1)
    assert code == 0, err
    assert "6 training items of 2 classes, 4 val items to score\n" in err
    assert "note" not in err
    assert "this run (text head)" in out
    assert "logistic probe" in out
    classes = json.loads((run / "classes.json").read_text())["classes"]
    assert [(c["label"], c["name"]) for c in classes] == [("Blue", "Blue"), ("Red", "Red")]
    split = json.loads((run / "split.json").read_text())
    assert (len(split["train"]), len(split["held_out"])) == (6, 4)
    assert all(split["train_content"])
    assert split["train"][0] == str((published / "frames/blue/--v_Blue_g00_c01" / TEMPLATE).resolve())

    code, out, err = say("eval", run, published / "val_rgb.txt", *how, *world.run_options(), "--out", rows)
    assert (code, "scoring 4 items (the run's held-out) of 2 classes" in err) == (0, True), err
    assert "logistic probe" in out, "the training items are found again"
    clip = published / "frames/red/--v_Red_g04_c01" / TEMPLATE
    code, out, _ = say("predict", run, clip, "--json", "--workers", 0)
    (entry,) = json.loads(out)
    assert (code, entry["path"]) == (0, str(clip))
    scored = {row["path"]: row for row in csv.DictReader(rows.open())}
    assert scored[str(clip)]["predicted"] == entry["top"][0]["name"]
    assert float(scored[str(clip)]["probability"]) == pytest.approx(entry["top"][0]["probability"], abs=1e-4)


@pytest.mark.slow
def test_a_manifest_of_the_same_clips_gives_the_same_run_and_scores(world, published, say, tmp_path):
    """To the bit, from another copy of the frames too; and training items are known under another folder."""
    copies = Path(shutil.copytree(published / "frames", tmp_path / "copies"))
    lines = {split: (published / f"{split}_rgb.txt").read_text().splitlines() for split in ("train", "val")}
    manifest = copies / "items.csv"
    rows = [
        f"{p}/{TEMPLATE},{('Blue', 'Red')[int(n)]},{s}" for s, each in lines.items() for p, _, n in map(str.split, each)
    ]
    manifest.write_text("\n".join(["path,label,split", *rows]) + "\n")
    how = ["--labels", published / "labels.csv", "--root", published / "frames", "--frame-template", TEMPLATE]
    fast = ["--frames", 3, "--layers", 1, "--baselines", "never"]
    for run, data in [
        ("a", [published / "train_rgb.txt", "--val", published / "val_rgb.txt", *how]),
        ("b", [manifest]),
    ]:
        assert say("train", *data, *world.fast(tmp_path / run), *fast)[0] == 0
    ours, theirs = (load_file(tmp_path / run / "model.safetensors") for run in "ab")
    assert all((ours[key] == theirs[key]).all() for key in theirs)
    found = []
    for i, data in enumerate([[published / "val_rgb.txt", *how], [manifest]]):
        out = tmp_path / f"{i}.csv"
        assert say("eval", tmp_path / "a", *data, "--out", out, "--workers", 0, "--baselines", "never")[0] == 0
        found.append([row["label"] + row["predicted"] + row["probability"] for row in csv.DictReader(out.open())])
    assert found[0] == found[1]
    code, _, err = say("eval", tmp_path / "a", manifest, "--split", "train", "--workers", 0, "--baselines", "never")
    assert (code, "scoring 6 items (train)" in err) == (0, True)
    manifest.write_text("\n".join(["path,label", *(row.rsplit(",", 1)[0] for row in rows[:6])]) + "\n")
    code, _, err = say("eval", tmp_path / "a", manifest, "--workers", 0)
    assert (code, "6 of 6 items were trained on, there or as copies" in err) == (2, True)


@pytest.mark.slow
def test_a_published_list_of_videos(world, published, say, tmp_path):
    how = ["--labels", published / "labels.csv", "--root", published / "videos"]
    typed = [published / "train_video.txt", "--val", published / "val_video.txt", *how]
    fast = ["--frames", 2, "--temporal", "mean", "--baselines", "never"]
    assert say("train", *typed, *world.fast(tmp_path / "a"), *fast)[0] == 0
    code, _, err = say(
        "eval", tmp_path / "a", published / "val_video.txt", *how, "--workers", 0, "--baselines", "never"
    )
    assert (code, "scoring 4 items (the run's held-out)" in err) == (0, True)
    # The list of frames names the same videos with a suffix.
    typed = [published / "train_rgb.txt", "--val", published / "val_rgb.txt", *how, "--suffix", ".avi"]
    assert say("train", *typed, *world.fast(tmp_path / "b"), *fast)[0] == 0
    ours, theirs = (load_file(tmp_path / run / "model.safetensors") for run in "ab")
    assert all((ours[key] == theirs[key]).all() for key in theirs)


@pytest.mark.slow
def test_a_resumed_run_remembers_how_its_data_is_read(world, published, say, wrong, tmp_path):
    run = tmp_path / "run"
    how = ["--labels", published / "labels.csv", "--root", published / "videos", "--suffix", ".avi"]
    typed = ["train", published / "train_rgb.txt", "--val", published / "val_rgb.txt", *how]
    fast = ["--frames", 2, "--temporal", "mean", "--baselines", "never"]
    assert say(*typed, *world.fast(run), *fast)[0] == 0
    command = json.loads((run / "recipe.json").read_text())["command"]
    assert command["val"] == str(published / "val_rgb.txt")
    assert (command["labels"], command["frame_template"], command["suffix"]) == (
        str(published / "labels.csv"),
        None,
        ".avi",
    )
    code, _, err = say("train", published / "train_rgb.txt", "--out", run, "--resume", "--workers", 0)
    assert (code, "4 val items to score" in err) == (0, True), err
    line = wrong("train", published / "train_rgb.txt", "--out", run, "--resume", "--suffix", ".mp4")
    assert "was begun with --suffix .avi, not .mp4: leave --suffix out to resume" in line


def test_mistakes_with_lists(world, published, say, wrong, tmp_path):
    listed, labels = published / "train_rgb.txt", published / "labels.csv"
    how = ["--labels", labels, "--root", published / "frames", "--frame-template", TEMPLATE]
    train = ["train", listed, *world.fast(tmp_path / "run")]
    assert "give labels (--labels)" in wrong(*train)
    assert "give frame_template (--frame-template" in wrong(*train, "--labels", labels)
    assert "--held-out 0.5: --val" in wrong(*train, *how, "--held-out", 0.5, "--val", published / "val_rgb.txt")
    assert f"6 of 6 items of {listed} are in {listed} too" in wrong(*train, *how, "--val", listed)
    for option, value in (("--frame-template", TEMPLATE), ("--root", tmp_path), ("--suffix", ".avi")):
        assert f"({option}) '{value}' is for lists" in wrong(
            "train", world.images, *world.fast(tmp_path / "run"), option, value
        )
        assert f"{option} '{value}' says how --data is read: give --data too" in wrong("head", "a, b", option, value)
    assert "has its own splits" in wrong("train", world.manifest, *world.fast(tmp_path / "run"), "--val", world.images)
    assert "no row of 2 has the id 'blue'" in wrong("eval", world.run, world.images, "--labels", labels)
    gone = published / "frames/red/gone" / TEMPLATE
    assert f"{gone}: no such file or folder" in wrong("predict", world.run, gone)
    assert "none of the 6 files in its folder fits the template" in wrong(
        "predict", world.run, published / "frames/red/--v_Red_g04_c01" / "{:02d}.png", "--workers", 0
    )
    assert not (tmp_path / "run").exists()


def test_lda_rows_of_a_list(published, say, tmp_path):
    how = ["--labels", published / "labels.csv", "--root", published / "videos", "--workers", 0]
    code, out, err = say("head", "Blue, Red", "--init", "lda", "--data", published / "train_video.txt", *how)
    assert (code, "2 rows of 1280 numbers (lda)" in out) == (0, True), err


@pytest.mark.slow
def test_what_hugging_face_saved_from_train_to_eval(world, say, tmp_path, monkeypatch):
    library = importlib.import_module("datasets")
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    parts = {}
    for split, numbers in (("train", range(3)), ("validation", range(3, 5))):
        columns = {"image": [str(world.images / c / f"{i}.png") for c in ("blue", "red") for i in numbers]}
        columns["label"] = [place for place in (0, 1) for _ in numbers]  # pyright: ignore[reportArgumentType]
        kinds = {"image": library.Image(), "label": library.ClassLabel(names=["blue", "red"])}
        parts[split] = library.Dataset.from_dict(columns, features=library.Features(kinds))
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    source = f"datasets:{tmp_path / 'saved'}"
    code, _, err = say("train", source, *world.fast(tmp_path / "run"), "--baselines", "never")
    assert (code, "6 training items of 2 classes, 4 val items to score" in err) == (0, True), err
    code, _, err = say("eval", tmp_path / "run", source, *world.run_options())
    assert (code, "scoring 4 items (val) of 2 classes" in err) == (0, True), err
    # What lies in the cache can be removed at any time.
    shutil.rmtree(tmp_path / "cache")
    code, _, err = say("eval", tmp_path / "run", source, *world.run_options())
    assert (code, "scoring 4 items (val) of 2 classes" in err) == (0, True), err
    code, out, _ = say("predict", tmp_path / "run", world.images / "red" / "4.png", "--json", "--workers", 0)
    assert (code, json.loads(out)[0]["top"][0]["name"]) == (0, "red")


# --- eval -----------------------------------------------------------------------------------------------------------


def test_eval_scores_the_held_out_items_of_a_drawn_split(world, say, tmp_path):
    rows = tmp_path / "rows.csv"
    code, out, err = say("eval", world.run, world.images, *world.run_options(), "--out", rows)
    assert code == 0
    assert "scoring 2 items (the run's held-out) of 2 classes" in err
    held_out = json.loads((world.run / "split.json").read_text())["held_out"]
    assert [str(Path(r["path"]).resolve()) for r in csv.DictReader(rows.open())] == held_out
    assert "zero-shot" in out
    assert "logistic probe" in out


@pytest.mark.slow
def test_eval_refuses_training_items(world, say, wrong, tmp_path):
    listed = json.loads((world.run / "split.json").read_text())["train"][:3]
    seen = tmp_path / "seen.csv"
    seen.write_text("path,label,split\n" + "".join(f"{path},{Path(path).parent.name},test\n" for path in listed))
    line = wrong("eval", world.run, seen)
    assert "3 of 3 items were trained on" in line
    assert "--split train" in line
    code, _, err = say("eval", world.run, world.images, *world.run_options(), "--split", "train")
    assert (code, "scoring 8 items (the run's training)" in err) == (0, True)
    # Copies are known by what is in them.
    copies = Path(shutil.copytree(world.images, tmp_path / "copies"))
    code, _, err = say("eval", world.run, copies, *world.run_options())
    assert (code, "scoring 2 items (the run's held-out)" in err) == (0, True)
    for path in json.loads((world.run / "split.json").read_text())["held_out"]:
        (copies / Path(path).parent.name / Path(path).name).unlink()
    assert "8 of 8 items were trained on, there or as copies" in wrong("eval", world.run, copies)


@pytest.mark.slow
def test_eval_of_other_labels(world, say, wrong, tmp_path):
    other = images(tmp_path / "other", ["green", "red"], 2, seed=50)
    line = wrong("eval", world.run, other, *world.run_options())
    assert "'green'" in line
    assert "--classes" in line
    assert "--zero-shot" in line
    code, out, _ = say("eval", world.run, other, *world.run_options(), "--zero-shot")
    assert code == 0
    assert "this run, new text head" in out
    assert "zero-shot, before training" in out
    assert "mini knows objects" in out
    code, out, _ = say("eval", world.run, other, *world.run_options(), "--zero-shot", "--views", "2x3")
    assert (code, "zero-shot, before training, 1 view" in out) == (0, True)
    code, out, _ = say("eval", world.run, other, *world.run_options(), "--zero-shot", "--baselines", "never")
    assert (code, "zero-shot, before training" in out) == (0, False)
    code, out, err = say("eval", world.run, other, *world.run_options(), "--classes", "green, red, a lake")
    assert (code, "scoring 4 items (all) of 2 classes" in err) == (0, True)
    assert "'blue'" not in wrong("eval", world.run, other, "--classes", "red, a lake")
    assert "give one" in wrong("eval", world.run, other, "--classes", "red, green", "--zero-shot")


# --- head -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["text", "normal", "orthogonal", "lda"])
def test_head_of_every_kind(world, say, tmp_path, init):
    more = ["--data", world.images, "--workers", 0] if init == "lda" else []
    plot, rows = tmp_path / "map.png", tmp_path / "rows.safetensors"
    code, out, _ = say("head", "blue, red", "--init", init, "--plot", plot, "--out", rows, *more)
    assert code == 0
    assert f"2 rows of 1280 numbers ({init})" in out
    with Image.open(plot) as image:
        assert image.format == "PNG"
    assert load_file(rows)["weight"].shape == (2, 1280)


def test_head_mistakes(world, wrong, tmp_path):
    line = wrong("head", "a lake, a tree", "--plot", tmp_path / "map.gif", "--out", tmp_path / "rows")
    assert ".png, .svg or .pdf" in line
    assert list(tmp_path.iterdir()) == []
    assert "--data" in wrong("head", "blue, red", "--init", "lda")
    assert "'blue'" in wrong("head", "red, green", "--init", "lda", "--data", world.images)
    names = tmp_path / "many.txt"
    names.write_text("".join(f"thing {i}\n" for i in range(1281)))
    line = wrong("head", names, "--init", "orthogonal")
    assert "1281" in line
    assert "1280" in line


# --- options and recipes --------------------------------------------------------------------------------------------


def recipe_of(*arguments: str) -> recipes.Recipe:
    """The recipe that a `train` command line means."""
    parser = options.command_line()
    typed = ["train", "DATA", "--out", "run", *arguments]
    return cli.recipe_from(parser.parse_args(typed)["train"], parser.parse_args(typed, defaults=False)["train"])


def test_recipe_precedence(tmp_path):
    assert recipe_of() == recipes.small()
    assert recipe_of("--recipe", "paper") == recipes.paper()
    assert recipe_of("--recipe", "paper", "--epochs", "12") == recipes.paper(epochs=12)
    assert recipe_of("--recipe", "paper", "--epochs", "12", "--warmup", "1") == recipes.paper(epochs=12, warmup=1.0)
    small = recipes.small(epochs=2, warmup=0.2, center=False, lr=0.5)
    assert recipe_of("--epochs", "2", "--no-center", "--lr", "0.5") == small
    assert recipe_of("--size", "null", "--area", "[0.5, 1.0]") == recipes.small(size=None, area=(0.5, 1.0))
    config = tmp_path / "paper.yaml"
    config.write_text("recipe: paper\n")
    assert recipe_of("--config", str(config)) == recipes.paper()
    config.write_text("recipe: text4vis\nepochs: 9\nbatch: 4\n")
    assert recipe_of("--config", str(config), "--batch", "8") == recipes.text4vis(epochs=9, batch=8)


def test_every_recipe_value_has_an_option_and_a_help_text():
    assert set(options._RECIPE_HELP) == set(asdict(recipes.small())) - {"name"}


def test_config_round_trip(world, say, tmp_path):
    typed = ["train", world.images, *world.fast(tmp_path / "run"), "--recipe", "paper", "--size", 64, "--epochs", 7]
    code, out, _ = say(*typed, "--print-config")
    assert code == 0
    config = tmp_path / "config.yaml"
    config.write_text(out)
    assert recipe_of("--config", str(config)) == recipes.paper(size=64, epochs=7, warmup=1.0)
    assert say("train", "--config", config, "--print-config") == (0, out, "")


@pytest.mark.slow
def test_config_alone_trains(world, say, tmp_path):
    _, out, _ = say("train", world.images, *world.fast(tmp_path / "run"), "--baselines", "never", "--print-config")
    config = tmp_path / "config.yaml"
    config.write_text(out)
    code, out, _ = say("train", "--config", config)
    assert code == 0
    made = json.loads((tmp_path / "run" / "recipe.json").read_text())
    theirs = json.loads((world.run / "recipe.json").read_text())
    assert (made["command"].pop("baselines"), theirs["command"].pop("baselines")) == ("never", "auto")
    assert made == theirs
    # Same data, seed and recipe: the same run, with or without baselines.
    ours, theirs = (load_file(run / "model.safetensors") for run in (tmp_path / "run", world.run))
    assert all((ours[key] == theirs[key]).all() for key in theirs)


@pytest.mark.slow
def test_names_that_are_no_utf8_go_through_doctor_train_and_prepare(say, tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    for label in ("red", "green"):
        for seed, name in enumerate((odd, "b", "c", "d")):
            video(tmp_path / "clips" / label / f"{name}.mp4", label, seed)
    clean = tmp_path / "clips" / "clean.csv"
    code, _, err = say("doctor", tmp_path / "clips", "--quick", "--fix", clean)
    assert code in (0, 1), err
    assert sum(item.path.stem == odd for item in read_dataset(clean).items) == 2
    for command in (
        ("train", clean, "--out", tmp_path / "run", "--epochs", 1, "--size", 32, "--frames", 2, "--workers", 0),
        ("prepare", clean, "--out", tmp_path / "shards", "--workers", 0),
    ):
        code, _, err = say(*command)
        assert code == 0, err


@pytest.mark.slow
def test_names_that_no_terminal_can_show(world, tmp_path):
    name = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    video(name, "red")
    command = [sys.executable, "-m", "texthead", "predict", str(world.run), str(name)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    assert done.returncode == 0, done.stderr
    assert b"caf\\udce9.mp4" in done.stdout


@pytest.mark.slow
def test_mistyped_options(world, wrong, tmp_path):
    train = ["train", world.images, "--out", tmp_path / "run"]
    config = tmp_path / "config.yaml"
    config.write_text("epohcs: 3\n")
    listed = tmp_path / "clips.csv"
    listed.write_text("path,label\n" + "a.mp4,red\n" * 500)
    for line, word in [
        (wrong(*train, "--epohcs", 2), "--epohcs"),
        (wrong(*train, "--config", config), "epohcs"),
        (wrong(*train, "--config", tmp_path / "none.yaml"), "none.yaml"),
        (wrong(*train, "--config", listed), "as --print-config prints them, got 'path,label a.mp4,red"),
        (wrong(*train, "--epochs", "many"), "epochs"),
        (wrong(*train, "--epochs", "null"), "epochs"),
        (wrong(*train, "--head", "txt"), "head"),
        (wrong(*train, "--workers", -1), "workers"),
        (wrong("train", world.images), "out"),
        (wrong("trian"), "trian"),
    ]:
        assert word in line
        assert "--help)" in line
        assert "[options]" not in line
    for arguments, word in [
        (["--epochs", 0], "epochs"),
        (["--recipe", "paper", "--epochs", 2, "--warmup", 2], "warmup"),
        (["--size", 3], "size"),
        (["--seed", -1], "seed"),
        (["--held-out", 2], "held-out"),
        (["--area", "[2, 1]"], "area"),
        (["--head", "txt"], "--head must be text, prompt, normal, orthogonal, lda, linear or cosine, got txt"),
        (["--size", "big"], "--size must be a whole number, got big"),
        (["--flip", "some"], "--flip must be a number, got some"),
        (["--area", 0.5], "--area must be two numbers, as [0.35, 1.0], got 0.5"),
        (["--workers", -1], "--workers must be a whole number, 0 or more, got -1"),
        (["--freeze", ""], "--freeze"),
    ]:
        assert word in wrong(*train, *arguments)
    assert not (tmp_path / "run").exists()


def test_bare_command_version_and_interrupt(say, monkeypatch, tmp_path):
    assert "predict" in say()[1]
    assert say("--version")[1].startswith("texthead 0.")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("texthead.commands.head.head", stop)
    assert say("head", "a, b") == (130, "", "texthead: interrupted\n")
    monkeypatch.setattr("texthead.commands.train.train", lambda *_, **__: stop(None))
    # Before the run folder is begun there is nothing to resume.
    assert say("train", "data", "--out", tmp_path)[2] == "texthead: interrupted\n"
    (tmp_path / "recipe.json").write_text("{}")
    assert say("train", "data", "--out", tmp_path) == (
        130,
        "",
        f"texthead: interrupted; `texthead train data --out {tmp_path} --resume` goes on\n",
    )


def test_what_a_command_needs_is_named_as_it_is_typed(wrong):
    for arguments, needs in [
        (["train", "data"], "train needs --out"),
        (["train", "--out", "run"], "train needs DATA"),
        (["eval", "run"], "eval needs DATA"),
        (["predict"], "predict needs RUN_OR_FILE"),
        (["head"], "head needs CLASSES"),
    ]:
        assert needs in wrong(*arguments)


def test_arguments_in_another_order(world, wrong, tmp_path):
    item, run = world.images / "red" / "0.png", world.run
    assert f"RUN comes before DATA: texthead eval {run} {world.images}" in wrong("eval", world.images, run)
    assert "is a run: name one run, before all files" in wrong("predict", item, run, "--classes", "a lake, a tree")
    for command in (["train", run, "--out", tmp_path / "run"], ["eval", run, run]):
        assert "is a run, no data" in wrong(*command)
    assert "holds other folders and no run" in wrong("train", world.images, "--out", world.images)
    assert sorted(path.name for path in world.images.iterdir()) == ["blue", "red"]


def test_a_mistyped_option_is_guessed_and_not_taken(wrong):
    assert "unrecognized arguments: --framse 3: did you mean --frames?" in wrong(
        "train", "x", "--out", "y", "--framse", 3
    )
    told = wrong("predict", "run", "--top", 2, "a.mp4")
    assert "unrecognized arguments: a.mp4: names of files and the like stand together, before the options" in told
    assert "unrecognized arguments: --epoch 3: did you mean --epochs?" in wrong(
        "train", "x", "--out", "y", "--epoch", 3
    )


def test_options_that_would_do_nothing_are_refused(world, wrong):
    item, run = world.images / "red" / "0.png", world.run
    assert "give --classes or --zero-shot too" in wrong("eval", run, world.images, "--template", "a {}")
    assert "give --classes too" in wrong("predict", run, item, "--template", "a {}")
    assert "--encoder mini: run" in wrong("predict", run, item, "--encoder", "mini")
    assert "--json and --csv" in wrong("predict", run, item, "--json", "--csv")
    assert "--init lda and --data go together" in wrong("head", "a, b", "--data", world.images)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["ui", "--help"]])
def test_help_imports_no_torch(arguments):
    program = (
        "import sys, runpy\n"
        f"sys.argv = ['texthead', *{arguments!r}]\n"
        "try:\n    runpy.run_module('texthead', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert 'texthead.cli' in sys.modules\n"
        "assert not {'torch', 'timm', 'transformers', 'sklearn', 'matplotlib', 'gradio'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "texthead" in done.stdout


# --- stop and resume ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_resume_after_a_stop(world, say, wrong, tmp_path, monkeypatch):
    real, run = bar, tmp_path / "run"

    class Stopping(Bar):
        def __call__(self, done: int, total: int) -> None:
            if done > total / 2:
                raise KeyboardInterrupt

    @contextmanager
    def stopping(title: str, unit: str) -> Iterator[Bar]:
        with real(title, unit) as shown:
            yield Stopping(Progress(), title, unit) if title == "train" else shown

    train = ["train", world.images, *world.fast(run)]
    with monkeypatch.context() as patch:
        patch.setattr(train_job, "bar", stopping)
        code, _, err = say(*train)
    assert code == 130
    assert "--resume" in err.splitlines()[-1]
    assert not (run / "model.safetensors").exists()
    assert "no finished run" in wrong("predict", run, world.images)
    line = wrong(*train, "--resume", "--lr", 0.5)
    assert "lr = 0.0003, not 0.5" in line
    for option, before, typed in (("--head", "text", "normal"), ("--k", None, 2), ("--epochs", 2, 3)):
        line = wrong("train", world.images, "--out", run, "--resume", option, typed)
        assert f"was begun with {option} {before}, not {typed}: leave {option} out to resume" in line
    # What the run was begun with need not be typed again.
    code, _, err = say("train", world.images, "--out", run, "--resume", "--workers", 0)
    assert code == 0
    assert "resumed after epoch 1 of 2" in err
    assert "epoch 2 of 2: loss" in err
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (run, world.run))
    assert all((ours[key] == theirs[key]).all() for key in theirs)
    ours, theirs = (
        [r["loss"] for r in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if "loss" in r]
        for folder in (run, world.run)
    )
    assert ours == theirs


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(truncate, [], id="truncated"),
        pytest.param(
            lambda path: path.write_text("these are words\n" * 20), ["cannot"], id="text", marks=pytest.mark.slow
        ),
        pytest.param(lambda path: path.write_bytes(b""), ["empty (0 bytes)"], id="empty", marks=pytest.mark.slow),
        pytest.param(sound, ["no video stream"], id="sound", marks=pytest.mark.slow),
    ],
)
def test_one_odd_file_among_many(world, say, wrong, tmp_path, make, words):
    data, run = labelled(tmp_path / "data", make), tmp_path / "run"
    odd = data / "red" / "odd.mp4"
    options = [*world.fast(run), "--frames", 2, "--temporal", "mean", "--freeze-encoder", "--train-head"]
    line = wrong("train", data, *options)
    assert str(odd) in line
    assert "--skip-unreadable" in line
    assert all(word in line for word in words)
    assert not run.exists()
    assert str(odd) in wrong("predict", world.run, odd)
    code, out, err = say("train", data, *options, "--skip-unreadable")
    assert code == 0
    assert f"skipped: {odd}" in err
    listed = json.loads((run / "split.json").read_text())
    assert str(odd.resolve()) not in listed["train"]
    if str(odd.resolve()) in listed["held_out"]:
        assert "1 items could not be read and are not counted" in out


@pytest.mark.slow
def test_unreadable_held_out_item(world, say, wrong, tmp_path):
    root = tmp_path / "data"
    images(root / "train", ["blue", "red"], 3)
    images(root / "val", ["blue", "red"], 2)
    odd = root / "val" / "red" / "1.png"
    odd.write_bytes(b"no picture")
    run = tmp_path / "run"
    assert str(odd) in wrong("train", root, *world.fast(run))
    assert not run.exists()
    code, out, err = say("train", root, *world.fast(run), "--skip-unreadable", "--freeze-encoder", "--train-head")
    assert code == 0
    assert f"skipped: {odd}" in err
    assert "1 items could not be read and are not counted" in out
    assert str(odd) in wrong("eval", run, root, *world.run_options())
    code, out, _ = say("eval", run, root, *world.run_options(), "--skip-unreadable")
    assert (code, "1 items could not be read" in out) == (0, True)


def test_data_that_is_not_there_or_not_whole(world, wrong, tmp_path):
    options = world.fast(tmp_path / "run")
    assert "nowhere" in wrong("train", tmp_path / "nowhere", *options)
    (tmp_path / "none").mkdir()
    assert "no labelled videos or images" in wrong("train", tmp_path / "none", *options)
    data = images(tmp_path / "data", ["blue", "red"], 2)
    (data / "green").mkdir()
    line = wrong("train", data, *options)
    assert str(data / "green") in line
    assert "no video or image" in line
    single = images(tmp_path / "single", ["blue", "red"], 1)
    assert "has one item" in wrong("train", single, *options)
    assert "k = 9" in wrong("train", world.images, *options, "--k", 9)
    (tmp_path / "bad.csv").write_text("file,label\na.png,red\n")
    assert "no column 'path'" in wrong("train", tmp_path / "bad.csv", *options)
    assert "no such file" in wrong("predict", world.run, tmp_path / "nowhere.mp4")
    assert not (tmp_path / "run").exists()


def test_lda_of_one_item_a_class(world, wrong, tmp_path):
    items = tmp_path / "items.csv"
    rows = [f"{world.images}/{c}/{i}.png,{c},{s}\n" for c in ("blue", "red") for i, s in enumerate(("train", "val"))]
    items.write_text("path,label,split\n" + "".join(rows))
    line = wrong("train", items, *world.fast(tmp_path / "run"), "--head", "lda")
    assert "LDA" in line or "lda" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_names_and_prompts(world, wrong, tmp_path):
    item, run = world.images / "red" / "0.png", world.run
    assert "'a lake' occurs 2 times" in wrong("predict", run, item, "--classes", "a lake, a lake")
    assert "name 2 of 3 is empty" in wrong("predict", run, item, "--classes", "a lake,,a tree")
    assert "is empty" in wrong("predict", run, item, "--classes", "")
    assert "is empty" in wrong("eval", run, world.images, "--classes", "")
    assert "none.txt" in wrong("predict", run, item, "--classes", tmp_path / "none.txt")
    for template in ("a photo", "{} and {}"):
        assert "exactly one '{}'" in wrong("predict", item, "--classes", "a lake", "--template", template)
        line = wrong("train", world.images, *world.fast(tmp_path / "run"), "--template", template)
        assert "exactly one '{}'" in line
    line = wrong("predict", item, "--classes", "lake " * 300)
    assert "302 tokens > 256" in line
    assert "--classes is required" in wrong("predict", item)
    assert "name files or folders" in wrong("predict", run)
    assert "--top" in wrong("predict", run, item, "--top", 0)
    assert not (tmp_path / "run").exists()


def test_encoders_devices_and_views(world, wrong, tmp_path):
    train = ["train", world.images, *world.fast(tmp_path / "run")]
    assert "unknown encoder 'maxi'" in wrong(*train, "--encoder", "maxi")
    assert "no architecture 'NoNet'" in wrong(*train, "--encoder", "openclip:NoNet/tag")
    assert "'abacus'" in wrong(*train, "--device", "abacus")
    assert "cuda:99" in wrong(*train, "--device", "cuda:99")
    assert "crops must be 1, 3, 5 or 10, got 2" in wrong("eval", world.run, world.images, "--views", "2x2")
    assert "'many'" in wrong("predict", world.run, world.images, "--views", "many")
    assert not (tmp_path / "run").exists()


def test_runs_that_do_not_fit(world, wrong, tmp_path):
    before = contents(world.run)
    train = ["train", world.images, *world.fast(world.run)]
    line = wrong(*train)
    assert "holds a run already" in line
    assert "--resume" in line
    assert contents(world.run) == before
    assert "begun with --epochs 2, not 3" in wrong(*train, "--resume", "--epochs", 3)
    assert contents(world.run) == before
    assert "no run to resume" in wrong("train", world.images, *world.fast(tmp_path / "new"), "--resume")
    assert not (tmp_path / "new").exists()
    assert "no run" in wrong("eval", tmp_path / "new", world.images)

    other = tmp_path / "other"
    shutil.copytree(world.run, other)
    # Not mapped from the file that is written next.
    tensors = load((other / "model.safetensors").read_bytes())
    save_file({**tensors, "head.weight": tensors["head.weight"][:, :7].clone()}, other / "model.safetensors")
    line = wrong("predict", other, world.images)
    assert "another model" in line
    (other / "model.safetensors").write_bytes(b"half a file")
    assert "cannot be read" in wrong("predict", other, world.images)
    (other / "classes.json").write_text("{")
    assert "classes.json" in wrong("eval", other, world.images)


@pytest.mark.slow
def test_nothing_to_train(world, say, wrong, tmp_path):
    train = ["train", world.images, *world.fast(tmp_path / "run")]
    line = wrong(*train, "--freeze-encoder")
    assert "nothing to train" in line
    assert not (tmp_path / "run" / "recipe.json").exists()
    # With what the message says, it works, in the same folder.
    assert say(*train, "--freeze-encoder", "--train-head")[0] == 0


def test_encoders_are_listed_by_name(say, wrong):
    code, out, err = say("encoders", "vit-b-16/OPENAI")
    assert code == 0
    assert out.startswith("openclip:ViT-B-16/openai\t")
    assert "--encoder takes mini, mini:lite1, mini:lite2, openclip:ARCH/TAG" in err
    assert "no published encoder has 'nonsense'" in wrong("encoders", "nonsense")


@pytest.mark.slow
def test_an_encoder_without_text_trains_with_the_heads_that_need_none(world, say, wrong, tmp_path):
    torch.manual_seed(0)
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "a.safetensors")
    encoder = ["--encoder", f"timm:resnet10t/{tmp_path / 'a.safetensors'}"]
    train = ["train", world.images, *world.fast(tmp_path / "run"), *encoder]
    assert "has no text encoder; use linear, normal, orthogonal or lda" in wrong(*train)
    code, out, _ = say(*train, "--head", "linear")
    assert code == 0
    assert "logistic probe" in out
    assert "zero-shot" not in out
    code, out, _ = say("predict", tmp_path / "run", world.images / "red" / "0.png", "--csv")
    assert (code, len(out.splitlines())) == (0, 3)
    line = wrong("predict", tmp_path / "run", world.images / "red" / "0.png", "--classes", "a, b")
    assert "no text encoder" in line


@pytest.mark.slow
def test_rows_of_a_text_only_encoder(world, say, wrong, tmp_path):
    text, item = bert(tmp_path / "bert", 1284), world.images / "red" / "0.png"
    code, _, err = say("train", world.images, *world.fast(tmp_path / "run"), "--text", text)
    assert code == 0
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())["head"]
    assert (about["text"], about["text_map"]) == (text, [1284, 1280])
    shutil.rmtree(tmp_path / "bert")
    assert say("predict", tmp_path / "run", item)[0] == 0, "its own classes need no text encoder"
    assert "cannot be loaded" in wrong("predict", tmp_path / "run", item, "--classes", "a cat, a tree")
    bert(tmp_path / "bert", 1284)
    code, _, err = say("predict", tmp_path / "run", item, "--classes", "a cat, a tree")
    assert (code, bool(re.search(r"the map of the run loses 0\.\d\d of the new names' length", err))) == (0, True)
    assert say("predict", item, "--text", text, "--classes", "a cat, a tree")[0] == 0
    assert "--text" in wrong("predict", tmp_path / "run", item, "--text", text)


def test_profile_prints_the_paper_s_numbers(say, wrong):
    code, out, _ = say("profile", "openclip:ViT-B-16")
    assert code == 0
    assert ("17.56" in out, "86.19" in out, "11.3" in out, "57.3" in out) == (True,) * 4
    large = ["--frames", 32, "--temporal", "transformer", "--classes", 400]
    code, out, _ = say("profile", "openclip:ViT-L-14/openai", *large)
    assert (code, "230.7" in out, "1661" in out or "1662" in out) == (0, True, True)
    code, out, _ = say("profile", "mini", "--size", 64, "--frames", 2, "--measure", "--device", "cpu")
    assert (code, "clips/s" in out, "GB of memory" in out) == (0, True, True)
    code, out, _ = say("profile", "mini:lite1")
    assert (code, "mini:lite1, 1x240x240" in out, "4.14" in out) == (0, True, True)
    code, out, _ = say("profile", "timm:resnet10t", "--size", 64)
    assert code == 0
    assert "no architecture 'ViT-B-17'" in wrong("profile", "openclip:ViT-B-17")
    assert "takes 224 pixels only, got --size 336" in wrong("profile", "openclip:ViT-B-16", "--size", 336)
    assert "--frames must be a whole number, 1 or more" in wrong("profile", "mini", "--frames", 0)
    assert "use mini, mini:lite1, mini:lite2, openclip:ARCH or timm:NAME" in wrong("profile", "maxi")


# --- templates and convolutions -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_templates_from_a_file(world, say, wrong, tmp_path):
    file, out = tmp_path / "templates.txt", tmp_path / "run"
    file.write_text("a {} thing.\nit is {}\n")
    drawn = ["--template", file, "--template-use", "drawn", "--template-pooling", "probabilities"]
    code, _, err = say("train", world.images, *drawn, "--head", "text", *world.fast(out))
    assert code == 0
    assert "prompt: 'a blue thing.' and 1 more like it, in 2 templates" in err
    classes = json.loads((out / "classes.json").read_text())
    assert classes["template"] == ["a {} thing.", "it is {}"]
    assert classes["classes"][0]["prompt"] == ["a blue thing.", "it is blue"]
    assert "a blue thing. | it is blue" in (out / "report.html").read_text()
    assert load_file(out / "model.safetensors")["head.variants"].shape[:2] == (2, 2)
    code, printed, _ = say("predict", out, world.images / "red", "--json")
    assert code == 0
    assert sum(each["probability"] for each in json.loads(printed)[0]["top"]) == pytest.approx(1, abs=1e-4)
    # A resumed run takes the templates that it was begun with.
    assert say("train", world.images, "--out", out, "--resume", "--workers", "0")[0] == 0
    assert say("predict", world.images / "red", "--classes", "red, blue", "--template", file)[0] == 0
    assert "are for several templates" in wrong(
        "train", world.images, "--template-use", "drawn", *world.fast(tmp_path / "x")
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_learned_template(world, say, wrong, tmp_path):
    out = tmp_path / "run"
    learned = ["--head", "prompt", "--context", "3", "--template", "{} thing"]
    assert say("train", world.images, *learned, *world.fast(out))[0] == 0
    classes = json.loads((out / "classes.json").read_text())["classes"]
    assert classes[1] == {"label": "red", "name": "red", "prompt": "[3 learned vectors] red thing"}
    code, own, _ = say("predict", out, world.images / "red", "--json")
    assert code == 0
    code, again, _ = say("predict", out, world.images / "red", "--classes", "blue, red", "--json")
    assert code == 0
    for first, second in zip(json.loads(own), json.loads(again), strict=True):
        for a, b in zip(first["top"], second["top"], strict=True):
            assert (a["name"], a["probability"]) == (b["name"], pytest.approx(b["probability"], abs=1e-4))
    assert say("eval", out, world.images, "--zero-shot", *world.run_options())[0] == 0
    assert "has no words in front" in wrong("train", world.images, "--head", "prompt", *world.fast(tmp_path / "x"))


@pytest.mark.slow
def test_convolutions_inside_the_encoder(world, say, wrong, tmp_path):
    out = tmp_path / "run"
    options = ["--temporal", "conv", "--conv-start", "identity", "--frames", "3", "--grad-checkpointing"]
    assert say("train", world.videos, *options, *world.fast(out))[0] == 0
    about = json.loads((out / "recipe.json").read_text())
    assert about["temporal"] == {"kind": "conv", "start": "identity"}
    assert say("eval", out, world.videos, "--frames", "5", *world.run_options())[0] == 0
    assert say("predict", out, world.videos / "red" / "0.mp4")[0] == 0
    token = ["--temporal", "token-conv", *world.fast(tmp_path / "x")]
    assert "use --temporal token-conv with a ViT" in wrong("train", world.videos, *token)
    frozen = ["--temporal", "conv", "--freeze-encoder", *world.fast(tmp_path / "x")]
    assert "leave out --freeze-encoder" in wrong("train", world.videos, *frozen)


def test_folders_of_frames_are_clips_where_a_template_says_so(world, say, wrong, tmp_path):
    for clip in ("one", "two"):
        for i in range(4):
            (tmp_path / "frames" / clip).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture("red", i)).save(tmp_path / "frames" / clip / f"img_{i + 1:03d}.png")
    template = ["--frame-template", "img_{:03d}.png", "--json"]
    code, out, _ = say("predict", world.run, tmp_path / "frames", *template)
    assert code == 0
    assert [Path(found["path"]).parent.name for found in json.loads(out)] == ["one", "two"]
    code, out, _ = say("predict", world.run, tmp_path / "frames" / "one", *template)
    assert [Path(found["path"]).name for found in json.loads(out)] == ["img_{:03d}.png"]
    said = wrong("predict", world.run, tmp_path / "frames", "--frame-template", "x_{:d}.png")
    assert "neither it nor a folder in it holds a file that fits x_{:d}.png" in said
    assert "must hold a place" in wrong("predict", world.run, tmp_path / "frames", "--frame-template", "img.png")


def test_a_result_says_how_it_was_looked_at(world, say, wrong):
    looked = ["--origin", "dense", "--views", "1x3", "--crops-along", "long-side", "--resize", "40"]
    code, out, _ = say("eval", world.run, world.images, *looked, *world.run_options())
    assert code == 0
    assert "origin dense, crops along long-side, short side 40" in " ".join(out.replace("│", " ").split())
    assert "does nothing with one view" in wrong("eval", world.run, world.images, "--pooling", "logits")
    assert "is for three crops" in wrong("eval", world.run, world.images, "--crops-along", "long-side")


# --- speed


def test_processes_that_were_not_started_by_torchrun_are_told_so(
    world: World, wrong: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert "WORLD_SIZE is 2 and LOCAL_RANK is not set" in wrong("train", world.images, "--out", world.root / "none")
    assert not (world.root / "none").exists()


@pytest.mark.slow
def test_what_speeds_an_encoder_up_needs_one_that_is_trained(world: World, wrong: Callable[..., str]) -> None:
    out = world.root / "none"
    for option, said in (
        (["--compile"], "--compile compiles the encoder, which --freeze-encoder leaves out of training"),
        (["--patch-dropout", "0.5"], "--patch-dropout does nothing with --freeze-encoder"),
    ):
        assert said in wrong("train", world.images, *world.fast(out), "--freeze-encoder", *option)
    assert "EfficientNet has no patches to leave out" in wrong(
        "train", world.images, *world.fast(out), "--patch-dropout", "0.5"
    )
    assert "patch_dropout must be at least 0 and below 1, got 1.0" in wrong(
        "train", world.images, *world.fast(out), "--patch-dropout", "1.0"
    )
    assert "--shard fsdp cuts a model over processes and this is one" in wrong(
        "train", world.images, *world.fast(out), "--shard", "fsdp"
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cache", "elsewhere"),
        ("workers", -5),
        ("text", 5),
        ("encoder", [1]),
        ("held_out", "x"),
        ("checkpoint_every", "x"),
        ("size", "x"),
        ("epochs", [1]),
        ("template", 5),
        ("template", [5]),
        ("template", {"a": "b"}),
        ("train_head", "x"),
        ("area", "wide"),
        ("no_such", 1),
    ],
)
def test_a_run_to_resume_that_names_options_of_its_own(tmp_path, wrong, key, value):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps({"command": {key: value}}))
    (run / "classes.json").write_text("{}")
    assert "recipe.json: no run is begun with" in wrong("train", tmp_path, "--out", run, "--resume")
