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


def install(folder: Path, name: str, *metadata: str, licence: str = "") -> None:
    """Write the metadata of an installed package, with the text of its licence."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *metadata, ""]))
    (info / "LICENSE").write_text(licence)
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/LICENSE,,\n")


# Marked slow to skip it with the oldest dependency versions, whose metadata differs.
@pytest.mark.slow
def test_every_licence_of_what_is_installed_is_known_and_allowed() -> None:
    done = licences()
    assert (done.returncode, done.stderr) == (0, "")
    assert "| torch | " in done.stdout
    assert "| numpy | " in done.stdout


def test_page_names_required_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra not in LEFT_OUT]
    required = {
        Requirement(line).name.lower().replace("_", "-")
        for lines in [project["dependencies"], *extras]
        for line in lines
    }
    rows = re.findall(
        r"^\| ([a-z0-9-]+) \| \S+ \| (.+) \| \S+ \|$", (ROOT / "docs/reference/dependencies.md").read_text(), re.M
    )
    assert required - {"texthead"} <= {name for name, _ in rows}
    assert all(licence.strip() for _, licence in rows)


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ([], "licence is unknown"),
        (["License: UNKNOWN"], "licence is unknown"),
        (["License-Expression: MIT AND GPL-3.0-only"], "licence MIT AND GPL-3.0-only is not allowed"),
        (["Classifier: License :: Other/Proprietary License"], "licence Other/Proprietary License is not allowed"),
    ],
)
def test_a_planted_licence_fails_in_one_line(metadata: list[str], fault: str, tmp_path: Path) -> None:
    """The licence is two requirements away, behind an extra."""
    install(tmp_path, "planted", *metadata, licence="Ask me.")
    install(tmp_path, "between", "License: MIT", "Requires-Dist: planted")
    install(tmp_path, "product", "Provides-Extra: more", 'Requires-Dist: between; extra == "more"')
    done = licences("product", installed=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"planted 1.0 (for between): {fault}. ")
    assert "EXCEPTIONS in tools/licences.py" in line


def test_a_requirement_that_is_not_installed_fails(tmp_path: Path) -> None:
    install(tmp_path, "product", "Requires-Dist: planted-nowhere", "Requires-Dist: other; sys_platform == 'nowhere'")
    done = licences("product", installed=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("planted-nowhere is not installed")
