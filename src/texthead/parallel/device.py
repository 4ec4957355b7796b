"""Device selection and free memory."""

import sys
from contextlib import suppress
from pathlib import Path

import torch

from texthead.errors import RunError
from texthead.parallel.distributed import ranks


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is this process's CUDA device if there is one, else the CPU.

    Raises:
        RunError: the device does not exist, or several processes would share one GPU.
    """
    if ranks() > 1 and name.startswith("cuda:"):
        raise RunError(f"device {name}: each of {ranks()} processes uses its own GPU: leave it out")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        if problem.startswith("Expected one of"):  # torch lists twenty kinds, most of them exotic.
            problem = "no such device type"
        raise RunError(f"device {name!r} cannot be used ({problem}): use auto, cpu, cuda or cuda:N") from None
    return device


# By cgroup version: the files of limit and usage, and the key of the reclaimable part of the usage.
_CGROUPS = {
    "": ("memory.max", "memory.current", "inactive_file "),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
}


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the memory available to this process in bytes: the machine's, or less if its cgroups have limits.

    None if the system does not report it.
    """
    available = []
    with suppress(OSError, ValueError, IndexError):
        available.append(1024 * _number_after("MemAvailable:", root / "proc/meminfo"))
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kind, group = line.split(":", 2)
            if kind in _CGROUPS:
                below = root / "sys/fs/cgroup" / kind
                folder = below / group.strip("/")
                # In a container this may be the host's path, of which only the root exists inside.
                available += [
                    _available(each, *_CGROUPS[kind])
                    for each in (folder, *folder.parents)
                    if each.is_relative_to(below)
                ]
    return min(available, default=None)


def _available(folder: Path, limit: str, use: str, cached: str) -> int:
    try:
        used = int((folder / use).read_text()) - _number_after(cached, folder / "memory.stat")
        return max(0, int((folder / limit).read_text()) - used)
    except (OSError, ValueError, IndexError):  # No such group, or it has no limit.
        return sys.maxsize


def _number_after(key: str, file: Path) -> int:
    """Return the number after a key at the start of a line."""
    return int(f"\n{file.read_text()}".partition(f"\n{key}")[2].split()[0])
