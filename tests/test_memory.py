"""Freed memory that stays with the process."""

import subprocess
import sys

import pytest

# Allocates and frees 64 MB again and again; prints how many new pages the second half of that took.
PROGRAM = """
import resource, sys
import numpy as np
from texthead.memory import keep_freed_memory
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
    words = [sys.executable, "-c", PROGRAM]
    keep, leave = (int(subprocess.check_output([*words, how], text=True)) for how in ("keep", "leave"))
    assert keep < leave / 20
