"""The data sets of each scale by name, with a digest of their content.

`full` expects a folder with:

    k400/ ucf101/ hmdb51/ anet/    train.txt and val.txt, labels.csv (`id,name`), videos/; all of ucf101: full.txt
    k600/                          test_split1.txt to test_split3.txt, labels_split1.csv to labels_split3.csv, videos/
    imagenet/                      train/n01440764/*.JPEG, val/n01440764/*.JPEG

Lines of a list are `file label`, or `folder n_frames label` for folders of frames with the published file names.

`mini` reads the photos `clothing`, `objects` and `handdigits` from image/NAME/images.csv and the clips `airborne` and
`exercise` from video/NAME/clips.csv; it draws the other data sets. `smoke` draws everything.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from paper import shapes, tinyclip
from paper.worlds import Scale
from texthead import Dataset, read_dataset
from texthead.apps.demo import draw_videos
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
# Kinetics-600's three splits of 160 classes that Kinetics-400 has not.
K600 = ("k600-1", "k600-2", "k600-3")
# List and labels of the data sets that are only tested on.
TESTED = {
    "ucf101-full": ("ucf101/full.txt", "ucf101/labels.csv"),
    **{name: (f"k600/test_split{name[-1]}.txt", f"k600/labels_split{name[-1]}.csv") for name in K600},
}
# Test videos in the published lists. ucf101 is split 1.
VIDEOS = {"ucf101": 3_783, "ucf101-full": 13_320, **dict(zip(K600, (14_119, 14_067, 14_161), strict=True))}
# Names of frames in the published lists' folders.
FRAMES = {"k400": "img_{:05d}", "ucf101": "image_{:04d}", "hmdb51": "image_{:06d}", "anet": "image_{:06d}"}
# (entries of a published list, `least_frames`) -> entries left: ActivityNet's training instances.
LEFT = {(15_410, 8): 12_770}
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
        least_frames: drop training clips with fewer frames in their list, if it has numbers of frames; the published
            code drops those below 8.
    """

    scale: Scale
    data: Path | None = None
    cache_folder: Path | None = None
    accumulate: int = 1
    processes: int = 1
    least_frames: int = 0

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
        return read_dataset(draw_videos(runtime.folder / f"emoji-{seed}", **EMOJI, seed=seed))
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
    if name in TESTED:
        whole = _at_most(name, _listed(source, runtime.data / TESTED[name][1]))
        return replace(whole, items=tuple(replace(item, split="test") for item in whole.items))
    if name not in LISTS:
        return read_dataset(source)
    train = _listed(source / "train.txt", source / "labels.csv", least=runtime.least_frames)
    return train.with_validation(_at_most(name, _listed(source / "val.txt", source / "labels.csv")))


def _source(name: str, folder: Path) -> Path:
    known = (*GIVEN, *LISTS, *TESTED, "imagenet")
    if name not in known:
        raise DataError(f"unknown data set {name!r}; use one of {', '.join(known)}, emoji, shapes")
    return folder / (TESTED[name][0] if name in TESTED else GIVEN.get(name, name))


def _listed(file: Path, labels: Path, *, least: int = 0) -> Dataset:
    """Read a list of videos, or of folders of frames without those of fewer than `least` frames."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    counts = [int(count) for count in re.findall(r"^.+[ \t](\d+)[ \t]\d+\s*$", text, re.MULTILINE)]
    template = f"{FRAMES[file.parent.name]}.jpg" if counts and file.parent.name in FRAMES else None
    dataset = read_dataset(file, labels=labels, root=file.parent / "videos", frame_template=template)
    return dataset.select(long_enough(file, counts, least)) if counts else dataset


def long_enough(file: Path, counts: Sequence[int], least: int) -> list[int]:
    """Return the positions of a list's entries with at least `least` frames.

    Source: the published code's reader of training lists.

    Raises:
        DataError: another number is left of a published list than should be.
    """
    left = [position for position, count in enumerate(counts) if count >= least]
    expected = LEFT.get((len(counts), least), len(left))
    if len(left) != expected:
        raise DataError(
            f"{file}: {len(left):,} of {len(counts):,} entries have at least {least} frames, but the published list "
            f"has {expected:,}; use its numbers of frames"
        )
    return left


def _at_most(name: str, dataset: Dataset) -> Dataset:
    """Return the data set; raise DataError if it has more videos than published. Some no longer exist."""
    if len(dataset) > (most := VIDEOS.get(name, len(dataset))):
        raise DataError(
            f"{dataset.source}: {len(dataset):,} videos, but the published list of {name} has {most:,}; use that list"
        )
    return dataset


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
    dataset = read_dataset(draw_videos(runtime.folder / "smoke-emoji", **{**SMOKE, "train": 20}))
    if name in K600:  # Not the first classes, which `exercise` has.
        dataset = dataset.with_classes(dataset.classes[6 * int(name[-1]) :])
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
    return replace(dataset.select(picked), notes=())
