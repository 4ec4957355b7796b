"""What computes an optimiser step: the loss of a model, on one process, or on several through DDP or FSDP2."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from texthead.data.batches import NO_ITEM
from texthead.errors import RunError
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import lost, ranks, sum_gradients
from texthead.training.matching import Matching

Shard = Literal["ddp", "fsdp"]


class StepLoss(nn.Module):
    """The part of a step's mean loss that some clips make, and how many of them are answered right.

    Args:
        model: on frame features, where the encoder is frozen.
        objective: a loss of its own (Eq. 2), which has no right answers; None is the cross-entropy of the logits.

    Source: Eq. 3.
    """

    def __init__(self, model: Recognizer, objective: Matching | None):
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, clips: Shaped[Tensor, "batch frames *frame"], labels: Int[Tensor, " batch"], count: int, items: int
    ) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
        """(loss, right answers); `count` of the clips are items, of `items` in the step of all processes."""
        if self.objective is not None:
            return self.objective(self.model, clips, labels) * (count / items), labels.new_zeros(())
        logits = self.model(clips)
        loss = F.cross_entropy(logits.float(), labels, reduction="sum", ignore_index=NO_ITEM) / items
        return loss, (logits.argmax(-1) == labels).sum()


class Spread:
    """A loss whose gradients are those of all processes together: the sum of what each computes.

    Under "fsdp" a copy of the model is trained, each process keeping a part of every tensor, of its gradient and of
    what AdamW remembers of it; `publish` puts the whole weights into the model that was given, which is there to be
    evaluated and saved. The blocks of the encoder are cut and put together one by one, the rest as one. The logit
    scale, a single number, and an objective's text encoder stay whole.

    Args:
        blank: a clip, to see what is computed with it.

    Attributes:
        loss: the loss with the plain names of its weights; under FSDP they are parts.
    """

    def __init__(
        self,
        model: Recognizer,
        objective: Matching | None,
        blank: Tensor,
        *,
        shard: Shard,
        compiled: bool,
        freeze_encoder: bool,
    ):
        self._whole = model if shard == "fsdp" else None
        student = model.on_features() if freeze_encoder else copy.deepcopy(model) if shard == "fsdp" else model
        self.loss = StepLoss(student, objective)
        self._uncut: list[nn.Parameter] = []
        self._run: nn.Module = self.loss
        self._factor = 1.0
        if shard == "fsdp":
            self._uncut = _cut(self.loss)
        elif ranks() > 1:
            unused = not _uses_all(self.loss, blank)
            with warnings.catch_warnings():
                # Its successor is not there in torch 2.11, and does more than what is wanted.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
                # Statistics of batch norms are each process's own until a checkpoint.
                self._run = DistributedDataParallel(self.loss, broadcast_buffers=False, find_unused_parameters=unused)
            # DDP takes the mean over processes.
            self._factor = float(ranks())
        if compiled:  # In place, so that names of weights stay as they are.
            student.visual.compile()

    @contextmanager
    def part(self, *, last: bool) -> Iterator[None]:
        """The forward and the backward pass of a part of a step; gradients are summed in the last one.

        Raises:
            RunError: another process is gone.
        """
        run = self._run
        if self._whole is not None:
            run.set_requires_gradient_sync(last)  # pyright: ignore[reportCallIssue]
        apart = run.no_sync() if isinstance(run, DistributedDataParallel) and not last else nullcontext()
        with lost(computes=True) if ranks() > 1 else nullcontext(), apart:
            yield
        if last:
            sum_gradients(self._uncut)

    def __call__(self, clips: Tensor, labels: Tensor, count: int, items: int) -> tuple[Tensor, Tensor, Tensor]:
        """(what to go backward from, the loss, right answers): as `StepLoss`, in a `part`."""
        loss, right = self._run(clips, labels, count, items)
        return loss * self._factor, loss, right

    def publish(self) -> None:
        """Put the trained weights into the model that was given, where a copy is trained.

        Raises:
            RunError: another process is gone.
        """
        if self._whole is None:
            return
        with torch.no_grad(), lost(computes=True):
            target = self._whole.state_dict()
            for name, tensor in self.loss.model.state_dict().items():
                target[name].copy_(_put_together(tensor))


def check_spread(shard: Shard, compiled: bool, *, freeze_encoder: bool) -> None:
    """Nothing, if a model can be trained so.

    Raises:
        RunError: FSDP without other processes, or no encoder to cut or to compile.
    """
    if shard == "fsdp" and ranks() == 1:
        raise RunError(
            "--shard fsdp cuts a model over processes and this is one: start `torchrun --nproc-per-node N -m texthead "
            "train`, or leave out --shard"
        )
    for given, option, does in ((shard == "fsdp", "--shard fsdp", "cuts"), (compiled, "--compile", "compiles")):
        if given and freeze_encoder:
            raise RunError(f"{option} {does} the encoder, which --freeze-encoder leaves out of training: give one")


def _uses_all(loss: StepLoss, blank: Tensor) -> bool:
    """Whether every trained parameter has a part in the loss of every clip.

    DDP waits for all of them, or looks for the others at each step, and complains where it finds none. A tuned text
    encoder has some that nothing uses, and a process without a clip needs no text at all.
    """
    if loss.objective is not None and loss.objective.text is not None:
        return False
    loss.model.train()
    keep_statistics(loss.model)
    parameters = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    device = parameters[0].device
    label = torch.tensor([NO_ITEM], device=device)
    with lost(computes=True):  # A loss may gather.
        found, _ = loss(blank[None].to(device), label, 0, 1)
    return all(grad is not None for grad in torch.autograd.grad(found, parameters, allow_unused=True))


def keep_statistics(model: nn.Module) -> None:
    """Put batch-norm layers into evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _cut(loss: StepLoss) -> list[nn.Parameter]:
    """Cut the parameters of a loss over the processes, in place: those that stay whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(next(loss.parameters()).device.type, (ranks(),))
    text = [] if loss.objective is None else [*loss.objective.parameters()]
    uncut = [*(parameter for parameter in loss.model.parameters() if not parameter.dim()), *text]
    with lost(computes=True):
        for module in [*encoder_blocks(loss.model.visual), loss]:
            fully_shard(module, mesh=mesh, ignored_params=set(uncut))
    for module in loss.modules():
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
    with lost(computes=True):
        norms = [_put_together(nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds]
    total = torch.linalg.vector_norm(torch.stack(norms))
    for kind in kinds:
        nn.utils.clip_grads_with_norm_(kind, norm, total)
