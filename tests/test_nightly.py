"""A nightly test names the files that it is of: `--skip-unchanged` runs it if they changed."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
