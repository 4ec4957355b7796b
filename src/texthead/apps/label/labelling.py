"""Unlabelled files and windows of long videos, their features, the labels so far, and the files to label next."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead import Dataset, Encoder, EncoderOptions, FrozenEncoder, Item, ReadOptions, Reporter, read_dataset
from texthead.apps.label.label_file import bad_list
from texthead.apps.label.selection import Similarities, class_probabilities
from texthead.apps.search import encode_windows
from texthead.data import join_labels, manifest_rows, read_files
from texthead.errors import DataError, MediaError, PositiveInt, checked, listed
from texthead.features import check_any
from texthead.media import MediaPath, Span, Video, spans_by_file
from texthead.text import check_names
from texthead.transfer import QUICK_FRAMES

# Videos longer than this, in seconds, are cut into windows.
_LONG_SECONDS = 20.0


class Suggestion(NamedTuple):
    """A file to label, its predicted class so far, and the probability (0-1) of that.

    For multi-label data, the guess is a text of several, and the probability is that of the least certain class.
    """

    path: Path
    prediction: str
    probability: float


@dataclass(frozen=True)
class Pool:
    """Files to label, their features, and the labels so far.

    Attributes:
        files: the readable files, with windows of long videos in place of these.
        features: the mean feature of each.
        names: the classes to start with.
        labelled: the files that have labels.
        multilabel: whether a file may have several labels or none.
        encode: returns the text rows of class names; None for an encoder without text.
        skipped: errors of unreadable files.
        frozen: the encoder of the features; None if unknown.
        bad: files marked as bad, which are not suggested.
    """

    files: Dataset
    features: Float[Tensor, "files dim"]
    names: tuple[str, ...] = ()
    labelled: Dataset = field(default_factory=lambda: Dataset(()))
    multilabel: bool = False
    encode: Callable[[Sequence[str]], Float[Tensor, "classes dim"]] | None = None
    skipped: tuple[MediaError, ...] = ()
    frozen: FrozenEncoder | None = None
    bad: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        counts = f"{len(self.files)} files, {len(self.labelled)} of them labelled, {len(self.classes)} classes"
        return f"Pool({self.files.source!r}: {counts}{f', {len(self.skipped)} unreadable' if self.skipped else ''})"

    @property
    def classes(self) -> list[str]:
        """The classes to start with, then those of the labels so far."""
        return [*self.names, *(name for name in self.labelled.classes if name not in self.names)]

    @property
    def groups(self) -> list[str] | None:
        """The group of each file (for a part of a video, the video if no group is given); None if all are separate."""
        grouped = any(item.group or item.media.is_part for item in self.files.items)
        return self.files.groups if grouped else None

    def similarities(self, labelled: Sequence[int]) -> Similarities:
        """Return the similarities between the files, of which those at `labelled` have labels."""
        return Similarities(self.features, labelled, groups=self.groups, multilabel=self.multilabel)

    @checked
    def suggest(self, count: PositiveInt) -> list[Suggestion]:
        """Return up to `count` files to label next, the most informative first.

        Raises:
            DataError: there is no class yet.
        """
        classes, media = self.classes, [item.media.resolved() for item in self.files.items]
        if not classes:
            raise DataError("there is no class to start with: name some with `classes`")
        item_of = {item.media.resolved(): item for item in self.labelled.items}
        labelled = [i for i, each in enumerate(media) if each in item_of]
        items = tuple(item_of[media[i]] for i in labelled)
        targets = Dataset(items, multilabel=self.multilabel).targets(classes)
        rows = self.encode and self.encode(classes)
        probabilities = class_probabilities(rows, self.features, labelled, targets, classes=len(classes))
        if self.multilabel:
            sure = torch.maximum(probabilities, 1 - probabilities).amin(-1)
            sets = [[name for name, p in zip(classes, row, strict=True) if p >= 0.5] for row in probabilities.tolist()]
            names = [*map(join_labels, sets)]
        else:
            sure, best = probabilities.max(-1)
            names = [classes[index] for index in best.tolist()]
        bad = {MediaPath(path).resolved() for path in self.bad}
        without = [i for i, each in enumerate(media) if each in bad]
        chosen = self.similarities(labelled).suggest(probabilities, labelled, count, without=without)
        return [Suggestion(self.files.items[i].path, names[i], float(sure[i])) for i in chosen]


def label_pool(
    data: str | Path | Dataset,
    classes: Sequence[str] = (),
    labels: str | Path | None = None,
    *,
    multilabel: bool = False,
    encoder: str | Encoder | EncoderOptions = "mini",
    reading: ReadOptions = ReadOptions(cache=True),
    reporter: Reporter = Reporter(),
) -> Pool:
    """Return files to label with their features, as `texthead label` does; its `next(20)` are those to label next.

    Args:
        data: a folder of videos and images, a CSV or TSV with the column path, or files that were read.
        classes: names of classes to start with.
        labels: the labels so far: a CSV (path,label), which need not exist.
        multilabel: whether a file may have several labels or none; also if `labels` has several per file.
        encoder: an encoder, its name, or options that also say its template and device.
        reading: how files are read and encoded.
        reporter: gets progress and messages.

    Raises:
        DataError: a labelled file is not in `data`, `labels` or `classes` break a rule, or no file can be read.
        MediaError: a file cannot be read and `reading` does not skip such files.
    """
    files = data if isinstance(data, Dataset) else read_files(data)
    labels_csv, bad = None if labels is None else Path(labels), list[Path]()
    labelled = items_so_far(labels_csv, files)
    if labels_csv and labels_csv.suffix.lower() == ".csv" and (listing := bad_list(labels_csv)).exists():
        bad = [row.path() for row in manifest_rows(listing, ("path",))]
    if multilabel and labelled and not labelled.multilabel:
        raise DataError(f"`multilabel`: {labels} is single-label; use another file, or remove `multilabel`")
    if more := [name for name in labelled.classes if classes and name not in classes]:
        reporter.note(f"{labels} has classes that `classes` lacks, which are added: {listed(more, known=classes)}")
    names = tuple(dict.fromkeys([*classes, *labelled.classes]))
    if names:
        check_names(names)
    options = EncoderOptions.from_encoder(encoder)
    if options.text is not None and not names:
        raise DataError(f"`text` {options.text} needs a class to start with: name some with `classes`")

    def rows(names: Sequence[str]) -> Float[Tensor, "classes dim"]:
        return model.familiarity_scaled_rows(names, options.prompts(names))

    model = options.load(options.prompts(names))
    files = cut_files(files, model, reading, above=_LONG_SECONDS, known=[*labelled.paths, *bad], reporter=reporter)
    about = {"labelled": labelled, "multilabel": multilabel or labelled.multilabel, "bad": tuple(bad)}
    pool = encode_files(files, model, reading, reporter)
    return replace(pool, names=tuple(classes), encode=rows if model.has_text else None, **about)


def items_so_far(path: Path | None, files: Dataset) -> Dataset:
    """Return the labelled files of a manifest; none if it does not exist.

    A CSV in which no file has a label is read too, though nothing can be trained on it.

    Raises:
        DataError: it cannot be read, or lists a file that is neither in `files` nor a part of one.
    """
    if path is None or not path.exists():
        return Dataset(())
    rows = [*manifest_rows(path, ("path",))] if path.suffix.lower() == ".csv" else []
    if rows and not any(row.cells.get("labels", "?").strip() for row in rows):
        labelled = replace(read_files(path), multilabel=True)
    else:
        labelled = read_dataset(path)
    known = {item.media.resolved() for item in files.items}
    for item in labelled.items:
        if known.isdisjoint((item.media.resolved(), MediaPath(item.media.file).resolved())):
            raise DataError(
                f"{path}: labels {item.path}, which is not in {files.source}: pass the data that the labels belong to"
            )
    return labelled


def cut_files(
    files: Dataset,
    encoder: Encoder,
    reading: ReadOptions,
    *,
    above: float,
    known: Sequence[Path] = (),
    reporter: Reporter = Reporter(),
) -> Dataset:
    """Return the files with each long video replaced by its windows.

    With encoders of whole clips, windows have equal lengths.

    Args:
        above: cut only videos longer than this, in seconds.
        known: labelled paths. Labelled files are not cut, labelled parts stay, and windows that overlap with them are
            left out.
    """
    protocol = encoder.visual.spec.protocol(frames=QUICK_FRAMES)
    labelled = spans_by_file(MediaPath(path).resolved() for path in known)
    items: list[Item] = []
    with reporter.bar("look for long videos", "files") as progress:
        for done, item in enumerate(files.items, 1):
            labelled_spans = labelled.get(item.media.resolved().path, [])
            spans, seconds = {*labelled_spans}, 0.0
            if Span() not in spans and not item.media.is_part and item.media.reader.kind == Video.kind:
                with suppress(MediaError), item.media.open() as video:  # An error is reported when it is encoded.
                    seconds = video.duration_seconds
            if seconds > above:
                windows = encode_windows(encoder, [item.path], protocol, reading).spans.tolist()
                cuts = (Span(*window) for window in windows)
                spans |= {cut for cut in cuts if not any(cut.overlaps(span) for span in labelled_spans)}
            items += [replace(item, path=item.media.part(span).path) for span in sorted(spans)] or [item]
            progress(done, len(files))
    return replace(files, items=tuple(items))


def encode_files(files: Dataset, encoder: Encoder, reading: ReadOptions, reporter: Reporter = Reporter()) -> Pool:
    """Return the readable files with their features.

    Raises:
        MediaError: a file cannot be read and `reading` does not skip such files.
        DataError: no file can be read.
    """
    protocol = encoder.visual.spec.protocol(frames=1 if files.only_images else QUICK_FRAMES)
    frozen = FrozenEncoder(encoder, protocol, reading, reporter)
    encoded = frozen.files(files.paths)
    check_any(files.paths, encoded.positions, encoded.skipped)
    return Pool(files.select(encoded.positions), encoded.features, skipped=encoded.skipped, frozen=frozen)
