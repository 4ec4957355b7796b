"""The device that a command runs on, and the memory that is left there."""

import sys
from contextlib import suppress
from pathlib import Path

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


# Per version of cgroups: limit, use, and what of the use can be given back at once.
_CGROUPS = {
    "": ("memory.max", "memory.current", "inactive_file "),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
}


def free_memory(root: Path = Path("/")) -> int | None:
    """Return how many bytes this process can take: what the machine has available, or what its cgroups leave.

    None where the system does not tell.
    """
    left = []
    with suppress(OSError, ValueError, IndexError):
        left.append(1024 * _number_behind("MemAvailable:", root / "proc/meminfo"))
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kind, group = line.split(":", 2)
            if kind in _CGROUPS:
                below = root / "sys/fs/cgroup" / kind
                folder = below / group.strip("/")
                # In a container the path may be that outside of it, and only the top is there.
                left += [
                    _left(each, *_CGROUPS[kind]) for each in (folder, *folder.parents) if each.is_relative_to(below)
                ]
    return min(left, default=None)


def _left(folder: Path, limit: str, use: str, cached: str) -> int:
    try:
        taken = int((folder / use).read_text()) - _number_behind(cached, folder / "memory.stat")
        return max(0, int((folder / limit).read_text()) - taken)
    except (OSError, ValueError, IndexError):  # No such group, or one without a limit.
        return sys.maxsize


def _number_behind(key: str, file: Path) -> int:
    """Return the number behind a key that begins a line."""
    return int(f"\n{file.read_text()}".partition(f"\n{key}")[2].split()[0])
