"""Run Python programs that need the libraries of labelling tools, whose dependencies conflict with texthead's.

LABEL_STUDIO_SDK_PYTHON and FIFTYONE_PYTHON name the interpreters of environments with `label-studio-sdk` and `fiftyone`.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest


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
