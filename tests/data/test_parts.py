"""Manifests of video parts: reading, errors, splits and prepared shards."""

import shutil
from pathlib import Path

import pytest

from made import joined_colours, write_frames, write_image
from messages import refuses
from texthead import Dataset, Item, read_dataset
from texthead.data.prepare import ShardOptions, prepare
from texthead.errors import DataError, MediaError
from texthead.media.paths import MediaPath
from texthead.runs.split import RunSplit
from texthead.training.start import split_json


@pytest.fixture
def manifest(tmp_path: Path):
    """Return a function that writes lines to a manifest next to a video, an image and a folder of frames."""
    joined_colours(tmp_path / "a.mkv", ["red", "blue"])
    write_image(tmp_path / "a.png", "red")
    write_frames(tmp_path / "frames" / "img_{:05d}.png", "red", 3)

    def write(*lines: str, name: str = "items.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_rows_with_times_are_parts(manifest, tmp_path: Path) -> None:
    rows = ["a.mkv,0,2.0,red,one", "a.mkv, 2 ,,blue,two", "a.png,,,red,three", '"a.mkv#t=1,2.50",,,both,four']
    dataset = read_dataset(manifest("Path,START,end,label,note", *rows))
    names = ["a.mkv#t=,2", "a.mkv#t=2", "a.png", "a.mkv#t=1,2.5"]
    assert [item.path for item in dataset.items] == [tmp_path / name for name in names]
    assert dataset.labels == ["red", "blue", "red", "both"]
    assert dataset.items[1].extra == (("note", "two"),)
    assert dataset.groups == [str(tmp_path / name) for name in ("a.mkv", "a.mkv", "a.png", "a.mkv")]
    grouped = read_dataset(manifest("path,start,end,label,group", "a.mkv,0,2,red,x", "a.mkv,2,4,blue,y"))
    assert grouped.groups == ["x", "y"]
    assert not dataset.only_images
    assert read_dataset(manifest("path,start,end,label", "a.mkv,0,,red")).items[0].path == tmp_path / "a.mkv"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.mkv,x,2,red", ("a.mkv", "'x'")),
        ("a.mkv,3,2,red", ("start", "end above", "'3' and '2'")),
        ("a.png,0,2,red", ("a.png", "only videos")),
        ("frames,1,2,red", ("frames", "only videos")),
        ("a.mkv#t=x,,,red", ("#t=x", "'x'")),
        ("shard-000000.tar/000000000.avi,1,2,red", ("prepared",)),
    ],
)
def test_rows_that_break_a_rule(manifest, row: str, said: tuple[str, ...]) -> None:
    path = manifest("path,start,end,label", "a.mkv,0,1,red", row)
    with refuses(DataError, f"{path}:3", *said):
        read_dataset(path)


def test_a_part_is_listed_once(manifest) -> None:
    with refuses(DataError, "a.mkv#t=1,2", "2 times"):
        read_dataset(manifest("path,start,end,label", "a.mkv,1,2,red", "a.mkv,1.0,2.00,red"))
    with refuses(DataError, "a.mkv#t=1,2", "2 times", "'blue; red'"):
        read_dataset(manifest("path,start,end,label", "a.mkv,1,2,red", "a.mkv,1.0,2.00,blue"))
    overlapping = read_dataset(manifest("path,start,end,label", "a.mkv,1,2,red", "a.mkv,1,3,blue"))
    assert len(overlapping) == 2


def test_frames_are_trained_on_or_scored(tmp_path: Path) -> None:
    path = joined_colours(tmp_path / "a.mkv", ["red", "blue", "green"])

    def parts(*names: str) -> Dataset:
        return Dataset(tuple(Item(Path(f"{path}{name}"), (label,)) for name in names for label in ("red",)), names[0])

    train = parts("#t=0,2", "#t=3,4")
    assert len(train.with_validation(parts("#t=2,3"))) == 3
    for name in ("#t=1,3", "#t=0,2", "", "#t=3.5"):
        with refuses(DataError, "1 of 1"):
            train.with_validation(parts(name))
    # Of copies of the file too, which have other times.
    copy = Path(shutil.copy(path, tmp_path / "b.mkv"))
    lists = split_json(train, parts("#t=2.2,2.8"))
    run = RunSplit(tmp_path, lists)
    for name, seen in {"#t=1,3": True, "#t=2,3": False, "": True, "#t=3.5": True, "#t=2.2,2.8": False}.items():
        item = Item(Path(f"{copy}{name}"), ("red",))
        assert run.was_trained_on(item.path) == seen
        kept = train.with_validation(Dataset((*parts("#t=2,3").items, item), "copies"))
        assert len(kept) == 3 + (not seen)
        assert any("1 of 2 items are copies" in note for note in kept.notes) == seen
    assert RunSplit(tmp_path, split_json(parts(""), None)).was_trained_on(Path(f"{copy}#t=1,2"))


def test_prepared_parts_hold_their_own_frames(manifest, tmp_path: Path) -> None:
    rows = ["a.mkv,0,2,red,train", "a.mkv,2,4,blue,train", "a.mkv,,,both,test"]
    source = read_dataset(manifest("path,start,end,label,split", *rows))
    prepare(source, tmp_path / "shards", ShardOptions(frames=64, quality=95))
    dataset = read_dataset(tmp_path / "shards")
    labels = [(item.label, item.split) for item in dataset.items]
    assert labels == [("red", "train"), ("blue", "train"), ("both", "test")]
    assert dataset.groups == [str(tmp_path / "a.mkv")] * 3, "parts and the whole file stay together"
    for item, kept in zip(source.items, dataset.items, strict=True):
        with item.media.open() as part, MediaPath(kept.path).open() as clip:
            assert clip.num_frames == part.num_frames
            assert clip.times == pytest.approx(part.times, abs=1e-3)
            ours, theirs = (media.frames_at(range(part.num_frames)).float() for media in (part, clip))
            assert (ours - theirs).abs().mean() < 4
    with refuses(MediaError, "prepared clip", "only videos have parts"):
        MediaPath(f"{dataset.items[0].path}#t=0,1").open()
    path = manifest("path,start,end,label", "a.mkv,8,9,red", "a.mkv,0,1,red", name="late.csv")
    with refuses(MediaError, "#t=8,9"):
        prepare(read_dataset(path), tmp_path / "late")
