"""The parts of a release: wheel, sdist, and pins with hashes."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
SHIPPED = {"core": [], "extras": sorted(Requirement(EXTRAS["all"][0]).extras)}


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """Run a program in a folder without PYTHONPATH, and return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**environment, **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of `make dist`, built without network access."""
    folder = tmp_path_factory.mktemp("dist")
    address = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "texthead/texthead"}
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder, **address)
    run(sys.executable, "-m", "twine", "check", "--strict", *folder.iterdir(), folder=folder)
    return folder


def checkout_files() -> set[str]:
    """Return the files that git tracks or could track."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a checkout of git, so its files are unknown")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT)
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


@pytest.mark.nightly("pyproject.toml", "hatch_build.py")
def test_the_wheel_has_every_file_of_the_package_and_no_other(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert "Project-URL: Source, https://github.com/texthead/texthead" in metadata
    links = re.findall(r"\]\(([^)]*)\)", metadata)
    assert len(links) > 20
    assert all(link.startswith("https://") for link in links), "dead on a package index"
    package = {name.removeprefix("src/") for name in checkout_files() if name.startswith("src/")}
    assert names == package
    assert {
        "texthead/apps/page/page.js",
        "texthead/report/templates/page.html",
        "texthead/encoders/figures.csv",
    } <= names


@pytest.mark.nightly("pyproject.toml", "hatch_build.py")
def test_the_sdist_has_files_of_the_checkout_alone(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sdist.name == f"texthead-{version_of(built)}.tar.gz"
    assert names - checkout_files() == {"PKG-INFO"}
    assert {"LICENSE", "README.md", "pyproject.toml", "src/texthead/cli/main.py", "constraints/core.txt"} <= names


def version_of(folder: Path) -> str:
    """Return the version of the wheel in a folder."""
    (wheel,) = folder.glob("*.whl")
    return wheel.name.split("-")[1]


@pytest.mark.nightly("pyproject.toml", "hatch_build.py")
def test_the_wheel_installed_by_pip_shows_the_demo_and_predicts(built: Path, tmp_path: Path) -> None:
    """Takes minutes: pip installs all requirements of the wheel and its `demo` extra into an empty environment."""
    (wheel,) = built.glob("*.whl")
    python, program = tmp_path / "venv" / "bin" / "python", tmp_path / "venv" / "bin" / "texthead"
    run(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[demo]", folder=tmp_path)
    run(python, "-m", "pip", "check", folder=tmp_path)
    assert run(program, "--version", folder=tmp_path) == f"texthead {version_of(built)}\n"
    # The cache is that of the tests, where the demo's frames may be encoded already.
    own = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    shown = run(program, "demo", "--out", "demo", folder=tmp_path, **own)
    assert "classes without training clips are correct" in shown
    assert (tmp_path / "demo" / "report.html").is_file()
    clip = "demo/videos/a-cat-jumping/test_0.mp4"
    assert "a cat" in run(program, "predict", "demo/runs/text", clip, folder=tmp_path, **own)


@pytest.mark.parametrize("name", SHIPPED)
def test_all_that_is_required_is_pinned_with_hashes(name: str) -> None:
    """The pins satisfy pyproject.toml; if not, run `make constraints`."""
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
    lines = [*PROJECT["dependencies"], *(line for extra in SHIPPED[name] for line in EXTRAS[extra])]
    for required in map(Requirement, lines):
        if required.name == PROJECT["name"]:
            continue
        versions = [next(iter(pin.specifier)).version for pin in pins.get(canonicalize_name(required.name), [])]
        assert versions, required
        assert all(map(required.specifier.contains, versions)), required
    # torch's requirements on Linux, where pip refuses any requirement without a hash.
    assert str(pins["triton"][0].marker).endswith('sys_platform == "linux"')
    assert sum(package.startswith("nvidia-") for package in pins) > 5
