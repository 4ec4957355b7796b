"""Tests marked `nightly` cover files that a change in src rarely breaks, such as a page of docs/ or a benchmark:

    @pytest.mark.nightly("benchmarks/gpu.py")

The pytest option `--skip-unchanged` leaves out a nightly test unless its own file, or a file or folder that it names,
has changed since the last `make nightly`. python -m tools.nightly writes the commit of that run to tests/nightly.json.
"""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

RECORD = Path("tests") / "nightly.json"


def git(root: Path, *words: str) -> str:
    """Return the output of a git command."""
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout


def changes(root: Path) -> tuple[frozenset[str] | None, str]:
    """Return the files that differ from those of the last nightly run (None: unknown), and a line about them."""
    try:
        commit = json.loads((root / RECORD).read_text(encoding="utf-8"))["commit"]
        differing = git(root, "diff", "--name-only", "--no-renames", commit, "--")
        added = git(root, "ls-files", "--others", "--exclude-standard")
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError):
        return None, f"nightly tests: all, since git does not know the commit of {RECORD}"
    files = frozenset((differing + added).splitlines())
    return files, f"nightly tests: those of the {len(files)} files that changed since {commit[:7]}"


def is_changed(path: str, files: Collection[str]) -> bool:
    """Return whether a file, or a file of a folder, is among the changed ones."""
    return any(file == path or file.startswith(f"{path}/") for file in files)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skip-unchanged", action="store_true", help="leave out nightly tests of unchanged files")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    named = {path: item.nodeid for item in items for marker in item.iter_markers("nightly") for path in marker.args}
    if missing := [f"{path} ({test})" for path, test in named.items() if not (config.rootpath / path).exists()]:
        raise pytest.UsageError(f"nightly markers name files that do not exist: {', '.join(missing)}")
    files = changes(config.rootpath)[0] if config.getoption("skip_unchanged") else None
    if files is None:
        return
    left_out = []
    for item in items:
        covered = [path for marker in item.iter_markers("nightly") for path in marker.args]
        test_file = item.path.relative_to(config.rootpath).as_posix()
        if covered and not any(is_changed(path, files) for path in (test_file, *covered)):
            left_out.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("skip_unchanged"):
        terminalreporter.write_line(changes(config.rootpath)[1])


def record(root: Path) -> None:
    """Write the commit whose nightly tests have passed."""
    if git(root, "status", "--porcelain", "--untracked-files=no"):
        sys.exit(f"{RECORD} is not written: the files differ from the last commit; commit them and run this again")
    commit, date = git(root, "log", "-1", "--format=%H %cs").split()
    (root / RECORD).write_text(json.dumps({"commit": commit, "date": date}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record(Path(__file__).parents[1])
