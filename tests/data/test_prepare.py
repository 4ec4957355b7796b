"""Shards: writing, access with any tar tool, reading back, and errors for damaged ones."""

import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from made import COLOURS, PIXELS, stored, tiny_visual, write_broken, write_frames, write_image, write_video
from media_files import read_all
from messages import prints, refuses
from texthead import Dataset, Item, Protocol, Views, read_dataset
from texthead.data import evenly
from texthead.data.clips import TrainClips, ViewClips
from texthead.data.prepare import ShardOptions as Options
from texthead.data.prepare import prepare
from texthead.errors import DataError, MediaError, RunError
from texthead.features.cache import FeatureCache, encoder_key
from texthead.media import MediaPath
from texthead.media import shard as shard_files
from texthead.media.find import find_media
from texthead.media.shard import member, padded
from texthead.parallel.progress import Reporter
from texthead.recipes import Recipe
from texthead.text.class_tree import ClassTree

FEW = Options(clips=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight videos of 3 to 40 frames, an image, and a folder of frames: splits, groups, another column, a tree."""
    folder = tmp_path_factory.mktemp("source")
    lengths = [6, 40, 3, 8, 33, 12, 5, 7]
    colours = list(COLOURS)
    paths = [write_video(folder / f"{i}.mp4", colours[i % 3], frames=n, seed=i) for i, n in enumerate(lengths)]
    items = [Item(path, (colours[i % 3],), "train", f"g{i % 2}") for i, path in enumerate(paths)]
    items.append(Item(write_image(folder / "a.png", "red"), ("red",), "test", extra=(("camera", "left"),)))
    items.append(Item(write_frames(folder / "f" / "img_{:05d}.jpg", "blue", frames=5), ("blue",), "test"))
    tree = ClassTree({colour: ("cold",) if colour == "blue" else ("warm",) for colour in COLOURS})
    return Dataset(tuple(items), "here", tree=tree)


@pytest.fixture(scope="module")
def ready(source: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ready") / "shards"
    prepare(source, out, FEW)
    return out


@pytest.fixture
def copy(ready: Path, tmp_path: Path) -> Path:
    # A new folder each time, because indices are cached in memory.
    return Path(shutil.copytree(ready, tmp_path / "copy"))


def listed(path: Path) -> list[tuple[int, int, str]]:
    """Return the offset, size and digest of each frame, from the clip's table."""
    return json.loads(stored(path)[0])["frames"]


def decode(path: Path) -> torch.Tensor:
    with MediaPath(path).open() as media:
        return media.frames_at(range(media.num_frames))


def test_shards_keep_order_and_columns(source: Dataset, ready: Path) -> None:
    found = read_dataset(ready)
    assert [replace(item, path=Path()) for item in found.items] == [replace(i, path=Path()) for i in source.items]
    assert (len({item.path for item in found.items}), found.tree) == (len(source), source.tree)
    assert found.item_names == source.item_names == [item.media.original for item in found.items]
    assert {path.name for path in ready.iterdir()} == {
        *(".lock", "prepare.json", "shards.json"),
        *(f"shard-{n:06d}.{end}" for n in range(4) for end in ("tar", "json")),
    }
    prints(found.notes[0], ready, "here", "32 frames")
    assert find_media([ready]) == [*map(str, found.paths)]
    assert find_media([ready / "shard-000000.tar" / "000000001.avi"])
    with refuses(MediaError, "000000099.avi"):
        MediaPath(ready / "shard-000000.tar" / "000000099.avi").open()


def test_clips_hold_evenly_placed_frames_of_their_source(source: Dataset, ready: Path) -> None:
    for before, after in zip(source.items, read_dataset(ready).items, strict=True):
        whole, stored = decode(before.path), decode(after.path)
        expected = whole[evenly(len(whole), 32)]
        assert stored.shape == expected.shape
        apart = (stored.float()[:, None] - expected.float()).flatten(2)
        distances = apart.abs().mean(-1)
        # Some frames are nearly identical.
        assert (distances.diagonal() < 1.05 * distances.min(-1).values).all(), "its own frame is the nearest"
        assert apart.diagonal().mean(0).abs().max() < 1, "grey levels: no range is squeezed or shifted"
        with MediaPath(before.path).open() as video, MediaPath(after.path).open() as clip:
            assert read_all(clip) == len(expected)
            times = [video.times[index] for index in evenly(video.num_frames, 32)] if video.times else []
            assert clip.times == pytest.approx([time - times[0] for time in times], abs=1e-3)
            assert bool(clip.duration_seconds) == bool(times)


def test_tar_reads_clips_and_metadata(source: Dataset, ready: Path) -> None:
    seen = {}
    for tar in sorted(ready.glob("*.tar")):
        with tarfile.open(tar) as archive:
            names = archive.getnames()
            listed = json.loads(tar.with_suffix(".json").read_text())["clips"]
            ends = {".jpg": (".json", ".jpg"), ".avi": (".json", ".frames.json", ".avi")}
            # A sample's files are adjacent.
            assert names == [clip["key"] + end for clip in listed for end in ends[clip["suffix"]]]
            for name in (f"{clip['key']}.json" for clip in listed):
                about = json.loads(archive.extractfile(name).read())  # pyright: ignore[reportOptionalMemberAccess]
                seen[about["order"]] = about
    assert [*seen] != sorted(seen), "classes are mixed over shards"
    assert [seen[i]["source"] for i in range(len(source))] == [str(item.path) for item in source.items]
    assert (seen[1]["frames"], seen[1]["source_frames"]) == (evenly(40, 32), 40)
    assert seen[1]["seconds"][1] - seen[1]["seconds"][0] == pytest.approx(0.1)
    assert seen[8]["extra"] == [["camera", "left"]]
    # The index is that of webdataset's indexed reader.
    index = json.loads((ready / "shards.json").read_text())
    assert index["__kind__"] == "wids-shard-index-v1"
    listed = [(shard["url"], shard["nsamples"], shard["filesize"]) for shard in index["shardlist"]]
    tars = [ready / f"shard-{number:06d}.tar" for number in range(4)]
    assert listed == [(tar.name, count, tar.stat().st_size) for tar, count in zip(tars, (3, 3, 3, 1), strict=True)]


def test_frames_are_scaled_down_and_never_up(source: Dataset, tmp_path: Path) -> None:
    prepare(source, tmp_path / "s", Options(short_side=24, frames=4))
    for item in read_dataset(tmp_path / "s").items:
        frames = decode(item.path)
        assert frames.shape[2:] == (24, 24)
        assert len(frames) <= 4


def test_finished_shards_are_left_alone_and_the_others_are_made(source: Dataset, copy: Path) -> None:
    seen = []
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    (copy / "shard-000001.json").unlink()
    (copy / "shard-000002.tar").write_bytes((copy / "shard-000002.tar").read_bytes()[:-512])
    (copy / "shards.json").unlink()
    done = prepare(source, copy, FEW, reporter=Reporter().counting(lambda *at: seen.append(at)))
    assert (done.skipped, done.clips, done.shards) == (2, 10, 4)
    after = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    assert set(after) == set(before)
    changed = {name for name in after if after[name] != before[name]} - {".lock"}
    assert changed == {"shard-000001.tar", "shard-000001.json", "shard-000002.tar", "shard-000002.json", "shards.json"}
    assert (seen[0], seen[-1]) == ((4, 10), (10, 10))
    assert all(read_all(item.media.open()) for item in read_dataset(copy).items)


def test_several_processes_write_the_same_shards(source: Dataset, ready: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "s", FEW, workers=2)
    for path in ready.iterdir():
        assert (tmp_path / "s" / path.name).read_bytes() == path.read_bytes()


def test_shard_of_changed_source_is_rebuilt(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{i}.mp4", "red", seed=i) for i in range(3)]
    paths.append(write_broken(tmp_path / "3.mp4"))
    data, out = Dataset(tuple(Item(path, ("red",)) for path in paths), "here"), tmp_path / "s"
    for _ in range(2):
        with pytest.raises(MediaError, match=r"3\.mp4"):
            prepare(data, out, Options(clips=2))
    write_video(paths[3], "red", seed=3)
    assert prepare(data, out, Options(clips=2)).clips == 4
    before = [decode(item.path) for item in read_dataset(out).items]
    write_video(paths[1], "blue")
    assert prepare(data, out, Options(clips=2)).skipped == 1
    after = [decode(item.path) for item in read_dataset(out).items]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True, True]


@pytest.mark.parametrize("name", ["notes.txt", "shard-000000.tar", "shards.json"])
def test_a_folder_with_something_else_in_it_is_refused(source: Dataset, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with refuses(DataError, name, "prepare.json"):
        prepare(source, tmp_path, FEW)
    assert (os.listdir(tmp_path), (tmp_path / name).read_text()) == ([name], "mine")
    with pytest.raises(RunError, match=name):
        prepare(source, tmp_path / name)


def test_unsuitable_options_and_folders_are_refused(source: Dataset, ready: Path, tmp_path: Path) -> None:
    for option, value in [("frames", 0), ("short_side", 15), ("quality", 0), ("quality", 96), ("clips", 0)]:
        with refuses(DataError, option, value):
            Options(**{option: value})
    with refuses(DataError, "address s3://bucket/shards"):
        prepare(source, Path("s3://bucket/shards"))
    write_video(tmp_path / "red" / "a.mp4", "red")
    with refuses(DataError, tmp_path / "shards"):
        prepare(read_dataset(tmp_path), tmp_path / "shards")
    for data, options in ((source, replace(FEW, quality=80)), (source.select(range(9)), FEW)):
        with refuses(DataError, ready, "other data or options"):
            prepare(data, ready, options)


def test_unreadable_files_error_or_listed(source: Dataset, tmp_path: Path) -> None:
    items = list(source.items)
    items.insert(2, Item(write_broken(tmp_path / "broken.mp4"), ("red",), "train"))
    items.insert(5, Item(tmp_path / "missing.mp4", ("red",), "train"))
    data, out = Dataset(tuple(items), "here"), tmp_path / "s"
    with pytest.raises(MediaError, match=r"\b1 more\b"):
        prepare(data, out, FEW)
    assert not (out / "shards.json").exists(), "not finished"
    lacking = sum(bool(json.loads(path.read_text())["unreadable"]) for path in out.glob("shard-*.json"))
    assert lacking in (1, 2)
    done = prepare(data, out, FEW, skip_unreadable=True)
    assert done.skipped == 4, "nothing is decoded again"
    assert {entry.path.name for entry in done.unreadable} == {"broken.mp4", "missing.mp4"}
    found = read_dataset(out)
    assert [item.label for item in found.items] == source.labels
    prints(found.notes[1], "2 unreadable files")


def test_training_and_testing_take_clips_as_from_files(source: Dataset, ready: Path) -> None:
    found = read_dataset(ready)
    recipe = Recipe("test", frames=4, flip=0.5)
    clips = TrainClips(found, recipe, PIXELS)
    originals = TrainClips(source, recipe, PIXELS)
    for position in range(len(found)):
        clip, expected = clips[0, position][0], originals[0, position][0]
        assert clip.shape == (4, 3, 32, 32)
        if len(decode(source.items[position].path)) <= 32:  # Longer videos are stored with fewer frames to draw from.
            assert (clip.float() - expected.float()).mean().abs() < 1
    path = found.items[1].path
    whole, *windows = (
        ViewClips([path], Protocol(4, PIXELS, views))[0]
        for views in (Views(2, 3), Views(origin="dense"), Views(stride=2))
    )
    assert whole.shape == (6, 4, 3, 32, 32)
    # Stored clips lack the consecutive frames that windows need.
    for error in (*windows, TrainClips(found, replace(recipe, stride=2), PIXELS)[0, 1][0]):
        assert isinstance(error, MediaError)
        prints(str(error), path, "origin")


def test_features_are_kept_by_the_clip_s_digest(source: Dataset, ready: Path, tmp_path: Path) -> None:
    path = read_dataset(ready).items[0].path
    cache = FeatureCache(encoder_key(tiny_visual(), PIXELS), tmp_path)
    assert cache.identify(MediaPath(path))[0] == member(path).sha256
    # It is known as the file that it was made from.
    assert MediaPath(path).fingerprint() == MediaPath(source.items[0].path).fingerprint()
    assert MediaPath(ready / "shard-000009.tar" / "000000000.avi").fingerprint() == ""


def test_any_frames_in_any_order(ready: Path) -> None:
    path = read_dataset(ready).items[1].path
    whole = decode(path)
    pillow = np.stack([np.asarray(PIL.Image.open(io.BytesIO(part))) for part in stored(path)[1]])
    assert np.array_equal(whole.permute(0, 2, 3, 1).numpy(), pillow)
    with MediaPath(path).open() as media:
        for indices in ([0], [31], [5, 6, 7], [30, 2, 2, 11], range(32)):
            frames = media.frames_at(indices)
            assert torch.equal(frames, whole[list(indices)])
            assert frames.is_contiguous(memory_format=torch.channels_last)
        assert {index: picture.shape for index, picture in media.iter_frames({4, 9})} == {
            4: (48, 48, 3),
            9: (48, 48, 3),
        }


def test_a_flipped_bit_or_a_shard_that_was_cut_short(copy: Path) -> None:
    path = copy / "shard-000000.tar" / "000000002.avi"
    tar, place = path.parent, member(path)
    frames = listed(path)
    offset, size, _ = frames[1]
    whole = tar.read_bytes()
    broken = bytearray(whole)
    broken[place.offset + offset + size // 2] ^= 1
    tar.write_bytes(broken)
    with MediaPath(path).open() as media:
        assert len(media.frames_at([0, 2])) == 2, "what is whole is read"
        with refuses(MediaError, path, "frame 1", size):
            media.frames_at([0, 1])
    with refuses(MediaError, path, "frame 1", size):
        read_all(MediaPath(path).open())
    broken[place.offset - tarfile.BLOCKSIZE - padded(place.table) + 40] ^= 1
    tar.write_bytes(broken)
    with refuses(MediaError, path, "table"):
        MediaPath(path).open()
    tar.write_bytes(whole[: place.offset + offset + 10])
    with MediaPath(path).open() as media, refuses(MediaError, path, 10, size):
        media.frames_at([1])
    tar.write_bytes(whole[: place.offset - tarfile.BLOCKSIZE - padded(place.table)])
    with pytest.raises(MediaError) as caught:
        MediaPath(path).open()
    assert caught.value.path == path
    assert decode(tar / "000000000.avi").shape[0], "the clips before it are whole"


def test_a_shard_or_an_index_that_is_gone(copy: Path) -> None:
    (copy / "shard-000000.tar").unlink()
    (copy / "shard-000001.json").unlink()
    for path in (copy / "shard-000000.tar" / "000000000.avi", copy / "shard-000001.tar" / "000000003.avi"):
        with pytest.raises(MediaError) as caught:
            MediaPath(path).open()
        assert caught.value.path == path
    with pytest.raises(MediaError, match=r"shard-000001\.json"):
        read_dataset(copy)


def test_an_index_of_another_kind_is_refused(copy: Path) -> None:
    for text in ("", "[]", "{}", '{"texthead": {"format": 99}}', '{"texthead": {"format": 1}}'):
        (copy / "shards.json").write_text(text)
        with pytest.raises(MediaError, match=r"shards\.json"):
            read_dataset(copy)


def test_shards_made_anew_are_read_anew(source: Dataset, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = member(read_dataset(copy).items[0].path)
    assert all(item.media.original == item.name for item in read_dataset(copy).items)
    shutil.rmtree(copy)
    other = replace(source, items=tuple(replace(item, name=f"new/{item.name}") for item in source.items))
    prepare(other, copy, replace(FEW, quality=30))
    assert all(item.media.original == item.name for item in read_dataset(copy).items)
    path = read_dataset(copy).items[0].path
    after = member(path)
    assert after.sha256 != before.sha256
    assert after.source == before.source
    assert all(read_all(item.media.open()) for item in read_dataset(copy).items)
    monkeypatch.setattr(shard_files, "_clips", lambda *_: pytest.fail("read again"))
    assert member(path) == after
