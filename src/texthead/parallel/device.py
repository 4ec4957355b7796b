"""The device that a command runs on."""

import torch

from texthead.errors import RunError
from texthead.parallel.distributed import ranks


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the CUDA device of this process (alone: the first), else the CPU.

    Raises:
        RunError: a device that is not there, or one for all of several processes.
    """
    if ranks() > 1 and name.startswith("cuda:"):
        raise RunError(f"device {name}: each of {ranks()} processes takes a GPU of its own: leave it out")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        if problem.startswith("Expected one of"):  # torch lists twenty kinds, most of which nobody has.
            problem = "no such kind"
        raise RunError(f"device {name!r} cannot be used ({problem}): use auto, cpu, cuda or cuda:N") from None
    return device
