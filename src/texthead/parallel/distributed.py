"""The device of a process; ranks, shares, gathers and sums over a process group, or for a single process without one.

`process_group` starts the group under torchrun; otherwise the caller does (`torch.distributed.init_process_group`).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from texthead.errors import RunError, raising

T = TypeVar("T")

# For how long a process waits for the others, whose features may not be cached. If one fails, torchrun ends them all.
_TIMEOUT = timedelta(hours=4)


def rank() -> int:
    """Return the rank of this process, from 0; 0 without a process group."""
    return dist.get_rank() if _grouped() else 0


def world_size() -> int:
    """Return the number of processes in the group; 1 without a group."""
    return dist.get_world_size() if _grouped() else 1


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def shard_slice(count: int, rank: int, world_size: int) -> slice:
    """Return the slice of `count` items for one process: contiguous, with sizes that differ by at most one.

    share(10, 0, 4), ..., share(10, 3, 4) are 0:2, 2:5, 5:7, 7:10; share(1, 0, 2) is empty.
    """
    return slice(count * rank // world_size, count * (rank + 1) // world_size)


def all_gather_list(own: Sequence[T]) -> list[T]:
    """Return the (picklable) items of all processes, in rank order, on every process.

    Raises:
        RunError: another process is gone.
    """
    if world_size() == 1:
        return list(own)
    gathered: list[list[T]] = [[] for _ in range(world_size())]
    with peer_errors():
        dist.all_gather_object(gathered, list(own))
    return [item for items in gathered for item in items]


def all_reduce_sum(*own: int | float) -> tuple[int | float, ...]:
    """Return each number summed over the processes, added in rank order.

    Raises:
        RunError: another process is gone.
    """
    if world_size() == 1:
        return own
    gathered = all_gather_list([own])
    return tuple(sum(numbers) for numbers in zip(*gathered, strict=True))


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Copy the first process's values into the tensors of all processes, in place.

    Raises:
        RunError: another process is gone.
    """
    if world_size() == 1:
        return
    for tensor in tensors:
        # Weights may have another memory format, such as channels last.
        value = tensor.detach().clone(memory_format=torch.contiguous_format)
        with peer_errors():
            dist.broadcast(value, 0)
        with torch.no_grad():
            tensor.copy_(value)


def check_same(what: str, value: object) -> None:
    """Raise RunError if the processes have different values, or another process is gone."""
    if world_size() == 1:
        return
    digests = all_gather_list([hashlib.sha256(repr(value).encode()).hexdigest()])
    if len(set(digests)) > 1:
        raise RunError(f"{len(digests)} processes have different {what}: start all with the same")


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """Raise in every process if the block raises an `Exception` in one of them.

    The block must not communicate with other processes itself.

    Raises:
        RunError: the block failed in another process, or that process is gone.
    """
    try:
        yield
    except Exception as error:
        all_gather_list([(rank(), f"{error}" or type(error).__name__)])
        raise
    failures = all_gather_list([])
    if failures:
        failed_rank, message = failures[0]
        raise RunError(f"process {failed_rank} of {world_size()} has stopped, so all stop: {message}")


@contextmanager
def peer_errors(*, computes: bool = False) -> Iterator[None]:
    """Turn torch's errors about lost processes into RunError.

    Args:
        computes: the block also computes, so errors unrelated to communication are raised unchanged.

    Raises:
        RunError: another process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if computes and not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        first = str(error).strip().splitlines()[0][:200]
        why = "one of them has stopped, is out of step or slower than the group's timeout; see its own message"
        raise RunError(f"process {rank()} of {world_size()} has lost the others ({first}): {why}") from None


@contextmanager
def process_group() -> Iterator[None]:
    """Open the process group of `torchrun` for the block.

    Each process uses the GPU of its local rank if there are GPUs. Tensors on GPUs use NCCL, others gloo.

    Raises:
        RunError: the group cannot be started.
    """
    cuda = torch.cuda.is_available()
    problem = "the group of torchrun's processes cannot start"
    with raising(RunError, problem, "see `torchrun --help`", RuntimeError, KeyError):
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is this process's CUDA device, else Apple's GPU, else the CPU.

    Raises:
        RunError: the device does not exist, or several processes would share one GPU.
    """
    if world_size() > 1 and name.startswith("cuda:"):
        raise RunError(f"`device={name}`: each of {world_size()} processes uses its own GPU: remove `device`")
    if name == "auto":
        gpu = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
        return torch.device(gpu or "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        if problem.startswith("Expected one of"):  # torch lists twenty kinds, most of them exotic.
            problem = "no such device type"
        raise RunError(f"device {name!r} cannot be used ({problem}): use auto, cpu, cuda, cuda:N or mps") from None
    return device
