"""What a command sets in its process: OpenMP threads sleep while they wait, imports are not collected."""

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from texthead.parallel.startup import wait_asleep


@pytest.mark.parametrize(
    ("environment", "spins"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_own_settings_of_openmp_stay(
    environment: Mapping[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        # Set first, so that the variable that the function sets is removed afterwards.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wait_asleep()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_imports_are_left_out_of_garbage_collections() -> None:
    program = """
import gc, weakref
from texthead.parallel.startup import freeze_imports
freeze_imports()
import torch
gc.collect()
frozen = gc.get_freeze_count()
class Ring: pass
ring = Ring()
ring.own, gone = ring, weakref.ref(ring)
del ring
gc.collect()
print(frozen > 50_000, gone() is None, gc.get_freeze_count() == frozen)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3
