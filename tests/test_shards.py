"""Shards: what is written, what any tool reads in them, what is read back, and what damage says."""

import csv
import functools
import http.server
import io
import json
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import fsspec
import PIL.Image
import pytest
import torch

from made import COLOURS, PIXELS, SMALL, SPEC, noise, tiny_visual, write_broken, write_frames, write_image, write_video
from texthead import shard_files, shards
from texthead.cli import main
from texthead.datasets import Dataset, Item, TrainClips, ViewClips, read_dataset
from texthead.decoding import check, open_media
from texthead.errors import DataError, MediaError, RunError
from texthead.features import FeatureCache, encoder_key, evenly
from texthead.files import fingerprint
from texthead.heads import FrozenHead
from texthead.prediction import find_media
from texthead.recognizer import Recognizer
from texthead.runs import load_run, locked
from texthead.sampling import Views
from texthead.shard_files import address, is_member, is_there, member, read_member
from texthead.shards import ShardOptions as Options
from texthead.shards import prepare
from texthead.temporal import MeanPool
from texthead.training import train
from texthead.transforms import Augmentation

FEW = Options(clips=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight videos of 3 to 40 frames, an image, and a folder of frames, with splits, groups and another column."""
    folder = tmp_path_factory.mktemp("source")
    lengths = [6, 40, 3, 8, 33, 12, 5, 7]
    colours = list(COLOURS)
    items = [
        Item(write_video(folder / f"{i}.mp4", colours[i % 3], frames=n, seed=i), colours[i % 3], "train", f"g{i % 2}")
        for i, n in enumerate(lengths)
    ]
    items.append(Item(write_image(folder / "a.png", "red"), "red", "test", extra=(("camera", "left"),)))
    items.append(Item(write_frames(folder / "f" / "img_{:05d}.jpg", "blue", frames=5), "blue", "test"))
    return Dataset(tuple(items), "here")


@pytest.fixture(scope="module")
def ready(source: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ready") / "shards"
    prepare(source, out, FEW)
    return out


def decoded(path: Path) -> torch.Tensor:
    with open_media(path) as media:
        return media.frames_at(range(media.num_frames))


# ---- what is written


def test_read_back_in_the_order_of_the_source_with_all_that_is_known_of_it(source: Dataset, ready: Path) -> None:
    found = read_dataset(ready)
    assert [replace(item, path=Path()) for item in found.items] == [replace(i, path=Path()) for i in source.items]
    assert len({item.path for item in found.items}) == len(source)
    assert {path.name for path in ready.iterdir()} == {
        *(".lock", "prepare.json", "shards.json"),
        *(f"shard-{n:06d}.{end}" for n in range(4) for end in ("tar", "json")),
    }
    assert "prepared from here, 32 frames a clip" in found.notes[0]


def test_clips_hold_evenly_placed_frames_of_their_source(source: Dataset, ready: Path) -> None:
    for before, after in zip(source.items, read_dataset(ready).items, strict=True):
        whole, stored = decoded(before.path), decoded(after.path)
        assert torch.equal(torch.tensor(stored.shape[2:]), torch.tensor(whole.shape[2:]))
        expected = whole[evenly(len(whole), 32)]
        assert stored.shape == expected.shape
        apart = (stored.float()[:, None] - expected.float()).flatten(2)
        distances = apart.abs().mean(-1)
        # Some frames are all but alike.
        assert (distances.diagonal() < 1.05 * distances.min(-1).values).all(), "its own frame is the nearest"
        assert apart.diagonal().mean(0).abs().max() < 1, "grey levels: no range is squeezed or shifted"
        assert check(after.path) == len(expected)


def test_every_frame_is_a_key_frame(ready: Path) -> None:
    data = read_member(read_dataset(ready).items[1].path)
    with av.open(io.BytesIO(data)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert container.streams.video[0].codec_context.name == "mjpeg"
    assert len(packets) == 32
    assert all(packet.is_keyframe for packet in packets)


def test_an_image_is_a_plain_jpeg(ready: Path) -> None:
    path = read_dataset(ready).items[8].path
    assert path.suffix == ".jpg"
    with PIL.Image.open(io.BytesIO(read_member(path))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (48, 48))


def test_any_tar_reads_clips_beside_what_is_known_of_them(source: Dataset, ready: Path) -> None:
    seen = {}
    for tar in sorted(ready.glob("*.tar")):
        with tarfile.open(tar) as archive:
            names = archive.getnames()
            assert names[0::2] == [re.sub(r"\..*", ".json", name) for name in names[1::2]], (
                "a sample's files are neighbours"
            )
            for about in names[0::2]:
                told = json.loads(archive.extractfile(about).read())  # pyright: ignore[reportOptionalMemberAccess]
                seen[told["order"]] = told
    assert [seen[i]["source"] for i in range(len(source))] == [str(item.path) for item in source.items]
    assert seen[1]["frames"] == evenly(40, 32)
    assert seen[1]["source_frames"] == 40
    assert seen[1]["seconds"][1] - seen[1]["seconds"][0] == pytest.approx(0.1)
    assert seen[8]["extra"] == [["camera", "left"]]


def test_the_index_is_that_of_webdatasets_indexed_reader(ready: Path) -> None:
    index = json.loads((ready / "shards.json").read_text())
    assert index["__kind__"] == "wids-shard-index-v1"
    assert [(shard["url"], shard["nsamples"]) for shard in index["shardlist"]] == [
        ("shard-000000.tar", 3),
        ("shard-000001.tar", 3),
        ("shard-000002.tar", 3),
        ("shard-000003.tar", 1),
    ]
    assert all(shard["filesize"] == (ready / shard["url"]).stat().st_size for shard in index["shardlist"])


def test_classes_are_mixed_over_shards_in_an_order_that_is_the_same_each_time(source: Dataset, tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare(source, tmp_path / name, FEW)
    first, second = (json.loads((tmp_path / n / "shard-000000.json").read_text()) for n in ("a", "b"))
    assert first == second
    assert [clip["order"] for clip in first["clips"]] != [0, 1, 2]
    assert (tmp_path / "a" / "shard-000001.tar").read_bytes() == (tmp_path / "b" / "shard-000001.tar").read_bytes()


def test_frames_are_scaled_down_and_never_up(source: Dataset, tmp_path: Path) -> None:
    prepare(source, tmp_path / "s", Options(short_side=24, frames=4))
    for item in read_dataset(tmp_path / "s").items:
        frames = decoded(item.path)
        assert frames.shape[2:] == (24, 24)
        assert len(frames) <= 4


def test_a_better_quality_is_nearer_and_larger(source: Dataset) -> None:
    whole = decoded(source.items[0].path)
    sizes, errors = [], []
    for quality in (95, 80, 30):
        _, data, _ = shards.encoded(source.items[0].path, Options(quality=quality))
        sizes.append(len(data))
        frames = jpeg_frames(data)
        errors.append(float((frames.float() - whole.float()).abs().mean()))
    assert sizes[0] > sizes[1] > sizes[2]
    assert errors[0] < errors[1] < errors[2]


def jpeg_frames(data: bytes) -> torch.Tensor:
    with av.open(io.BytesIO(data)) as container:
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return torch.stack(frames).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("option", "value"), [("frames", 0), ("short_side", 15), ("quality", 0), ("quality", 96), ("clips", 0)]
)
def test_options_out_of_range(option: str, value: int) -> None:
    with pytest.raises(DataError, match=f"{option} must be .*, got {value}"):
        Options(**{option: value})


# ---- going on after a stop


def test_finished_shards_are_left_alone_and_the_others_are_made(source: Dataset, tmp_path: Path) -> None:
    out, seen = tmp_path / "s", []
    prepare(source, out, FEW)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "shard-000001.json").unlink()
    (out / "shard-000002.tar").write_bytes((out / "shard-000002.tar").read_bytes()[:-512])
    (out / "shards.json").unlink()
    done = prepare(source, out, FEW, progress=lambda *at: seen.append(at))
    assert done.skipped == 2
    assert (done.clips, done.shards) == (10, 4)
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    changed = {name for name in after if after[name] != before[name]} - {".lock"}
    assert changed == {"shard-000001.tar", "shard-000001.json", "shard-000002.tar", "shard-000002.json", "shards.json"}
    assert seen[0] == (4, 10)
    assert seen[-1] == (10, 10)
    assert all(check(item.path) for item in read_dataset(out).items)


@pytest.mark.slow
def test_several_processes_write_the_same_shards(source: Dataset, ready: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "s", FEW, workers=2)
    for path in ready.iterdir():
        assert (tmp_path / "s" / path.name).read_bytes() == path.read_bytes()


def test_other_options_or_other_data_are_refused(source: Dataset, tmp_path: Path) -> None:
    prepare(source, tmp_path / "s", FEW)
    with pytest.raises(DataError, match="is of shards of other data or with other options"):
        prepare(source, tmp_path / "s", replace(FEW, quality=80))
    with pytest.raises(DataError, match="other data"):
        prepare(source.pick(range(9)), tmp_path / "s", FEW)


def test_a_shard_whose_source_has_changed_is_made_again(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{i}.mp4", "red", seed=i) for i in range(4)]
    data, out = Dataset(tuple(Item(path, "red") for path in paths), "here"), tmp_path / "s"
    prepare(data, out, Options(clips=2))
    before = [decoded(item.path) for item in read_dataset(out).items]
    write_video(paths[1], "blue")
    assert prepare(data, out, Options(clips=2)).skipped == 1
    after = [decoded(item.path) for item in read_dataset(out).items]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True, True]


@pytest.mark.parametrize("name", ["notes.txt", "shard-000000.tar", "shards.json"])
def test_a_folder_with_something_else_in_it_is_refused(source: Dataset, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match=rf"holds {name} and no prepare\.json"):
        prepare(source, tmp_path, FEW)
    assert (tmp_path / name).read_text() == "mine"
    with pytest.raises(RunError, match="cannot be written"):
        prepare(source, tmp_path / name)


def test_a_remote_folder_and_one_among_class_folders_are_refused(source: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="written on this machine; copy the folder to s3://bucket/shards"):
        prepare(source, Path("s3://bucket/shards"))
    write_video(tmp_path / "red" / "a.mp4", "red")
    with pytest.raises(DataError, match="whose folders are classes"):
        prepare(read_dataset(tmp_path), tmp_path / "shards")


def test_one_process_at_a_time(source: Dataset, tmp_path: Path) -> None:
    with locked(tmp_path / "s"), pytest.raises(RunError, match="in use by another process"):
        prepare(source, tmp_path / "s")


def test_what_a_killed_process_has_left_is_removed(source: Dataset, tmp_path: Path) -> None:
    prepare(source, tmp_path / "s", FEW)
    (tmp_path / "s" / ".shard-000001.tar.4711").write_bytes(b"half")
    prepare(source, tmp_path / "s", FEW)
    assert not list((tmp_path / "s").glob(".shard-*"))


def _dies(*_: object) -> None:
    os._exit(1)


@pytest.mark.slow
def test_a_process_that_ends_is_an_error_in_one_line(
    source: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_write", _dies)
    with pytest.raises(RunError, match="has ended, perhaps for want of memory: fewer --workers"):
        prepare(source, tmp_path / "s", FEW, workers=2)


def test_unreadable_files_are_an_error_or_listed_and_the_others_are_there(source: Dataset, tmp_path: Path) -> None:
    items = list(source.items)
    items.insert(2, Item(write_broken(tmp_path / "broken.mp4"), "red", "train"))
    items.insert(5, Item(tmp_path / "missing.mp4", "red", "train"))
    data, out = Dataset(tuple(items), "here"), tmp_path / "s"
    with pytest.raises(MediaError, match=r"and 1 more\); all else is prepared: --skip-unreadable"):
        prepare(data, out, FEW)
    assert not (out / "shards.json").exists(), "not finished"
    lacking = sum(bool(json.loads(path.read_text())["unreadable"]) for path in out.glob("shard-*.json"))
    assert lacking in (1, 2)
    done = prepare(data, out, FEW, skip_unreadable=True)
    assert done.skipped == 4, "nothing is decoded again"
    assert {Path(entry.path).name for entry in done.unreadable} == {"broken.mp4", "missing.mp4"}
    found = read_dataset(out)
    assert [item.label for item in found.items] == source.labels
    assert "2 files of the source could not be read" in found.notes[1]


def test_a_clip_that_would_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset(
        tuple(
            Item(write_video(tmp_path / f"{name}.mp4", "red", frames), "red") for name, frames in (("a", 2), ("b", 9))
        ),
        "here",
    )
    prepare(data, tmp_path / "whole")
    small, large = sorted(member(item.path).size for item in read_dataset(tmp_path / "whole").items)
    for module in (shards, shard_files):
        monkeypatch.setattr(module, "MOST_BYTES_OF_CLIP", large - 1)
    with pytest.raises(DataError, match=f"has size {large}"):
        read_dataset(tmp_path / "whole")
    rule = (
        f"b.mp4: would be a clip of {large} bytes, of which {large - 1} are read: lower --frames, --short-side or --qu"
    )
    with pytest.raises(MediaError, match=re.escape(rule)):
        prepare(data, tmp_path / "s")
    done = prepare(data, tmp_path / "s", skip_unreadable=True)
    assert [Path(entry.path).name for entry in done.unreadable] == ["b.mp4"]
    (item,) = read_dataset(tmp_path / "s").items
    assert len(read_member(item.path)) == small


def test_files_that_were_mended_are_prepared_the_next_time(tmp_path: Path) -> None:
    good, bad = write_video(tmp_path / "a.mp4", "red"), write_broken(tmp_path / "b.mp4")
    data = Dataset((Item(good, "red"), Item(bad, "blue")), "here")
    with pytest.raises(MediaError):
        prepare(data, tmp_path / "s")
    with pytest.raises(MediaError, match=r"b\.mp4"):
        prepare(data, tmp_path / "s")
    write_video(bad, "blue")
    assert prepare(data, tmp_path / "s").clips == 2


# ---- what reads them


def test_training_and_testing_take_clips_as_from_files(source: Dataset, ready: Path) -> None:
    found = read_dataset(ready)
    augmentation = Augmentation(size=32, resize=36)
    clips = TrainClips(found, list(COLOURS), frames=4, augmentation=augmentation, seed=0)
    originals = TrainClips(source, list(COLOURS), frames=4, augmentation=augmentation, seed=0)
    for position in range(len(found)):
        clip, target, _ = clips[0, position]
        expected, same, _ = originals[0, position]
        assert target == same
        assert clip.shape == (4, 3, 32, 32)
        if len(decoded(source.items[position].path)) <= 32:  # Of a longer one the frames to draw from are fewer.
            assert (clip.float() - expected.float()).mean().abs() < 1
    views = ViewClips([item.path for item in found.items], [0] * 10, frames=4, views=Views(2, 3), pixels=PIXELS)
    assert views[1][0].shape == (6, 4, 3, 32, 32)


def test_a_draw_from_a_seed_takes_the_same_items(source: Dataset, ready: Path) -> None:
    order = {item.path: i for i, item in enumerate(source.items)}
    found = read_dataset(ready)
    place = {item.path: i for i, item in enumerate(found.items)}
    for seed in range(3):
        ours = [place[item.path] for item in found.k_shot(2, seed=seed).items]
        assert ours == [order[item.path] for item in source.k_shot(2, seed=seed).items]


def test_features_are_kept_by_the_clip_s_digest(source: Dataset, ready: Path, tmp_path: Path) -> None:
    path = read_dataset(ready).items[0].path
    cache = FeatureCache(encoder_key(tiny_visual(), PIXELS), tmp_path)
    assert cache.digest(path) == member(path).sha256
    assert fingerprint(path) == fingerprint(source.items[0].path), "it is known as the file that it was made from"
    assert fingerprint(ready / "shard-000009.tar" / "000000000.avi") == ""


def test_predict_names_all_clips(ready: Path) -> None:
    assert find_media([ready]) == [item.path for item in read_dataset(ready).items]
    assert find_media([ready / "shard-000000.tar" / "000000001.avi"])
    with pytest.raises(DataError, match="no such file"):
        find_media([ready / "shard-000000.tar" / "000000099.avi"])


# ---- damage


@pytest.fixture
def copy(ready: Path, tmp_path: Path) -> Path:
    # Another folder each time: indices that were read stay in memory.
    return Path(shutil.copytree(ready, tmp_path / "copy"))


def test_a_flipped_bit_is_told(copy: Path) -> None:
    path = read_dataset(copy).items[0].path
    tar = path.parent
    data = bytearray(tar.read_bytes())
    data[member(path).offset + member(path).size // 2] ^= 1
    tar.write_bytes(data)
    with pytest.raises(MediaError, match="the shard is damaged"):
        open_media(path)


def test_a_shard_that_was_cut_short_is_told(copy: Path) -> None:
    path = copy / "shard-000000.tar" / "000000002.avi"
    tar = path.parent
    tar.write_bytes(tar.read_bytes()[: member(path).offset + 10])
    with pytest.raises(MediaError, match=r"damaged: 10 of \d+ bytes"):
        open_media(path)
    assert decoded(copy / "shard-000000.tar" / "000000000.avi").shape[0], "the clips before it are whole"


def test_a_shard_or_an_index_that_is_gone_is_told(copy: Path) -> None:
    (copy / "shard-000000.tar").unlink()
    with pytest.raises(MediaError, match="its shard cannot be read"):
        open_media(copy / "shard-000000.tar" / "000000000.avi")
    (copy / "shard-000001.json").unlink()
    with pytest.raises(MediaError, match="its shard's index cannot be read"):
        open_media(copy / "shard-000001.tar" / "000000003.avi")
    with pytest.raises(DataError, match=r"shard-000001\.json: cannot be read"):
        read_dataset(copy)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"texthead": {"format": 99}}', '{"texthead": {"format": 1}}'),
        '{"texthead": {"format": 1, "source": "x", "frames": 32, "unreadable": 0}, "shardlist": [{"url": "../a.tar"}]}',
        '{"texthead": {"format": 1, "source": "x", "frames": 32, "unreadable": 0}, "shardlist": [{"url": "/a.tar"}]}',
    ],
)
def test_an_index_of_another_kind_is_refused(copy: Path, text: str) -> None:
    (copy / "shards.json").write_text(text)
    with pytest.raises(DataError, match=r"shards\.json"):
        read_dataset(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("key", "/etc/passwd"), ("key", "../../000000000"), ("key", 0), ("key", "000000007"), ("suffix", "")),
        *(("suffix", "/../x.mp4"), ("sha256", "zz"), ("print", ""), ("offset", -1), ("offset", "a"), ("size", None)),
        *(
            ("label", None),
            ("split", "tests"),
            ("group", 3),
            ("extra", [1]),
            ("extra", {"a": 1}),
            ("order", -1),
            ("order", 0.5),
        ),
        *(("offset", 2**62), ("offset", 10**30), ("offset", 1e3), ("offset", True), ("offset", 0), ("offset", 600)),
        *(("size", -1), ("size", 2**30 + 1), ("size", 10**30), ("size", 5.0), ("size", 2**29), ("suffix", ".avi/..")),
    ],
)
def test_an_index_that_breaks_a_rule_is_refused(copy: Path, key: str, value: object) -> None:
    index = json.loads((copy / "shard-000001.json").read_text())
    index["clips"][1][key] = value
    (copy / "shard-000001.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"shard-000001\.json: breaks a rule"):
        read_dataset(copy)
    with pytest.raises(MediaError, match="breaks a rule"):
        open_media(copy / "shard-000001.tar" / "000000003.avi")


@pytest.mark.parametrize("clips", [3, None, "all", [1], [[]], {"key": 1}, [None]])
def test_an_index_without_clips_is_refused(copy: Path, clips: object) -> None:
    index = json.loads((copy / "shard-000001.json").read_text())
    (copy / "shard-000001.json").write_text(json.dumps({**index, "clips": clips}))
    with pytest.raises(DataError, match=r"shard-000001\.json: breaks a rule"):
        read_dataset(copy)


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        (tarfile.SYMTYPE, None, "no file named '000000001.avi'"),
        (tarfile.LNKTYPE, None, "no file named"),
        (tarfile.DIRTYPE, None, "no file named"),
        (tarfile.FIFOTYPE, None, "no file named"),
        (tarfile.CHRTYPE, None, "no file named"),
        (tarfile.GNUTYPE_SPARSE, None, "no file begins there|a file named"),
        (tarfile.XHDTYPE, None, "no file"),
        (tarfile.REGTYPE, "../000000001.avi", r"a file named '\.\./000000001\.avi'"),
        (tarfile.REGTYPE, "/etc/passwd", "a file named '/etc/passwd'"),
        (tarfile.REGTYPE, "a/../../b.avi", "a file named"),
        (tarfile.REGTYPE, "000000002.avi", "a file named '000000002.avi'"),
        (None, None, "no file begins there"),
    ],
)
def test_what_is_no_file_of_that_name_in_the_tar_is_refused(
    copy: Path, kind: bytes | None, name: str | None, problem: str
) -> None:
    """Links, names that lead out of the archive, anything else where the index says that a clip lies."""
    path = copy / "shard-000000.tar" / "000000001.avi"
    place, data = member(path), bytearray(path.parent.read_bytes())
    entry = tarfile.TarInfo(name or path.name)
    entry.size, entry.linkname = place.size, "/etc/passwd"
    header = bytes(tarfile.BLOCKSIZE)
    if kind is not None:
        entry.type = kind
        header = entry.tobuf(tarfile.USTAR_FORMAT)
    data[place.offset - tarfile.BLOCKSIZE : place.offset] = header
    path.parent.write_bytes(data)
    with pytest.raises(MediaError, match=problem) as caught:
        open_media(path)
    assert "\n" not in str(caught.value)
    assert len(decoded(copy / "shard-000000.tar" / "000000000.avi"))


def test_shards_that_are_made_anew_are_read_anew(source: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "s"
    prepare(source, out, FEW)
    before = member(read_dataset(out).items[0].path)
    shutil.rmtree(out)
    prepare(source, out, replace(FEW, quality=30))
    after = member(read_dataset(out).items[0].path)
    assert after.sha256 != before.sha256
    assert after.source == before.source
    assert all(check(item.path) for item in read_dataset(out).items)


def test_a_folder_whose_name_ends_in_tar_is_a_folder(tmp_path: Path) -> None:
    path = write_video(tmp_path / "part.tar" / "a.mp4", "red")
    assert not is_member(path)
    assert check(path) == 6


# ---- elsewhere


def test_addresses() -> None:
    assert address(Path("http://host:80/a/b")) == "http://host:80/a/b"
    assert address(Path("memory://a")) == "memory://a"
    assert address("simplecache::https://host/a") == "simplecache::https://host/a"
    assert address(Path("a/b.tar")) is None
    assert address(Path("C:/a/b.tar")) is None
    assert address("/a/x:/b") is None
    assert address(Path("zip://a.tar::http://host/x.zip")) == "zip://a.tar::http://host/x.zip"
    assert is_member(Path("http://host/s.tar/1.avi"))
    assert not is_member(Path("a/1.avi"))


def test_shards_in_a_file_system_of_fsspec(source: Dataset, ready: Path) -> None:
    memory = fsspec.filesystem("memory")
    for path in ready.iterdir():
        memory.pipe_file(f"/shards/{path.name}", path.read_bytes())
    found = read_dataset("memory://shards")
    assert found.labels == source.labels
    for item, here in zip(found.items, read_dataset(ready).items, strict=True):
        assert torch.equal(decoded(item.path), decoded(here.path))
    assert is_there(found.items[0].path)
    assert not is_there(Path("memory://shards/shard-000007.tar/000000000.avi"))
    with pytest.raises(DataError, match=r"memory:/nothing/shards\.json: cannot be read"):
        read_dataset("memory://nothing")


class Ranged(http.server.SimpleHTTPRequestHandler):
    """A server of files that answers ranges, unless told not to, and counts what it sends."""

    ranged, sent = True, 0

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        partial = asked is not None and type(self).ranged
        if partial:
            data = data[int(asked[1]) : int(asked[2]) + 1]
        type(self).sent += len(data)
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(ready: Path) -> Iterator[str]:
    Ranged.ranged, Ranged.sent = True, 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranged, directory=str(ready))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_shards_over_http_send_no_more_than_the_clip_and_its_header(source: Dataset, ready: Path, server: str) -> None:
    found = read_dataset(server)
    assert found.labels == source.labels
    path = found.items[1].path
    here = read_dataset(ready).items[1].path
    size = member(path).size
    before = Ranged.sent
    assert read_member(path) == read_member(here)
    assert Ranged.sent - before == tarfile.BLOCKSIZE + size
    assert torch.equal(decoded(path), decoded(here))


def test_a_server_without_ranges_is_told(server: str) -> None:
    path = read_dataset(server).items[1].path
    Ranged.ranged = False
    with pytest.raises(MediaError, match="support of ranges"):
        open_media(path)


def test_windows_of_the_original_are_not_in_a_clip(ready: Path) -> None:
    path = read_dataset(ready).items[1].path
    clips = ViewClips([path], [0], frames=4, views=Views(1, 1, origin="dense"), pixels=PIXELS)
    error = clips[0][0]
    assert isinstance(error, MediaError)
    assert "--origin first or centre" in str(error)


# ---- the command


@pytest.mark.slow
def test_the_command_prepares_and_the_others_take_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for i in range(4):
            colour = ["red", "blue"][i % 2]
            writer.writerow([write_video(tmp_path / f"{i}.mp4", colour, seed=i).name, colour])
    out = tmp_path / "shards"
    command = ["prepare", str(tmp_path / "clips.csv"), "--out", str(out), "--clips", "2", "--workers", "1"]
    assert main(command) == 0
    assert re.search(r"4 clips, [\d.]+ MB \(\d+ kB a clip\), in 2 shards: ", capsys.readouterr().out)
    assert main(command) == 0
    assert "2 shards, 2 of them were finished before" in capsys.readouterr().out
    assert main(["predict", str(out), "--classes", "red, blue", "--frames", "2", "--csv", "--workers", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 4 * 2, "two names a clip"
    assert os.path.join(str(out), "shard-000000.tar") in lines[1] or "shard-000001.tar" in lines[1]  # noqa: PTH118


def test_a_range_that_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_video(tmp_path / "d" / "red" / "a.mp4", "red")
    assert main(["prepare", str(tmp_path / "d"), "--out", str(tmp_path / "s"), "--quality", "99"]) == 2
    assert "quality must be 1 to 95, got 99" in capsys.readouterr().err


def test_indices_are_read_once(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = read_dataset(ready).items[0].path
    member(path)
    monkeypatch.setattr(shard_files, "_json", lambda *_: pytest.fail("read again"))
    member(path)


def test_a_run_knows_its_items_in_shards_of_them_and_the_other_way_round(source: Dataset, ready: Path, tmp_path: Path):
    places, recipe = [0, 1, 3, 4], replace(SMALL, epochs=1, warmup=0.5)
    originals, shards = source.pick(places), read_dataset(ready).pick(places)
    for trained, other in ((originals, shards), (shards, originals)):
        head = FrozenHead(noise(2, SPEC.dim), names=sorted(set(originals.labels)))
        model, out = Recognizer(tiny_visual(), MeanPool(), head), tmp_path / str(trained is shards)
        train(model, trained.pick(range(3)), None, recipe, out=out, held_out=trained.pick([3]))
        run = load_run(out)
        for items in (trained.items, other.items):
            assert [run.was_trained_on(item.path) for item in items] == [True, True, True, False]
            assert [run.was_held_out(item.path) for item in items] == [False, False, False, True]


@pytest.mark.slow
def test_a_run_on_shards_knows_its_items_in_the_originals_and_the_other_way_round(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for number in range(10):
        colour = ["red", "blue"][number % 2]
        write_video(tmp_path / "data" / colour / f"{number}.mp4", colour, seed=number)
    data, out = str(tmp_path / "data"), str(tmp_path / "shards")
    assert main(["prepare", data, "--out", out, "--clips", "4", "--workers", "1"]) == 0
    small = ["--size", "32", "--frames", "2", "--epochs", "1", "--workers", "0", "--baselines", "never"]
    for trained, other in ((data, out), (out, data)):
        run = tmp_path / f"run-{Path(trained).name}"
        assert main(["train", trained, "--out", str(run), *small]) == 0
        known = load_run(run)
        for source in (trained, other):
            items = read_dataset(source).items
            assert sum(known.was_trained_on(item.path) for item in items) == 8
            assert sum(known.was_held_out(item.path) for item in items) == 2
        capsys.readouterr()
        assert main(["eval", str(run), other, "--workers", "0", "--baselines", "never"]) == 0
        assert "scoring 2 items" in capsys.readouterr().err
        assert main(["eval", str(run), other, "--split", "train", "--workers", "0", "--baselines", "never"]) == 0
        assert "scoring 8 items" in capsys.readouterr().err
        assert main(["train", trained, "--out", str(run), "--resume", "--workers", "0"]) == 0
