"""Features by content: cached features equal computed ones and never belong to other content."""

import functools
import itertools
import multiprocessing
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from made import PIXELS, SPEC, tiny_visual, write_broken, write_frames, write_image, write_video
from messages import prints, refuses
from platforms import WINDOWS, kill, mkfifo
from texthead.data.protocol import Protocol
from texthead.data.sampling import evenly
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import VisualEncoder
from texthead.errors import MediaError, TextheadError
from texthead.features import clips
from texthead.features.cache import FeatureCache, encoder_key
from texthead.features.reading import ReadOptions, readable
from texthead.media.paths import MediaPath
from texthead.parallel import loaders
from texthead.parallel.progress import Reporter

# As clips of one.
FRAMES = [[frame] for frame in range(64)]

choose = functools.partial(evenly, most=4)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    colours = ["red", "green", "blue"]
    return [write_video(folder / f"{c}.mp4", c, frames=n) for c, n in zip(colours, (6, 3, 8), strict=True)]


def frames_of(
    visual: VisualEncoder, paths: list[Path], reading=ReadOptions(), reporter=Reporter(), choose=choose
) -> Iterator[torch.Tensor | MediaError]:
    """Yield the features of one clip of each file, the frames that `choose` returns; or its MediaError."""
    for entry in clips.encode(visual, paths, Protocol(4, PIXELS), reading, reporter, choose=choose):
        yield entry[0] if isinstance(entry, torch.Tensor) else entry


def read(
    visual: VisualEncoder, paths: list[Path], cache=None, choose=choose, reporter=Reporter()
) -> list[torch.Tensor]:
    """Return the features of the frames of files that can all be read."""
    reading = ReadOptions(cache=cache.path.parent if cache else False)
    entries = [*frames_of(visual, paths, reading, reporter, choose)]
    assert all(isinstance(entry, torch.Tensor) for entry in entries)
    return [entry for entry in entries if isinstance(entry, torch.Tensor)]


def test_evenly_gives_all_frames_or_segment_centers() -> None:
    assert [evenly(*pair) for pair in ((1, 4), (4, 4), (3, 8))] == [[0], [0, 1, 2, 3], [0, 1, 2]]
    assert [evenly(*pair) for pair in ((10, 3), (5, 4))] == [[1, 5, 8], [0, 1, 3, 4]]
    for length, most in itertools.product(range(1, 40), range(1, 20)):
        chosen = evenly(length, most)
        assert len(set(chosen)) == len(chosen) == min(length, most)
        assert chosen == sorted(chosen)
        assert 0 <= chosen[0] <= chosen[-1] < length


def test_features_are_the_encoders_own(visual: VisualEncoder, videos: list[Path]) -> None:
    result = [*frames_of(visual, videos)]
    for path, entry in zip(videos, result, strict=True):
        assert isinstance(entry, torch.Tensor)
        with MediaPath(path).open() as media:
            frames = media.frames_at(evenly(media.num_frames, 4))
        with torch.no_grad():
            expected = visual(view_crops(frames, PIXELS)[0])
        torch.testing.assert_close(entry, expected, rtol=1e-5, atol=1e-5)
    red, _, blue = read(visual, videos)
    assert not torch.allclose(red, blue, atol=1e-3)
    assert not torch.allclose(red[0], red[1], atol=1e-4), "frames of one video differ"


@pytest.mark.parametrize(("workers", "cached"), [(0, False), (2, False), (0, True)])
def test_small_batches_keep_order_and_errors_are_values(visual, cache, tmp_path, workers, cached, monkeypatch) -> None:
    paths = [write_image(tmp_path / f"{i}.png", ["red", "blue"][i % 2], seed=i) for i in range(7)]
    missing, broken = tmp_path / "missing.mp4", write_broken(tmp_path / "broken.mp4")
    paths = [*paths[:4], missing, *paths[4:6], broken, paths[6]]
    monkeypatch.setattr(clips, "frames_at_once", lambda device: 2)
    reading = ReadOptions(workers, cache=cache.path.parent if cached else False)
    entries = [*frames_of(visual, paths, reading)]
    errors = [entry for entry in entries if isinstance(entry, MediaError)]
    assert [error.path for error in errors] == [missing, broken]
    assert all(str(error).startswith(f"{error.path}: ") for error in errors)
    positions = [0, 1, 2, 3, 5, 6, 8]
    assert readable(entries, skip=True) == (positions, errors)
    with refuses(MediaError, missing, "1 more", "skip_unreadable") as caught:
        readable(entries, skip=False)
    assert caught.value.path == missing  # pyright: ignore[reportAttributeAccessIssue]
    for position in positions:
        entry, (alone,) = entries[position], read(visual, [paths[position]])
        assert isinstance(entry, torch.Tensor)
        torch.testing.assert_close(entry, alone, rtol=1e-5, atol=1e-5)
    read(visual, [write_video(broken, "red")], cache)  # errors are not cached


def test_a_hit_is_bit_identical_and_opens_no_file(visual, videos, cache, tmp_path, monkeypatch) -> None:
    """Also for the same bytes under another name."""
    other = Path(shutil.copy(videos[0], tmp_path / "another name.mp4"))
    first = [*frames_of(visual, videos, ReadOptions(cache=cache.path.parent))]
    monkeypatch.setattr(MediaPath, "open", lambda media, **_: pytest.fail(f"{media} was opened"))
    monkeypatch.setattr(visual, "forward", lambda frames: pytest.fail("the encoder ran"))
    monkeypatch.setattr(loaders, "begin_server", lambda: pytest.fail("workers start for no file"))
    again = [*frames_of(visual, [*videos, other], ReadOptions(2, cache=cache.path.parent))]
    for a, b in zip([*first, first[0]], again, strict=True):
        assert isinstance(a, torch.Tensor)
        assert isinstance(b, torch.Tensor)
        assert torch.equal(a, b)
        assert b.dtype == torch.float32


def test_cache_hits_for_subset_of_frames(visual, videos, cache, monkeypatch) -> None:
    (four,) = read(visual, videos[2:], cache, lambda n: [0, 2, 4, 6])
    opened, opening = list[Path](), MediaPath.open
    monkeypatch.setattr(MediaPath, "open", lambda media, **_: opened.append(media.path) or opening(media, **_))
    (three,) = read(visual, videos[2:], cache, lambda n: [6, 2, 6])
    assert torch.equal(three, four[[3, 1, 3]])
    assert opened == []
    (mixed,) = read(visual, videos[2:], cache, lambda n: [2, 3])
    assert opened == videos[2:]
    torch.testing.assert_close(mixed[0], four[1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(mixed[1], four[1], atol=1e-4)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_files_in_chunks_have_the_same_features(visual, videos, cache, monkeypatch, kept):
    expected = read(visual, videos)
    read(visual, videos[:kept], cache)
    monkeypatch.setattr(clips, "FILES_OF_CHUNK", 2)
    seen: list[tuple[int, int]] = []
    found = read(visual, videos, cache, reporter=Reporter().counting(lambda *done: seen.append(done)))
    # Other frames are encoded together, so the last bits may differ.
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, expected, strict=True))
    assert seen == [(done, 3) for done in range(kept + 1, 4)]


def test_address_has_weights_sizes_and_interpolation(visual: VisualEncoder) -> None:
    nearly = tiny_visual()
    with torch.no_grad():
        nearly.get_parameter("net.conv_stem.weight").view(-1)[5].add_(1e-6)
    statistics = tiny_visual()
    statistics.get_buffer("net.bn1.running_mean").view(-1)[0].add_(1e-6)
    keys = [
        encoder_key(visual, PIXELS),
        encoder_key(nearly, PIXELS),
        encoder_key(statistics, PIXELS),
        encoder_key(tiny_visual(seed=1), PIXELS),
        encoder_key(visual, replace(PIXELS, size=31)),
        encoder_key(visual, replace(PIXELS, resize=40)),
        encoder_key(visual, replace(PIXELS, interpolation="bicubic")),
        encoder_key(tiny_visual(spec=replace(SPEC, mean=(0.4, 0.5, 0.5))), PIXELS),
        encoder_key(tiny_visual(spec=replace(SPEC, std=(0.25, 0.25, 0.3))), PIXELS),
    ]
    assert len(set(keys)) == len(keys)
    assert encoder_key(tiny_visual(), PIXELS) == keys[0], "the same weights, the same address"


@pytest.mark.parametrize("keep_time", [False, pytest.param(True, marks=pytest.mark.posix("times of a file's change"))])
@pytest.mark.parametrize("name", ["picture.bmp", "img_{:05d}.bmp"])
def test_a_changed_picture_misses(visual, cache, tmp_path, name, keep_time) -> None:
    """Also for a frame of a folder, and if size and modification time are preserved (`rsync -t`, `cp -p`)."""
    path = write_frames(tmp_path / name, "red", 9)
    changed = tmp_path / name.format(6)
    (red,) = read(visual, [path], cache)
    before, digest = changed.stat(), cache.identify(MediaPath(path))[0]
    time.sleep(0.02)  # file times have a resolution of a few milliseconds
    write_image(changed, "blue")
    assert changed.stat().st_size == before.st_size
    if keep_time:
        os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.identify(MediaPath(path))[0] != digest
    (blue,) = read(visual, [path], cache)
    (expected,) = read(visual, [path])
    assert torch.equal(blue, expected)
    assert blue.shape == red.shape
    assert not torch.allclose(blue, red, atol=1e-3)


def test_a_file_replaced_while_it_is_read_is_not_cached(visual, cache, tmp_path) -> None:
    path = write_frames(tmp_path / "v" / "img_{:05d}.png", "red", 4)

    def choose_late(length: int) -> list[int]:
        write_frames(path, "blue", 4)  # After the digest, before a frame is decoded.
        return choose(length)

    (blue,) = read(visual, [path], cache, choose_late)
    write_frames(path, "red", 4)
    (red,) = read(visual, [path], cache)
    assert torch.equal(red, read(visual, [path])[0])
    assert not torch.allclose(blue, red, atol=1e-3)


def test_a_folder_of_frames_with_a_gap_or_a_pipe_is_a_value(visual, cache, tmp_path) -> None:
    path, third = write_frames(tmp_path / "img_{:05d}.png", "red", 5), tmp_path / "img_00003.png"
    third.unlink()
    (gap,) = frames_of(visual, [path], ReadOptions(cache=cache.path.parent))
    mkfifo(third)
    (pipe,) = frames_of(visual, [path], ReadOptions(cache=cache.path.parent))
    for error, named in ((gap, path), (pipe, third)):
        assert isinstance(error, MediaError)
        assert error.path == named
        prints(str(error), third.name)


def test_full_disk_is_error_and_keeps_cache(tmp_path: Path) -> None:
    cache = FeatureCache("key", tmp_path)
    cache.put("kept", [0.0] * 1, [[0]], torch.ones(1, 64))
    # SQLite's page limit raises the same error as a full disk.
    cache._db.execute(f"PRAGMA max_page_count = {cache._db.execute('PRAGMA page_count').fetchone()[0]}")
    with refuses(TextheadError, cache.path, "TEXTHEAD_CACHE"):
        cache.put("new", [0.0] * 64, FRAMES, torch.ones(64, 4096))
    assert torch.equal(cache.get("kept", [[0]]), torch.ones(1, 64))
    assert not len(cache.times("new")), "half of a file's rows is never kept"


def test_opening_waits_for_a_process_that_writes(tmp_path: Path) -> None:
    """SQLite's switch to write-ahead logging fails at once, despite the timeout, while another process writes."""
    other = sqlite3.connect(tmp_path / "key.5.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs(x)")
    other.execute("BEGIN IMMEDIATE")
    later = threading.Timer(0.3, other.execute, ["COMMIT"])
    later.start()
    cache = FeatureCache("key", tmp_path)
    later.join()
    cache.put("a", [0.0] * 1, [[0]], torch.ones(1, 3))
    assert torch.equal(cache.get("a", [[0]]), torch.ones(1, 3))


def _write_many(folder: Path, name: int, barrier, errors) -> None:
    try:
        barrier.wait()
        cache = FeatureCache("key", folder)
        for i in range(30):
            cache.put(f"{name} {i}", [0.0] * 2, [[0], [1]], torch.full((2, 8), float(100 * name + i)))
            cache.put("shared", [0.0] * 2, [[0], [1]], torch.full((2, 8), 7.0))
        errors.put(None)
    except Exception as error:
        errors.put(repr(error))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn" if WINDOWS else "fork")
    barrier, errors = context.Barrier(3), context.Queue()
    writers = [context.Process(target=_write_many, args=(tmp_path, name, barrier, errors)) for name in range(3)]
    for writer in writers:
        writer.start()
    seconds = 300 if WINDOWS else 60  # Spawned processes import torch.
    assert [errors.get(timeout=seconds) for _ in writers] == [None, None, None]
    for writer in writers:
        writer.join()
    cache = FeatureCache("key", tmp_path)
    for name in range(3):
        for i in range(30):
            assert torch.equal(cache.get(f"{name} {i}", [[1], [0]]), torch.full((2, 8), float(100 * name + i)))
    assert torch.equal(cache.get("shared", [[0]]), torch.full((1, 8), 7.0))


def _write_until_killed(folder: Path, started) -> None:
    cache = FeatureCache("key", folder)
    for i in range(100_000):
        cache.put(str(i), [0.0] * 16, FRAMES[:16], torch.full((16, 64), float(i)))
        if i == 20:
            started.set()


def test_a_killed_writer_leaves_whole_files(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn" if WINDOWS else "fork")
    started = context.Event()
    writer = context.Process(target=_write_until_killed, args=(tmp_path, started))
    writer.start()
    assert started.wait(60)
    assert writer.pid is not None
    kill(writer.pid)
    writer.join()
    cache = FeatureCache("key", tmp_path)
    kept = list(itertools.takewhile(lambda i: len(cache.times(str(i))), itertools.count()))
    assert len(kept) > 20
    for i in kept[:10] + kept[-10:]:
        assert torch.equal(cache.get(str(i), FRAMES[:16]), torch.full((16, 64), float(i)))


def test_the_bytes_of_a_video_under_other_names(visual, videos, cache, tmp_path) -> None:
    """One name is not UTF-8, but on Windows; under a picture's name the cached features of the video are not used."""
    names = [tmp_path / ("caf\xe9.mp4" if WINDOWS else os.fsdecode(b"caf\xe9.mp4")), tmp_path / "video.jpg"]
    for name in names:
        name.write_bytes(videos[0].read_bytes())
    for _ in range(2):
        video, picture = frames_of(visual, names, ReadOptions(cache=cache.path.parent))
        assert isinstance(video, torch.Tensor)
        assert isinstance(picture, MediaError)
