"""The memory limit of a process reaches its workers."""

from pathlib import Path

import PIL.Image
import pytest

import texthead as th
from messages import refuses
from texthead.apps.doctor.facts import read_facts
from texthead.data.clips import ViewClips
from texthead.data.dataset import Dataset, Item
from texthead.data.protocol import Pixels, Protocol
from texthead.errors import DataError, MediaError
from texthead.media.limits import max_megapixels, set_max_megapixels
from texthead.parallel.loaders import data_loader


@pytest.fixture(autouse=True)
def default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTHEAD_MAX_MEGAPIXELS", "179")  # Restored at the end.


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of a megapixel."""
    PIL.Image.new("RGB", (1000, 1000), "red").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_workers_of_every_kind_use_the_limit_of_this_process(picture: Path) -> None:
    pixels, data = Pixels(32, 32, "bicubic"), Dataset((Item(picture, "red"),), "here")
    clips = ViewClips([picture], Protocol(1, pixels))
    for limit in (179, 1):  # The fork server of the loaders starts in the first round.
        set_max_megapixels(limit)
        (loaded,) = data_loader(clips, 1, batch_size=None)
        (facts,) = read_facts(data, workers=1, seconds=60.0)
        assert isinstance(loaded, MediaError) == (limit == 1)
        assert (facts.fault is not None) == (limit == 1), facts.problem


def test_a_limit_below_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with refuses(DataError, "got 0"):
        th.set_max_megapixels(0)
    monkeypatch.setenv("TEXTHEAD_MAX_MEGAPIXELS", "many")
    with refuses(DataError, "TEXTHEAD_MAX_MEGAPIXELS", "'many'"):
        max_megapixels()
