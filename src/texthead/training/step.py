"""Forward and backward pass of a step, on one process or on several with DDP or FSDP2."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from texthead.data.batches import NO_ITEM
from texthead.errors import RunError
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import peer_faults, ranks, sum_gradients
from texthead.recipes import Recipe
from texthead.training.execution import Execution
from texthead.training.objective import Objective


def precision_on(device: torch.device) -> Literal["fp32", "bf16"]:
    """Return the precision of a recipe that sets none: bf16 on a GPU with native bfloat16, else fp32."""
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if half else "fp32"


class Trained(nn.Module):
    """A model and its objective, if any, as one module for DDP and FSDP.

    Args:
        model: the model to train; it takes frame features if the encoder is frozen.
        objective: a loss of its own; None if the loss is computed from the logits.
    """

    def __init__(self, model: Recognizer, objective: Objective | None):
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, clips: Shaped[Tensor, "batch frames *frame"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"] | Float[Tensor, ""]:
        """Return the logits, or the objective's mean loss of the items."""
        return self.model(clips) if self.objective is None else self.objective(self.model, clips, labels)


class ParallelModel:
    """A model trained by all processes; gradients are the sum over processes.

    With "fsdp" a copy of the model is trained, in which each process holds a shard of every weight, of its gradient and
    of AdamW's state; `publish` copies the full weights to the given model, which is evaluated and saved. The encoder's
    blocks are sharded one by one, the rest together. The logit scale, a single number, and an objective's text encoder
    are not sharded.

    Args:
        trained: `model`, or the part of it that takes frame features, and the objective; with "fsdp" it gets the copy.
        blank: a clip, to determine which weights have a gradient.

    Attributes:
        trained: the trained module, with the usual names of its weights; with "fsdp" they are shards.
        device: the device for clips and labels.
        factor: factor of the loss before its backward pass, since DDP averages over processes.
    """

    def __init__(self, model: Recognizer, trained: Trained, blank: Tensor, recipe: Recipe, execution: Execution):
        self.device = next(model.parameters()).device
        self.factor = 1.0
        self._recipe = recipe
        self._full_model = model if execution.shard == "fsdp" else None
        self.trained = trained
        self._run: nn.Module = trained
        self._unsharded: list[nn.Parameter] = []
        if self._full_model:
            trained.model = copy.deepcopy(model)
            self._unsharded = _shard(trained)
        elif ranks() > 1:
            unused = not _uses_all(trained, blank)
            # `broadcast_buffers` is deprecated; its replacement is not in torch 2.11 and does more than needed.
            with warnings.catch_warnings(action="ignore", category=FutureWarning):
                # Batch-norm statistics stay local until a checkpoint.
                self._run = DistributedDataParallel(trained, broadcast_buffers=False, find_unused_parameters=unused)
            self.factor = float(ranks())
        if execution.compiled:  # In place, so that the names of weights do not change.
            trained.model.visual.compile()

    @contextmanager
    def micro_batch(self, count: int, *, last: bool) -> Iterator[None]:
        """Enclose forward and backward pass of a micro-batch of `count` items; the last one sums gradients.

        Raises: RunError if another process has died.
        """
        run = self._run
        if self._full_model is not None:
            run.set_requires_gradient_sync(last)  # pyright: ignore[reportCallIssue]
        if not count:
            keep_statistics(self.trained.model)  # Batch norms must not learn from a blank clip.
        local = run.no_sync() if isinstance(run, DistributedDataParallel) and not last else nullcontext()
        with peer_faults(computes=True) if ranks() > 1 else nullcontext(), local:
            yield
        if last:
            sum_gradients(self._unsharded)
        if not count:
            set_training(self.trained.model, self._recipe)

    def __call__(self, clips: Tensor, labels: Tensor) -> Tensor:
        """Return the output of `Trained` in the recipe's precision; call inside `micro_batch`."""
        half = self._recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            return self._run(clips, labels)

    def publish(self) -> None:
        """Copy the trained weights to the given model, if a copy is trained.

        Raises: RunError if another process has died.
        """
        if self._full_model is None:
            return
        with torch.no_grad(), peer_faults(computes=True):
            target = self._full_model.state_dict()
            for name, tensor in self.trained.model.state_dict().items():
                target[name].copy_(_unshard(tensor))


def check_execution(execution: Execution, recipe: Recipe) -> None:
    """Raise RunError for FSDP on one process, or to shard or compile an encoder that is frozen or has adapters."""
    if execution.shard == "fsdp" and ranks() == 1:
        start = "start `torchrun --nproc-per-node N -m texthead train`, or leave out `shard`"
        raise RunError(f"`shard=fsdp` needs several processes, got one: {start}")
    for chosen, option in ((execution.shard == "fsdp", "`shard=fsdp`"), (execution.compiled, "`compile`")):
        if chosen and recipe.frozen:
            raise RunError(f"{option} has no effect with `tune=none`, which does not train the encoder: use one")
        if chosen and recipe.tune == "lora":
            raise RunError(f"{option} does not support the adapters of `tune=lora`: use one of the two")


def _uses_all(trained: Trained, blank: Tensor) -> bool:
    """Return whether every trained weight has a gradient for any clip.

    DDP either waits for all gradients, or searches for missing ones at each step and warns if none is missing. A tuned
    text encoder has unused weights, and a process without a clip encodes no text.
    """
    if trained.objective is not None and trained.objective.trains_text:
        return False
    trained.model.train()
    keep_statistics(trained.model)
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    device = parameters[0].device
    label = torch.tensor([NO_ITEM], device=device)
    with peer_faults(computes=True):  # An objective may gather.
        output = trained(blank[None].to(device), label)
    return all(grad is not None for grad in torch.autograd.grad(output.sum(), parameters, allow_unused=True))


def set_training(model: nn.Module, recipe: Recipe) -> None:
    """Set training mode; batch-norm layers stay in evaluation mode if the recipe freezes them."""
    model.train()
    if recipe.freeze_batchnorm:
        keep_statistics(model)


def keep_statistics(model: nn.Module) -> None:
    """Set batch-norm layers to evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _shard(trained: Trained) -> list[nn.Parameter]:
    """Shard the weights over the processes, in place; return the trained weights that are not sharded."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(next(trained.parameters()).device.type, (ranks(),))
    text = [] if trained.objective is None else [*trained.objective.parameters()]
    unsharded = [*(parameter for parameter in trained.model.parameters() if not parameter.dim()), *text]
    with peer_faults(computes=True):
        for module in [*encoder_blocks(trained.model.visual), trained]:
            fully_shard(module, mesh=mesh, ignored_params=set(unsharded))
    for module in trained.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # The sum, not the mean,
            module.set_force_sum_reduction_for_comms(True)  # by an operation that gloo supports.
    return [parameter for parameter in unsharded if parameter.requires_grad]


def encoder_blocks(visual: nn.Module) -> list[nn.Module]:
    """Return the longest sequence of blocks of one class, such as the blocks of a ViT or the stages of a network.

    Stages that are plain sequences are replaced by their blocks, since timm bypasses such stages when it checkpoints
    gradients. Returns an empty list if there is no sequence.
    """
    sequences = [list(module) for module in visual.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    uniform = [blocks for blocks in sequences if len({type(block) for block in blocks}) == 1]
    trained = (blocks for blocks in uniform if all(list(block.parameters()) for block in blocks))
    longest = max(trained, key=len, default=[])
    return [inner for block in longest for inner in (block if isinstance(block, nn.Sequential) else [block])]


def is_cut(tensor: Tensor) -> bool:
    """Return whether a tensor is a DTensor, of which this process holds a shard."""
    # Checked by attribute, since importing the class takes a second.
    return hasattr(tensor, "full_tensor")


def _unshard(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if is_cut(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def by_kind(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Return [unsharded, sharded] parameters without empty lists, since torch cannot process both in one call."""
    kinds = [[p for p in parameters if is_cut(p) == cut] for cut in (False, True)]
    return [kind for kind in kinds if kind]


def clip_gradients(parameters: Sequence[nn.Parameter], norm: float) -> None:
    """Clip the total norm of all gradients to `norm`, in place; for sharded parameters, the norm over all shards.

    Raises:
        RunError: another process has died.
    """
    kinds = by_kind([parameter for parameter in parameters if parameter.grad is not None])
    if not any(is_cut(parameter) for parameter in parameters):
        nn.utils.clip_grad_norm_(parameters, norm)
        return
    with peer_faults(computes=True):
        norms = [_unshard(nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds]
    total = torch.linalg.vector_norm(torch.stack(norms))
    for kind in kinds:
        nn.utils.clip_grads_with_norm_(kind, norm, total)
