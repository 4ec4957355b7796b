"""Forward and backward pass of a step, on one process or on several (DDP)."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from texthead.data.labels import Targets
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import peer_errors, world_size
from texthead.recipes import Recipe
from texthead.training.objective import Objective

# The label of a clip that does not count.
NO_CLASS = -100


def precision_on(device: torch.device) -> Literal["fp32", "bf16"]:
    """Return the precision of a recipe that sets none: bf16 on a GPU with native bfloat16, else fp32."""
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if half else "fp32"


class ModelWithLoss(nn.Module):
    """A model and its objective, if any, as one module for DDP.

    Args:
        model: the model to train; it takes frame features if the encoder is frozen.
        objective: a loss of its own; None if the loss is computed from the logits.
    """

    def __init__(self, model: Recognizer, objective: Objective | None):
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, clips: Shaped[Tensor, "batch frames *frame"], labels: Targets
    ) -> Float[Tensor, "batch classes"] | Float[Tensor, ""]:
        """Return the logits, or the objective's mean loss of the items."""
        return self.model(clips) if self.objective is None else self.objective(self.model, clips, labels)


class ParallelModel:
    """A model trained by all processes; gradients are the sum over processes.

    Args:
        trained: the model, or the part of it that takes frame features, and the objective.
        blank: a clip, to determine which weights have a gradient.

    Attributes:
        trained: the trained module, with the usual names of its weights.
        device: the device for clips and labels.
        factor: factor of the loss before its backward pass, since DDP averages over processes.
    """

    def __init__(self, trained: ModelWithLoss, blank: Tensor, recipe: Recipe):
        self.device = next(trained.model.parameters()).device
        self.factor = 1.0
        self._recipe = recipe
        self.trained = trained
        self._run: nn.Module = trained
        if world_size() > 1:
            # DDP either waits for all gradients, or searches for missing ones at each step, and warns if none is.
            # A tuned text encoder has unused weights, and a process without a clip encodes no text.
            unused = trained.objective is not None and trained.objective.trains_text
            if not unused:
                trained.model.train()
                freeze_batchnorm(trained.model)
                parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
                with peer_errors(computes=True):  # An objective may gather.
                    output = trained(blank[None].to(self.device), torch.tensor([NO_CLASS], device=self.device))
                gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
                unused = any(gradient is None for gradient in gradients)
            # `broadcast_buffers` is deprecated; its replacement is not in torch 2.11 and does more than needed.
            with warnings.catch_warnings(action="ignore", category=FutureWarning):
                # Batch-norm statistics stay local until the end of an epoch.
                self._run = DistributedDataParallel(trained, broadcast_buffers=False, find_unused_parameters=unused)
            self.factor = float(world_size())

    @contextmanager
    def micro_batch(self, count: int, *, last: bool) -> Iterator[None]:
        """Enclose forward and backward pass of a micro-batch of `count` items; the last one sums gradients.

        Raises: RunError if another process has died.
        """
        run = self._run
        if not count:
            freeze_batchnorm(self.trained.model)  # Batch norms must not learn from a blank clip.
        local = run.no_sync() if isinstance(run, DistributedDataParallel) and not last else nullcontext()
        with peer_errors(computes=True) if world_size() > 1 else nullcontext(), local:
            yield
        if not count:
            set_training(self.trained.model, self._recipe)

    def __call__(self, clips: Tensor, labels: Tensor) -> Tensor:
        """Return the output of `ModelWithLoss` in the recipe's precision; call inside `micro_batch`."""
        half = self._recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            return self._run(clips, labels)


def set_training(model: nn.Module, recipe: Recipe) -> None:
    """Set training mode; batch-norm layers stay in evaluation mode if the recipe freezes them."""
    model.train()
    if recipe.freeze_batchnorm:
        freeze_batchnorm(model)


def freeze_batchnorm(model: nn.Module) -> None:
    """Set batch-norm layers to evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
