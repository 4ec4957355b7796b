"""`python -m tools.sizes` counts code lines by part."""

from pathlib import Path

from tools.sizes import BUDGETS, ROOT, code_lines, sizes, surface

MODULE = '''"""A module of
two lines.
"""

import os  # counts


def double(number):  # counts
    """Return twice the number."""
    # A comment.
    text = """no
    docstring"""
    return (
        2 * number
    )


class Empty:
    "A docstring."
'''


def test_docstrings_comments_and_empty_lines_are_no_code() -> None:
    assert code_lines(MODULE) == 8
    assert code_lines('"""Only a docstring."""\n') == code_lines("") == 0


def test_each_part_is_counted_by_its_folder(tmp_path: Path) -> None:
    for name in ("errors", "media/open", "cli/main", "commands/train", "apps/label/page", "apps/label/command"):
        path = tmp_path / "src" / "texthead" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MODULE)
    (tmp_path / "tests" / "media").mkdir(parents=True)
    (tmp_path / "tests" / "media" / "test_open.py").write_text(MODULE)
    parts = {"core": 16, "command line": 8, "commands": 8, "applications": 16}
    assert sizes(tmp_path) == {"src": 48, **parts, "tests, all lines": len(MODULE.splitlines())}


def test_each_budget_is_of_a_number_that_is_counted() -> None:
    counts = surface(ROOT)
    assert all(counts.values())
    assert {*BUDGETS} <= {"src", "core", "tests, all lines", *counts}
