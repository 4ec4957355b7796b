"""Manifests and folders become items or a located error; training clips depend only on (seed, epoch, position)."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from made import write_broken
from media_files import lossless
from messages import prints, refuses
from platforms import mkfifo, symlink
from texthead import Protocol, Views, read_dataset
from texthead.data import Pixels, read_files
from texthead.data.clips import TrainClips, TrainFeatures, ViewClips
from texthead.data.dataset import Dataset, Item, splits_of
from texthead.errors import DataError, MediaError
from texthead.media import Video
from texthead.recipes import Recipe

WIDTH, HEIGHT = 48, 32


def picture(index: int) -> np.ndarray:
    """Return a picture whose red is the column, green the row and blue the frame."""
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    frame[..., 2] = 4 * index
    return frame


def touch(root: Path, *names: str) -> Path:
    """Create files that are only listed, never opened."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def write_manifest(root: Path, text: str, name: str = "clips.csv", encoding: str = "utf-8") -> Path:
    path = root / name
    path.write_bytes(text.encode(encoding))
    return path


# ---- manifests


def test_a_csv(tmp_path):
    path = write_manifest(tmp_path, "path,label\na.mp4,run\nsub/b.png, jump \n")
    dataset = read_dataset(path)
    assert dataset.items == (Item(tmp_path / "a.mp4", ("run",)), Item(tmp_path / "sub/b.png", ("jump",)))
    assert (dataset.labels, dataset.classes, len(dataset)) == (["run", "jump"], ["jump", "run"], 2)
    assert (dataset.source, dataset.notes) == (str(path), ())
    assert read_dataset(str(path)) == dataset


@pytest.mark.parametrize(
    ("name", "text", "path", "label"),
    [
        ("clips.tsv", "label\tpath\nrun, fast\ta,b.mp4\n", "a,b.mp4", "run, fast"),
        ("clips.csv", 'path,label\n"a,b.mp4","a ""great"" jump"\n', "a,b.mp4", 'a "great" jump'),
        ("clips.csv", "path,label\n/data/a.mp4,run\n", "/data/a.mp4", "run"),
        ("clips.csv", "path,label\nclips/v1/img_{:05d}.jpg,run\n", "clips/v1/img_{:05d}.jpg", "run"),
        ("clips.csv", "\ufeffpath,label\r\nvélo.mp4,vélo\r\n", "vélo.mp4", "vélo"),
        ("clips.csv", '\ufeffPath;label\r\nvélo.mp4;"run, fast"\r\n', "vélo.mp4", "run, fast"),
    ],
)
def test_forms_of_a_manifest(tmp_path, name, text, path, label):
    assert read_dataset(write_manifest(tmp_path, text, name)).items == (Item(tmp_path / path, (label,)),)


def test_folder_in_manifest_is_clip(tmp_path):
    touch(tmp_path, "data/run/1.png", "data/run/2.png")
    for row in ("data/run", "data/run/", "data/run/*"):
        assert read_dataset(write_manifest(tmp_path, f"path,label\n{row},run\n")).items == (
            Item(tmp_path / "data/run/*", ("run",)),
        )
    assert [item.path.name for item in read_dataset(tmp_path / "data").items] == ["1.png", "2.png"]


def test_splits_groups_and_other_columns_are_kept(tmp_path):
    text = "Path,scene, LABEL,Split,group,Seconds\na.mp4,park,run,train,anna,3\nb.mp4,,run, Validation , ,4\nc.mp4,x,run,test,bob ,5\n"
    manifest = write_manifest(tmp_path, text)
    items = read_dataset(manifest).items
    assert items == (
        Item(tmp_path / "a.mp4", ("run",), "train", "anna", (("scene", "park"), ("Seconds", "3"))),
        Item(tmp_path / "b.mp4", ("run",), "val", None, (("scene", ""), ("Seconds", "4"))),
        Item(tmp_path / "c.mp4", ("run",), "test", "bob", (("scene", "x"), ("Seconds", "5"))),
    )
    assert [item.group for item in read_files(manifest).items] == ["anna", None, "bob"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("path,class\na.mp4,run\n", ["name path and label", "path, class"]),
        ("path,label\n", ["path,label"]),
        ("path,label,split\na.mp4,run,rest\n", ["clips.csv:2", "'rest'"]),
        ("path,label\na.mp4,run\nb.mp4,run,fast\n", ["clips.csv:3"]),
        ("path,label\na.mp4,run\nb.mp4\n", ["clips.csv:3"]),
        ("path,label\na.mp4,\n", ["clips.csv:2", "label"]),
        ("path,label\n ,run\n", ["clips.csv:2", "path"]),
        ("path,label\na.mp4,run\n./a.mp4,run\n", ["a.mp4 is listed 2 times", "run", "list it once"]),
        ("path,label,split\na.mp4,run,train\nb/../a.mp4,jump,test\n", ["a.mp4 is listed 2 times", "'jump; run'"]),
        ("path,label,label\na.mp4,run,jump\n", ["path, label, label", "once each"]),
        ("path,label, Label\na.mp4,run,jump\n", ["path, label, label", "once each"]),
        ('path,label\na.mp4,"ru\nn"\n', ["'ru\\nn'"]),
        ('path,label\n"a\nb.mp4",run\n"a\nb.mp4",run\n', ["a b.mp4", 2]),
        ("path,label,split\na.mp4,run,train\nb.mp4,run,\n", ["1 of 2"]),
        ('path,label\n"a.mp4,run\n', ["clips.csv"]),
    ],
)
def test_a_manifest_that_breaks_a_rule(tmp_path, text, parts):
    with refuses(DataError, tmp_path, *parts) as caught:
        read_dataset(write_manifest(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_not_utf8(tmp_path):
    path = write_manifest(tmp_path, "path,label\na.mp4,vélo\n", encoding="latin-1")
    with refuses(DataError, path, "udce9", "UTF-8"):
        read_dataset(path)


@pytest.mark.posix("names of files that are no text")
def test_a_name_that_is_not_utf8_is_found_by_its_bytes(tmp_path):
    path = write_manifest(tmp_path, "path,label\nvélo.mp4,run\n", encoding="latin-1")
    name = os.fsdecode("vélo.mp4".encode("latin-1"))
    touch(tmp_path, name)
    assert read_dataset(path).items == (Item(tmp_path / name, ("run",)),)


def test_blanks_around_a_path(tmp_path):
    """A file may be named so; and a name may be longer than that of any file."""
    (tmp_path / " a.png").touch()
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"path,label\n a.png,x\n b.png ,y\n{'c' * 3000},z\n")
    names = [" a.png", "b.png", "c" * 3000]
    for read in (read_dataset, read_files):
        assert [item.path.name for item in read(manifest).items] == names


def test_links_that_lead_nowhere_or_to_a_folder_are_noted(tmp_path):
    data = touch(tmp_path / "data", "run/a.mp4", "jump/b.mp4")
    symlink(data / "run/more", touch(tmp_path / "elsewhere", "c.mp4"))
    dataset = read_dataset(data)
    assert len(dataset) == 2
    (note,) = dataset.notes
    prints(note, data, "skipped more/", "a link to a folder")
    (data / "run/more").unlink()
    symlink(data / "run/gone.mp4", "nowhere.mp4")
    symlink(data / "run/circle.mp4", "circle.mp4")
    mkfifo(data / "run/pipe.mp4")
    dataset = read_dataset(data)
    assert len(dataset) == 2
    (note,) = dataset.notes
    prints(note, data, "skipped circle.mp4, gone.mp4, pipe.mp4: ", "a broken link")


def test_missing_empty_and_unknown_sources(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "missing", tmp_path / "empty", write_manifest(tmp_path, "path,label\n", "clips.json")):
        with refuses(DataError, path):
            read_dataset(path)


# ---- folders


def test_class_folders(tmp_path):
    root = touch(tmp_path, "run/b.mp4", "run/a.MOV", "jump/c.png", ".cache/x.mp4", "run/.hidden.mp4")
    dataset = read_dataset(root)
    names = ["jump/c.png", "run/a.MOV", "run/b.mp4"]
    assert dataset.item_names == names
    assert dataset.items == tuple(Item(root / name, (name.split("/")[0],)) for name in names)
    assert (dataset.classes, dataset.notes, splits_of(dataset)) == (["jump", "run"], (), {})


def test_an_invisible_name_of_a_class_or_above_classes_is_an_error(tmp_path):
    several = write_manifest(tmp_path, "path,labels\ndog/a.png,dog\n\u200b/b.png,dog; \u200b\n", "several.csv")
    tree = write_manifest(tmp_path, '{"\u200b": {"x": [dog, cat], "y": [kite]}}', "tree.yaml")
    for source, above in ((several, None), (touch(tmp_path / "folders", "dog/a.png", "cat/b.png"), tree)):
        with refuses(DataError, "'\\u200b'", "visible text", "rename"):
            read_dataset(source, tree=above)


@pytest.mark.posix("names that end in a blank")
def test_folders_whose_names_differ_by_blanks_are_an_error(tmp_path):
    touch(tmp_path, "blue /a.png", "blue/b.png")
    with refuses(DataError, str(tmp_path), "look the same"):
        read_dataset(tmp_path)
    (tmp_path / "blue ").rename(tmp_path / "red")
    touch(tmp_path, "re\u0301d/d.png", "r\u00e9d/e.png")
    with refuses(DataError, str(tmp_path), "look the same"):
        read_dataset(tmp_path)


def test_folders_of_splits(tmp_path):
    root = touch(tmp_path, "train/run/a.mp4", "train/run/b.mp4", "train/jump/c.mp4", "val/run/d.mp4", "Test/jump/e.mp4")
    dataset = read_dataset(root)
    expected = {"a": "run train", "b": "run train", "c": "jump train", "d": "run val", "e": "jump test"}
    assert {item.path.stem: f"{item.label} {item.split}" for item in dataset.items} == expected
    assert splits_of(dataset) == {"train": 3, "val": 1, "test": 1}
    assert [item.path.name for item in dataset.split("train").items] == ["c.mp4", "a.mp4", "b.mp4"]
    names = ("training/run/2023/a.mp4", "training/jump/b.mp4", "testing/run/c.mp4", "dev/run/2023/may/d.mp4")
    dataset = read_dataset(touch(tmp_path / "other", *names))
    expected = {"a": "run train", "b": "jump train", "c": "run test", "d": "run val"}
    assert {item.path.stem: f"{item.label} {item.split}" for item in dataset.items} == expected
    (note,) = dataset.notes
    prints(note, tmp_path, "2 files in folders below class folders belong to these classes", Path("2023/may/d.mp4"))
    touch(tmp_path / "beside", "training/run/a.mp4", "valid/run/b.mp4", "extra/run/c.mp4")
    with refuses(DataError, tmp_path / "beside", "training, valid are splits", "extra is not"):
        read_dataset(tmp_path / "beside")
    # A class may be called train, or like a manifest.
    dataset = read_dataset(touch(tmp_path / "classes", "train/1/a.mp4", "run.csv/b.mp4", "test/c.mp4"))
    labels = [(item.label, item.split) for item in dataset.items]
    assert labels == [("run.csv", None), ("test", None), ("train", None)]


def test_a_list_from_windows(tmp_path):
    """A backslash separates folders, unless a file has it in its name."""
    touch(tmp_path, "run/a b.mp4", "c\\d.mp4")
    text = "path,label\r\nrun\\a b.mp4#t=1,2,run\r\nc\\d.mp4,run\r\n".replace(
        "run\\a b.mp4#t=1,2", '"run\\a b.mp4#t=1,2"'
    )
    first, second = read_dataset(write_manifest(tmp_path, text)).items
    assert (first.path, first.name) == (tmp_path / "run" / "a b.mp4#t=1,2", "run/a b.mp4#t=1,2")
    assert second.path == tmp_path / "c\\d.mp4"
    assert len(read_dataset(write_manifest(tmp_path, "path,label\nc\\d.mp4,run\nrun\\gone.mp4,run\n"))) == 2


def test_a_run_beside_class_folders_is_no_class(tmp_path):
    touch(tmp_path, "run/a.mp4", "pasta/b.mp4", "pasta/recipe.json", "trained/recipe.json", "trained/report.html")
    assert read_dataset(tmp_path).labels == ["pasta", "run"]


@pytest.mark.parametrize("others", [[], ["empty/notes.txt"], ["empty/.deeper/a.mp4"]])
def test_an_empty_class_folder(tmp_path, others):
    touch(tmp_path, "run/a.mp4", *others)
    (tmp_path / "empty").mkdir(exist_ok=True)
    (tmp_path / "later").mkdir()
    with refuses(DataError, tmp_path / "empty", tmp_path / "later"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("others", "parts"),
    [
        (["run/notes.txt"], ["skipped notes.txt: ", "not media"]),
        (
            ["run/b.srt", "jump/c.srt", "run/d.srt", "run/1/e.srt", "run/Thumbs.db", "run/.DS_Store"],
            ["skipped b.srt, c.srt, d.srt and 1 more: ", "not media"],
        ),
        (["a.mp4", "b.mp4", "run/.b.mp4"], ["skipped a.mp4, b.mp4: ", "not in a class folder"]),
        (
            ["__MACOSX/run/._a.mp4", "lost+found/1.mp4", "run/@eaDir/a.mp4", "$RECYCLE.BIN/b.mp4"],
            ["skipped $RECYCLE.BIN/, @eaDir/, __MACOSX/ and 1 more: ", "a folder of the system"],
        ),
    ],
)
def test_files_that_are_not_used_are_noted(tmp_path, others, parts):
    dataset = read_dataset(touch(tmp_path, "run/a.mp4", "jump/c.mp4", *others))
    assert len(dataset) == 2
    (note,) = dataset.notes
    prints(note, tmp_path, *parts)


@pytest.mark.parametrize("names", [["a.mp4", "b.png"], ["train/a.mp4", "val/b.png", "notes.txt"]])
def test_unsorted_files(tmp_path, names):
    with refuses(DataError, tmp_path, "one folder per class", "path,label"):
        read_dataset(touch(tmp_path, *names))


def test_manifest_next_to_class_folders(tmp_path):
    root = touch(tmp_path, "run/a.mp4", "run/b.mp4")
    write_manifest(root, "path,label\nrun/a.mp4,running\n", "labels.csv")
    write_manifest(root, "name,score\nrun,3\n", "scores.csv")
    dataset = read_dataset(root)
    assert dataset.items == (Item(root / "run/a.mp4", ("running",)),)
    (note,) = dataset.notes
    prints(note, root, "read from its manifest labels.csv")
    # Naming the manifest itself gives the same dataset.
    assert dataset == read_dataset(root / "labels.csv")
    write_manifest(root, "path\tlabel\nrun/a.mp4\trun\n", "more.tsv")
    with refuses(DataError, root, "labels.csv, more.tsv"):
        read_dataset(root)
    root = touch(tmp_path / "other", "run/a.mp4", "clip/img_1.jpg", "clip/img_2.jpg")
    rows = ["path,label", "./clip/../run/a.mp4,run", f"{root.absolute()}/clip/img_{{:d}}.jpg,jump"]
    write_manifest(root, "\n".join(rows), "labels.csv")
    assert read_dataset(root).notes == (f"{root}: read from its manifest labels.csv",), "all files are listed"


# ---- trees


def labelled(folder: Path, *labels: str) -> Path:
    """Write a CSV of images of these labels."""
    rows = [f"{index}.png,{label}" for index, label in enumerate(labels)]
    return write_manifest(folder, "\n".join(["path,label", *rows]), "items.csv")


def test_labels_make_a_tree_with_a_note(tmp_path: Path):
    data = read_dataset(labelled(tmp_path, "animal/dog", "animal/cat", "kite"))
    assert data.tree
    assert data.tree.above == {"animal/dog": ("animal",), "animal/cat": ("animal",), "kite": ()}
    assert data.notes[-1] == "the 3 classes form a tree with 1 broader name (animal); not in it: kite"
    data = read_dataset(labelled(tmp_path, "TV/monitor", "kite"))
    assert data.tree is None
    assert not data.notes


def test_a_file_is_the_tree_of_the_labels(tmp_path: Path):
    path, tree = labelled(tmp_path, "dog", "cat", "kite"), tmp_path / "tree.yaml"
    tree.write_text("animal: [dog, cat, bird]")
    data = read_dataset(path, tree=tree)
    assert data.tree
    assert data.tree.above == {"cat": ("animal",), "dog": ("animal",), "bird": ("animal",), "kite": ()}
    tree.write_text("animal: [bird]")
    with refuses(DataError, "items.csv", "no class is in the tree"):
        read_dataset(path, tree=tree)
    with refuses(DataError, "tree", "is for class folders"):
        read_dataset(path, tree="folders")


def test_nested_folders_are_one_class_or_make_a_tree(tmp_path: Path):
    touch(tmp_path, "animal/dog/1.png", "animal/dog/pug/2.png", "animal/cat/3.png", "kite/4.png")
    data = read_dataset(tmp_path)
    assert data.labels == ["animal", "animal", "animal", "kite"]
    assert "3 files in folders below class folders belong to these classes" in data.notes[0]
    # animal/dog holds files and is above animal/dog/pug.
    assert "changes no answer" in read_dataset(tmp_path, tree="folders").notes[-1]
    (tmp_path / "animal" / "dog" / "1.png").unlink()
    data = read_dataset(tmp_path, tree="folders")
    assert data.labels == ["animal/cat", "animal/dog/pug", "kite"]
    assert data.tree
    assert data.tree.above["animal/dog/pug"] == ("animal", "animal/dog")


# ---- lists, label files


def test_a_list_with_its_label_file(tmp_path):
    labels = write_manifest(tmp_path, "id,name\n0,run\n1,jump\n", "labels.csv")
    path = write_manifest(tmp_path, "v1 12 1\nv2 9 0\nv3 4 1\n", "list.TXT")
    dataset = read_dataset(path, labels=labels, root=str(tmp_path / ".."), frame_template="img_{:05d}.jpg")
    assert dataset.items[1] == Item(tmp_path / "../v2/img_{:05d}.jpg", ("run",))
    assert (dataset.source, dataset.labels) == (str(path), ["jump", "run", "jump"])
    assert read_dataset(str(path), labels=str(labels), suffix=".avi").items[0] == Item(tmp_path / "v1.avi", ("jump",))
    with refuses(DataError, path, "labels"):
        read_dataset(path)
    with refuses(DataError, tmp_path / "none.txt"):
        read_dataset(tmp_path / "none.txt", root=tmp_path)


def test_label_file_names_folders_and_manifest(tmp_path):
    labels = write_manifest(tmp_path, "id,name\nn01440764,tench\nn01443537,goldfish\n", "labels.csv")
    root = touch(tmp_path / "data", "train/n01440764/a.jpg", "val/n01440764/b.jpg", "val/n01443537/c.jpg")
    assert read_dataset(root, labels=labels).items == (
        Item(root / "train/n01440764/a.jpg", ("tench",), "train"),
        Item(root / "val/n01440764/b.jpg", ("tench",), "val"),
        Item(root / "val/n01443537/c.jpg", ("goldfish",), "val"),
    )
    path = write_manifest(tmp_path, "path,label\na.jpg,n01443537\n")
    assert read_dataset(path, labels=labels).labels == ["goldfish"]


@pytest.mark.parametrize("option", ["root", "frame_template", "suffix"])
def test_options_of_lists_belong_to_lists(tmp_path, option):
    root = touch(tmp_path / "data", "run/a.mp4")
    path = write_manifest(tmp_path, "path,label\na.mp4,run\n")
    for source in (root, "datasets:somewhere"):
        with refuses(DataError, option, "'x'", source):
            read_dataset(source, **{option: "x"})
    with refuses(DataError, "x", "folder" if option == "root" else option.partition("_")[0]):
        read_dataset(path, **{option: "x"})


# ---- what a dataset can do


def drawn(source: Path) -> tuple[set[str], ...]:
    """Return the base names of the items that each draw picks from a source."""
    dataset = read_dataset(source)
    held_out = dataset.with_drawn_split(0.3, seed=4).split("val")
    draws = (held_out, dataset.k_shot(2, seed=4))
    return tuple({item.path.name for item in draw.items} for draw in draws)


@pytest.mark.parametrize("place", ["", "../videos/", "/elsewhere/"])
def test_draws_ignore_order_and_location(tmp_path, monkeypatch, place):
    names = [f"{i}.mp4" for i in range(40)]
    rows = [f"{place}{name},class {i % 4},scene {i // 8}" for i, name in enumerate(names)]
    first, other = tmp_path / "a" / "lists", tmp_path / "b" / "c" / "lists"
    for folder, order in ((first, rows), (other, rows[::-1])):
        folder.mkdir(parents=True)
        write_manifest(folder, "\n".join(["path,label,group", *order]))
    expected = drawn(first / "clips.csv")
    assert drawn(other / "clips.csv") == expected
    monkeypatch.chdir(other)
    assert drawn(Path("clips.csv")) == drawn(Path()) == expected
    if not place:
        whole = [row.replace(name, str(other / name), 1) for row, name in zip(rows, names, strict=True)]
        write_manifest(other, "\n".join(["path,label,group", *whole]))
        assert drawn(Path("clips.csv")) == expected, "absolute paths below the folder of the manifest"


def test_drawn_split_keeps_groups_and_copies():
    items = [Item(Path(f"{i}.mp4"), (f"class {i % 2}",), group=f"scene {i // 4}") for i in range(40)]
    partly = [Item(Path(f"{i}.mp4"), ("run",), group="scene" if i < 4 else None) for i in range(12)]
    many = [Item(Path(f"{i}.mp4"), (f"class {i % 4}",)) for i in range(80)]
    for seed in range(10):
        drawn = Dataset(tuple(items)).with_drawn_split(0.3, seed=seed)
        sides = {(item.group, item.split) for item in drawn.items}
        assert len(sides) == 10
        assert {side for _, side in sides} == {"train", "val"}
        drawn = Dataset(tuple(many) * 2).with_drawn_split(0.2, seed=seed)
        assert splits_of(drawn) == {"train": 128, "val": 32}
        assert not {i.path for i in drawn.split("train").items} & {i.path for i in drawn.split("val").items}
        # Items without a group are held out one by one.
        drawn = Dataset(tuple(partly)).with_drawn_split(0.25, seed=seed)
        assert len({item.split for item in drawn.items[:4]}) == 1
        assert splits_of(drawn)["val"] >= 3


def test_a_class_that_cannot_be_divided_trains():
    items = [Item(Path(f"{i}.mp4"), (label,)) for i, label in enumerate(["run"] * 5 + ["fly"] + ["swim"] * 4 + ["sit"])]
    drawn = Dataset(tuple(items)).with_drawn_split(0.2, seed=1)
    assert splits_of(drawn) == {"train": 9, "val": 2}
    assert set(drawn.split("val").labels) == {"run", "swim"}
    assert set(drawn.split("train").labels) == {"run", "fly", "swim", "sit"}
    assert drawn.notes == (
        "2 of 4 classes have no item or group that can be held out (the first: 'fly'): used for training, not scored",
    )
    # Class c has only group a, so the whole group trains, including its items of other classes.
    groups = {"a": "ab", "b": "acd", "c": "a"}
    items = [Item(Path(f"{k}{g}.mp4"), (k,), group=g) for k, own in groups.items() for g in own]
    drawn = Dataset(tuple(items)).with_drawn_split(0.3, seed=0)
    assert {item.group: item.split for item in drawn.items}["a"] == "train"
    assert drawn.split("val").classes == ["a", "b"]
    assert "1 of 3 classes have no item or group that can be held out (the first: 'c')" in drawn.notes[0]
    # The parts of one film are one group: it is divided, with a note.
    parts = [Item(Path(f"film.mp4#t={i},{i + 1}"), ("run" if i % 2 else "fly",)) for i in range(10)]
    for multilabel in (False, True):
        drawn = Dataset(tuple(parts), multilabel=multilabel).with_drawn_split(0.2, seed=0)
        assert splits_of(drawn) == {"train": 8, "val": 2}
        assert drawn.split("val").classes == ["fly", "run"]
        prints(drawn.notes[0], "film.mp4", 10, "optimistic")
    for lone in (["run", "fly"], ["run"]):
        with refuses(DataError, "no item or group", lone[-1]):
            Dataset(tuple(Item(Path(f"{name}.mp4"), (name,)) for name in lone)).with_drawn_split(0.2, seed=0)


# ---- clips for training


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Dataset:
    root = tmp_path_factory.mktemp("filmed")
    for i, name in enumerate(["run/a.mkv", "run/b.mkv", "jump/c.mkv"]):
        lossless(touch(root, name) / name, [picture(index) for index in range(12 + i)])
    PIL.Image.fromarray(picture(5)).save(root / "jump/d.png")
    return read_dataset(root)


RECIPE = Recipe("test", frames=4, flip=0.5)


def train_clips(dataset: Dataset, **values: Any) -> TrainClips:
    return TrainClips(dataset, replace(RECIPE, **values), Pixels(16, 20, "bicubic"))


def read_numbers(clip: torch.Tensor) -> list[int]:
    """Return a clip's frame numbers, read from the blue channel."""
    blue = clip[:, 2].float()
    assert (blue == blue[:, :1, :1]).all()
    return (blue[:, 0, 0] / 4).int().tolist()


def test_a_training_clip(filmed):
    clips = train_clips(filmed)
    assert len(clips) == 4
    clip, position = clips[0, 2]
    assert filmed.items[2].path.name == "a.mkv"
    assert (clip.shape, clip.dtype, position) == ((4, 3, 16, 16), torch.uint8, 2)
    # One frame from each of four segments of three frames.
    assert [index // 3 for index in read_numbers(clip)] == [0, 1, 2, 3]
    seen = {index for epoch in range(40) for index in read_numbers(clips[epoch, 2][0])}
    assert seen == set(range(12)), "each comes up"
    image, position = clips[0, 1]
    assert (read_numbers(image), position) == ([5] * 4, 1)


def test_draw_ignores_other_state(filmed):
    """Nor other keys; the same in workers: tests/commands/test_train.py."""
    keys = [(epoch, position) for epoch in (0, 3) for position in range(4)]
    clips = train_clips(filmed)
    first = {key: clips[key][0] for key in keys}
    torch.manual_seed(1)
    np.random.default_rng(1)
    again = train_clips(filmed)
    for key in reversed(keys):
        assert torch.equal(again[key][0], first[key]), key
    # The seed, the epoch and the position each change the draw.
    clips = train_clips(filmed.select([2, 2, 2]))
    others = [train_clips(filmed.select([2, 2, 2]), seed=1)[0, 0], clips[0, 0], clips[1, 0], clips[0, 1], clips[0, 2]]
    assert not any(torch.equal(a[0], b[0]) for i, a in enumerate(others) for b in others[:i])


# ---- clips for testing

PIXELS = Pixels(size=24, resize=HEIGHT, interpolation="bilinear")


def view_clips(paths: list[Path], views: Views, frames: int = 4) -> ViewClips:
    return ViewClips(paths, Protocol(frames, PIXELS, views))


@pytest.mark.parametrize("length", [1, 3, 4, 9, 40])
def test_each_frame_is_decoded_once_for_all_views(tmp_path, monkeypatch, length):
    path, read, iter_frames = lossless(tmp_path / "a.mkv", [*map(picture, range(length))]), [], Video.iter_frames
    monkeypatch.setattr(Video, "iter_frames", lambda media, wanted: read.append(wanted) or iter_frames(media, wanted))
    for views in (Views(), Views(4, 3), Views(10, 1), Views(4, 3, "center"), Views(2, 3, "dense")):
        cut, wanted = view_clips([path], views)[0], views.frame_indices(length, 4)
        assert read.pop() == {index for clip in wanted for index in clip}
        assert not read
        assert [read_numbers(view) for view in cut] == [clip for clip in wanted for _ in range(views.crops)]


def test_unreadable_items_are_returned_as_errors(filmed, tmp_path):
    broken, missing = write_broken(tmp_path / "broken.mkv"), tmp_path / "missing.mp4"
    dataset = Dataset((*filmed.items, Item(broken, ("run",)), Item(missing, ("jump",))))
    clips, views = train_clips(dataset), view_clips([item.path for item in dataset.items], Views(2, 3))
    loader = torch.utils.data.DataLoader(clips, batch_sampler=[[(0, 5)], [(0, 2)]], num_workers=1, collate_fn=list)
    (from_worker,), ((clip, _),) = loader
    for (error, *rest), expected in [(clips[0, 4], [broken, 4]), (from_worker, [missing, 5]), ((views[4],), [broken])]:
        assert isinstance(error, MediaError)
        assert [error.path, *rest] == expected
    assert torch.equal(clip, clips[0, 2][0])
    assert len(views) == 6


# ---- clips of features


def test_feature_clips_match_training_clips(filmed):
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        bank = [torch.arange(n).float()[:, None] + 100 * i + torch.zeros(n, 2) for i, n in enumerate([4, 1, 12])]
        clips = TrainFeatures(bank, frames=4, seed=seed)
        clip, position = clips[epoch, 2]
        assert (clip.shape, position) == ((4, 2), 2)
        assert clip[:, 0].sub(200).tolist() == read_numbers(train_clips(filmed, seed=seed)[epoch, 2][0])
    assert clips[0, 0][0][:, 0].tolist() == [0, 1, 2, 3]
    assert clips[0, 1][0][:, 0].tolist() == [100] * 4
