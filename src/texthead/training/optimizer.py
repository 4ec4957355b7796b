"""AdamW with two learning rates, their schedule, and the settings of each step."""

import math

import torch
from torch import nn

from texthead.errors import RunError
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import rank
from texthead.recipes import Recipe


def parameter_groups(model: Recognizer, recipe: Recipe, objective: nn.Module | None = None) -> list[dict]:
    """Return AdamW's groups: pretrained weights and the logit scale at `lr`, new weights at `lr_new`.

    The weights of an objective count as pretrained.

    Source: Sec. 4.1 (5e-6); the published code (5e-5 for new modules).
    Raises: RunError if nothing is trained, or only a logit scale, which changes no prediction.
    """
    scale = getattr(model.head, "log_scale", None)
    if scale is not None:
        scale.requires_grad_(recipe.scale == "learned")
    old = [*model.visual.parameters(), *([scale] if scale is not None else [])]
    old += [] if objective is None else objective.parameters()
    new = [*model.temporal.parameters(), *(p for p in model.head.parameters() if p is not scale)]
    groups = [
        {"name": name, "params": [p for p in params if p.requires_grad], "lr": rate, "peak_lr": rate}
        for name, params, rate in (("lr", old, recipe.lr), ("lr_new", new, recipe.lr_new))
    ]
    groups = [group for group in groups if group["params"]]
    if all(p is scale for group in groups for p in group["params"]):
        raise RunError(
            "nothing to train: encoder and head are frozen, and mean pooling has no parameters; use "
            "`temporal=transformer`, a trainable head or another `tune` than none"
        )
    return groups


def begin_step(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps_per_epoch: int) -> None:
    """Set the learning rates of a step and the random seed of its dropout."""
    epoch = step_epoch(step, steps_per_epoch=steps_per_epoch, schedule_every=recipe.schedule_every)
    factor = lr_factor(epoch, epochs=float(recipe.epochs), warmup=float(recipe.warmup))
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    # Dropout depends only on seed, step and process. Seeds of processes are far apart within 32 bits, since the CPU
    # generator uses no more.
    on_cpu = optimizer.param_groups[0]["params"][0].device.type == "cpu"
    seed = torch.default_generator.manual_seed if on_cpu else torch.manual_seed  # The latter asks all back ends.
    seed(recipe.seed * 1_000_003 + step + rank() * 2_654_435_769)


def lr_factor(epoch: float, *, epochs: float, warmup: float) -> float:
    """Return the fraction of the peak learning rate at a fractional epoch: linear up to 1, half a cosine down to 0.

    lr_factor(2.5, epochs=30, warmup=5) = 0.5; lr_factor(17.5, epochs=30, warmup=5) = 0.5.

    Source: Sec. 4.1, "a cosine learning rate schedule with a 5-epoch linear warmup".
    """
    if epoch < warmup:
        return epoch / warmup
    return (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2


def step_epoch(step: int, *, steps_per_epoch: int, schedule_every: int) -> float:
    """Return the fractional epoch whose learning rate optimiser step `step` (from 0) uses.

    If `schedule_every` is 1, the middle of the step, so that neither the first nor the last step has rate 0. Else as
    in the published code: steps 0, n - 1, 2n - 1, ... of an epoch set the rate to that of their start, so that the
    first n - 1 updates have rate 0.

    step_epoch(8, steps_per_epoch=100, schedule_every=10) = 0; steps 9 to 18 give 0.09.
    """
    if schedule_every == 1:
        return (step + 0.5) / steps_per_epoch
    epoch, within = divmod(step, steps_per_epoch)
    return epoch + max(0, (within + 1) // schedule_every * schedule_every - 1) / steps_per_epoch
