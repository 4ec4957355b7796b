"""The forward and backward pass of a step, on one process, or on several through DDP or FSDP2."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

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
from texthead.training.matching import Matching


class Trained(nn.Module):
    """A model and, if it has one, the objective that it is trained with: one module, as DDP and FSDP take it.

    Args:
        model: on frame features if the encoder is frozen.
        objective: a loss of its own (Eq. 2); None if the loss is computed from the logits.
    """

    def __init__(self, model: Recognizer, objective: Matching | None):
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, clips: Shaped[Tensor, "batch frames *frame"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch classes"] | Float[Tensor, ""]:
        """Return the logits, or the objective's mean loss of the items."""
        return self.model(clips) if self.objective is None else self.objective(self.model, clips, labels)


class ParallelModel:
    """A model spread over all processes: gradients are the sum of what each process computes.

    With "fsdp" a copy of the model is trained, of which each process keeps a part of every weight, of its gradient and
    of AdamW's state; `publish` copies the whole weights into the given model, which is evaluated and saved. The
    encoder's blocks are sharded one by one, the rest together. The logit scale, a single number, and an objective's
    text encoder stay whole.

    Args:
        blank: a clip, to find out which weights have a gradient.

    Attributes:
        trained: what is trained, with the plain names of its weights; with "fsdp" they are shards.
        device: where clips and labels must be.
        factor: what a loss must be multiplied by before its backward pass, since DDP takes the mean over processes.
    """

    def __init__(
        self, model: Recognizer, objective: Matching | None, blank: Tensor, recipe: Recipe, execution: Execution
    ):
        self.device = next(model.parameters()).device
        self.factor = 1.0
        self._recipe = recipe
        self._whole = model if execution.shard == "fsdp" else None
        student = model.on_features() if recipe.freeze_encoder else copy.deepcopy(model) if self._whole else model
        self.trained = Trained(student, objective)
        self._uncut: list[nn.Parameter] = []
        self._run: nn.Module = self.trained
        if self._whole:
            self._uncut = _cut(self.trained)
        elif ranks() > 1:
            unused = not _uses_all(self.trained, blank)
            with warnings.catch_warnings():
                # Its successor does not exist in torch 2.11, and does more than needed.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
                # Until a checkpoint, each process has batch-norm statistics of its own.
                self._run = DistributedDataParallel(
                    self.trained, broadcast_buffers=False, find_unused_parameters=unused
                )
            self.factor = float(ranks())
        if execution.compiled:  # In place, so that names of weights stay as they are.
            student.visual.compile()

    @contextmanager
    def part(self, count: int, *, last: bool) -> Iterator[None]:
        """Enclose the forward and the backward pass of a part of a step with `count` items; the last sums gradients.

        Raises: RunError if another process is gone.
        """
        run = self._run
        if self._whole is not None:
            run.set_requires_gradient_sync(last)  # pyright: ignore[reportCallIssue]
        if not count:
            keep_statistics(self.trained.model)  # A blank clip is nothing to learn from.
        apart = run.no_sync() if isinstance(run, DistributedDataParallel) and not last else nullcontext()
        with peer_faults(computes=True) if ranks() > 1 else nullcontext(), apart:
            yield
        if last:
            sum_gradients(self._uncut)
        if not count:
            set_training(self.trained.model, self._recipe)

    def __call__(self, clips: Tensor, labels: Tensor) -> Tensor:
        """Return what `Trained` returns, in the recipe's precision; call it inside `part`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._recipe.precision == "bf16"):
            return self._run(clips, labels)

    def publish(self) -> None:
        """Copy the trained weights into the given model, if a copy is trained.

        Raises: RunError if another process is gone.
        """
        if self._whole is None:
            return
        with torch.no_grad(), peer_faults(computes=True):
            target = self._whole.state_dict()
            for name, tensor in self.trained.model.state_dict().items():
                target[name].copy_(_put_together(tensor))


def check_execution(execution: Execution, recipe: Recipe) -> None:
    """Raise RunError for FSDP on one process, or to shard or compile an encoder that is frozen or has adapters."""
    if execution.shard == "fsdp" and ranks() == 1:
        raise RunError(
            "shard=fsdp cuts a model over processes and this is one: start `torchrun --nproc-per-node N -m texthead "
            "train`, or leave out shard"
        )
    for chosen, option, does in (
        (execution.shard == "fsdp", "shard=fsdp", "cuts"),
        (execution.compiled, "compile", "compiles"),
    ):
        if chosen and recipe.freeze_encoder:
            raise RunError(f"{option} {does} the encoder, which freeze_encoder leaves out of training: give one")
        if chosen and recipe.tune == "lora":
            raise RunError(f"{option} {does} the encoder's weights, beside which tune=lora puts adapters: give one")


def _uses_all(trained: Trained, blank: Tensor) -> bool:
    """Return whether every trained weight has a gradient whatever the clip.

    DDP waits for all gradients, or looks for the missing ones at each step, and warns if none is missing. A tuned text
    encoder has weights that nothing uses, and a process without a clip needs no text at all.
    """
    if trained.objective is not None and trained.objective.text is not None:
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
    """Put batch-norm layers into evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _cut(trained: Trained) -> list[nn.Parameter]:
    """Shard the weights over the processes, in place; return those that stay whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(next(trained.parameters()).device.type, (ranks(),))
    text = [] if trained.objective is None else [*trained.objective.parameters()]
    uncut = [*(parameter for parameter in trained.model.parameters() if not parameter.dim()), *text]
    with peer_faults(computes=True):
        for module in [*encoder_blocks(trained.model.visual), trained]:
            fully_shard(module, mesh=mesh, ignored_params=set(uncut))
    for module in trained.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # The sum, not the mean,
            module.set_force_sum_reduction_for_comms(True)  # and by what gloo can do.
    return [parameter for parameter in uncut if parameter.requires_grad]


def encoder_blocks(visual: nn.Module) -> list[nn.Module]:
    """The longest row of blocks of one class, as of a ViT or of a network's stages; none where there is no row.

    A stage that is only a row itself is opened: timm goes around it where blocks run again in the backward pass.
    """
    rows = [list(row) for row in visual.modules() if isinstance(row, nn.ModuleList | nn.Sequential)]
    alike = [row for row in rows if len({type(block) for block in row}) == 1]
    longest = max((row for row in alike if all(list(block.parameters()) for block in row)), key=len, default=[])
    return [inner for block in longest for inner in (block if isinstance(block, nn.Sequential) else [block])]


def is_cut(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor, of which this process has a part."""
    # By what it can do: to import its class takes a second, which a run on one process need not wait for.
    return hasattr(tensor, "full_tensor")


def _put_together(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if is_cut(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def by_kind(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters that are whole and those that are cut, where there are any: torch computes on them apart."""
    kinds = [[p for p in parameters if is_cut(p) == cut] for cut in (False, True)]
    return [kind for kind in kinds if kind]


def clip_gradients(parameters: Sequence[nn.Parameter], norm: float) -> None:
    """Cut the norm of all gradients together to `norm`, in place; of cut parameters it is that of the whole.

    Raises:
        RunError: another process is gone.
    """
    kinds = by_kind([parameter for parameter in parameters if parameter.grad is not None])
    if not any(is_cut(parameter) for parameter in parameters):
        nn.utils.clip_grad_norm_(parameters, norm)
        return
    with peer_faults(computes=True):
        norms = [_put_together(nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds]
    total = torch.linalg.vector_norm(torch.stack(norms))
    for kind in kinds:
        nn.utils.clip_grads_with_norm_(kind, norm, total)
