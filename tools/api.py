"""The pages of the Python API, one for each package; `tools/site.py` adds them to the site.

They list the public names, which are those of `texthead/__init__.pyi`; mkdocstrings fills in signatures and docstrings.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
STUB = ROOT / "src" / "texthead" / "__init__.pyi"
# In the order in which a program uses them.
PAGES = {
    "data": "Data",
    "encoders": "Encoders",
    "models": "Models",
    "recipes": "Recipes",
    "training": "Training",
    "evaluation": "Evaluation",
    "features": "Features",
    "transfer": "Few labels",
    "prediction": "Runs",
    "parallel": "Progress",
    "apps.estimator": "scikit-learn",
    "apps.doctor": "Doctor",
    "apps.label": "Files to label",
    "apps.search": "Search",
    "apps.timeline": "Events in videos",
    "apps.export": "Export",
    "errors": "Errors",
}


def public_names() -> dict[str, list[tuple[str, str]]]:
    """Return the public names of each package and the module of each name, in the stub's order."""
    names: dict[str, list[tuple[str, str]]] = {}
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            package = ".".join(node.module.split(".")[:-1]) or node.module
            names.setdefault(package, []).extend((a.name, node.module) for a in node.names)
    return names


def about(package: str) -> str:
    """Return the first sentence of the docstring of a package or module."""
    path = ROOT / "src" / "texthead" / package.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ")


def page(package: str) -> str:
    """Return the page of a package."""
    lines = [f"# {PAGES[package]}", "", f"`texthead.{package}`: {about(package)}", ""]
    if package == "recipes":
        lines += ["::: texthead.recipes", "    options:", "      show_root_heading: false"]
        lines += ["      members: [Recipe, small, paper, text4vis]", ""]
        return "\n".join(lines)
    for name, module in public_names()[package]:
        lines += [f"::: texthead.{module}.{name}", "    options:", f"      heading: texthead.{name}"]
        lines += [f"      toc_label: {name}", ""]
    return "\n".join(lines)
