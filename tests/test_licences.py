"""Licences of dependencies: all are known and allowed; any other licence is an error."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools.licences import LEFT_OUT

ROOT = Path(__file__).parents[1]


def licences(*arguments: str, installed: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the licence checker, with a folder of additional installed packages."""
    paths = [str(ROOT), *([str(installed)] if installed else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "tools.licences", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


# Marked slow to skip it with the oldest dependency versions, whose metadata differs.
@pytest.mark.slow
def test_every_licence_of_what_is_installed_is_known_and_allowed() -> None:
    done = licences()
    assert (done.returncode, done.stderr) == (0, "")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra not in LEFT_OUT]
    required = {
        Requirement(line).name.lower().replace("_", "-")
        for lines in [project["dependencies"], *extras]
        for line in lines
    }
    rows = re.findall(r"^\| ([a-z0-9-]+) \| \S+ \| (.+) \| \S+ \|$", done.stdout, re.M)
    assert required - {"texthead"} <= {name for name, _ in rows}
    assert all(licence.strip() for _, licence in rows)
