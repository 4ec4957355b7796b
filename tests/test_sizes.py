"""`python -m tools.sizes` counts code lines by part."""

from tools.sizes import BUDGETS, ROOT, code_lines, surface

MODULE = '''"""A module of
two lines.
"""

def double(number):  # counts
    """Return twice the number."""
    # A comment.
    text = """no
    docstring"""
'''


def test_docstrings_comments_and_empty_lines_are_no_code() -> None:
    assert code_lines(MODULE) == 3
    assert code_lines('"""Only a docstring."""\n') == code_lines("") == 0


def test_each_budget_is_of_a_number_that_is_counted() -> None:
    counts = surface(ROOT)
    assert all(counts.values())
    assert {*BUDGETS} <= {"src", "core", "tests, all lines", *counts}
