"""The page of packages and modules, from their docstrings; `tools/site.py` adds it to the site.

The docstring of a package's `__init__.py` is one sentence, an empty line, and a line per module.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The core, in import order: each may import only those before it.
TOP = ("errors", "downloads", "extensions", "extras", "platform", "files", "recipes")
PACKAGES = (
    "parallel",
    "text",
    "media",
    "data",
    "encoders",
    "models",
    "features",
    "evaluation",
    "runs",
    "training",
    "transfer",
    "report",
    "prediction",
)


def docstring(path: Path) -> str:
    """Return the docstring of a module."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def modules_of(folder: Path, name: str) -> list[str]:
    """Return a package's line and those of its modules."""
    about, _, *modules = docstring(folder / "__init__.py").splitlines()
    lines = [f"  {name + '/':<14}{about}"]
    for line in modules:
        module, _, text = line.partition(" ")
        lines.append(f"    {module:<20}{text.strip()}")
    return lines


def page() -> str:
    """Return the packages with their modules, as a page."""
    source = ROOT / "src" / "texthead"
    lines = ["# Modules", "", "A package of the core imports only from those above it.", "", "```text", "src/texthead/"]
    for name in TOP:
        lines.append(f"  {name + '.py':<14}{docstring(source / f'{name}.py').partition('.')[0]}.")
    for name in (*PACKAGES, "cli", "commands", "apps"):
        lines += modules_of(source / name, name)
    return "\n".join([*lines, "```", ""])
