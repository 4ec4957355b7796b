"""Datasets for the data loaders: training clips, views of test clips, cached training features; their batches."""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from texthead.data.dataset import Dataset
from texthead.data.protocol import Pixels, Protocol
from texthead.data.sampling import random_in_segment, random_window
from texthead.data.transforms import augment, view_crops
from texthead.errors import MediaError
from texthead.media.paths import MediaPath
from texthead.parallel.distributed import rank, shard_slice, world_size
from texthead.parallel.loaders import FileDataset, data_loader
from texthead.recipes import Recipe


class TrainClips(torch.utils.data.Dataset):
    """Clips for training: (frames, position) for an (epoch, position) key.

    For an unreadable item the MediaError is returned instead of the frames: raised in a worker, it would lose its
    attributes.

    Every draw is a function of (seed, epoch, position), so it does not depend on the workers or on earlier draws.
    An augmentation that draws for every frame draws once for one that a short video repeats.
    Frames are spread over the video, or with a `stride` taken from a window with a random start.

    Source: Sec. 4.1, frames "uniformly sampled over the entire video", one random crop per clip.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, pixels: Pixels):
        self.paths = [str(item.path) for item in dataset.items]  # Strings pickle faster than items.
        self.recipe = recipe
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def blank(self) -> UInt8[Tensor, "frames 3 size size"]:
        """A black clip."""
        return torch.zeros(self.recipe.frames, 3, self.pixels.size, self.pixels.size, dtype=torch.uint8)

    def __getitem__(self, key: tuple[int, int]) -> tuple[UInt8[Tensor, "frames 3 size size"] | MediaError, int]:
        epoch, position = key
        rng = np.random.default_rng([self.recipe.seed, epoch, position])
        try:
            with MediaPath(self.paths[position]).open(windows=self.recipe.stride > 0) as media:
                indices = random_window(media.num_frames, self.recipe.frames, self.recipe.stride, rng.integers)
                # Each call gets the same generator state, so all frames get the same crop; `each` goes on.
                each = rng.spawn(1)[0]
                clip = media.frames_at(
                    indices, lambda frames: augment(frames, self.pixels, self.recipe, deepcopy(rng), each)
                )
        except MediaError as error:
            return error, position
        return clip.contiguous(memory_format=torch.channels_last), position


class ViewClips(FileDataset):
    """The views of files for testing; each frame is decoded once for all views."""

    def __init__(self, paths: Sequence[Path], protocol: Protocol):
        super().__init__(partial(_views, protocol=protocol), [str(path) for path in paths])


def _views(path: str, protocol: Protocol) -> UInt8[Tensor, "views frames 3 size size"]:
    frames, views, pixels = protocol.frames, protocol.views, protocol.sizes
    with MediaPath(path).open(windows=views.uses_windows) as media:
        media.min_short_side = pixels.min_short_side
        clips = views.frame_indices(media.num_frames, frames)
        indices = np.ravel(clips).tolist()
        crops = media.frames_at(indices, lambda frame: view_crops(frame, pixels, views.crops, views.along))
    # Order: all crops of the first clip, then those of the second, and so on.
    return crops.unflatten(1, (-1, frames)).transpose(0, 1).flatten(0, 1)


class TrainFeatures(torch.utils.data.Dataset):
    """Clips for training on cached features: (features, position).

    `bank[i]` holds features of more frames of item i than a clip has; each epoch samples among them. For an encoder
    that takes whole clips, `bank[i]` is a sequence of the features of several clips, and each epoch takes one.
    """

    def __init__(self, bank: Sequence[Tensor | Sequence[Tensor]], *, frames: int, seed: int):
        self.bank = bank
        self.frames = frames
        self.seed = seed

    def __len__(self) -> int:
        return len(self.bank)

    @property
    def blank(self) -> Float[Tensor, "frames dim"]:
        """A clip of zeros."""
        first = self.bank[0]
        if isinstance(first, Tensor):
            return first.new_zeros(self.frames, first.shape[1])
        return torch.zeros_like(first[0], dtype=torch.float32)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Float[Tensor, "frames dim"], int]:
        epoch, position = key
        rng = np.random.default_rng([self.seed, epoch, position])
        features = self.bank[position]
        if not isinstance(features, Tensor):
            return features[int(rng.integers(len(features)))].float(), position
        indices = random_in_segment(len(features), self.frames, rng.integers)
        return features[indices], position


# ---- batches


def epoch_batches(length: int, recipe: Recipe) -> "EpochBatchSampler":
    """Return this process's share of a recipe's batches."""
    micro_batch = math.ceil(recipe.batch / recipe.accumulate)
    return EpochBatchSampler(length, recipe.batch, micro_batch, seed=recipe.seed, rank=rank(), world_size=world_size())


@dataclass(eq=False)
class EpochBatchSampler(torch.utils.data.Sampler):
    """Yield batches of (epoch, position) keys: every item once per epoch, in an order drawn from (seed, epoch).

    The last batch may be smaller and is never dropped. Each process takes its share of a batch and divides it into
    micro-batches of `micro_batch` items, one forward pass each. All processes have the same number of micro-batches, so
    the last may be empty. Iteration covers `epoch` from step `first_step` on.
    """

    length: int
    batch: int
    micro_batch: int
    _: KW_ONLY
    seed: int
    rank: int = 0
    world_size: int = 1
    epoch: int = 0
    first_step: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch."""
        return math.ceil(self.length / self.batch)

    def steps(self) -> Iterator[tuple[int, int]]:
        """Yield (items over all processes, micro-batches per process) for each optimiser step from `first_step` on."""
        for start in range(self.first_step * self.batch, self.length, self.batch):
            items = min(self.batch, self.length - start)
            yield items, math.ceil(math.ceil(items / self.world_size) / self.micro_batch)

    def __len__(self) -> int:
        return sum(count for _, count in self.steps())

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        for start in range(self.first_step * self.batch, self.length, self.batch):
            batch = order[start : start + self.batch].tolist()
            own = batch[shard_slice(len(batch), self.rank, self.world_size)]
            for at in range(0, math.ceil(len(batch) / self.world_size), self.micro_batch):
                yield [(self.epoch, position) for position in own[at : at + self.micro_batch]]


Batch = tuple[Tensor, list[int]]


def collate(entries: Sequence[tuple[Tensor | MediaError, int]], *, blank: Tensor) -> Batch | MediaError:
    """Return (clips, positions) of a batch, or the error of its first unreadable item.

    An empty micro-batch becomes one blank clip: DDP needs a forward and a backward pass on every process.
    """
    if not entries:
        return blank[None], []
    clips, positions = zip(*entries, strict=True)
    for clip in clips:
        if isinstance(clip, MediaError):
            return clip
    return torch.stack(clips), [*positions]


def read(batch: Batch | MediaError) -> Batch:
    """Return the batch.

    Raises:
        MediaError: one of its items could not be read.
    """
    if isinstance(batch, MediaError):
        raise MediaError(batch.path, f"{batch.problem}; `skip_unreadable` skips and lists such files")
    return batch


def loader(
    clips: TrainClips | TrainFeatures, batches: EpochBatchSampler, workers: int, device: torch.device
) -> torch.utils.data.DataLoader:
    """Return the data loader of the batches. It has its own generator, so workers do not advance the global one."""
    return data_loader(
        clips,
        workers,
        batch_sampler=batches,
        persistent_workers=workers > 0,
        collate_fn=partial(collate, blank=clips.blank),
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(batches.seed),
    )
