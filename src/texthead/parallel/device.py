"""Device selection."""

import torch

from texthead.errors import RunError
from texthead.parallel.distributed import world_size


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
