"""The data sets of each scale by name, with a digest of their content.

`full` expects a folder with:

    k400/ ucf101/ hmdb51/ anet/    train.txt and val.txt (lines `file label`), labels.csv (`id,name`), videos/
    imagenet/                      train/n01440764/*.JPEG, val/n01440764/*.JPEG

`mini` reads the photos `clothing`, `objects` and `handdigits` from image/NAME/images.csv and the clips `airborne` and
`exercise` from video/NAME/clips.csv; it draws the other data sets. `smoke` draws everything.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from paper import shapes, tinyclip
from paper.worlds import Scale
from texthead.apps.demo import drawn_videos
from texthead.data import Dataset, read_dataset, with_validation
from texthead.errors import DataError
from texthead.files import cache_dir, replacing

GIVEN = {
    "clothing": "image/clothing/images.csv",
    "objects": "image/objects/images.csv",
    "handdigits": "image/handdigits/images.csv",
    "airborne": "video/airborne/clips.csv",
    "exercise": "video/exercise/clips.csv",
}
LISTS = ("k400", "ucf101", "hmdb51", "anet")
# Training steps of a small CLIP; None is its default.
TINY_STEPS: dict[Scale, int | None] = {"smoke": 2, "mini": None, "full": None}
SHORT_SIDE = 128
# 60 training clips per class: LDA is fitted on up to 60 (Sec. 4.2). 1,920 test clips: their features are cached.
EMOJI: dict[str, Any] = {"train": 60, "test": 40, "frames": 8, "size": 112}
# More frames than any row samples and larger than its crops, so that views differ.
SHAPES: dict[str, Any] = {"train": 20, "test": 6, "frames": 16, "size": 72}
SMOKE: dict[str, Any] = {"train": 1, "test": 1, "frames": 4, "size": 32}


@dataclass(frozen=True)
class Runtime:
    """Where and how rows run: scale, folders and hardware settings.

    Args:
        data: folder of the data sets.
        cache_folder: cache folder for drawn data, small CLIPs and features; None is the default cache.
        accumulate: gradient accumulation passes per step.
        processes: GPUs per row at full scale.
    """

    scale: Scale
    data: Path | None = None
    cache_folder: Path | None = None
    accumulate: int = 1
    processes: int = 1

    @property
    def folder(self) -> Path:
        """The cache folder; its content can be recreated."""
        return self.cache_folder or cache_dir() / "paper"


def has(name: str, runtime: Runtime) -> bool:
    """Return whether the data set exists or can be drawn."""
    if runtime.scale == "smoke" or name.startswith(("emoji", "shapes", "tinyclip")):
        return True
    return runtime.data is not None and _source(name, runtime.data).exists()


def test_items(dataset: Dataset) -> Dataset:
    """Return the test split, or the validation split if there is no test split."""
    return dataset.split("test" if any(item.split == "test" for item in dataset.items) else "val")


@cache
def digest(name: Any, runtime: Runtime) -> str:
    """Return a digest of the data set (file content, label and split of every item) or of a small CLIP's settings."""
    if name.startswith("tinyclip-"):
        return tinyclip.digest(name.removeprefix("tinyclip-"), steps=TINY_STEPS[runtime.scale])
    dataset = read(name, runtime)
    checksum = hashlib.sha256()
    if name == "clothing" and runtime.scale == "mini":
        # Stems of the resized copies are fingerprints of the original photos; the copies' bytes depend on zlib.
        contents = [item.path.stem for item in dataset.items]
    else:
        contents = [item.media.fingerprint() for item in dataset.items]
    for item, content in zip(dataset.items, contents, strict=True):
        checksum.update(f"{item.label}\t{item.split}\t{content}\n".encode())
    return checksum.hexdigest()[:16]


@cache
def read(name: str, runtime: Runtime) -> Dataset:
    """Read or draw a data set.

    Raises:
        DataError: the name is unknown, or the data set is not in the folder.
    """
    if runtime.scale == "smoke":
        return _smoke(name, runtime)
    base, _, number = name.partition("#")
    seed = int(number or 0)
    if base == "emoji":
        return read_dataset(drawn_videos.draw_videos(runtime.folder / f"emoji-{seed}", **EMOJI, seed=seed))
    if base == "shapes":
        out = runtime.folder / f"shapes-{seed}"
        return read_dataset(shapes.draw_shape_videos(out, **SHAPES, seed=seed))
    if runtime.data is None:
        raise DataError(f"{name} is read from the data folder, which is not set; use --data DATA")
    source = _source(name, runtime.data)
    if not source.exists():
        raise DataError(f"{name}: {source} does not exist; --data must be a folder that contains it")
    if name == "imagenet":
        return read_dataset(source, labels="imagenet")
    if name == "clothing":
        return _shrunk(read_dataset(source), runtime.folder / "clothing")
    if name not in LISTS:
        return read_dataset(source)
    splits = [
        read_dataset(source / f"{split}.txt", labels=source / "labels.csv", root=source / "videos")
        for split in ("train", "val")
    ]
    return with_validation(*splits)


def _source(name: str, folder: Path) -> Path:
    if name not in (*GIVEN, *LISTS, "imagenet"):
        raise DataError(
            f"unknown data set {name!r}; use one of {', '.join((*GIVEN, *LISTS, 'imagenet'))}, emoji, shapes"
        )
    return folder / GIVEN.get(name, name)


def _shrunk(dataset: Dataset, folder: Path) -> Dataset:
    """Resize the photos to a short side of 128 pixels; decoding the originals takes a third of a row's time."""
    items = []
    for item, content in zip(dataset.items, [item.media.fingerprint() for item in dataset.items], strict=True):
        small = folder / f"{content}.png"
        if not small.is_file():
            with Image.open(item.path) as photo, replacing(small, sync=False) as temporary:
                scale = SHORT_SIDE / min(photo.size)
                size = round(photo.width * scale), round(photo.height * scale)
                photo.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(temporary, format="png")
        items.append(replace(item, path=small))
    return replace(dataset, items=tuple(items))


def _smoke(name: str, runtime: Runtime) -> Dataset:
    """Draw a few training clips and one test clip per class: 48 emoji classes, 8 shapes, or 6 or 4 emoji."""
    if name.startswith("shapes"):
        drawn = shapes.draw_shape_videos(runtime.folder / "smoke-shapes", **{**SMOKE, "train": 3, "size": 64})
        return _first(read_dataset(drawn), 8, 3)
    dataset = read_dataset(drawn_videos.draw_videos(runtime.folder / "smoke-emoji", **{**SMOKE, "train": 20}))
    if name.startswith("emoji"):
        return _first(dataset, len(dataset.classes), 5)
    return _first(dataset, 4 if name == "airborne" else 6, 20)


def _first(dataset: Dataset, classes: int, items: int) -> Dataset:
    """Pick the first `items` items per split of each of the first classes."""
    names, counts, picked = set(dataset.classes[:classes]), {}, []
    for position, item in enumerate(dataset.items):
        if item.label in names:
            counts[item.label, item.split] = counts.get((item.label, item.split), 0) + 1
            if counts[item.label, item.split] <= items:
                picked.append(position)
    return replace(dataset.pick(picked), notes=())
