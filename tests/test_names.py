"""Names that the docs and the messages mention are public and exist."""

import ast
import re
from pathlib import Path
from pkgutil import iter_modules, resolve_name
from typing import get_args

import pytest

import texthead
from texthead import errors
from texthead.extensions import KINDS
from texthead.recipes import MethodName
from tools import messages

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("notebooks/*.ipynb"))]
GROUPS = {f"texthead.{kind}" for kind in KINDS}  # of entry points


def missing(text: str) -> set[str]:
    """Return the names `th.x` and `texthead.x.y` of a page that do not exist."""
    names = set(re.findall(r"(?<![\w./-])(?:th|texthead)((?:\.[A-Za-z_]\w*)+)", text))
    wrong = set()
    for name in {f"texthead{name}" for name in names} - GROUPS:
        try:
            resolve_name(name)
        except (AttributeError, ModuleNotFoundError):
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_name_on_a_page_exists(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == set()


def test_the_page_lists_the_methods_of_the_classifier() -> None:
    page = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
    assert [method for method in get_args(MethodName) if f"`{method}`" not in page] == []


def test_each_function_that_a_message_names_is_public() -> None:
    """A function or class of ours in an error or a note is in `texthead`, or in the face of one of its packages."""
    packages = [module.name for module in iter_modules(texthead.__path__) if module.ispkg]
    public = set(texthead.__all__) | {name for name in vars(errors) if name.endswith("Error")}
    for package in {*packages} - {"apps", "commands"}:
        public |= {*resolve_name(f"texthead.{package}").__all__}
    trees = [ast.parse(path.read_text("utf-8")) for path in messages.SOURCE.rglob("*.py")]
    ours = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    texts = {re.sub(r"`\w+`|\{[^{}]+\}", "", line) for tree in trees for line in messages.messages(tree)}
    named = {word for text in texts for word in re.findall(r"(?<![\w.])[A-Za-z]+(?:_\w+|[a-z][A-Z]\w+)(?!\w)", text)}
    assert "load_run" in named
    assert (named & ours) - public == {"QuickGELU"}, "an activation of the field"
