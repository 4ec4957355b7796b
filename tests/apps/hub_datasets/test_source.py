"""Data sets of Hugging Face `datasets` become labelled files without its decoders."""

import json
import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from made import write_image, write_video
from media_files import read_all
from messages import prints, refuses
from texthead.data.dataset import splits_of
from texthead.data.reading import read_dataset
from texthead.errors import DataError

library: Any = import_module("datasets")
CLASSES = library.ClassLabel(names=["red", "blue"])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


def save(path: Path, columns: dict[str, list], **features: Any) -> str:
    """Save a dataset with these columns to disk; return the source that names it."""
    library.Dataset.from_dict(columns, features=library.Features(features)).save_to_disk(path)
    return f"datasets:{path}"


def save_images(path: Path, given: list, labels: list, label: Any = CLASSES) -> str:
    return save(path, {"image": given, "label": labels}, image=library.Image(), label=label)


def images(folder: Path, *names: str) -> list[str]:
    return [str(write_image(folder / name, "red" if i % 2 else "blue", seed=i)) for i, name in enumerate(names)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_images_with_class_labels(tmp_path, own_cache):
    given = images(tmp_path, "a.png", "b.jpg", "c.webp")
    before = [Path(path).read_bytes() for path in given]
    source = save_images(tmp_path / "data", given, [1, 0, 1])
    for path in given:
        Path(path).unlink()
    dataset = read_dataset(source)
    assert dataset.labels == ["blue", "red", "blue"]
    assert (dataset.source, dataset.notes, splits_of(dataset), dataset.only_images) == (source, (), {}, True)
    assert [item.path.name for item in dataset.items] == [f"0000000{row}.png" for row in range(3)]
    assert [item.path.read_bytes() for item in dataset.items] == before
    assert all(item.path.parent.parent == own_cache for item in dataset.items)
    assert all(read_all(item.media.open()) == 1 for item in dataset.items)
    assert read_dataset(source) == dataset
    assert dataset.item_names == ["train/0", "train/1", "train/2"]


def test_videos_without_a_decoder(tmp_path):
    """Nor names: what a file is, its content tells."""
    given = [write_video(tmp_path / f"a.{end}", "red", frames=5) for end in ("mp4", "mkv", "avi", "ts", "mpg")]
    columns = {"clip": [{"bytes": path.read_bytes(), "path": None} for path in given], "label": [*"xyxyx"]}
    source = save(tmp_path / "data", columns, clip=library.Video(decode=False), label=library.Value("string"))
    dataset = read_dataset(source)
    assert [read_all(item.media.open()) for item in dataset.items] == [5] * 5
    assert not dataset.only_images
    # The same with decoding on (the default).
    columns = {"clip": [str(path) for path in given], "label": [*"xyxyx"]}
    again = read_dataset(save(tmp_path / "on", columns, clip=library.Video(), label=library.Value("string")))
    assert [item.path.read_bytes() for item in again.items] == [path.read_bytes() for path in given]
    assert "torchcodec" not in sys.modules


def test_rows_that_point_at_a_file_use_it(tmp_path, own_cache, monkeypatch):
    """The library's folder loader does not copy the files."""
    labelled = {(write_image(tmp_path / "folders" / colour / "a.png", colour), colour) for colour in ("red", "blue")}
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    dataset = read_dataset(f"datasets:{tmp_path / 'folders'}")
    assert {(item.path, item.label) for item in dataset.items} == labelled
    assert splits_of(dataset) == {}
    folders = [tmp_path / "clips" / split / c for split in ("train", "test") for c in ("red", "blue")]
    videos = [write_video(folder / "a.mp4", folder.name) for folder in folders]
    dataset = read_dataset(f"datasets:{tmp_path / 'clips'}")
    assert {item.path for item in dataset.items} == set(videos)
    assert (splits_of(dataset), dataset.classes) == ({"train": 2, "test": 2}, ["blue", "red"])
    assert not own_cache.exists()


def test_cache_reused_unless_incomplete(tmp_path, own_cache):
    source = save_images(tmp_path / "data", images(tmp_path, "a.png", "b.png"), [1, 0])
    first, second = (item.path for item in read_dataset(source).items)
    before = contents(own_cache)
    os.utime(second, (1, 1))
    first.write_bytes(b"half")
    assert [item.path for item in read_dataset(source).items] == [first, second]
    assert contents(own_cache) == before
    assert second.stat().st_mtime == 1, "it was not written again"


def test_other_pictures_under_the_same_fingerprint_are_read(tmp_path, own_cache):
    """A fingerprint of generated data tells the generator, not what it read."""
    source = save_images(tmp_path / "data", [str(write_image(tmp_path / "red.bmp", "red"))], [0])
    (before,) = (item.path.read_bytes() for item in read_dataset(source).items)
    folder, state = tmp_path / "data", json.loads((tmp_path / "data" / "state.json").read_text())
    shutil.rmtree(folder)
    save_images(folder, [str(write_image(tmp_path / "blue.bmp", "blue"))], [0])
    (folder / "state.json").write_text(json.dumps(state))
    (after,) = (item.path.read_bytes() for item in read_dataset(source).items)
    assert before == (tmp_path / "red.bmp").read_bytes()
    assert after == (tmp_path / "blue.bmp").read_bytes()


def save_splits(path: Path, **splits: list[int]) -> str:
    """Save a `DatasetDict` with these labels in each split; return the source that names it."""
    names = iter(range(1000))
    parts = {
        split: library.Dataset.from_dict(
            {"image": images(path.parent / split, *(f"{next(names)}.png" for _ in labels)), "label": labels},
            features=library.Features({"image": library.Image(), "label": CLASSES}),
        )
        for split, labels in splits.items()
    }
    library.DatasetDict(parts).save_to_disk(path)
    return f"datasets:{path}"


def test_splits(tmp_path):
    dataset = read_dataset(save_splits(tmp_path / "data", train=[0, 1, 0], validation=[1], test=[0, 1]))
    assert splits_of(dataset) == {"train": 3, "val": 1, "test": 2}
    assert (dataset.labels, dataset.notes) == (["red", "blue"] * 3, ())
    # A lone training split counts as no split.
    assert splits_of(read_dataset(save_splits(tmp_path / "a", train=[0, 1]))) == {}
    assert splits_of(read_dataset(save_splits(tmp_path / "b", validation=[0, 1]))) == {"val": 2}


def test_splits_that_are_not_used_are_noted(tmp_path):
    source = save_splits(tmp_path / "data", train=[0, 1], validation=[1], test=[-1, -1], extra=[0])
    dataset = read_dataset(source)
    assert splits_of(dataset) == {"train": 2, "val": 1}
    unlabelled, unknown = dataset.notes
    prints(unlabelled, f"{source} (test)", 2)
    prints(unknown, f"{source} (extra)", 1)
    with refuses(DataError, tmp_path / "odd", "a, b"):
        read_dataset(save_splits(tmp_path / "odd", a=[0], b=[1]))
    with refuses(DataError, f"{tmp_path / 'other'} (test)", 1, "'label'"):
        read_dataset(save_splits(tmp_path / "other", train=[0, 1], test=[0, -1]))


@pytest.mark.parametrize(
    ("kind", "labels", "names"),
    [
        (library.List(CLASSES), [[1, 0], [], [0]], ["blue; red", "", "red"]),
        (library.LargeList(library.Value("string")), [["b", " a"], [], ["b", "b"]], ["a; b", "", "b"]),
    ],
)
def test_lists_of_labels_are_several(tmp_path, kind, labels, names):
    given = images(tmp_path, "a.png", "b.png", "c.png")
    dataset = read_dataset(save_images(tmp_path / "data", given, labels, kind))
    assert (dataset.multilabel, [item.label for item in dataset.items]) == (True, names)
    prints(dataset.notes[0], "1 of 3 files have several labels", "1 have none")


def test_columns_and_rows_that_do_not_fit(tmp_path):
    given, image, text = images(tmp_path, "a.png"), library.Image(), library.Value("string")
    (one,), multilabel = given, library.List(CLASSES)
    for i, (columns, features, parts) in enumerate(
        [
            ({"image": given}, {"image": image}, ["image (Image)"]),
            ({"label": [0]}, {"label": CLASSES}, ["label (ClassLabel)"]),
            (
                {"image": given, "label": [0], "coarse": [1]},
                {"image": image, "label": CLASSES, "coarse": CLASSES},
                ["image (Image), label (ClassLabel), coarse (ClassLabel)"],
            ),
            ({"image": given, "a": ["x"], "b": ["y"]}, {"image": image, "a": text, "b": text}, ["a (", "b ("]),
            ({"image": given, "two": given, "a": ["x"]}, {"image": image, "two": image, "a": text}, ["two (Image)"]),
            ({"image": given, "n": [3]}, {"image": image, "n": library.Value("int64")}, ["n (Value)"]),
            ({"image": [one, None], "a": ["x", "y"]}, {"image": image, "a": text}, ["row 1", None]),
            ({"image": [one, one], "a": ["x", None]}, {"image": image, "a": text}, ["row 1", "'a'"]),
            *(
                ({"image": [one, one], "a": [[0, 1], wrong]}, {"image": image, "a": multilabel}, ["row 1", "'a'"])
                for wrong in (None, [0, None], [-1])
            ),
        ]
    ):
        source = save(tmp_path / str(i), columns, **features)
        with refuses(DataError, source, *parts):
            read_dataset(source)


def test_load_errors_and_untrusted_code(tmp_path, monkeypatch):
    empty, scripted = tmp_path / "empty", tmp_path / "scripted"
    empty.mkdir()
    scripted.mkdir()
    (scripted / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "state.json").write_text("{")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for place in (empty, scripted, tmp_path, "nobody/nothing"):
        with refuses(DataError, f"datasets:{place}"):
            read_dataset(f"datasets:{place}")
    assert not (tmp_path / "ran").exists()


def test_a_library_that_runs_code(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "__version__", "3.6.0")
    with refuses(DataError, "3.6.0", "texthead[datasets]"):
        read_dataset(f"datasets:{tmp_path}")
