"""The memory available to a process: the machine's, or what its cgroups leave."""

from pathlib import Path

import pytest

from texthead.parallel.device import free_memory

MB = 2**20


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("seen", ["whole", "top"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_cgroup_counts_without_what_it_can_give_back(tmp_path: Path, version: int, seen: str) -> None:
    (root := tmp_path / "root").mkdir()
    write(root / "proc", meminfo=f"MemTotal: 9000 kB\nMemAvailable:   {500 * 1024} kB\n")
    assert free_memory(root) == 500 * MB
    line, below, limit, use, cached = {
        1: ("4:memory:/a/b", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        2: ("0::/a/b", "sys/fs/cgroup", "memory.max", "memory.current", ""),
    }[version]
    write(root / "proc/self", cgroup=f"1:cpu:/a\n{line}\n")
    assert free_memory(root) == 500 * MB
    for folder, most in {"whole": (("a/b", "max"), ("a", str(300 * MB))), "top": ((".", str(300 * MB)),)}[seen]:
        files = {limit: most, use: str(250 * MB), "memory.stat": f"cache 1\n{cached}inactive_file {100 * MB}\n"}
        write(root / below / folder, **files)
    assert free_memory(root) == 150 * MB


def test_other_systems_do_not_tell(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None
