"""Datasets for a data loader: training clips, views of test clips, cached training features."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.data.dataset import Dataset, label_indices
from texthead.data.protocol import Pixels, Views
from texthead.data.sampling import random_in_segment
from texthead.data.transforms import Augmentation, augment, view_crops
from texthead.errors import MediaError
from texthead.media.open import open_media
from texthead.media.shard import is_member


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
            raise MediaError(path, "windows of 128 frames are not in a prepared clip: take origin=first or centre")
        with open_media(path) as media:
            clips = self.views.frame_indices(media.num_frames, self.frames)
            wanted = sorted({index for clip in clips for index in clip})
            decoded = media.frames_at(wanted)
        sizes, views = self.pixels, self.views
        crops = view_crops(
            decoded,
            sizes.size,
            sizes.resize,
            views.crops,
            sizes.interpolation,
            views.along,
            sizes.squash,
            sizes.antialias,
        )
        place = {index: i for i, index in enumerate(wanted)}
        # Views in the order clip by clip, crops inside.
        return torch.cat([crops[:, [place[index] for index in clip]] for clip in clips])


class TrainFeatures(torch.utils.data.Dataset):
    """Clips for training on features that were encoded once: (features, label index, position).

    `bank[i]` holds more frames of item i than a clip takes; each epoch samples among them. Of an encoder that sees
    several frames at once it holds whole clips, of which each epoch takes one.
    """

    def __init__(
        self, bank: Sequence[Float[Tensor, "_ *tokens dim"]], targets: Sequence[int], *, frames: int, seed: int
    ):
        self.bank = bank
        self.targets = list(targets)
        self.frames = frames
        self.seed = seed

    def __len__(self) -> int:
        return len(self.bank)

    @property
    def blank(self) -> Float[Tensor, "frames dim"]:
        """A clip of zeros."""
        first = self.bank[0]
        return first.new_zeros(first.shape[1:] if first.ndim == 3 else (self.frames, first.shape[1]))

    def __getitem__(self, key: tuple[int, int]) -> tuple[Float[Tensor, "frames dim"], int, int]:
        epoch, position = key
        rng = np.random.default_rng([self.seed, epoch, position])
        features = self.bank[position]
        if features.ndim == 3:
            return features[int(rng.integers(len(features)))], self.targets[position], position
        indices = random_in_segment(len(features), self.frames, lambda n: int(rng.integers(n)))
        return features[indices], self.targets[position], position
