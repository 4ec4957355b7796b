"""A frozen encoder with its test settings: labelled items, or files, to mean features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from texthead.data.dataset import Dataset
from texthead.data.labels import Targets
from texthead.data.protocol import Protocol
from texthead.encoders.encoder import Encoder
from texthead.errors import EncoderError, MediaError, checked
from texthead.features.reading import ReadOptions, check_any, readable
from texthead.features.views import item_features
from texthead.files import path_list
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.caller import apart_from_caller
from texthead.parallel.progress import Reporter, terminal_bar


@dataclass(frozen=True)
class FrozenFiles:
    """The features of files.

    Attributes:
        positions: positions of the readable files.
        features: the mean feature of each readable file, not normalised.
        skipped: errors of the other files.
    """

    positions: list[int]
    features: Float[Tensor, "files dim"]
    skipped: tuple[MediaError, ...] = ()


@dataclass(frozen=True)
class FrozenItems:
    """Labelled files with their features.

    Attributes:
        data: the readable items.
        features: the mean feature of each, not normalised.
        targets: the label index of each; for multi-label data, which classes it has.
        skipped: errors of unreadable files, which are not among the items.
    """

    data: Dataset
    features: Float[Tensor, "items dim"]
    targets: Targets
    skipped: tuple[MediaError, ...] = ()

    @property
    def multilabel(self) -> bool:
        """Whether the items are multi-label."""
        return self.targets.ndim == 2

    @property
    def groups(self) -> list[str]:
        """The group of each item; a group must stay on one side of a split."""
        return self.data.groups

    def select(self, indices: Sequence[int]) -> "FrozenItems":
        """Return the items at these indices."""
        return FrozenItems(self.data.select(indices), self.features[indices], self.targets[indices])


class FrozenEncoder:
    """An encoder that is not trained, with its test settings: the input of heads of your own, probes and searches.

    A feature is the mean over an item's views and their frames. With a cache, each file is encoded once.

    Args:
        encoder: as from `load_encoder`; only its visual part is used.
        protocol: frames, sizes and views; the encoder's own if None.
        reading: how files are read; by default with the fastest exact engine.
        reporter: gets progress and messages; by default a terminal or notebook shows a bar.
    """

    @checked
    def __init__(
        self,
        encoder: Encoder,
        protocol: Protocol | None = None,
        reading: ReadOptions = ReadOptions(engine="auto"),
        reporter: Reporter = Reporter(bar=terminal_bar),
    ):
        self.encoder = encoder
        self.protocol = encoder.visual.spec.protocol() if protocol is None else protocol
        self.reading = reading
        self.reporter = reporter

    @checked
    @apart_from_caller()
    def files(self, paths: str | Path | Sequence[str | Path], title: str = "encode files") -> FrozenFiles:
        """Return the features of the readable files.

        Args:
            title: title of the progress bar.

        Raises:
            MediaError: a file cannot be read, unless `reading` skips such files.
            EncoderError: a feature is NaN or infinite.
        """
        model, paths = Recognizer(self.encoder.visual, MeanPool(), nn.Identity()), path_list(paths)
        entries = [*item_features(model, paths, self.protocol, self.reading, self.reporter, title)]
        for path, entry in zip(paths, entries, strict=True):
            if isinstance(entry, Tensor) and not entry.isfinite().all():
                problem = f"features of '{self.encoder.source}' are not finite"
                raise EncoderError(f"{path}: {problem}: check the encoder, or remove the file")
        positions, errors = readable(entries, skip=self.reading.skip_unreadable)
        means = [entry.mean(0) for entry in entries if not isinstance(entry, MediaError)]
        features = torch.stack(means) if means else torch.empty(0, self.encoder.dim)
        return FrozenFiles(positions, features.clone(), tuple(errors))

    @checked
    def items(self, dataset: Dataset, labels: Sequence[str] | None = None, title: str = "encode items") -> FrozenItems:
        """Return the readable items with their features and targets.

        Args:
            labels: the labels that targets are indices of; the classes of the dataset if None.
            title: title of the progress bar.

        Raises:
            MediaError: an item cannot be read, unless `reading` skips such items.
            DataError: no item can be read, or an item has a label that is not in `labels`.
        """
        files = self.files([item.path for item in dataset.items], title)
        if len(dataset):
            check_any(dataset.paths, files.positions, files.skipped)
        data = dataset.select(files.positions)
        targets = data.targets(dataset.classes if labels is None else labels)
        return FrozenItems(data, files.features, targets, files.skipped)
