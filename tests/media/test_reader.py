"""An installed package adds a reader of a file type: one class, whose entry point is named by the suffix."""

import importlib
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import texthead as th
from installed import Install, example
from made import PIXELS, pictures, tiny_visual, write_video
from media_files import read_all
from messages import refuses
from texthead.apps.doctor.file_stats import stats_of_file
from texthead.apps.timeline.timeline import open_timed
from texthead.errors import MediaError
from texthead.features.clips import encode
from texthead.media import open as opening
from texthead.media.find import find_media
from texthead.media.paths import MediaPath
from texthead.media.reader import Frame, Media

RATE = 4
ENTRY = "npy = arrays:Arrays"


@pytest.fixture(autouse=True)
def arrays(install: Install) -> ModuleType:
    """The module of a package that reads `.npy`."""
    install("arrays", "texthead.readers", ENTRY, example("reader"))
    return importlib.import_module("arrays")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two classes, each with a video and with another video's frames as an array."""
    for label, colour in (("a kite", "red"), ("a bird", "green")):
        write_video(tmp_path / label / "0.mp4", colour, frames=6)
        np.save(tmp_path / label / "1.npy", np.stack(pictures(colour, 9, 1)))
    return tmp_path


def test_a_dataset_with_arrays_is_read_and_encoded(clips: Path):
    dataset = th.read_dataset(clips)
    assert [item.path.name for item in dataset.items] == ["0.mp4", "1.npy"] * 2
    assert find_media([clips]) == sorted(str(item.path) for item in dataset.items)
    path = clips / "a bird" / "1.npy"
    visual = tiny_visual().eval()
    (features,) = encode(visual, [path], th.Protocol(1, PIXELS), choose=lambda length: [[0], [length - 1]])
    assert not isinstance(features, MediaError)
    assert len(features) == 2
    first, last = (pictures("green", 9, 1)[index] for index in (0, 8))
    with MediaPath(path).open() as media:
        frames = media.frames_at([8, 0, 8]).permute(0, 2, 3, 1)
        assert torch.equal(frames, torch.from_numpy(np.stack([last, first, last])))
    assert read_all(MediaPath(path).open()) == 9


def test_a_reader_may_use_its_memory_again(arrays: ModuleType, clips: Path, monkeypatch: pytest.MonkeyPatch):
    own, memory = arrays.Arrays.iter_frames, np.empty_like(pictures("red", 1, 1)[0])

    def iter_frames(self: Media, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
        for index, frame in own(self, wanted):
            memory[:] = frame
            yield index, memory

    monkeypatch.setattr(arrays.Arrays, "iter_frames", iter_frames)
    with MediaPath(clips / "a kite" / "1.npy").open() as media:
        frames = media.frames_at(range(9)).permute(0, 2, 3, 1)
    assert torch.equal(frames, torch.from_numpy(np.stack(pictures("red", 9, 1))))


def test_names_of_arrays_are_known(clips: Path):
    path = clips / "a kite" / "1.npy"
    assert (MediaPath(path).reader.kind, MediaPath(path).is_image, MediaPath(path).is_media) == ("array", False, True)
    assert ".npy" in opening.media_suffixes()
    facts = stats_of_file(path)
    assert facts.fault is None
    with open_timed(path) as media:
        found = [(seconds, take()) for seconds, take in media.in_order()]
    assert [seconds for seconds, _ in found] == [index / RATE for index in range(9)]
    assert np.array_equal(found[3][1], pictures("red", 9, 1)[3])


def test_arrays_that_are_damaged_or_missing(clips: Path):
    path = clips / "a kite" / "1.npy"
    path.write_bytes(path.read_bytes()[:100])
    with refuses(MediaError, path, "save it again"):
        MediaPath(path).open()
    for content, fault in ((b"", "empty"), (None, "missing")):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(MediaError) as caught:
            MediaPath(path).open()
        assert caught.value.fault == fault


def test_missing_or_resized_frame_of_reader(tmp_path: Path, arrays: ModuleType):
    class Odd(arrays.Arrays):
        def iter_frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
            for index, picture in super().iter_frames(wanted):
                if index != 1:
                    yield index, picture[: -index or None]

    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 8, 6, 3), np.uint8))
    media = Odd(path)
    with refuses(MediaError, "frame 1 of 4"):
        media.frames_at([0, 1])
    for read in (lambda: media.frames_at([0, 2]), lambda: read_all(media)):
        with refuses(MediaError, "6x8", "6x6"):
            read()


def test_a_reader_with_other_pictures(clips: Path, arrays: ModuleType, monkeypatch: pytest.MonkeyPatch):
    path = clips / "a kite" / "1.npy"
    for change, text in ((lambda picture: picture / 255, "float64"), (lambda picture: picture[..., 0], "uint8 (")):
        iter_frames = arrays.Arrays.iter_frames

        def changed(self: Media, wanted: Collection[int], iter_frames=iter_frames, change=change):
            return ((index, change(picture)) for index, picture in iter_frames(self, wanted))

        with monkeypatch.context() as patch, MediaPath(path).open() as media:
            patch.setattr(arrays.Arrays, "iter_frames", changed)
            with refuses(MediaError, path, text):
                media.frames_at([0])


@pytest.mark.parametrize("method", ["__init__", "iter_frames"])
def test_an_error_in_a_reader_is_one_line(clips, arrays, monkeypatch, method) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(arrays.Arrays, method, fail)
    path = clips / "a kite" / "1.npy"
    for each in (path, f"{path}#t=0,1"):
        with refuses(MediaError, each, "arrays.Arrays", "ZeroDivisionError"), MediaPath(each).open() as media:
            media.frames_at([0])
