"""What a release consists of: the wheel, the sdist, the bill of materials and the pins with their hashes."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from made import write_video

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [line for line in PROJECT["optional-dependencies"]["dev"] if line.startswith("texthead[")]
SHIPPED = {"core": [], "extras": sorted(Requirement(EXTRAS[0]).extras - {"docs"})}


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """Run a program in a folder, without the paths of this checkout, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**environment, **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the sdist that `make dist` builds, made without the internet."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    run(sys.executable, "-m", "twine", "check", "--strict", *folder.iterdir(), folder=folder)
    return folder


def of_the_checkout() -> set[str]:
    """Files that are in git, or could be added."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a checkout of git, so its files are unknown")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT)
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_no_other(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {name.removeprefix("src/") for name in of_the_checkout() if name.startswith("src/")}
    assert names == package
    assert {"texthead/web/page.js", "texthead/report/templates/page.html", "texthead/encoders/figures.csv"} <= names


@pytest.mark.slow
def test_the_sdist_has_files_of_the_checkout_alone(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - of_the_checkout() == {"PKG-INFO"}
    assert {"LICENSE", "README.md", "pyproject.toml", "src/texthead/cli.py", "constraints/core.txt"} <= names


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel alone."""
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder)
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--find-links", built)
    run(*pip, "texthead", folder=folder)
    return folder / "bin"


@pytest.mark.slow
def test_the_installed_wheel_predicts_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    # What it requires is that of the tests. The .pth files there, and with them the editable checkout, have no effect.
    required = sysconfig.get_path("purelib")
    code = "import texthead; print(texthead.__file__)"
    file = run(installed / "python", "-c", code, folder=tmp_path, PYTHONPATH=required).strip()
    assert Path(file).is_relative_to(installed.parent)
    assert "predict" in run(installed / "texthead", "--help", folder=tmp_path, PYTHONPATH=required)
    write_video(tmp_path / "red.mp4", "red", frames=8)
    command = (installed / "texthead", "predict", "--classes", "red,green", "red.mp4", "--json")
    predicted = run(*command, folder=tmp_path, PYTHONPATH=required)
    assert {"red", "green"} == set(re.findall(r"red(?!\.)|green", predicted))


@pytest.mark.slow
def test_the_bill_of_materials_is_valid_and_names_licences_but_no_path(installed: Path, tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("cyclonedx-py")
    run(tool, "environment", installed / "python", "--output-file", "bill.json", "--validate", folder=tmp_path)
    text = (tmp_path / "bill.json").read_text()
    assert "file://" not in text
    (component,) = json.loads(text)["components"]
    assert (component["name"], component["version"]) == ("texthead", PROJECT["version"])
    assert component["licenses"][0]["license"]["id"] == "MIT"


@pytest.mark.parametrize("name", SHIPPED)
def test_all_that_is_required_is_pinned_with_hashes(name: str) -> None:
    """The pins meet pyproject.toml: else run `make constraints`."""
    text = (ROOT / "constraints" / f"{name}.txt").read_text()
    assert not re.search(r"://|\+", text)
    pins: dict[str, list[Requirement]] = {}
    for entry in re.findall(r"^\w.*(?:\n .*)*", text, re.MULTILINE):
        pin, *hashes = entry.replace("\\\n", " ").split(" --hash=")
        requirement = Requirement(pin)
        assert [each.operator for each in requirement.specifier] == ["=="], pin
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes), pin
        pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    lines = [
        *PROJECT["dependencies"],
        *(line for extra in SHIPPED[name] for line in PROJECT["optional-dependencies"][extra]),
    ]
    for required in map(Requirement, lines):
        versions = [next(iter(pin.specifier)).version for pin in pins.get(canonicalize_name(required.name), [])]
        assert versions, required
        assert all(map(required.specifier.contains, versions)), required
    # What torch brings on Linux, where pip would refuse a requirement without a hash.
    assert str(pins["triton"][0].marker).endswith('sys_platform == "linux"')
    assert sum(package.startswith("nvidia-") for package in pins) > 5
