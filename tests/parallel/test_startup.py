"""What a command sets in its process: OpenMP threads sleep while they wait, freed memory stays."""

import os
import subprocess
import sys

import pytest

from texthead.cli.system import limit_openmp_spinning


@pytest.mark.parametrize(
    ("name", "value", "spins"),
    [("OTHER", "", "10000"), ("GOMP_SPINCOUNT", "5", "5"), ("OMP_WAIT_POLICY", "active", None)],
)
def test_own_settings_of_openmp_stay(name: str, value: str, spins: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        # Set first, so that the variable that the function sets is removed afterwards.
        monkeypatch.setenv(each, "")
        monkeypatch.delenv(each)
    monkeypatch.setenv(name, value)
    limit_openmp_spinning()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def run(program: str, *words: str) -> str:
    return subprocess.check_output([sys.executable, "-c", program, *words], text=True)


# Allocates and frees 64 MB repeatedly; prints the number of new pages in the second half.
FREED = """
import resource, sys
import numpy as np
from texthead.parallel.startup import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    for _ in range(10):
        np.ones(8_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_not_requested_again() -> None:
    assert int(run(FREED, "keep")) < int(run(FREED, "leave")) / 20
