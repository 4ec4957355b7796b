"""Tasks for labelling tools, and programs that need their libraries, whose dependencies conflict with texthead's.

LABEL_STUDIO_SDK_PYTHON and FIFTYONE_PYTHON name the interpreters of environments with `label-studio-sdk` and `fiftyone`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from texthead.apps.label_studio.labelling_tools import write
from texthead.data.dataset import Item


def run_with(package: str, program: str, *arguments: object, **environment: str) -> Any:
    """Return the JSON on the last line that a program prints; skip the test if no Python has the package."""
    variable = f"{package.upper()}_PYTHON"
    python = os.environ.get(variable) or (sys.executable if find_spec(package) else None)
    if python is None:
        pytest.skip(f"{package} is not installed, and {variable} names no Python that has it")
    home = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", program, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**home, **environment}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write_tasks(path: Path, items: Sequence[Item], guesses: Any, classes: Sequence[str], *, root: Path, **how: Any):
    """Write tasks with the document root `root`, and return the path of the configuration."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    write(path, items, guesses, classes, data=root / "data", **how)
    return path.with_suffix(".xml")
