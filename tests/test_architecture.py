"""The import order of the packages, the public names without torch, and banned constructs."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import texthead
from tools.tree import PACKAGES, TOP

SOURCE = Path(texthead.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): ast.parse(path.read_text()) for path in FILES}
STUB = ast.parse((SOURCE / "__init__.pyi").read_text())

# The core, from the ground up: a package (or top-level module) imports only those listed before it, whether at module
# level, inside a function or for type checkers alone. On it stand the command line, the core's commands, and the
# applications, which the table of commands alone knows.
ORDER = [*TOP, *PACKAGES, "cli", "commands", "apps", "__main__"]


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the (module, name) pairs that a module imports; the name is empty for `import MODULE`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def own_imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the imports of texthead, with modules by their names below `texthead`."""
    for module, name in imports(tree):
        if first(module) == "texthead":
            yield module.removeprefix("texthead").removeprefix("."), name


def ours(tree: ast.AST) -> set[str]:
    """Return the texthead modules that a module imports, by their names below `texthead`; a package as `NAME.__init__`."""
    names: set[str] = set()
    for base, name in own_imports(tree):
        inside = f"{base}.{name}".strip(".")
        names.add(inside if inside in TREES or f"{inside}.__init__" in TREES else base)
    return {f"{name}.__init__" if f"{name}.__init__" in TREES else name for name in names - {""}}


def first(name: str) -> str:
    """Return the top-level package or module of a module."""
    return name.partition(".")[0]


IMPORTS = {name: ours(tree) for name, tree in TREES.items()}


def package(name: str) -> str:
    """Return the package of a module: `media` of `media.open`, `apps.label` of `apps.label.session`."""
    return ".".join(name.split(".")[:2]) if first(name) == "apps" else first(name)


APPS = {package(name) for name in TREES if first(name) == "apps"} - {"apps.__init__"}


@pytest.mark.parametrize("name", sorted(set(IMPORTS) - {"__init__"}))
def test_a_package_imports_only_what_stands_above_it(name):
    assert {other for other in IMPORTS[name] if ORDER.index(first(other)) > ORDER.index(first(name))} == set()


def names_of(face: Path) -> list[tuple[str, str]]:
    """Return the (module, name) pairs of a face; the module is empty for a module of the package."""
    body = ast.parse(face.read_text()).body
    return [
        (node.module or "", alias.name) for node in body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]


FACES = {".".join(path.parent.relative_to(SOURCE).parts): names_of(path) for path in sorted(SOURCE.rglob("*.pyi"))}


def outside_faces(own: str, tree: ast.AST) -> set[str]:
    """Return what an application (or another user of faces) imports besides faces and top-level modules."""
    shown = {base: {name for _, name in names} for base, names in FACES.items()}
    shown[""] = {*TOP, *texthead.__all__, "__version__", ""}
    return {
        f"{base}.{name}".strip(".")
        for base, name in own_imports(tree)
        if not name or (base not in TOP and package(base) != own)
        if name not in shown.get(base, ())
    }


USERS = {name: TREES[name] for name in sorted(IMPORTS) if package(name) in APPS}
for folder in ("paper", "examples"):
    for path in sorted(SOURCE.parents[1].glob(f"{folder}/**/*.py")):
        USERS[f"{path.parent.name}-{path.stem}"] = ast.parse(path.read_text())


@pytest.mark.parametrize("name", USERS)
def test_applications_the_paper_and_the_examples_use_faces_alone(name):
    assert outside_faces(package(name), USERS[name]) == set()


@pytest.mark.parametrize("name", sorted(set(FACES) - {""}))
def test_a_face_imports_each_name_on_first_use(name):
    """A module on a face would be a back door to all its names; `th.recipes` alone is one, for `th.recipes.paper()`."""
    (attached,) = [node for node in TREES[f"{name}.__init__"].body if isinstance(node, ast.Assign)]
    assert ast.unparse(attached.value) == "lazy_loader.attach_stub(__name__, __file__)"
    face = import_module(f"texthead.{name}")
    assert {*PACKAGES, "cli"} < {*FACES}
    assert [own for module, own in FACES[""] if not module] == ["recipes"]
    for module, own in FACES[name]:
        assert module
        assert getattr(face, own) is getattr(import_module(f"texthead.{name}.{module}"), own)


def test_faces_of_the_core_have_at_most_twelve_names():
    sizes = {name: len(names) for name, names in FACES.items() if name and first(name) != "apps"}
    assert {name: size for name, size in sizes.items() if size > 12} == {}


def test_applications_ask_each_other_in_no_circle():
    asks = {app: set() for app in APPS}
    for name in IMPORTS:
        if package(name) in APPS:
            asks[package(name)] |= {package(other) for other in IMPORTS[name]} & APPS - {package(name)}
    assert set(TopologicalSorter(asks).static_order()) == APPS


def test_every_package_has_its_place_and_lists_its_modules():
    """The page of the tree (tools/tree.py) shows the docstrings."""
    assert {*ORDER, "__init__"} == {*map(first, TREES)}
    for name in (name.removesuffix(".__init__") for name in TREES if name.endswith(".__init__")):
        _, _, *lines = (ast.get_docstring(TREES[f"{name}.__init__"]) or "").splitlines()
        modules = {path.stem for path in (SOURCE / name.replace(".", "/")).glob("*.py")} - {"__init__"}
        apps = {app.partition(".")[2] for app in APPS if name == "apps"}
        assert {line.split()[0] for line in lines} == modules | apps, name


def test_no_private_name_crosses_a_module():
    crossing = {
        f"{name}: {own}"
        for name, tree in TREES.items()
        for _, own in own_imports(tree)
        if own.startswith("_") and not own.startswith("__")
    }
    assert crossing == set()


@pytest.mark.parametrize(
    ("end", "modules"),
    # One place decides how data-loader workers start; only training goes backward.
    [("DataLoader", {"parallel.loaders"}), (".backward", {"training.epochs"})],
)
def test_one_module_alone_uses(end, modules):
    calls = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        for used in ([node.func] if isinstance(node, ast.Call) else getattr(node, "bases", []))
        if ast.unparse(used).endswith(end)
    }
    assert calls == modules


def test_nothing_is_imported_in_a_ring_or_from_beside_the_library():
    """The folders beside src/ (paper/, benchmarks/, tests/) are not installed."""
    assert {*TopologicalSorter(IMPORTS).static_order()} >= {*IMPORTS}
    beside = {path.stem for path in SOURCE.parents[1].iterdir() if path.is_dir()} - {"src"}
    for name, tree in TREES.items():
        assert not {first(module) for module, _ in imports(tree)} & beside, name


def test_importing_texthead_imports_no_torch():
    """Neither `import texthead` nor names that do not need torch import it."""
    code = """
import sys, texthead, texthead.data.sampling, texthead.text.prompts
texthead.recipes.paper(), texthead.Recipe, texthead.Views(4, 3), texthead.TextheadError, texthead.__version__
heavy = {'torch', 'numpy', 'transformers', 'timm', 'open_clip', 'sklearn', 'matplotlib', 'av', 'PIL', 'starlette'}
assert not heavy & {*sys.modules}, heavy & {*sys.modules}
texthead.MeanPool
assert 'torch' in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", texthead.__all__)
def test_every_public_name_is_the_one_of_its_module(name):
    (home,) = (node.module for node in STUB.body if isinstance(node, ast.ImportFrom) and node.names[0].name == name)
    value = inspect.unwrap(getattr(texthead, name))
    if name == "recipes":
        assert value.__name__ == "texthead.recipes"
    else:
        assert (value.__module__, value.__name__) == (f"texthead.{home}", name)
        assert name not in map(first, TREES), "importing a package of this name would hide it"


def test_torch_runs_nothing_that_a_file_says() -> None:
    """Ruff bans `eval`, `exec` and pickles."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called != "torch.jit.load", name
            if called == "torch.load":
                options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                assert options.get("weights_only") == "True", name
