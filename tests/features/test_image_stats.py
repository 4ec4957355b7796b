"""What pictures look like is found while they are decoded for their features: each file is decoded once in all."""

import itertools
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from installed import Install
from texthead.apps.doctor.file_stats import read_file_stats, stats_of_file
from texthead.data.dataset import Dataset, Item
from texthead.features.image_stats import ImageStats
from texthead.media.paths import MediaPath

# A reader that notes what it decodes, in whichever process, and crashes on one file.
COUNTED = """
import os
from texthead.media.image import Image

class Counted(Image):
    def iter_frames(self, wanted):
        if self.path.stem == "crash":
            os._exit(3)
        with open(os.environ["TEXTHEAD_DECODED"], "a") as log:
            log.write(f"{self.path.parent.name}/{self.path.name}\\n")
        return super().iter_frames(wanted)
"""

CLASSES, EACH = ("dress", "hat", "shoes"), 10


def test_a_still_gives_the_facts_of_its_picture(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / "a.jpg", exif=exif)
    with MediaPath(tmp_path / "a.jpg").open() as media:
        picture = dict(media.iter_frames({0}))[0]
        stats = ImageStats.from_bytes(ImageStats.from_frame(picture).to_bytes())
    expected = stats_of_file(tmp_path / "a.jpg")
    data = Dataset((Item(tmp_path / "a.jpg", ("noise",)),))
    (facts,) = read_file_stats(data, workers=0, image_stats=[(expected.digest, stats)])
    for field in fields(facts):
        assert np.array_equal(getattr(facts, field.name), getattr(expected, field.name)), field.name


@pytest.fixture
def decoded(tmp_path: Path, shared: Path, install: Install, monkeypatch, say) -> Callable[..., Counter[str]]:
    """Return a function that runs a command and returns how often it decoded each photo."""
    install("counted", "texthead.readers", "photo = counted:Counted", COUNTED)
    for name in CLASSES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, path in enumerate(itertools.islice(sorted((shared / "image/clothing" / name).glob("*")), EACH)):
            shutil.copy(path, tmp_path / "photos" / name / f"{number}.photo")
    log = tmp_path / "log"
    monkeypatch.setenv("TEXTHEAD_DECODED", str(log))
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> Counter[str]:
        log.write_text("")
        code, _, err = say(*arguments)
        assert code == 0 or (code, arguments[0]) == (1, "doctor"), err
        return Counter(log.read_text().split())

    return run


@pytest.mark.slow
@pytest.mark.parametrize("order", ["train report doctor label", "doctor label train report", "label doctor train"])
def test_commands_decode_each_photo_once_in_all(order: str, tmp_path: Path, decoded) -> None:
    """Beside that, pages decode what they show."""
    photos, run = tmp_path / "photos", tmp_path / "run"
    workers = ("--workers", 1)
    commands = {
        "train": ("train", photos, "--tune", "none", "--out", run, *workers),
        "report": ("report", run, photos, *workers),
        "doctor": ("doctor", photos, *workers),
        "label": ("label", photos, "--classes", ", ".join(CLASSES), "--next", 3),
    }
    first, *others = order.split()
    counts = decoded(*commands[first])
    assert len(counts) == len(CLASSES) * EACH
    pictures = {"train": 6, "report": 6, "doctor": 0, "label": 0}  # on the pages
    assert sum(counts.values()) <= len(counts) + pictures[first]
    for name in others:
        assert sum(decoded(*commands[name]).values()) <= pictures[name], name
    assert not decoded(*commands["doctor"], "--out", tmp_path / "page")
