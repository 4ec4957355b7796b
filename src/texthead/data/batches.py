"""The batches of an epoch, for each process; collation of clips."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from texthead.data.clips import TrainClips, TrainFeatures
from texthead.errors import MediaError
from texthead.parallel.distributed import rank, shard_slice, world_size
from texthead.parallel.loaders import data_loader
from texthead.recipes import Recipe


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
