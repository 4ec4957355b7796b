"""Print how large the code and its tests are: python -m tools.sizes

Code lines are those of Python without docstrings, comments and empty lines.
"""

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Of src/texthead; the core is what is in none of them.
FOLDERS = {"command line": ("cli", "cli.py"), "commands": ("commands",), "applications": ("apps",)}
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
WITH_DOCSTRING = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(source: str) -> int:
    """Return how many lines of a module hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def sizes(root: Path) -> dict[str, int]:
    """Return the code lines of src and its parts, and all lines of the tests."""
    source = root / "src" / "texthead"
    counts = dict.fromkeys(("src", "core", *FOLDERS), 0)
    for path in source.rglob("*.py"):
        folder = path.relative_to(source).parts[0]
        group = next((name for name, folders in FOLDERS.items() if folder in folders), "core")
        for name in ("src", group):
            counts[name] += code_lines(path.read_text(encoding="utf-8"))
    tests = (path.read_text(encoding="utf-8") for path in (root / "tests").rglob("*.py"))
    return {**counts, "tests, all lines": sum(len(text.splitlines()) for text in tests)}


if __name__ == "__main__":
    for name, count in sizes(ROOT).items():
        print(f"{name:<18}{count:>8,}")
