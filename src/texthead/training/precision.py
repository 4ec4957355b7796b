"""Resolve precision "auto": bfloat16 if a trial on the first batch shows that it is faster, else float32."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int, Shaped
from torch import Tensor

from texthead.data.batches import EpochBatches, collate, read
from texthead.data.clips import TrainClips, TrainFeatures
from texthead.files import read_json, write_json
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import gather_list, rank, together
from texthead.parallel.progress import Reporter
from texthead.recipes import Recipe
from texthead.training.execution import Execution
from texthead.training.step import keep_statistics

# bfloat16 is chosen if it is at least so many times as fast, the losses differ at most by this relative gap, and the
# gradients have at least this cosine.
LEAST_GAIN, LARGEST_GAP, LEAST_COSINE = 1.15, 0.01, 0.99

# A trial takes four passes, which do not pay off for fewer steps.
FEWEST_STEPS = 40


@dataclass(frozen=True)
class PrecisionTrial:
    """The same step in float32 and in bfloat16: seconds, losses, and the cosine of the gradients."""

    seconds: tuple[float, float]
    losses: tuple[float, float]
    cosine: float

    @property
    def chosen(self) -> Literal["fp32", "bf16"]:
        """The precision to train in."""
        return "bf16" if self._is_faster and self._agrees else "fp32"

    @property
    def _is_faster(self) -> bool:
        return self.seconds[0] >= LEAST_GAIN * self.seconds[1]

    @property
    def _agrees(self) -> bool:
        single, half = self.losses
        return abs(half - single) <= LARGEST_GAP * max(1.0, abs(single)) and self.cosine >= LEAST_COSINE

    def __str__(self) -> str:
        line = f"precision {self.chosen}: a trial step in bf16 is {self.seconds[0] / self.seconds[1]:.2f} times as fast"
        if self._is_faster and not self._agrees:
            line += ", but its loss is {1:.4g} instead of {0:.4g}".format(*self.losses)
            line += f" and its gradient has cosine {self.cosine:.3f} with that of fp32"
        return line


def try_both(
    model: Recognizer,
    clips: Shaped[Tensor, "batch frames *frame"],
    labels: Int[Tensor, " batch"],
    recipe: Recipe,
    clock: Callable[[], float] = time.perf_counter,
) -> PrecisionTrial:
    """Time two steps without an update in each precision; weights, statistics and random state do not change.

    Args:
        clock: returns seconds.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    seconds, losses = [math.inf, math.inf], [math.nan, math.nan]
    gradients: list[Sequence[Tensor]] = [(), ()]
    model.train()
    keep_statistics(model)
    with torch.random.fork_rng([clips.device] if clips.is_cuda else []):
        for half in (False, True, False, True):
            torch.manual_seed(recipe.seed)
            started = clock()
            with torch.autocast(clips.device.type, torch.bfloat16, enabled=half):
                logits = model(clips)
            loss = F.cross_entropy(logits.float(), labels)
            gradients[half] = torch.autograd.grad(loss, weights, materialize_grads=True)
            losses[half] = loss.item()  # Waits for a GPU.
            seconds[half] = min(seconds[half], clock() - started)
    return PrecisionTrial((seconds[0], seconds[1]), (losses[0], losses[1]), _cosine(*gradients))


def _cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Return the cosine of two lists of tensors, each taken as one vector, in double precision."""

    def dot(u: Sequence[Tensor], v: Sequence[Tensor]) -> float:
        return sum(float((x.double() * y.double()).sum()) for x, y in zip(u, v, strict=True))

    norms = math.sqrt(dot(a, a) * dot(b, b))
    return dot(a, b) / norms if norms else math.nan


def choose_precision(
    model: Recognizer,
    clips: TrainClips | TrainFeatures,
    batches: EpochBatches,
    recipe: Recipe,
    execution: Execution,
    out: Path,
    *,
    tries: bool,
    reporter: Reporter = Reporter(),
) -> Recipe:
    """Return the recipe with "auto" replaced by a precision.

    The first process chooses, and records it in `recipe.json` in `out`, where a resumed run finds it.

    Args:
        tries: whether bfloat16 may be chosen, which needs the cross-entropy of the logits.
        reporter: gets a message on the trial, if there is one.

    Raises:
        MediaError: an item of the first batch cannot be read.
    """
    if recipe.precision != "auto":
        return recipe
    choice: list[Literal["fp32", "bf16"]] = []
    with together():
        if rank() == 0:
            about = read_json(out / "recipe.json")
            precision = about["recipe"]["precision"]
            if precision == "auto":
                precision = "fp32"
                if tries and _pays_off(model, batches, recipe, execution):
                    inputs, labels, _ = read(collate([clips[key] for key in next(iter(batches))], blank=clips.blank))
                    trial = try_both(model, inputs.to(model.device), labels.to(model.device), recipe)
                    precision = trial.chosen
                    reporter.say(str(trial))
                about["recipe"]["precision"] = precision
                write_json(out / "recipe.json", about)
            choice = [precision]
    return replace(recipe, precision=gather_list(choice)[0])


def _pays_off(model: Recognizer, batches: EpochBatches, recipe: Recipe, execution: Execution) -> bool:
    """Return whether a trial is worth it: a float32 encoder trains for enough steps on a CPU, or a GPU with bf16."""
    if recipe.freeze_encoder or batches.steps_per_epoch * recipe.epochs < FEWEST_STEPS:
        return False
    weight = next(model.visual.parameters())
    able = torch.cuda.is_bf16_supported(including_emulation=False) if weight.is_cuda else weight.device.type == "cpu"
    return able and weight.dtype == torch.float32
