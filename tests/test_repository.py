"""Rules of the house: workflows, metadata, links between the records, names on pages and in messages."""

import ast
import re
from pathlib import Path
from pkgutil import iter_modules, resolve_name

import pytest
import yaml

import texthead
from texthead import errors
from texthead.extensions import KINDS
from tools import messages, sizes

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_permissions_limits_and_pins(path: Path) -> None:
    text = path.read_text()
    assert len(re.findall(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+\n", text)) == len(re.findall(r"uses: \w", text))
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "uses" in job or job["timeout-minutes"], name
        writing = {scope for scope, level in job.get("permissions", {}).items() if level == "write"}
        assert writing <= {"deploy": {"pages", "id-token"}, "pypi": {"id-token"}, "github": {"contents"}}.get(
            name, set()
        )
        for step in job.get("steps", []):
            # A branch or tag name inserted into a script would run as part of it.
            assert "${{ github." not in step.get("run", ""), name


def test_code_tests_options_and_pages_keep_their_budgets() -> None:
    counts = {**sizes.sizes(ROOT), **sizes.prose(ROOT), **sizes.surface(ROOT)}
    assert {name: counts[name] for name, most in sizes.BUDGETS.items() if counts[name] > most} == {}


def test_commands_of_workflows_are_targets_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in WORKFLOWS:
        text = path.read_text()
        (matrix,) = re.findall(r"target: \[(.+)\]", text) or [""]
        typed = [word for line in re.findall(r"run: make ([a-z -]+)$", text, re.MULTILINE) for word in line.split()]
        assert {*typed, *filter(None, matrix.split(", "))} <= targets, path


RECORDS = ("BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/decisions.md")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", RECORDS)
def test_links_lead_to_a_heading(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        if path.startswith("http"):
            continue
        target = page.parent / path if path else page
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("notebooks/*.ipynb"))]
GROUPS = {f"texthead.{kind}" for kind in KINDS}  # of entry points


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_name_on_a_page_exists(page: Path) -> None:
    """The names `th.x` and `texthead.x.y`."""
    text = page.read_text(encoding="utf-8")
    names = set(re.findall(r"(?<![\w./-])(?:th|texthead)((?:\.[A-Za-z_]\w*)+)", text))
    wrong = set()
    for name in {f"texthead{name}" for name in names} - GROUPS:
        try:
            resolve_name(name)
        except (AttributeError, ModuleNotFoundError):
            wrong.add(name)
    assert wrong == set()


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
