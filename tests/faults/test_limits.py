"""What is promised of any file: pixels, frames and seconds are limited, and a file that ends its process is named."""

from pathlib import Path

import PIL.Image
import pytest

from lost import names, read_or_end
from made import write_video
from media_files import read_all
from messages import refuses
from texthead import Dataset, Item, Protocol
from texthead.apps.doctor.file_stats import read_file_stats
from texthead.data import Pixels
from texthead.data.clips import ViewClips
from texthead.errors import DataError, MediaError
from texthead.media import MediaPath, limits
from texthead.media.limits import max_pixels
from texthead.parallel.loaders import FileDataset, read_each


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", PIL.Image.MAX_IMAGE_PIXELS)  # Restored at the end.
    monkeypatch.delenv("TEXTHEAD_MAX_PIXELS", raising=False)


def test_the_variable_sets_the_limit_here_and_in_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.new("RGB", (1000, 1000), "red").save(tmp_path / "a.png")
    path, video = tmp_path / "a.png", write_video(tmp_path / "a.mp4", "red")
    data, protocol = Dataset((Item(path, ("red",)),), "here"), Protocol(1, Pixels(32, 32, "bicubic"))
    for limit in (10**6, 10**6 - 1):
        monkeypatch.setenv("TEXTHEAD_MAX_PIXELS", str(limit))
        (view,) = read_each(ViewClips([path], protocol), 1)
        (facts,) = read_file_stats(data, workers=1)
        assert isinstance(view, MediaError) == (facts.fault is not None) == (limit < 10**6), facts.problem
    monkeypatch.setenv("TEXTHEAD_MAX_PIXELS", "100")
    for small, limit in ((path, "limit of 200"), (video, "the limit is 50")):
        with refuses(MediaError, small, limit, "TEXTHEAD_MAX_PIXELS"):
            MediaPath(small).open()
    monkeypatch.setenv("TEXTHEAD_MAX_PIXELS", "many")
    with refuses(DataError, "TEXTHEAD_MAX_PIXELS", "'many'"):
        max_pixels()


def test_frames_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mkv", "red", frames=9)
    monkeypatch.setattr(limits, "MAX_FRAMES", 8)
    with refuses(MediaError, path, "9 frames", "1 and 8"):
        MediaPath(path).open()
    monkeypatch.setattr(limits, "MAX_FRAMES", 9)
    assert read_all(MediaPath(path).open()) == 9


@pytest.mark.parametrize(("workers", "lost"), [(1, {3}), pytest.param(2, {7, 8, 19}, marks=pytest.mark.slow)])
def test_files_that_end_their_process_are_named(workers: int, lost: set[int]) -> None:
    read = [*read_each(FileDataset(read_or_end, names(20, lost)), workers)]
    assert {i for i, each in enumerate(read) if isinstance(each, MediaError)} == lost
    assert all(read[i].path == Path(f"{i} lost") and "crashes" in read[i].problem for i in lost)
    assert [each for each in read if not isinstance(each, MediaError)] == [i for i in range(20) if i not in lost]


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
def test_large_photos_of_phones_are_whole(tmp_path: Path, form: str) -> None:
    """Phones also add a smaller picture to the file (MPO)."""
    path, more = tmp_path / "a.jpg", [PIL.Image.new("RGB", (64, 48))] if form == "MPO" else []
    PIL.Image.new("RGB", (8192, 6144), "red").save(path, form, save_all=bool(more), append_images=more)
    with MediaPath(path).open() as media:
        ((_, picture),) = media.iter_frames({0})
    assert picture.shape == (6144, 8192, 3)
