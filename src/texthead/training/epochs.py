"""The epochs of a training: their steps, the metrics of the steps, and checkpoints."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.data.clips import TrainClips, TrainFeatures, epoch_batches, loader, read
from texthead.data.dataset import Dataset
from texthead.errors import RunError
from texthead.parallel.distributed import all_gather_list, all_reduce_sum, broadcast_tensors, raise_on_all_ranks, rank
from texthead.recipes import Recipe
from texthead.runs.metrics import MetricsLog
from texthead.training.checkpoints import restore, save_state
from texthead.training.optimizer import begin_step
from texthead.training.step import NO_CLASS, ParallelModel, set_training

# Steps between two reads of the losses from a GPU.
READ_EVERY = 10

# Seconds between checkpoints of a run on cached features: the most work that a stop can lose.
CHECKPOINT_SECONDS = 60


class _Step(NamedTuple):
    """A step; `numbers`, still on the device, are the share of the loss of each micro-batch, and how many are right."""

    step: int
    items: int
    rates: dict[str, float]
    positions: list[list[int]]
    numbers: Float[Tensor, " micro_batches_and_one"]


@dataclass
class Epochs:
    """The epochs of a training.

    Args:
        clips: the pixels or features of the training items.
        adjustment: what the loss adds to the logits, as from `logit_adjustment`.
        workers: data-loader workers.
        checkpoint_every: as in `fine_tune`.
        progress: gets the number of clips done, and of all.

    Attributes:
        step: steps done.
        weights: the trained weights.
    """

    parallel: ParallelModel
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    train_set: Dataset
    clips: TrainClips | TrainFeatures
    adjustment: Float[Tensor, " classes"]
    log: MetricsLog
    out: Path
    workers: int
    checkpoint_every: int | None
    progress: Callable[[int, int], None]
    step: int = 0
    # Steps whose losses were not read yet, and the items of the epoch so far.
    _waiting: list[_Step] = field(default_factory=list)
    _done: int = 0

    def __post_init__(self):
        device, model = self.parallel.device, self.parallel.trained.model
        self.batches = epoch_batches(len(self.clips), self.recipe)
        self._loader = loader(self.clips, self.batches, self.workers, device)
        self.adjustment, self.task = self.adjustment.to(device), model.task
        self.targets = self.train_set.targets(self.task.names)
        self.objective = self.parallel.trained.objective
        self.weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        self._counts_right = not (self.objective or self.task.multilabel)
        self._saved = self._started = time.monotonic()

    def resume(self, state: dict[str, int]) -> tuple[int, int]:
        """Load a checkpoint, and return the epoch to go on with and the steps of it that are done."""
        epoch, self.step = restore(state, self.parallel.trained, self.optimizer, self.log, self.out)
        self.batches.first_step = self.step - epoch * self.batches.steps_per_epoch
        return epoch, self.batches.first_step

    def train(self, epoch: int) -> float:
        """Train for an epoch, or the rest of it after `resume`, with its checkpoints, and return its mean loss.

        Raises: RunError for a loss that is not finite.
        """
        recipe, batches, length = self.recipe, self.batches, len(self.clips)
        batches.epoch, done = epoch, epoch * length + batches.first_step * recipe.batch
        set_training(self.parallel.trained.model, recipe)
        self._done, self._started, micro_batches = 0, time.perf_counter(), iter(self._loader)
        for items, count in batches.steps():
            begin_step(self.optimizer, recipe, self.step, batches.steps_per_epoch)
            positions, shares, right = [], [], torch.zeros((), device=self.parallel.device)
            for at in range(count):
                with raise_on_all_ranks():
                    inputs, own = read(next(micro_batches))
                share, hits = self._micro_batch(inputs, own, items, last=at == count - 1)
                shares.append(share)
                right += hits
                positions.append(own)
                if at < count - 1:
                    self.progress(done + sum(map(len, positions)), recipe.epochs * length)
            self.step, done = self.step + 1, done + items
            ended, last = done == (epoch + 1) * length, done == recipe.epochs * length
            every = self.checkpoint_every
            due = every != 0 and (last or self.step % (every or batches.steps_per_epoch) == 0)
            if due and recipe.frozen and not (last or every):
                # All processes must agree, so they use the clock of the first.
                waited = rank() == 0 and time.monotonic() - self._saved >= CHECKPOINT_SECONDS
                due = any(all_gather_list([waited]))
            rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
            step = _Step(self.step, items, rates, positions, torch.stack([*shares, right]))
            self._record(epoch, step, now=ended or due)
            if recipe.clip_norm:
                torch.nn.utils.clip_grad_norm_(self.weights, recipe.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.progress(done, recipe.epochs * length)
            if ended and self.objective:
                self.objective.refresh(self.parallel.trained.model)
            if due:
                self._saved = time.monotonic()
                save_state(
                    self.out, self.parallel.trained, self.optimizer, self.log, epoch=epoch + ended, step=self.step
                )
        batches.first_step = 0
        # Batch-norm statistics are of a process's own items; all score with those of the first, which are saved.
        broadcast_tensors(self.parallel.trained.buffers())
        # The last batch may be smaller than the others.
        losses = [each["loss"] for each in self.log.records if each["kind"] == "train" and each["epoch"] == epoch]
        sizes = [min(recipe.batch, length - start) for start in range(0, length, recipe.batch)]
        return sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / length

    def _micro_batch(
        self, inputs: Tensor, positions: Sequence[int], items: int, *, last: bool
    ) -> tuple[Float[Tensor, ""], Tensor | int]:
        """Add the gradients of a micro-batch of a step of `items` items; return its share of the loss and the hits."""
        parallel, count = self.parallel, len(positions)  # 0 for a blank clip.
        labels = torch.tensor([NO_CLASS]) if self.objective and not count else self.targets[positions]
        inputs = inputs.to(parallel.device, non_blocking=True)
        if not self.objective:  # Which looks up the prompts of labels.
            labels = labels.to(parallel.device, non_blocking=True)
        with parallel.micro_batch(count, last=last):
            output = parallel(inputs, labels)
            if self.objective:
                summed = output * count
            else:
                summed = self.task.loss(output[:count].float() + self.adjustment, labels[:count])
            share = summed / items
            (share * parallel.factor).backward()
        return share.detach(), (output.argmax(-1) == labels).sum() if self._counts_right else 0

    def _record(self, epoch: int, step: _Step, *, now: bool) -> None:
        """Log a step, or keep it to log it with later ones unless `now` is set, since reading makes a GPU wait."""
        self._waiting.append(step)
        self._done += step.items
        if not (now or step.numbers.device.type == "cpu" or step.step % READ_EVERY == 0):
            return
        rate = round(self._done / (time.perf_counter() - self._started), 2)
        numbers = iter(torch.cat([each.numbers for each in self._waiting]).tolist())
        for each in self._waiting:
            sums = list(accumulate(next(numbers) for _ in each.positions))
            loss, right = all_reduce_sum(sums[-1], next(numbers))
            if not math.isfinite(loss):
                own = next(
                    (own for own, total in zip(each.positions, sums, strict=True) if not math.isfinite(total)), []
                )
                paths = ", ".join(str(self.train_set.items[position].path) for position in all_gather_list(own)[:3])
                rates = ", ".join(f"{rate:.3g}" for rate in each.rates.values())
                raise RunError(
                    f"loss is {loss} at step {each.step} (rates {rates}; items {paths}, ...): lower `lr`; "
                    f"the last checkpoint in {self.out / 'state'} is kept"
                )
            top1 = {"train_top1": 100 * int(right) / each.items} if self._counts_right else {}
            values = {"loss": loss, **top1, **each.rates, "clips_per_second": rate}
            with raise_on_all_ranks():
                self.log.add(kind="train", epoch=epoch, step=each.step, **values)
        self._waiting.clear()
