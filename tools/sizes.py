"""Print how large the code, its surface and its tests are, beside the budget of each: python -m tools.sizes

Code lines are those of Python without docstrings, comments and empty lines.
"""

import ast
import dataclasses
import io
import tokenize
from pathlib import Path
from typing import get_args

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


def prose(root: Path) -> dict[str, int]:
    """Return the lines of the pages that people read, and the code lines of the benchmarks."""

    def lines(*paths: Path) -> int:
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    pages = {name: lines(root / name) for name in ("README.md", "BENCHMARKS.md", "paper/RESULTS.md")}
    pages["docs"] = lines(*(root / "docs").rglob("*.md"))
    code = sum(code_lines(path.read_text(encoding="utf-8")) for path in (root / "benchmarks").rglob("*.py"))
    return {**pages, "docs/decisions.md": lines(root / "docs" / "decisions.md"), "benchmarks": code}


def surface(root: Path) -> dict[str, int]:
    """Return how much of the installed package a user can meet."""
    import texthead
    from texthead.cli.main import COMMANDS, command_of
    from texthead.cli.parser import options_of
    from texthead.recipes import HEADS, EngineName, Recipe

    def options(name: str) -> int:
        return sum(not each.positional and each.name != "print_recipe" for each in options_of(command_of(name)))

    faces = (root / "src" / "texthead").rglob("*/*.pyi")
    inside = [node for face in faces for node in ast.parse(face.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {
        "options": sum(map(options, COMMANDS)),
        "options of train": options("train"),
        "recipe fields": len(dataclasses.fields(Recipe)) - 1,  # without its name
        "public names": len(vars(texthead)["__all__"]),
        "names in faces": sum(len(node.names) for node in inside),
        "engines": len(get_args(EngineName)),
        "heads to choose": len(HEADS),
    }


# At most so many.
BUDGETS = {
    "src": 20_000,
    "core": 11_800,
    "tests, all lines": 31_000,
    "options": 215,
    "options of train": 20,
    "public names": 50,
    "names in faces": 145,
    "engines": 4,
    "README.md": 90,
    "docs": 3_800,
    "docs/decisions.md": 250,
    "BENCHMARKS.md": 300,
    "paper/RESULTS.md": 300,
    "benchmarks": 2_000,
}


if __name__ == "__main__":
    for name, count in {**sizes(ROOT), **prose(ROOT), **surface(ROOT)}.items():
        budget = f"{BUDGETS[name]:>10,}" if name in BUDGETS else ""
        print(f"{name:<18}{count:>8,}{budget}")
