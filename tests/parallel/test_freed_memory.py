"""Freed memory stays with the process for reuse."""

import subprocess
import sys

import pytest

# Allocates and frees 64 MB repeatedly; prints the number of new pages in the second half.
PROGRAM = """
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
    words = [sys.executable, "-c", PROGRAM]
    keep, leave = (int(subprocess.check_output([*words, how], text=True)) for how in ("keep", "leave"))
    assert keep < leave / 20
