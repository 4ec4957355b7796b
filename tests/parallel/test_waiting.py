"""OpenMP threads sleep while they wait, unless the environment says otherwise."""

import os
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
