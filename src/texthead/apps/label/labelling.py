"""Unlabelled files and windows of long videos, their features, the labels so far, and the files to label next."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead import Dataset, Encoder, EncoderOptions, FrozenEncoder, Item, ReadOptions, Reporter
from texthead.apps.label.label_file import LabelFile, LabelState, Mark
from texthead.apps.label.selection import Similarities, class_probabilities
from texthead.apps.search import encode_windows
from texthead.data import join_labels, read_files
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


class Fit(NamedTuple):
    """A model fitted to some labels: its classes, and their probabilities for every file."""

    labels: LabelState
    classes: tuple[str, ...]
    probabilities: Float[Tensor, "files classes"]


@dataclass(frozen=True)
class Pool:
    """Files to label, their features, and the labels so far.

    Attributes:
        files: the readable files, with windows of long videos in place of these.
        features: the mean feature of each.
        names: the classes to start with.
        marks: the labels so far and the files marked as bad, by resolved path.
        multilabel: whether a file may have several labels or none.
        encode: returns the text rows of class names; None for an encoder without text.
        skipped: errors of unreadable files.
    """

    files: Dataset
    features: Float[Tensor, "files dim"]
    names: tuple[str, ...] = ()
    marks: Mapping[MediaPath, Mark] = field(default_factory=dict)
    multilabel: bool = False
    encode: Callable[[Sequence[str]], Float[Tensor, "classes dim"]] | None = None
    skipped: tuple[MediaError, ...] = ()

    def __repr__(self) -> str:
        counts = f"{len(self.files)} files, {len(self.labels.of)} of them labelled, {len(self.classes())} classes"
        return f"Pool({self.files.source!r}: {counts}{f', {len(self.skipped)} unreadable' if self.skipped else ''})"

    @cached_property
    def labels(self) -> LabelState:
        """The labels so far, by position."""
        return self.state(self.marks)

    def state(self, marks: Mapping[MediaPath, Mark]) -> LabelState:
        """Return marks by position; those of other files are left out."""
        own = {self._position_of[media]: mark for media, mark in marks.items() if media in self._position_of}
        bad, checked = ({i for i, mark in own.items() if getattr(mark, name)} for name in ("bad", "checked"))
        labels = {i: mark.labels for i, mark in own.items() if mark.labels is not None}
        return LabelState(labels, frozenset(bad), frozenset(checked))

    @cached_property
    def _position_of(self) -> dict[MediaPath, int]:
        return {item.media.resolved(): position for position, item in enumerate(self.files.items)}

    def classes(self, labels: LabelState | None = None) -> tuple[str, ...]:
        """Return the classes to start with, then those of other labels; of the labels so far if None."""
        return tuple(dict.fromkeys([*self.names, *sorted((self.labels if labels is None else labels).counts)]))

    @property
    def groups(self) -> list[str] | None:
        """The group of each file (for a part of a video, the video if no group is given); None if all are separate."""
        grouped = any(item.group or item.media.is_part for item in self.files.items)
        return self.files.groups if grouped else None

    def similarities(self, labelled: Sequence[int]) -> Similarities:
        """Return the similarities between the files, of which those at `labelled` have labels."""
        return Similarities(self.features, labelled, groups=self.groups, multilabel=self.multilabel)

    def labelled(self, labels: LabelState) -> Dataset:
        """Return the labelled files."""
        items = (replace(self.files.items[position], labels=own) for position, own in labels.of.items())
        return Dataset(tuple(items), multilabel=self.multilabel)

    def rows(self, classes: Sequence[str]) -> Float[Tensor, "classes dim"] | None:
        """Return the text rows of classes; None for an encoder without text, or without classes."""
        return self.encode(classes) if self.encode and classes else None

    def fit(self, labels: LabelState) -> Fit:
        """Fit a model to labels."""
        classes = self.classes(labels)
        about = self.rows(classes), self.features, [*labels.of], self.labelled(labels).targets(classes)
        return Fit(labels, classes, class_probabilities(*about, classes=len(classes)))

    @checked
    def suggest(self, count: PositiveInt) -> list[Suggestion]:
        """Return up to `count` files to label next, the most informative first.

        Raises:
            DataError: there is no class yet.
        """
        labels, classes, probabilities = self.fit(self.labels)
        if not classes:
            raise DataError("there is no class to start with: name some with `classes`")
        if self.multilabel:
            sure = torch.maximum(probabilities, 1 - probabilities).amin(-1)
            sets = [[name for name, p in zip(classes, row, strict=True) if p >= 0.5] for row in probabilities.tolist()]
            names = [*map(join_labels, sets)]
        else:
            sure, best = probabilities.max(-1)
            names = [classes[index] for index in best.tolist()]
        labelled = [*labels.of]
        chosen = self.similarities(labelled).suggest(probabilities, labelled, count, without=[*labels.bad])
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
        labels: the labels so far: a CSV (path,label), which need not exist; `labels.bad.csv` lists bad files.
        multilabel: whether a file may have several labels or none; a CSV with the column `labels` decides it.
        encoder: an encoder, its name, or options that also say its template and device.
        reading: how files are read and encoded.
        reporter: gets progress and messages.

    Raises:
        DataError: a labelled file is not in `data`, `labels` or `classes` break a rule, or no file can be read.
        MediaError: a file cannot be read and `reading` does not skip such files.
    """
    files = data if isinstance(data, Dataset) else read_files(data)
    # A file with two names, such as a link, has one label.
    position_of = {item.media.resolved(): position for position, item in reversed([*enumerate(files.items)])}
    if twice := len(files) - len(position_of):
        reporter.note(f"{twice} of {len(files)} paths name a file that another path names: each file is shown once")
    files = files.select(sorted(position_of.values()))
    marks: dict[MediaPath, Mark] = {}
    if labels is not None:
        file = LabelFile(Path(labels), files, multilabel=multilabel)
        marks, multilabel = file.read(), file.multilabel
    own = sorted({name for mark in marks.values() for name in mark.labels or ()})
    if more := [name for name in own if classes and name not in classes]:
        reporter.note(f"{labels} has classes that `classes` lacks, which are added: {listed(more, known=classes)}")
    names = tuple(dict.fromkeys([*classes, *own]))
    if names:
        check_names(names)
        join_labels(names)  # Raises an error for a name that a CSV would divide.
    options = EncoderOptions.from_encoder(encoder)
    if options.text is not None and not names:
        raise DataError(f"`text` {options.text} needs a class to start with: name some with `classes`")
    known: dict[str, Tensor] = {}

    def rows(names: Sequence[str]) -> Float[Tensor, "classes dim"]:
        if new := [name for name in names if name not in known]:
            known.update(zip(new, model.familiarity_scaled_rows(new, options.prompts(new)), strict=True))
        return torch.stack([known[name] for name in names])

    model = options.load(options.prompts(names))
    files = cut_files(files, model, reading, known=marks, reporter=reporter)
    protocol = model.visual.spec.protocol(frames=1 if files.only_images else QUICK_FRAMES)
    encoded = FrozenEncoder(model, protocol, reading, reporter).files(files.paths)
    check_any(files.paths, encoded.positions, encoded.skipped)
    return Pool(
        files.select(encoded.positions),
        encoded.features,
        tuple(classes),
        marks,
        multilabel,
        rows if model.has_text else None,
        encoded.skipped,
    )


def cut_files(
    files: Dataset,
    encoder: Encoder,
    reading: ReadOptions,
    *,
    known: Iterable[MediaPath] = (),
    reporter: Reporter = Reporter(),
) -> Dataset:
    """Return the files with each long video replaced by its windows.

    With encoders of whole clips, windows have equal lengths.

    Args:
        known: resolved paths. Such files are not cut, such parts stay, and windows that overlap with them are left out.
    """
    protocol, labelled = encoder.visual.spec.protocol(frames=QUICK_FRAMES), spans_by_file(known)
    items: list[Item] = []
    with reporter.bar("look for long videos", "files") as progress:
        for done, item in enumerate(files.items, 1):
            labelled_spans = labelled.get(item.media.resolved().path, [])
            spans, seconds = {*labelled_spans}, 0.0
            if Span() not in spans and not item.media.is_part and item.media.reader.kind == Video.kind:
                with suppress(MediaError), item.media.open() as video:  # An error is reported when it is encoded.
                    seconds = video.duration_seconds
            if seconds > _LONG_SECONDS:
                windows = encode_windows(encoder, [item.path], protocol, reading).spans.tolist()
                cuts = (Span(*window) for window in windows)
                spans |= {cut for cut in cuts if not any(cut.overlaps(span) for span in labelled_spans)}
            items += [replace(item, path=item.media.part(span).path) for span in sorted(spans)] or [item]
            progress(done, len(files))
    return replace(files, items=tuple(items))
