"""FileStats of files with each fault, generated here, and of real files."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from made import sound, write_frames, write_image
from media_files import damage, lossless, scene, truncate, x264
from messages import prints
from texthead.apps.doctor.file_stats import STOPPED, stats_of_file
from texthead.media.paths import MediaPath


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return x264(tmp_path_factory.mktemp("plain") / "plain.mp4")


def test_a_whole_video(plain: Path) -> None:
    facts = stats_of_file(plain)
    assert (facts.fault, facts.problem) == (None, "")
    assert facts.digest == MediaPath(plain).digest()
    assert facts.brightest > 100
    assert facts.contrast > 30


def test_a_fault_is_a_fact(tmp_path: Path) -> None:
    """`faults/test_damaged_media.py` has each fault of a file; one that does not open has no digest to be a copy by."""
    damaged, cut = x264(tmp_path / "damaged.mp4", ":slices=1"), tmp_path / "cut.jpg"
    damage(damaged, 12)
    PIL.Image.fromarray(scene(1, 640, 480)[0]).save(cut)
    frames = write_frames(Path(f"{tmp_path}/frames/{{:03d}}.png"), "red")
    write_image(tmp_path / "frames" / "003.png", "red").write_bytes(b"no picture")
    for path, fault, part, opens in (
        (damaged, "damaged", "", True),
        (truncate(cut, 0.5), "cut short", "", True),
        (frames, "unreadable", "003.png", True),
        (sound(tmp_path / "sound.mp4"), "sound only", "", False),
        (tmp_path / "nowhere.mp4", "missing", "", False),
    ):
        facts = stats_of_file(path)
        assert (facts.fault, facts.contrast, bool(facts.digest)) == (fault, 0.0, opens), path
        assert facts.problem
        assert part in facts.problem


def test_an_error_of_a_library_is_a_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def divide(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of a library")

    monkeypatch.setattr(MediaPath, "open", divide)
    facts = stats_of_file(tmp_path / "a.mp4")
    assert facts.fault == STOPPED
    prints(facts.problem, "ZeroDivisionError: of a library")


def test_black(tmp_path: Path) -> None:
    black = stats_of_file(lossless(tmp_path / "black.mkv", [np.full((48, 64, 3), 8, np.uint8)] * 5))
    assert (black.brightest, black.contrast) == (8, 0)
