"""What Hugging Face `datasets` saves or loads becomes files with labels; its decoders are never needed."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from made import pictures, write_broken, write_image, write_video
from texthead import files
from texthead.datasets import read_dataset, splits_of
from texthead.decoding import check, open_media
from texthead.errors import DataError, MediaError

library: Any = import_module("datasets")
CLASSES = library.ClassLabel(names=["red", "blue"])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


def saved(path: Path, columns: dict[str, list], **features: Any) -> str:
    """The source that names a dataset with these columns, saved to disk."""
    library.Dataset.from_dict(columns, features=library.Features(features)).save_to_disk(path)
    return f"datasets:{path}"


def images(folder: Path, *names: str) -> list[str]:
    return [str(write_image(folder / name, "red" if i % 2 else "blue", seed=i)) for i, name in enumerate(names)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# ---- images and videos


def test_images_with_class_labels(tmp_path, own_cache):
    given = images(tmp_path, "a.png", "b.jpg", "c.webp")
    before = [Path(path).read_bytes() for path in given]
    source = saved(tmp_path / "data", {"image": given, "label": [1, 0, 1]}, image=library.Image(), label=CLASSES)
    for path in given:
        Path(path).unlink()
    dataset = read_dataset(source)
    assert dataset.labels == ["blue", "red", "blue"]
    assert (dataset.source, dataset.notes, splits_of(dataset), dataset.only_images) == (source, (), {}, True)
    assert [item.path.name for item in dataset.items] == ["00000000.png", "00000001.jpg", "00000002.webp"]
    assert [item.path.read_bytes() for item in dataset.items] == before
    assert all(item.path.parent.parent == own_cache for item in dataset.items)
    assert all(check(item.path) == 1 for item in dataset.items)
    assert read_dataset(source) == dataset


def test_pictures_from_memory(tmp_path):
    arrays = [pictures("red", 1, seed)[0] for seed in range(2)]
    columns = {"picture": [PIL.Image.fromarray(array) for array in arrays], "kind": ["a", " b "]}
    dataset = read_dataset(saved(tmp_path / "data", columns, picture=library.Image(), kind=library.Value("string")))
    assert dataset.labels == ["a", "b"]
    for item, array in zip(dataset.items, arrays, strict=True):
        with open_media(item.path) as media:
            assert np.array_equal(media.frames_at([0])[0].permute(1, 2, 0).numpy(), array)


def test_videos_without_a_decoder(tmp_path):
    given = [
        write_video(tmp_path / f"{i}.{suffix}", "red", frames=5, seed=i)
        for i, suffix in enumerate(["mp4", "mkv", "avi"])
    ]
    columns = {"clip": [{"bytes": path.read_bytes(), "path": None} for path in given], "label": ["x", "y", "x"]}
    source = saved(tmp_path / "data", columns, clip=library.Video(decode=False), label=library.Value("string"))
    dataset = read_dataset(source)
    assert [item.path.suffix for item in dataset.items] == [".mp4", ".mkv", ".avi"]
    assert [check(item.path) for item in dataset.items] == [5, 5, 5]
    assert not dataset.only_images
    # Also where decoding is on, as it is by default.
    columns = {"clip": [str(path) for path in given], "label": ["x", "y", "x"]}
    again = read_dataset(saved(tmp_path / "on", columns, clip=library.Video(), label=library.Value("string")))
    assert [item.path.read_bytes() for item in again.items] == [path.read_bytes() for path in given]
    assert "torchcodec" not in sys.modules


def test_rows_that_point_at_a_file_use_it(tmp_path, own_cache, monkeypatch):
    """The library's loader of folders leaves pictures where they are."""
    write_image(tmp_path / "folders" / "red" / "a.png", "red")
    write_image(tmp_path / "folders" / "blue" / "b.png", "blue")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    dataset = read_dataset(f"datasets:{tmp_path / 'folders'}")
    assert {(item.path, item.label) for item in dataset.items} == {
        (tmp_path / "folders/red/a.png", "red"),
        (tmp_path / "folders/blue/b.png", "blue"),
    }
    assert splits_of(dataset) == {}
    videos = [
        write_video(tmp_path / "clips" / split / c / "a.mp4", c) for split in ("train", "test") for c in ("red", "blue")
    ]
    dataset = read_dataset(f"datasets:{tmp_path / 'clips'}")
    assert {item.path for item in dataset.items} == set(videos)
    assert (splits_of(dataset), dataset.classes) == ({"train": 2, "test": 2}, ["blue", "red"])
    assert not own_cache.exists()


def test_what_lies_in_the_cache_is_used_again_and_what_is_not_whole_is_not(tmp_path, own_cache):
    given = images(tmp_path, "a.png", "b.png")
    source = saved(tmp_path / "data", {"image": given, "label": [1, 0]}, image=library.Image(), label=CLASSES)
    first, second = (item.path for item in read_dataset(source).items)
    before = contents(own_cache)
    os.utime(second, ns=(1, 1))
    first.write_bytes(b"half")
    assert [item.path for item in read_dataset(source).items] == [first, second]
    assert contents(own_cache) == before
    assert second.stat().st_mtime_ns == 1, "it was not written again"


def test_a_stop_leaves_no_half_file(tmp_path, own_cache, monkeypatch):
    given = images(tmp_path, "a.png", "b.png")
    source = saved(tmp_path / "data", {"image": given, "label": [1, 0]}, image=library.Image(), label=CLASSES)
    real = Path.write_bytes

    def stop(self: Path, content: bytes) -> int:
        real(self, content[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            read_dataset(source)
    assert contents(own_cache) == {}
    assert len(read_dataset(source)) == len(contents(own_cache)) == 2


def test_broken_bytes_are_an_error_of_the_file_when_it_is_read(tmp_path):
    broken = write_broken(tmp_path / "x.mp4").read_bytes()
    columns = {"image": [{"bytes": broken, "path": None}, {"bytes": broken, "path": "a/b.JPG"}], "label": [0, 1]}
    dataset = read_dataset(saved(tmp_path / "i", columns, image=library.Image(decode=False), label=CLASSES))
    assert [item.path.suffix for item in dataset.items] == [".png", ".jpg"]
    columns = {"video": [{"bytes": broken, "path": None}], "label": [0]}
    clips = read_dataset(saved(tmp_path / "v", columns, video=library.Video(decode=False), label=CLASSES))
    for item in (*dataset.items, *clips.items):
        with pytest.raises(MediaError, match="cannot be read as"):
            open_media(item.path)


# ---- splits


def dictionary(path: Path, **splits: list[int]) -> str:
    """A saved `DatasetDict`: the labels of each split."""
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
    dataset = read_dataset(dictionary(tmp_path / "data", train=[0, 1, 0], validation=[1], test=[0, 1]))
    assert splits_of(dataset) == {"train": 3, "val": 1, "test": 2}
    assert dataset.labels == ["red", "blue", "red", "blue", "red", "blue"]
    assert dataset.notes == ()


def test_one_training_split_is_none(tmp_path):
    assert splits_of(read_dataset(dictionary(tmp_path / "a", train=[0, 1]))) == {}
    assert splits_of(read_dataset(dictionary(tmp_path / "b", validation=[0, 1]))) == {"val": 2}


def test_splits_that_are_not_used_are_noted(tmp_path):
    source = dictionary(tmp_path / "data", train=[0, 1], validation=[1], test=[-1, -1], extra=[0])
    dataset = read_dataset(source)
    assert splits_of(dataset) == {"train": 2, "val": 1}
    assert dataset.notes == (
        f"{source} (test): none of its 2 rows has a label; they are not used",
        f"{source} (extra): is none of train, validation, test; its 1 rows are not used",
    )
    with pytest.raises(DataError, match="splits a, b are unknown; call them train, validation, test"):
        read_dataset(dictionary(tmp_path / "odd", a=[0], b=[1]))
    with pytest.raises(DataError, match=r"data2 \(test\): row 1 has no label in column 'label'; remove such rows"):
        read_dataset(dictionary(tmp_path / "data2", train=[0, 1], test=[0, -1]))


# ---- columns


def test_a_choice_of_labels_is_noted(tmp_path):
    columns = {"image": images(tmp_path, "a.png"), "label": [1], "caption": ["a red square"]}
    features = {"image": library.Image(), "label": CLASSES, "caption": library.Value("string")}
    source = saved(tmp_path / "data", columns, **features)
    assert read_dataset(source).notes == (f"{source}: labels are column 'label', not 'caption'",)


def test_columns_that_do_not_fit_are_listed(tmp_path):
    given = images(tmp_path, "a.png")
    image, text = library.Image(), library.Value("string")
    for i, (columns, features, listed) in enumerate(
        [
            ({"image": given}, {"image": image}, r"has image \(Image\)"),
            ({"label": [0]}, {"label": CLASSES}, r"has label \(ClassLabel\)"),
            (
                {"image": given, "label": [0], "coarse": [1]},
                {"image": image, "label": CLASSES, "coarse": CLASSES},
                r"has image \(Image\), label \(ClassLabel\), coarse \(ClassLabel\): leave others out with select_columns",
            ),
            ({"image": given, "a": ["x"], "b": ["y"]}, {"image": image, "a": text, "b": text}, "one string, as label"),
            (
                {"image": given, "two": given, "a": ["x"]},
                {"image": image, "two": image, "a": text},
                "one column of images",
            ),
            ({"image": given, "n": [3]}, {"image": image, "n": library.Value("int64")}, r"n \(Value\)"),
        ]
    ):
        with pytest.raises(DataError, match=listed):
            read_dataset(saved(tmp_path / str(i), columns, **features))


def test_rows_without_picture_or_label(tmp_path):
    given = images(tmp_path, "a.png")
    text = library.Value("string")
    source = saved(tmp_path / "a", {"image": [*given, None], "label": ["x", "y"]}, image=library.Image(), label=text)
    with pytest.raises(DataError, match="row 1 has no bytes and points at None, no file here"):
        read_dataset(source)
    source = saved(tmp_path / "b", {"image": given * 2, "label": ["x", None]}, image=library.Image(), label=text)
    with pytest.raises(DataError, match="row 1 has no label in column 'label'"):
        read_dataset(source)


def test_a_label_file_names_the_labels(tmp_path):
    source = saved(
        tmp_path / "data", {"image": images(tmp_path, "a.png"), "label": [0]}, image=library.Image(), label=CLASSES
    )
    (tmp_path / "labels.csv").write_text("id,name\nred,a red square\n")
    assert read_dataset(source, labels=tmp_path / "labels.csv").labels == ["a red square"]


# ---- what cannot be loaded


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: cannot be loaded .*; give a folder that `datasets` saved or can load"):
        read_dataset(f"datasets:{tmp_path / 'empty'}")
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot be loaded"):
        read_dataset(f"datasets:{tmp_path}")


def test_code_in_a_dataset_is_not_run(tmp_path):
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(DataError, match="cannot be loaded"):
        read_dataset(f"datasets:{folder}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached(tmp_path):
    program = (
        "from texthead.datasets import read_dataset\nfrom texthead.errors import DataError\n"
        "try:\n    read_dataset('datasets:nobody/nothing')\nexcept DataError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("datasets:nobody/nothing: cannot be loaded (")
    assert "an id of the hub that can be reached or was loaded before" in done.stdout


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs Hugging Face datasets: pip install texthead\[datasets\]"):
        read_dataset(f"datasets:{tmp_path}")


def test_a_library_that_runs_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "__version__", "3.6.0")
    with pytest.raises(DataError, match=r"datasets 3.6.0 can run code of a dataset: pip install texthead\[datasets\]"):
        read_dataset(f"datasets:{tmp_path}")


def test_the_cache_is_ours(own_cache):
    assert own_cache == files.cache_dir() / "datasets"
