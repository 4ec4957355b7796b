"""Unlabelled files and windows of long videos, their features, the labels so far, and the files to label next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.apps.label.selection import Similarities, guesses
from texthead.apps.label_studio import document_root
from texthead.apps.search import encode_windows
from texthead.data import Dataset, Item, Labels, manifest_rows, read_dataset, read_files
from texthead.encoders import Encoder
from texthead.errors import DataError, MediaError
from texthead.features import FrozenEncoder, Reading, check_any
from texthead.media import MediaPath, Span, Video, spans_by_file
from texthead.models import known_rows
from texthead.parallel import Reporter
from texthead.transfer import QUICK_FRAMES


class Suggestion(NamedTuple):
    """A file to label, its predicted class so far, and the probability (0-1) of that.

    With several labels, the guess is a text of several, and the probability is that of the least certain answer.
    """

    path: Path
    guess: str
    probability: float


@dataclass(frozen=True)
class Pool:
    """Files with their features.

    Attributes:
        files: the readable files.
        features: the mean feature of each.
        skipped: errors of the others.
        encoder: the encoder of the features; None if unknown.
    """

    files: Dataset
    features: Float[Tensor, "files dim"]
    skipped: tuple[MediaError, ...] = ()
    encoder: FrozenEncoder | None = None

    @property
    def groups(self) -> list[str] | None:
        """The group of each file (for a part of a video, the video if no group is given); None if all are separate."""
        grouped = any(item.group or item.media.is_part for item in self.files.items)
        return self.files.groups if grouped else None

    def next(
        self,
        encoder: Encoder,
        prompts: Mapping[str, str | Sequence[str]],
        known: Mapping[Path, str],
        count: int,
        *,
        several: bool = False,
        seed: int = 0,
    ) -> list[Suggestion]:
        """Return the files to label next, most informative first.

        Args:
            prompts: the prompts of each class.
            known: the labels so far.
            several, seed: as in `Similarities`.
        """
        classes, labelled = list(prompts), [i for i, item in enumerate(self.files.items) if item.path in known]
        texts = tuple(known[self.files.items[i].path] for i in labelled)
        targets = Labels(texts, several).targets(classes)
        rows = known_rows(encoder, list(prompts), list(prompts.values())) if encoder.has_text else None
        probabilities = guesses(rows, self.features, labelled, targets, classes=len(classes))
        about = {"groups": self.groups, "several": several, "seed": seed}
        chosen = Similarities(self.features, labelled, **about).next(probabilities, labelled, count)
        if several:
            sure = torch.maximum(probabilities, 1 - probabilities).amin(-1)
            sets = [[name for name, p in zip(classes, row, strict=True) if p >= 0.5] for row in probabilities.tolist()]
            names = [*map(Labels.join, sets)]
        else:
            sure, best = probabilities.max(-1)
            names = [classes[index] for index in best.tolist()]
        return [Suggestion(self.files.items[i].path, names[i], float(sure[i])) for i in chosen]


def with_parts(files: Dataset, paths: Sequence[Path]) -> Dataset:
    """Return the files, and those of the paths that are parts of them."""
    item_of = {item.media.resolved(): item for item in files.items}
    parts = [
        (item_of.get(MediaPath(media.file).resolved()), media.span) for media in map(MediaPath, paths) if media.is_part
    ]
    items = [replace(item, path=item.media.part(span).path) for item, span in parts if item is not None]
    return replace(files, items=(*files.items, *items))


def root_of(path: Path, files: Dataset) -> Path | None:
    """Return the base folder of the paths in a labelling tool's `.json`; None for other files."""
    if path.suffix.lower() != ".json":
        return None
    return document_root(Path(files.source), (item.path for item in files.items))


def items_so_far(labels_path: Path, files: Dataset) -> Dataset:
    """Return the labelled files of a manifest or a tool's `.json`; none if that does not exist.

    Paths of Label Studio are relative to the `document_root` of the files.

    Raises:
        DataError: the manifest or `.json` cannot be read, or lists a file that is not in `files`.
    """
    if not labels_path.exists():
        return Dataset(())
    path_of = {item.media.resolved(): item.path for item in files.items}
    labelled: list[Item] = []
    dataset = _without_labels(labels_path) or read_dataset(labels_path, root=root_of(labels_path, files))
    for item in dataset.items:
        path = path_of.get(item.media.resolved())
        if path is None:
            raise DataError(
                f"{labels_path}: labels {item.path}, which is not in {files.source}: "
                "give the data that the labels belong to"
            )
        labelled.append(replace(item, path=path))
    return replace(dataset, items=tuple(labelled))


def _without_labels(labels_csv: Path) -> Dataset | None:
    """Return the files of a CSV in which all have none of several labels, as no file to train on; None for others."""
    rows = [*manifest_rows(labels_csv, ("path",))] if labels_csv.suffix.lower() == ".csv" else []
    if any(row.get("labels", "?").strip() for _, row in rows):
        return None
    return replace(read_files(labels_csv), several=True) if rows else None


def cut_files(
    files: Dataset,
    encoder: Encoder,
    reading: Reading,
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
            windows: list[Span] = []
            if Span() not in labelled_spans and _is_long(item.media, above):
                windows = [
                    Span(*span) for span in encode_windows(encoder, [item.path], protocol, reading).spans.tolist()
                ]
            free = [window for window in windows if not any(window.overlaps(span) for span in labelled_spans)]
            spans = sorted({*free, *labelled_spans})
            items += [replace(item, path=item.media.part(span).path) for span in spans] or [item]
            progress(done, len(files))
    return replace(files, items=tuple(items))


def _is_long(media: MediaPath, above: float) -> bool:
    """Return whether a path is a whole, readable video that is longer than `above` seconds."""
    if media.is_part or media.reader.kind != Video.kind:
        return False
    try:
        with media.open() as video:
            return video.duration_seconds > above
    except MediaError:
        return False  # The error is reported when the file is encoded.


def encode_files(files: Dataset, encoder: Encoder, reading: Reading, reporter: Reporter = Reporter()) -> Pool:
    """Return the readable files with their features.

    Raises:
        MediaError: a file cannot be read and `reading` does not skip such files.
        DataError: no file can be read.
    """
    protocol = encoder.visual.spec.protocol(frames=1 if files.only_images else QUICK_FRAMES)
    paths = [item.path for item in files.items]
    frozen = FrozenEncoder(encoder, protocol, reading, reporter)
    encoded = frozen.files(paths)
    check_any(paths, encoded.positions, encoded.skipped)
    return Pool(files.pick(encoded.positions), encoded.features, encoded.skipped, frozen)
