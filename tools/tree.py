"""Write the tree of packages in docs/explanation/contributing.md from their docstrings: python -m tools.tree

The docstring of a package's `__init__.py` is one sentence, an empty line, and a line per module.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "contributing.md"
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


def tree() -> str:
    """Return the packages with their modules, as a block of text."""
    source = ROOT / "src" / "texthead"
    lines = ["src/texthead/"]
    for name in TOP:
        lines.append(f"  {name + '.py':<14}{docstring(source / f'{name}.py').partition('.')[0]}.")
    for name in (*PACKAGES, "cli", "commands", "apps"):
        lines += modules_of(source / name, name)
    return "\n".join(lines)


def page() -> str:
    """Return the page with the current tree."""
    text = PAGE.read_text(encoding="utf-8")
    block = f"<!-- tree: python -m tools.tree -->\n```text\n{tree()}\n```\n<!-- end of tree -->"
    return re.sub(r"<!-- tree: .*<!-- end of tree -->", lambda _: block, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
