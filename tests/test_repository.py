"""Repository files that only other programs read: workflows, forms, the citation, the metadata."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import texthead

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [ROOT / ".github" / "ISSUE_TEMPLATE" / name for name in ("bug.yml", "feature.yml")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_files_follow_their_schema(schema: str, files: list[Path]) -> None:
    tool = Path(sys.prefix) / "check-jsonschema"
    if not tool.is_dir():
        pytest.skip(f"no {tool}, where `make install` puts check-jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tool)})
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_permissions_limits_and_pins(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "uses" in job or job["timeout-minutes"], name
        writing = {scope for scope, level in job.get("permissions", {}).items() if level == "write"}
        assert writing <= {"deploy": {"pages", "id-token"}, "pypi": {"id-token"}, "github": {"contents"}}.get(
            name, set()
        )
        for step in job.get("steps", []):
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v1)", step["uses"]), step["uses"]
            # A branch or tag name inserted into a script would run as part of it.
            assert "${{ github." not in step.get("run", ""), name


def test_commands_of_workflows_are_targets_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in WORKFLOWS:
        text = path.read_text()
        (matrix,) = re.findall(r"target: \[(.+)\]", text) or [""]
        typed = [word for line in re.findall(r"run: make ([a-z -]+)$", text, re.MULTILINE) for word in line.split()]
        assert {*typed, *filter(None, matrix.split(", "))} <= targets, path


def test_the_version_is_that_of_the_installed_package() -> None:
    done = subprocess.run([sys.executable, "-m", "texthead", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"texthead {texthead.__version__}\n"
    assert "version" in PROJECT["dynamic"]


def test_classifiers_say_what_the_tests_run_on() -> None:
    pythons = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith("Programming Language")}
    assert pythons == {"3", "3.11"}
    for path in WORKFLOWS:
        assert set(re.findall(r'python-version: "(.+)"', path.read_text())) <= {"3.11"}
    assert [line for line in PROJECT["classifiers"] if line.startswith("Operating")] == [
        "Operating System :: POSIX :: Linux"
    ]


def test_the_citation_has_the_licence_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["title"], citation["license"]) == (PROJECT["name"], PROJECT["license"])
    (paper,) = citation["references"]
    assert paper["title"] in " ".join((ROOT / "README.md").read_text().split())


def test_links_of_the_guide_for_contributors_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / "CONTRIBUTING.md").read_text()):
        assert (ROOT / link).is_file(), link
