"""`--skip-unchanged` runs the nightly tests whose files changed since the commit of tests/nightly.json."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import nightly

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

@pytest.mark.parametrize("page", [pytest.param(name, marks=pytest.mark.nightly(f"docs/{name}")) for name in "ab"])
def test_page(page):
    pass

@pytest.mark.nightly("paper", "papers.txt")
def test_paper():
    pass

def test_any():
    pass
"""


def covered() -> Iterator[str]:
    """Yield the paths that nightly markers name literally."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)) if "mark.nightly" in source else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.nightly":
                assert node.args, f"{path}: a nightly test names its files"
                yield from (each.value for each in node.args if isinstance(each, ast.Constant))


def test_files_of_nightly_tests_exist() -> None:
    paths = set(covered())
    assert len(paths) > 5
    assert not {path for path in paths if not (ROOT / path).exists()}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository with three nightly tests, whose first commit is that of the last nightly run."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    options = "markers = nightly\naddopts = -q -p no:cacheprovider -p tools.nightly"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{options}\n")
    for name in ("docs/a", "docs/b", "paper/row", "src/code"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_all.py").write_text(TESTS)
    nightly.git(tmp_path, "init", "-q")
    commit(tmp_path)
    nightly.record(tmp_path)
    return tmp_path


def commit(root: Path) -> None:
    nightly.git(root, "add", "-A")
    nightly.git(root, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "a")


def selected(root: Path, *options: str) -> tuple[set[str], str]:
    """Return the names of the tests that pytest selects, and the last line that it prints."""
    words = [sys.executable, "-m", "pytest", "--rootdir", root, *options]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([*map(str, words), "-rA"], cwd=root, env=own, capture_output=True, text=True, check=True)
    names = {line.partition("::")[2] for line in done.stdout.splitlines() if line.startswith("PASSED")}
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("nightly")] or [""]
    return names, line


def test_nightly_tests_of_changed_files_run(checkout: Path) -> None:
    every = {"test_page[a]", "test_page[b]", "test_paper", "test_any"}
    assert selected(checkout) == (every, "")
    (checkout / "src" / "code").write_text("new")
    names, line = selected(checkout, "--skip-unchanged")
    assert names == {"test_any"}
    assert "those of the 2 files" in line, "src/code and tests/nightly.json"
    (checkout / "docs" / "b").write_text("new")
    commit(checkout)
    (checkout / "paper" / "row").rename(checkout / "paper" / "column")
    assert selected(checkout, "--skip-unchanged")[0] == {"test_page[b]", "test_paper", "test_any"}
    commit(checkout)
    nightly.record(checkout)
    assert selected(checkout, "--skip-unchanged")[0] == {"test_any"}
    (checkout / "tests" / "test_all.py").write_text(TESTS + "\n")
    assert selected(checkout, "--skip-unchanged")[0] == every
    # A commit that git does not know, and files that are not committed.
    with pytest.raises(SystemExit, match="commit them"):
        nightly.record(checkout)
    (checkout / nightly.RECORD).write_text(json.dumps({"commit": "0" * 40}))
    names, line = selected(checkout, "--skip-unchanged")
    assert names == every
    assert "all, since git does not know" in line
