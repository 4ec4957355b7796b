"""The data sets by name, at each scale: a dataset with training and test items, and a digest of its content.

At `full` a folder is expected:

    k400/ ucf101/ hmdb51/ anet/    train.txt and val.txt (lines `file label`), labels.csv (`id,name`), videos/
    imagenet/                      train/n01440764/*.JPEG, val/n01440764/*.JPEG

At `mini`, `clothing`, `objects` and `handdigits` are photos, `airborne` and `exercise` clips in a folder with
image/NAME/images.csv and video/NAME/clips.csv; the others are drawn. At `smoke` everything is drawn.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from paper import shapes, tinyclip
from paper.worlds import Scale
from texthead.data.dataset import Dataset
from texthead.data.division import with_validation
from texthead.data.reading import read_dataset
from texthead.demo import drawn_videos
from texthead.errors import DataError
from texthead.files import cache_dir, replacing
from texthead.media.fingerprints import fingerprints

GIVEN = {
    "clothing": "image/clothing/images.csv",
    "objects": "image/objects/images.csv",
    "handdigits": "image/handdigits/images.csv",
    "airborne": "video/airborne/clips.csv",
    "exercise": "video/exercise/clips.csv",
}
LISTS = ("k400", "ucf101", "hmdb51", "anet")
# Steps that a small CLIP is trained for; None is its own setting.
TINY_STEPS: dict[Scale, int | None] = {"smoke": 2, "mini": None, "full": None}
SHORT_SIDE = 128
# Clips a class: LDA is fitted on up to 60 (Sec. 4.2).
EMOJI: dict[str, Any] = {"train": 60, "test": 8, "frames": 8, "size": 112}
# Longer than any row's clips, and larger than their crops, so that views differ.
SHAPES: dict[str, Any] = {"train": 20, "test": 6, "frames": 16, "size": 72}
SMOKE: dict[str, Any] = {"train": 1, "test": 1, "frames": 4, "size": 32}


@dataclass(frozen=True)
class Place:
    """Where and how rows are run: the scale, the folder that the user named, and what the machine needs.

    `kept` is the folder for what is drawn and trained once; `accumulate` splits each step to fit the memory;
    `processes` is how many GPUs each row takes at full scale.
    """

    scale: Scale
    data: Path | None = None
    kept: Path | None = None
    accumulate: int = 1
    processes: int = 1

    @property
    def folder(self) -> Path:
        """For what can be made again."""
        return self.kept or cache_dir() / "paper"


def has(name: str, place: Place) -> bool:
    """Whether the data set is there or can be drawn."""
    if place.scale == "smoke" or name.startswith(("emoji", "shapes", "tinyclip")):
        return True
    return place.data is not None and _source(name, place.data).exists()


def test_items(dataset: Dataset) -> Dataset:
    """The items that are scored: the test split, or the validation split where there is none."""
    test = dataset.split("test")
    return test if len(test) else dataset.split("val")


@cache
def digest(name: Any, place: Place) -> str:
    """A digest of what every item's file holds, its label and its split; of a small CLIP, of all that makes it."""
    if name.startswith("tinyclip-"):
        return tinyclip.digest(name.removeprefix("tinyclip-"), steps=TINY_STEPS[place.scale])
    dataset = read(name, place)
    told = hashlib.sha256()
    if name == "clothing" and place.scale == "mini":
        # Of the photos themselves: the bytes of their small copies depend on the machine's zlib.
        contents = [item.path.stem for item in dataset.items]
    else:
        contents = fingerprints([item.path for item in dataset.items])
    for item, content in zip(dataset.items, contents, strict=True):
        told.update(f"{item.label}\t{item.split}\t{content}\n".encode())
    return told.hexdigest()[:16]


@cache
def read(name: str, place: Place) -> Dataset:
    """The data set with its training and test items.

    Raises:
        DataError: an unknown name, or a data set that is not in the folder.
    """
    if place.scale == "smoke":
        return _smoke(name, place)
    base, _, seed = name.partition("#")
    if base == "emoji":
        return read_dataset(drawn_videos.draw_videos(place.folder / f"emoji-{seed or 0}", **EMOJI, seed=int(seed or 0)))
    if base == "shapes":
        out = place.folder / f"shapes-{seed or 0}"
        return read_dataset(shapes.draw_shape_videos(out, **SHAPES, seed=int(seed or 0)))
    if place.data is None:
        raise DataError(f"{name}: lies in a folder of data: name it with --data")
    source = _source(name, place.data)
    if not source.exists():
        raise DataError(f"{name}: no {source}; see `python -m paper list` for what each scale expects")
    if name == "imagenet":
        return read_dataset(source, labels="imagenet")
    if name == "clothing":
        return _shrunk(read_dataset(source), place.folder / "clothing")
    if name not in LISTS:
        return read_dataset(source)
    parts = [
        read_dataset(source / f"{split}.txt", labels=source / "labels.csv", root=source / "videos")
        for split in ("train", "val")
    ]
    return with_validation(*parts)


def _source(name: str, folder: Path) -> Path:
    if name not in (*GIVEN, *LISTS, "imagenet"):
        raise DataError(f"no data set {name!r}: known are {', '.join((*GIVEN, *LISTS, 'imagenet'))}, emoji, shapes")
    return folder / GIVEN.get(name, name)


def _shrunk(dataset: Dataset, folder: Path) -> Dataset:
    """The photos with a short side of 128 pixels: reading large ones would take a third of the time of a row."""
    items = []
    for item, content in zip(dataset.items, fingerprints([item.path for item in dataset.items]), strict=True):
        small = folder / f"{content}.png"
        if not small.is_file():
            with Image.open(item.path) as photo, replacing(small, sync=False) as beside:
                scale = SHORT_SIDE / min(photo.size)
                size = round(photo.width * scale), round(photo.height * scale)
                photo.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(beside, format="png")
        items.append(replace(item, path=small))
    return replace(dataset, items=tuple(items))


def _smoke(name: str, place: Place) -> Dataset:
    """A few training clips and a test clip of each class: of 48 drawn pictures, of 8 shapes, or of 10 or 4 pictures."""
    if name.startswith("shapes"):
        drawn = shapes.draw_shape_videos(place.folder / "smoke-shapes", **{**SMOKE, "train": 3, "size": 64})
        return _first(read_dataset(drawn), 8, 3)
    whole = read_dataset(drawn_videos.draw_videos(place.folder / "smoke-emoji", **{**SMOKE, "train": 20}))
    if name.startswith("emoji"):
        return _first(whole, len(whole.classes), 5)
    return _first(whole, 4 if name == "airborne" else 10, 20)


def _first(dataset: Dataset, classes: int, items: int) -> Dataset:
    """The first training items of the first classes, and their test items."""
    names, counts, picked = set(dataset.classes[:classes]), {}, []
    for position, item in enumerate(dataset.items):
        if item.label in names:
            counts[item.label, item.split] = counts.get((item.label, item.split), 0) + 1
            if counts[item.label, item.split] <= items:
                picked.append(position)
    return replace(dataset.pick(picked), notes=())
