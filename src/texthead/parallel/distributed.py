"""Several processes: ranks, shares, gathers, nothing else. Without a process group all of it is for one process.

`launched` starts the group under torchrun; else the caller does (`torch.distributed.init_process_group`).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn

from texthead.errors import RunError

T = TypeVar("T")


def rank() -> int:
    """Return the number of this process, from 0; 0 without a process group."""
    return dist.get_rank() if _grouped() else 0


def ranks() -> int:
    """Return how many processes work together; 1 without a process group."""
    return dist.get_world_size() if _grouped() else 1


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def share(count: int, rank: int, ranks: int) -> slice:
    """Return the part of `count` things that a process takes: contiguous, of sizes that differ by one at most.

    share(10, 0, 4), ..., share(10, 3, 4) are 0:2, 2:5, 5:7, 7:10; of share(1, ., 2) the first is empty.
    """
    return slice(count * rank // ranks, count * (rank + 1) // ranks)


def gather_list(own: Sequence[T]) -> list[T]:
    """Return the things of all processes, in rank order, on each of them; they must be picklable.

    Raises:
        RunError: another process is gone.
    """
    if ranks() == 1:
        return list(own)
    found: list[list[T]] = [[] for _ in range(ranks())]
    with peer_faults():
        dist.all_gather_object(found, list(own))
    return [thing for part in found for thing in part]


def gather_rows(rows: Shaped[Tensor, "own *row"]) -> Shaped[Tensor, "all *row"]:
    """Return the rows of all processes, in rank order, on each of them; a process may have any number, or none.

    It has a gradient. Where each process goes backward from a loss of all rows, a row gets the gradients of all those
    losses together: the losses' weights over processes must add up to what is meant. A process that has no row needs
    an empty tensor that requires a gradient where those of the others do, since all go backward together.

    Raises:
        RunError: another process is gone.
    """
    return rows if ranks() == 1 else _GatherRows.apply(rows)  # pyright: ignore[reportReturnType]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = gather_list([len(rows)])
        # Rows of zeros fill up what the longest part has more: a gather takes parts of one size.
        filled = rows.new_zeros(max(counts), *rows.shape[1:])
        filled[: len(rows)] = rows
        parts = [torch.empty_like(filled) for _ in counts]
        with peer_faults():
            dist.all_gather(parts, filled)
        start = sum(counts[: rank()])
        ctx.own = slice(start, start + len(rows))
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = grads[0].clone(memory_format=torch.contiguous_format)
        with peer_faults():
            dist.all_reduce(total)
        return total[ctx.own]


def sum_numbers(*own: int | float) -> tuple[int | float, ...]:
    """Return each number summed over the processes, in rank order.

    Raises:
        RunError: another process is gone.
    """
    if ranks() == 1:
        return own
    every = gather_list([own])
    return tuple(sum(numbers) for numbers in zip(*every, strict=True))


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Put the sum over the processes into the gradients, in place; each process gives the same parameters in order.

    For what no engine of torch's sums: what FSDP does not cut.

    A process without a gradient counts as zero; a parameter without one on every process stays without.

    Raises:
        RunError: another process is gone.
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if ranks() == 1 or not wanted:
        return
    with torch.no_grad():
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in wanted]
        there = torch.tensor([float(p.grad is not None) for p in wanted]).to(grads[0])
        # One long row: many small sums take longer than a large one.
        flat = torch.cat([grad.flatten() for grad in grads] + [there])
        with peer_faults():
            dist.all_reduce(flat)
        sizes = [grad.numel() for grad in grads]
        *parts, there = flat.split([*sizes, len(wanted)])
        for parameter, grad, part, found in zip(wanted, grads, parts, there.tolist(), strict=True):
            if found:
                parameter.grad = grad.copy_(part.view_as(grad))


def same_as_first(tensors: Iterable[Tensor]) -> None:
    """Put the first process's values into the tensors of all, in place.

    Raises:
        RunError: another process is gone.
    """
    if ranks() == 1:
        return
    for tensor in tensors:
        # A copy: weights may lie in memory in another order of axes.
        value = tensor.detach().clone(memory_format=torch.contiguous_format)
        with peer_faults():
            dist.broadcast(value, 0)
        with torch.no_grad():
            tensor.copy_(value)


def check_same(what: str, value: object) -> None:
    """Raise RunError if the processes were given different values, or another process is gone."""
    if ranks() == 1:
        return
    digests = gather_list([hashlib.sha256(repr(value).encode()).hexdigest()])
    if len(set(digests)) > 1:
        raise RunError(f"{len(digests)} processes were given different {what}: give all of them the same")


@contextmanager
def together() -> Iterator[None]:
    """Let all processes finish the block, or none: an error in one of them is an error in all.

    The block must hold no gather or sum of its own. Only errors that a program can catch reach the others.

    Raises:
        RunError: the block failed in another process, or that process is gone.
    """
    try:
        yield
    except Exception as error:
        gather_list([(rank(), f"{error}" or type(error).__name__)])
        raise
    told = gather_list([])
    if told:
        raise RunError(f"process {told[0][0]} of {ranks()} has stopped, so all stop: {told[0][1]}")


@contextmanager
def peer_faults(*, computes: bool = False) -> Iterator[None]:
    """Raise a clear error where a process waits for others in vain.

    Args:
        computes: the block computes too: what goes wrong there stays as it is.

    Raises:
        RunError: another process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if computes and not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        first = str(error).strip().splitlines()[0][:200]
        raise RunError(
            f"process {rank()} of {ranks()} has lost the others ({first}): one of them has stopped, is out of step or "
            "slower than the group's timeout; its own message says why"
        ) from None


# --- processes that torchrun has started


@contextmanager
def launched(*, timeout: float = 4 * 3600.0) -> Iterator[None]:
    """Open the group of the processes that `torchrun` has started, for the block.

    With GPUs each process takes that of its place on its machine, and tensors on them go through NCCL; all else goes
    through gloo.

    Args:
        timeout: seconds that a process waits for the others, which may have more to encode that no cache holds yet.
            Where one ends with an error torchrun ends all.

    Raises:
        RunError: the group cannot be started.
    """
    cuda = torch.cuda.is_available()
    try:
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0][:200]
        raise RunError(f"the group of torchrun's processes cannot start ({first}); see `torchrun --help`") from None
    try:
        yield
    finally:
        dist.destroy_process_group()
