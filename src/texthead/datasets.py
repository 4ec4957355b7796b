"""Labelled files, and the clips that training and testing take from them. An image is a clip of one frame.

A dataset knows paths and labels; frames, size and sampling come from the recipe or from `Views`.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead import splits
from texthead.decoding import is_image, is_media, open_media
from texthead.errors import DataError, MediaError
from texthead.hub_datasets import HUB_PREFIX, read_hub
from texthead.label_files import read_labels
from texthead.lists import read_list
from texthead.sampling import Views, random_in_segment
from texthead.shard_files import has_shards, is_member, read_rows
from texthead.text_files import check_lines, lines
from texthead.transforms import Augmentation, augment, view_crops

Split = Literal["train", "val", "test"]
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validation": "val",
    "valid": "val",
    "test": "test",
}
_MANIFEST_SUFFIXES = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Item:
    """One labelled file.

    `group` names what must stay on one side of a split (a scene, a person); `extra` keeps a manifest's other columns.
    """

    path: Path
    label: str
    split: Split | None = None
    group: str | None = None
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def together(self) -> str:
        """What it hangs together by: its group, or its own path where none is named."""
        return self.group or str(self.path)


@dataclass(frozen=True)
class Dataset:
    """Labelled files and the labels that occur, sorted. `notes` are lines that a user should see."""

    items: tuple[Item, ...]
    source: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> list[str]:
        """Each item's label, in order."""
        return [item.label for item in self.items]

    @property
    def classes(self) -> list[str]:
        """The labels that occur, sorted."""
        return sorted({item.label for item in self.items})

    @property
    def groups(self) -> list[str]:
        """Each item's group, a scene or a person; its own path where none is named."""
        return [item.together for item in self.items]

    @property
    def only_images(self) -> bool:
        """Whether every item is an image: a clip of one frame."""
        return all(is_image(item.path) for item in self.items)

    def split(self, name: Split) -> "Dataset":
        """The items of one split."""
        return replace(self, items=tuple(item for item in self.items if item.split == name))

    def pick(self, positions: Sequence[int]) -> "Dataset":
        """The items at the given positions."""
        return replace(self, items=tuple(self.items[position] for position in positions))

    def with_classes(self, names: Sequence[str]) -> "Dataset":
        """The items whose label is among the names."""
        wanted = set(names)
        return replace(self, items=tuple(item for item in self.items if item.label in wanted))

    def k_shot(self, k: int, *, seed: int) -> "Dataset":
        """Exactly k items a class, drawn from the seed alone."""
        return self.pick(splits.k_shot(self.labels, k, seed=seed))

    def k_shot_per_process(self, k: int, *, processes: int, seed: int) -> "Dataset":
        """All items of which each of some processes would draw k a class: a defect to measure, see `splits`."""
        return self.pick(splits.k_shot_per_process(self.labels, k, processes=processes, seed=seed))

    def fraction(self, part: float, *, seed: int) -> "Dataset":
        """A part of each class's items, at least one, drawn from the seed alone; smaller parts lie in larger ones."""
        return self.pick(splits.fraction(self.labels, part, seed=seed))

    def repeat(self, times: int) -> "Dataset":
        """The items, `times` times over: an epoch of few items as long as one of many. Training draws each anew.

        Draw first and repeat then: a draw from repeated items takes the same file more than once.

        Source: the published few-shot code, which repeats a class's K items until an epoch is as long as of all.

        Raises:
            DataError: not even once.
        """
        if times < 1:
            raise DataError(f"times must be at least 1, got {times}")
        return replace(self, items=self.items * times)

    def with_drawn_split(self, part: float, *, seed: int) -> "Dataset":
        """The same items with a held-out part of each class as "val" and the rest as "train"; groups stay whole.

        Raises:
            DataError: a class from which nothing can be held out.
        """
        groups = self.groups
        # Copies of a file stay together too.
        grouped = len(set(groups)) < len(groups)
        held = set(splits.hold_out(self.labels, part, seed=seed, groups=groups if grouped else None))
        items = (replace(item, split="val" if i in held else "train") for i, item in enumerate(self.items))
        return replace(self, items=tuple(items))


def read_dataset(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    root: str | Path | None = None,
    frame_template: str | None = None,
    suffix: str | None = None,
) -> Dataset:
    """The labelled files that a folder of class folders, a manifest, a published list or a `datasets` source names.

    So does a folder of prepared shards, or its address, as `http://host/shards`; its clips come in the order of the
    data that they were prepared from, so that draws from a seed are the same.

    A folder with one manifest (CSV or TSV) in it is read through the manifest. Folders named train, val, test above the
    class folders are splits. A `.txt` is a list with lines `path n_frames label` or `file label`. `datasets:...` is a
    folder that Hugging Face `datasets` saved or can load, or a dataset of its hub.

    Args:
        labels: a CSV with `id,name`, or `imagenet`. A list's labels are places in it; elsewhere a label becomes the
            name of its id.
        root: the folder that a list's paths begin in; the list's own if None.
        frame_template: where a list's paths are folders of frames, the name of a frame: "img_{:05d}.jpg".
        suffix: where a list's paths are videos without it: ".avi".

    Raises:
        DataError: no such path, no labelled file in it, a manifest, list or label file that breaks a rule, or an
            option that does not belong to the source.
    """
    named = read_labels(Path(labels)) if labels is not None else None
    path = Path(source)
    if path.suffix.lower() == ".txt" and not path.is_dir():
        if not path.is_file():
            raise DataError(f"{path}: no such list; check the path")
        if named is None:
            raise DataError(f"{path}: a list holds numbers: give labels (--labels), a CSV with id,name in their order")
        start = None if root is None else Path(root)
        rows, notes = read_list(path, named, root=start, frame_template=frame_template, suffix=suffix)
        return _checked(Dataset(tuple(Item(*row) for row in rows), str(path), tuple(notes)))
    for option, value in (("root", root), ("frame_template", frame_template), ("suffix", suffix)):
        if value is not None:
            flag = f"--{option.replace('_', '-')}"
            raise DataError(f"{option} ({flag}) {str(value)!r} is for lists (.txt), and {source} is none: leave it out")
    dataset = _read_hub(str(source)) if str(source).startswith(HUB_PREFIX) else _read_path(path)
    if named is None:
        return dataset
    names = {label: named.name_of(label) for label in dataset.classes}
    return replace(dataset, items=tuple(replace(item, label=names[item.label]) for item in dataset.items))


def _read_hub(source: str) -> Dataset:
    rows, notes = read_hub(source, split_names=_SPLIT_NAMES)
    return _checked(Dataset(tuple(Item(*row) for row in rows), source, tuple(notes)))  # pyright: ignore[reportArgumentType]


def _read_path(path: Path) -> Dataset:
    if has_shards(path):
        rows, notes = read_rows(path)
        return _checked(Dataset(tuple(Item(*row) for row in rows), str(path), tuple(notes)))
    if path.is_file():
        return _read_manifest(path)
    if (path / "recipe.json").is_file():
        raise DataError(f"{path}: is a run, no data; name a folder of class folders or a CSV with path,label")
    if not path.is_dir():
        kinds = "class folders, a CSV with path,label, a list .txt, or datasets:FOLDER_OR_ID"
        raise DataError(f"{path}: no such file or folder; give {kinds}")
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        raise DataError(f"{path}: was saved by Hugging Face datasets; name it as {HUB_PREFIX}{path}")
    manifests = sorted(p for p in path.iterdir() if p.suffix.lower() in _MANIFEST_SUFFIXES and _is_manifest(p))
    if len(manifests) > 1:
        names = ", ".join(manifest.name for manifest in manifests)
        raise DataError(f"{path}: {len(manifests)} manifests ({names}): name the one to read")
    if manifests:
        dataset = _read_manifest(manifests[0])
        return replace(dataset, notes=(f"{path}: read through its manifest {manifests[0].name}", *dataset.notes))
    return _read_folders(path)


def _is_manifest(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = file.readline(4096).strip().lower().split(_MANIFEST_SUFFIXES[path.suffix.lower()])
    return {"path", "label"} <= {name.strip().strip('"') for name in header}


def _read_manifest(path: Path) -> Dataset:
    try:
        check_lines(path)
    except OSError as error:
        raise DataError(
            f"{path}: {error}; cut it up, or name its files by `texthead predict --manifest`, which holds none"
        ) from None
    items = tuple(_manifest_item(row, path, line) for line, row in manifest_rows(path, ("path", "label")))
    return _checked(Dataset(items, str(path)))


def manifest_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of each row of a CSV or TSV, one at a time; a row has a value for every column.

    Args:
        needed: the columns that must be there, and that no row may leave empty.

    Raises:
        DataError: another kind of file, a column that is missing, or a row that breaks a rule.
    """
    delimiter = _MANIFEST_SUFFIXES.get(path.suffix.lower())
    if delimiter is None:
        raise DataError(f"{path}: not a manifest; expected a .csv or .tsv with {','.join(needed)}, or a .txt list")
    named = " and ".join(needed)
    try:
        # A name on disk may be no UTF-8; `write_csv` keeps its bytes, so they are read back here.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(lines(file), delimiter=delimiter, strict=True)
            columns = reader.fieldnames = [_known(name) for name in reader.fieldnames or []]
            "".join(columns).encode()  # A name of a column that is no UTF-8 is an error, as below.
            missing = set(needed) - set(columns)
            if missing:
                raise DataError(
                    f"{path}: no column {sorted(missing)[0]!r}; found {', '.join(columns) or 'none'}: "
                    f"the first line must name {named}, with {delimiter!r} between columns"
                )
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{where}: the row has not as many fields as the header; quote fields with commas")
                if not all(row[column].strip() for column in needed):
                    raise DataError(f"{where}: {named} must not be empty")
                _check_utf8(row, path)
                yield reader.line_num, row
    except UnicodeEncodeError as error:
        problem = f"{path}: not a readable manifest (byte 0x{ord(error.object[error.start]) - 0xDC00:x} is no UTF-8)"
        raise DataError(f"{problem}; save it as UTF-8 with a header line") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable manifest ({error}); save it as UTF-8 with a header line") from None


def _check_utf8(row: dict[str, str], manifest: Path) -> None:
    """Nothing, if all of a row is UTF-8 but the path of a file that is there under these very bytes.

    Raises:
        UnicodeEncodeError: something else is not.
    """
    for column, value in row.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            if column != "path" or not (manifest.parent / value).exists():
                raise


def _known(column: str) -> str:
    """`Path` or ` label` as the known column that it means; any other name as it is."""
    name = column.strip().lower()
    return name if name in ("path", "label", "split", "group") else column


def _manifest_item(row: dict, manifest: Path, line: int) -> Item:
    """One row; paths are relative to the manifest's folder."""
    named = (row.get("split") or "").strip().lower()
    if named and named not in _SPLIT_NAMES:
        raise DataError(f"{manifest}:{line}: split must be train, val or test, got {row['split']!r}")
    return Item(
        path=manifest.parent / row["path"],
        label=row["label"].strip(),
        split=_SPLIT_NAMES[named] if named else None,  # pyright: ignore[reportArgumentType]
        group=(row.get("group") or "").strip() or None,
        extra=tuple((k, v) for k, v in row.items() if k not in ("path", "label", "split", "group")),
    )


def _read_folders(root: Path) -> Dataset:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    are_splits = bool(folders) and all(p.name.lower() in _SPLIT_NAMES for p in folders)
    roots = [(p, _SPLIT_NAMES[p.name.lower()]) for p in folders] if are_splits else [(root, None)]
    items: list[Item] = []
    notes: list[str] = []
    told: set[Path] = set()
    for folder, split in roots:
        for class_folder in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
            there = sorted(p for p in class_folder.iterdir() if not p.name.startswith("."))
            files = [p for p in there if p.is_file()]
            media = [p for p in files if is_media(p)]
            # Links that lead nowhere or in a circle; pipes.
            lost = [p for p in there if is_media(p) and not p.is_file() and not p.is_dir()]
            told |= {*lost}
            if lost:
                notes.append(f"{class_folder}: names of media without a file behind them: {len(lost)} ({lost[0].name})")
            if not media:
                raise DataError(f"{class_folder}: class has no video or image; add one or remove the folder")
            if len(media) < len(files):
                odd = sorted({p.suffix or p.name for p in files if not is_media(p)})
                notes.append(
                    f"{class_folder}: files that are not media: {len(files) - len(media)} ({', '.join(odd[:4])})"
                )
            items += [Item(p, class_folder.name, split) for p in media]  # pyright: ignore[reportArgumentType]
    told |= {item.path for item in items}
    stray = [path for path in media_below(root) if path not in told]
    if stray:
        notes.append(f"{root}: {len(stray)} media files are not directly in a class folder and not used ({stray[0]})")
    return _checked(Dataset(tuple(items), str(root), tuple(notes)))


def media_below(folder: Path) -> list[Path]:
    """The videos and images in a folder and all below it, sorted; what is hidden (`.name`) is passed over.

    A link that leads nowhere is among them: it is an error where it is read.
    """
    found = (path for path in folder.rglob("*") if is_media(path) and not path.is_dir())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _checked(dataset: Dataset) -> Dataset:
    """The dataset, if it holds items, each path once, and every item or none has a split."""
    if not dataset.items:
        raise DataError(
            f"{dataset.source}: no labelled videos or images found; expected CLASS/FILE or a CSV path,label"
        )
    path, count = Counter(item.path for item in dataset.items).most_common(1)[0]
    if count > 1:
        labels = sorted({item.label for item in dataset.items if item.path == path})
        raise DataError(f"{dataset.source}: {path} is listed {count} times (labels: {', '.join(labels)}): list it once")
    without = sum(item.split is None for item in dataset.items)
    if 0 < without < len(dataset.items):
        raise DataError(f"{dataset.source}: {without} of {len(dataset.items)} items have no split: give all or none")
    return dataset


def splits_of(dataset: Dataset) -> dict[str, int]:
    """Number of items of each split that occurs."""
    counts = Counter(item.split for item in dataset.items)
    return {name: counts[name] for name in get_args(Split) if counts[name]}


# --- clips: one item's frames, as training and testing take them -----------------------------------------------------


@dataclass(frozen=True)
class Pixels:
    """How frames become the encoder's input in testing: short side `resize`, crops of `size`, in pixels.

    With `squash` both sides become `resize`.
    """

    size: int
    resize: int
    interpolation: Literal["bilinear", "bicubic"]
    squash: bool = False


class TrainClips(torch.utils.data.Dataset):
    """Clips for training: (frames, label index, position) of an (epoch, position) pair.

    An item that cannot be read gives the MediaError instead of its frames: exceptions do not cross processes whole.

    Every draw is a function of (seed, epoch, position), so it does not depend on workers or on what came before.

    Source: Sec. 4.1, frames "uniformly sampled over the entire video", one random crop a clip.
    """

    def __init__(self, dataset: Dataset, names: Sequence[str], *, frames: int, augmentation: Augmentation, seed: int):
        self.paths = [str(item.path) for item in dataset.items]  # Quicker to hand to processes than items.
        self.targets = label_indices(dataset, names)
        self.frames = frames
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def blank(self) -> UInt8[Tensor, "frames 3 size size"]:
        """A black clip."""
        return torch.zeros(self.frames, 3, self.augmentation.size, self.augmentation.size, dtype=torch.uint8)

    def __getitem__(self, key: tuple[int, int]) -> tuple[UInt8[Tensor, "frames 3 size size"] | MediaError, int, int]:
        epoch, position = key
        rng = np.random.default_rng([self.seed, epoch, position])
        try:
            with open_media(self.paths[position]) as media:
                indices = random_in_segment(media.num_frames, self.frames, lambda n: int(rng.integers(n)))
                frames = media.frames_at(indices)
        except MediaError as error:
            return error, self.targets[position], position
        return augment(frames, self.augmentation, rng), self.targets[position], position


class ViewClips(torch.utils.data.Dataset):
    """Clips for testing: (views, label index, position), each frame decoded once for all views.

    An item that cannot be read gives the MediaError instead of its views, so that the caller decides.
    """

    def __init__(self, paths: Sequence[Path], targets: Sequence[int], *, frames: int, views: Views, pixels: Pixels):
        self.paths = [str(path) for path in paths]
        self.targets = list(targets)
        self.frames = frames
        self.views = views
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[UInt8[Tensor, "views frames 3 size size"] | MediaError, int, int]:
        try:
            return self._views(Path(self.paths[position])), self.targets[position], position
        except MediaError as error:
            return error, self.targets[position], position

    def _views(self, path: Path) -> UInt8[Tensor, "views frames 3 size size"]:
        if self.views.origin == "dense" and is_member(path):
            raise MediaError(path, "windows of 128 frames are not in a prepared clip: take --origin first or centre")
        with open_media(path) as media:
            clips = self.views.frame_indices(media.num_frames, self.frames)
            wanted = sorted({index for clip in clips for index in clip})
            decoded = media.frames_at(wanted)
        sizes, views = self.pixels, self.views
        crops = view_crops(
            decoded, sizes.size, sizes.resize, views.crops, sizes.interpolation, views.along, sizes.squash
        )
        place = {index: i for i, index in enumerate(wanted)}
        # Views in the order clip by clip, crops inside.
        return torch.cat([crops[:, [place[index] for index in clip]] for clip in clips])


class TrainFeatures(torch.utils.data.Dataset):
    """Clips for training on frame features that were encoded once: (features, label index, position).

    `bank[i]` holds more frames of item i than a clip takes; each epoch samples among them.
    """

    def __init__(self, bank: Sequence[Float[Tensor, "_ dim"]], targets: Sequence[int], *, frames: int, seed: int):
        self.bank = bank
        self.targets = list(targets)
        self.frames = frames
        self.seed = seed

    def __len__(self) -> int:
        return len(self.bank)

    @property
    def blank(self) -> Float[Tensor, "frames dim"]:
        """A clip of zeros."""
        return self.bank[0].new_zeros(self.frames, self.bank[0].shape[1])

    def __getitem__(self, key: tuple[int, int]) -> tuple[Float[Tensor, "frames dim"], int, int]:
        epoch, position = key
        rng = np.random.default_rng([self.seed, epoch, position])
        features = self.bank[position]
        indices = random_in_segment(len(features), self.frames, lambda n: int(rng.integers(n)))
        return features[indices], self.targets[position], position


def label_indices(dataset: Dataset, names: Sequence[str]) -> list[int]:
    """The place of each item's label among the names.

    Raises:
        DataError: a label that is not among the names.
    """
    place = {name: index for index, name in enumerate(names)}
    unknown = sorted(set(dataset.labels) - set(place))
    if unknown:
        raise DataError(
            f"{dataset.source}: label {unknown[0]!r} is not among the {len(names)} classes"
            f"{f' (nor are {len(unknown) - 1} more)' if len(unknown) > 1 else ''}: "
            "pass --classes or --zero-shot to make a head for other classes"
        )
    return [place[label] for label in dataset.labels]
