"""Freed memory that stays."""

import subprocess
import sys

import pytest

# Allocates 64 MB and frees it, a hundred times; prints how many new pages the second half of that took.
PROGRAM = """
import resource, sys
import numpy as np
from texthead.parallel.startup import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    for _ in range(50):
        np.ones(8_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_not_asked_for_again() -> None:
    def new_pages(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert new_pages("keep") < new_pages("leave") / 20
