"""Run the quick tests with Python for Windows, on Wine: `make test-windows`.

python -m tools.windows build/windows/winpython [TESTS...]

Without TESTS, all those below. They are read from a fresh copy of the tracked files; texthead is an installed wheel.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = ROOT / "build" / "windows" / "winpython"
SETUP = ROOT.parent / "shared" / "windows" / "setup.sh"

# What the tests import. `languages` has no wheel, and pi_heif of `heic` ends the process on Wine.
EXTRAS = ("datasets", "demo", "lora", "onnx", "paper", "plots", "ray", "ui")
TOOLS = ("beartype", "hypothesis", "packaging", "pytest-xdist")

# `paper`, `benchmarks` and `browser` measure and run what Linux has.
ROOMS = (
    *("text", "data", "media", "models", "evaluation", "runs", "training", "transfer", "prediction", "features"),
    *("report", "cli", "commands", "apps", "encoders", "faults", "parallel"),
)

# Wine looks a path up in dozens of calls to its server, and `inspect` does so for all modules when torch starts.
START = """import inspect
import ntpath
import os
from types import SimpleNamespace

quick = {"realpath": ntpath.abspath, "exists": lambda path: os.access(path, os.F_OK)}
inspect.os = SimpleNamespace(**vars(os) | {"path": SimpleNamespace(**vars(ntpath) | quick)})
"""


def requirements() -> str:
    """Return a pyproject.toml that depends on all that the tests need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    needed += [line for line in extras["dev"] if line.startswith(TOOLS)]
    lines = [f'  "{line}",' for line in needed if not line.startswith("texthead")]
    return "\n".join(["[project]", "dependencies = [", *lines, "]\n"])


def set_up(python: Path) -> None:
    """Install Python for Windows into build/windows if it is missing there; a Python elsewhere is never installed.

    A folder without `winpython` may have been switched off, so it is left alone too.
    """
    if python.exists():
        return
    if python != OWN or OWN.parent.exists() or not SETUP.exists():
        raise SystemExit(f"no Python for Windows at {python}; give WINPYTHON, a program that runs it")
    OWN.parent.mkdir(parents=True)
    (OWN.parent / "pyproject.toml").write_text(requirements(), encoding="utf-8")
    subprocess.run(["bash", SETUP, OWN.parent, OWN.parent / "pyproject.toml"], check=True)
    # dill pickles modules outside a folder of this name with all that they hold, which fails for pyarrow.
    (OWN.parent / "site-packages").symlink_to("site")


def copy(to: Path) -> Path:
    """Copy the tracked files, and install the wheels of texthead and paper; return the folder of the wheels."""
    shutil.rmtree(to, ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (to / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / "checkout" / name)
    if (ROOT.parent / "shared").is_dir():
        (to / "shared").symlink_to(ROOT.parent / "shared")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", to / "packages", ROOT, ROOT / "paper"], check=True)
    (to / "packages" / "sitecustomize.py").write_text(START, encoding="utf-8")
    return to / "packages"


def main(python: Path, tests: list[str]) -> int:
    """Run the tests; return pytest's exit code."""
    set_up(python)
    fresh = ROOT / "build" / "windows-test"
    packages = copy(fresh)
    # Wine refuses AMX, which torch takes if the processor has it.
    settings = {"OMP_NUM_THREADS": "1", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
    # Otherwise pytest looks up each file of the packages that bring plugins, which takes minutes on Wine.
    settings["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    settings["PYTHONPATH"] = ";".join(
        "Z:" + str(folder).replace("/", "\\") for folder in (packages, python.parent / "site-packages")
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | settings
    files = [f"tests/{room}" for room in ROOMS] + sorted(f"tests/{path.name}" for path in ROOT.glob("tests/test_*.py"))
    plugins = ["-p", "xdist", "-p", "_hypothesis_pytestplugin", "-p", "no:cacheprovider"]
    command = [python, "-m", "pytest", *plugins, "-n", "2", "--dist", "loadfile", "-rfEs", *(tests or files)]
    return subprocess.run(command, cwd=fresh / "checkout", env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2:]))
