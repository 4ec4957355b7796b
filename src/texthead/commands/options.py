"""Options that commands share, as groups that can act on what they hold."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser

from texthead.commands.parser import NonNegativeInt, Parser, PositiveInt, option
from texthead.errors import DataError
from texthead.text.class_names import clean_names
from texthead.text.prompts import read_template

if TYPE_CHECKING:
    import torch

    from texthead.data.dataset import Dataset
    from texthead.data.protocol import Pixels, Protocol
    from texthead.encoders.encoder import Visual
    from texthead.features.cache import FeatureCache
    from texthead.features.reading import Reading

DATA = "class folders, CSV or TSV, list .txt, prepared SHARDS, or datasets:FOLDER_OR_ID"

Split = Literal["train", "val", "test"]


def default_workers() -> int:
    """Return the number of processes that decode unless another is given."""
    return min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class DataOptions:
    """How labelled files are read.

    Args:
        labels: CSV with id,name: the class names behind a list's numbers, or behind labels; imagenet: of its ids
        root: where a list's paths begin, if not beside it
        frame_template: a list's paths are folders of frames, as img_{:05d}.jpg
        suffix: a list's paths are videos without it
    """

    labels: str | None = option(None, "FILE")
    root: str | None = option(None, "FOLDER")
    frame_template: str | None = option(None, "NAME")
    suffix: str | None = option(None, ".avi")

    def read(self, source: str) -> "Dataset":
        """Return the labelled files of a source."""
        from texthead.data.reading import read_dataset

        return read_dataset(
            source, labels=self.labels, root=self.root, frame_template=self.frame_template, suffix=self.suffix
        )


@dataclass(frozen=True)
class NameOptions:
    """How labels become class names.

    Args:
        names: how labels become class names
    """

    names: Literal["clean", "verbatim"] = "clean"

    @property
    def clean(self) -> bool:
        """Whether underscores and the like are taken out of labels."""
        return self.names == "clean"

    def names_for(self, labels: list[str]) -> list[str]:
        """Return the class name of each label."""
        return clean_names(labels) if self.clean else labels


@dataclass(frozen=True)
class TemplateOptions(NameOptions):
    """The prompt of a new head.

    Args:
        template: prompt of a new head with exactly one {}, or a .txt with one a line
        names: how labels become class names
    """

    template: str | None = None

    def read_template(self) -> str | tuple[str, ...] | None:
        """Return the template, or the templates of a file; None where none is given."""
        return None if self.template is None else read_template(self.template)

    def check_used(self, other: bool, how: str) -> None:
        """Raise DataError if a template is given and the head is not made anew (`other`)."""
        if self.template is not None and not other:
            raise DataError(f"--template {self.template!r} makes the prompts of a new head: give {how} too")


@dataclass(frozen=True)
class ProtocolOptions:
    """How items are looked at, where it differs from the run's own protocol.

    Args:
        frames: frames of a clip, if not as in training
        views: clips x crops, as 4x3
        pooling: what is averaged over views, if not the run's own
        origin: frame of a segment, if not the run's own
        crops_along: where three crops lie, if not the run's own
        resize: short side before cropping in pixels, if not the run's own
    """

    frames: PositiveInt | None = None
    views: str = "1x1"
    pooling: Literal["features", "logits", "probabilities"] | None = None
    origin: Literal["first", "centre", "dense"] | None = None
    crops_along: Literal["width", "long-side"] | None = None
    resize: PositiveInt | None = None

    def on(self, own: "Protocol") -> "Protocol":
        """Return the protocol with these changes.

        Raises:
            DataError: views of another form, or options that do nothing together.
        """
        from texthead.data.protocol import Protocol, Views

        along = self.crops_along or own.views.along
        views = Views.parse(self.views, origin=self.origin or own.views.origin, along=along)
        if self.pooling is not None and views.count == 1:
            raise DataError(f"--pooling {self.pooling} does nothing with one view: give --views too, as 4x3")
        if self.crops_along is not None and views.crops != 3:
            raise DataError(f"--crops-along {self.crops_along} is for three crops: give --views too, as 1x3")
        pixels = resized(own.sizes, self.resize)
        return Protocol(self.frames or own.frames, pixels, views, self.pooling or own.pooling)

    def changes(self, own: "Protocol") -> list[tuple[str, object]]:
        """Return (name, value) of origin, crops and short side where they differ from the run's own."""
        ways = (
            ("origin", self.origin, own.views.origin),
            ("crops along", self.crops_along, own.views.along),
            ("short side", self.resize, own.sizes.resize),
        )
        return [(name, value) for name, value, before in ways if value not in (None, before)]


def resized(pixels: "Pixels", resize: int | None) -> "Pixels":
    """Return the sizes with another short side before cropping, if one is given.

    Raises:
        DataError: a short side below the crop.
    """
    from dataclasses import replace

    if resize is not None and resize < pixels.size:
        raise DataError(f"--resize {resize}: the crop has {pixels.size} pixels, the short side must not be less")
    return replace(pixels, resize=resize or pixels.resize)


@dataclass(frozen=True)
class ReadingOptions:
    """How files are read.

    Args:
        skip_unreadable: leave out and list files that cannot be read
        workers: processes that decode
        device: auto, cpu, cuda or cuda:N
    """

    skip_unreadable: bool = False
    workers: NonNegativeInt = option(default_workers)
    device: str = "auto"

    def reading(self, cache: "FeatureCache | None" = None) -> "Reading":
        """Return how a model's items are read."""
        from texthead.features.reading import Reading

        return Reading(workers=self.workers, cache=cache, skip_unreadable=self.skip_unreadable)

    def pick_device(self) -> "torch.device":
        """Return the device to compute on.

        Raises:
            RunError: it cannot be used.
        """
        from texthead.parallel.device import pick_device

        return pick_device(self.device)


@dataclass(frozen=True)
class CacheOptions:
    """Where features are kept.

    Args:
        cache: where frame features are kept
    """

    cache: str | None = option(None, "FOLDER")

    @property
    def folder(self) -> Path | None:
        """The folder of the feature cache; None keeps features for this command alone."""
        return None if self.cache is None else Path(self.cache)

    def features_of(self, visual: "Visual", pixels: "Pixels") -> "FeatureCache":
        """Return the cache of an encoder's features."""
        from texthead.features.cache import FeatureCache, encoder_key

        return FeatureCache(encoder_key(visual, pixels), self.folder)


@dataclass(frozen=True)
class BaselineOptions(CacheOptions):
    """Zero-shot and probe beside a result.

    Args:
        baselines: zero-shot and logistic probe beside the result; auto: up to 2,000 training items
        cache: where frame features are kept
    """

    baselines: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder of predictions without a run.

    Args:
        encoder: without a run: mini (the default), openclip:..., hf:...
        text: text:FOLDER_OR_ID: a text-only encoder of transformers for the rows
    """

    encoder: str | None = None
    text: str | None = option(None, "SOURCE")

    def check_no_run(self, run: str) -> None:
        """Raise DataError if an encoder is given beside a run, which has its own."""
        for name, value in (("encoder", self.encoder), ("text", self.text)):
            if value is not None:
                raise DataError(f"--{name} {value}: run {run} has its own encoder; leave it out")


def check_order(command: str, run: str, data: str) -> None:
    """Raise DataError if DATA and RUN have changed places."""
    from texthead.runs.run import is_run

    if is_run(data) and not is_run(run):
        raise DataError(f"RUN comes before DATA: texthead {command} {data} {run}")


def add_classes_parser(commands: Any) -> None:
    """`texthead classes` and its actions; jsonargparse wants outer commands added before inner ones."""
    parser = Parser(
        prog="texthead classes",
        usage="texthead classes RUN [options]",
        description="The classes of a finished run: texthead classes RUN list|add|rename|remove|merge. An edit writes "
        "another run, in which all other classes are the same.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    commands.add_subcommand("classes", parser, help="show the classes of a run, or make a run with other ones")
    actions = parser.add_subcommands(required=True, dest="action", metavar="ACTION")
    before = "texthead classes RUN"

    shown = Parser(prog=f"{before} list", usage=f"{before} list [options]", description="Labels, prompts, rows.")
    shown.add_argument("--json", action="store_true", help="JSON on standard output")
    actions.add_subcommand("list", shown, help="labels, prompts and where rows came from")

    text = "Text rows for more classes, behind the others."
    add = Parser(prog=f"{before} add", usage=f"{before} add [NAME...] --out FOLDER [options]", description=text)
    add.add_argument("classes", nargs="*", metavar="NAME", help="class names, each an argument of its own")
    add.add_argument(
        "--from",
        default=None,
        metavar="FILE",
        help="instead of names: names.txt, or classes.json of name: sentence, [sentences] or null",
    )
    _prompts(add)
    _edited(add)
    actions.add_subcommand("add", add, help="text rows for more classes")

    text = "Another label for a class: what predictions say. Its row stays without --encode and --sentence."
    rename = Parser(prog=f"{before} rename", usage=f"{before} rename OLD NEW --out FOLDER [options]", description=text)
    rename.add_argument("old", metavar="OLD", help="a class of the run")
    rename.add_argument("new", metavar="NEW", help="what to call it")
    rename.add_argument("--encode", action="store_true", help="make the row anew from NEW")
    _prompts(rename)
    _edited(rename)
    actions.add_subcommand("rename", rename, help="another label for a class")

    text = "Fewer classes; at least one stays."
    remove = Parser(prog=f"{before} remove", usage=f"{before} remove NAME... --out FOLDER", description=text)
    remove.add_argument("classes", nargs="+", metavar="NAME", help="classes of the run")
    _edited(remove)
    actions.add_subcommand("remove", remove, help="fewer classes")

    text, usage = "Several classes as one, whose row is the mean of theirs.", "NAME NAME... --into NAME --out FOLDER"
    merge = Parser(prog=f"{before} merge", usage=f"{before} merge {usage}", description=text)
    merge.add_argument("classes", nargs="+", metavar="NAME", help="classes of the run, at least two")
    merge.add_argument("--into", required=True, metavar="NAME", help="what to call it: one of them, or a new name")
    _edited(merge)
    actions.add_subcommand("merge", merge, help="several classes as one")


def _edited(parser: ArgumentParser) -> None:
    text = "the run folder to make; RUN stays as it is"
    parser.add_argument("--out", required=True, metavar="FOLDER", help=text)


def _prompts(parser: ArgumentParser) -> None:
    text = "what the row is made from, for one class; given several times, the rows are averaged"
    parser.add_argument("--sentence", action="append", default=None, metavar="TEXT", help=text)
    parser.add_argument("--template", default=None, help="prompt with exactly one {}; the run's own if not given")
    parser.add_argument(
        "--names", type=Literal["clean", "verbatim"], default="clean", help="how labels become class names"
    )
