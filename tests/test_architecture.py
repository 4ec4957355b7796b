"""The import order of the packages, the public names without torch, and banned constructs."""

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
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
MAX_MODULES = {"media": 16, "data": 16, "encoders": 16}
MAX_NAMES = {"media": 25, "cli": 25}


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the (module, name) pairs that a module imports; the name is empty for `import MODULE`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def of_ours(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the imports of texthead, with modules by their names below `texthead`."""
    for module, name in imports(tree):
        if first(module) == "texthead":
            yield module.removeprefix("texthead").removeprefix("."), name


def ours(tree: ast.AST) -> set[str]:
    """Return the texthead modules that a module imports, by their names below `texthead`; a package as `NAME.__init__`."""
    names: set[str] = set()
    for base, name in of_ours(tree):
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
        for base, name in of_ours(tree)
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


@pytest.mark.parametrize("name", sorted({*PACKAGES, "cli", *FACES} - {""}))
def test_every_package_has_a_small_face(name):
    """A module on a face would be a back door to all its names; `th.recipes` alone is one, for `th.recipes.paper()`."""
    assert 0 < len(FACES[name]) <= MAX_NAMES.get(name, 20)
    assert [own for module, own in FACES[name] if not module] == []
    assert [own for module, own in FACES[""] if not module] == ["recipes"]


@pytest.mark.parametrize("name", sorted(set(FACES) - {""}))
def test_a_face_imports_each_name_on_first_use(name):
    (attached,) = [node for node in TREES[f"{name}.__init__"].body if isinstance(node, ast.Assign)]
    assert ast.unparse(attached.value) == "lazy_loader.attach_stub(__name__, __file__)"
    face = import_module(f"texthead.{name}")
    for module, own in FACES[name]:
        assert getattr(face, own) is getattr(import_module(f"texthead.{name}.{module}"), own)


def test_applications_ask_each_other_in_no_circle():
    asks = {app: set() for app in APPS}
    for name in IMPORTS:
        if package(name) in APPS:
            asks[package(name)] |= {package(other) for other in IMPORTS[name]} & APPS - {package(name)}
    assert set(TopologicalSorter(asks).static_order()) == APPS


def test_packages_are_small():
    modules = Counter(package(name) for name in TREES if "." in name and not name.endswith("__init__"))
    assert {name: count for name, count in modules.items() if count > MAX_MODULES.get(name, 12)} == {}
    assert set(ORDER) | {"__init__"} == set(map(first, TREES))


@pytest.mark.parametrize("name", [name.removesuffix(".__init__") for name in TREES if name.endswith(".__init__")])
def test_a_package_lists_its_modules(name):
    about, _, *lines = (ast.get_docstring(TREES[f"{name}.__init__"]) or "").splitlines()
    modules = {path.stem for path in (SOURCE / name.replace(".", "/")).glob("*.py")} - {"__init__"}
    assert about.endswith(".")
    assert {line.split()[0] for line in lines} == modules | {app.partition(".")[2] for app in APPS if name == "apps"}


def test_no_private_name_crosses_a_module():
    crossing = {
        f"{name}: {own}"
        for name, tree in TREES.items()
        for _, own in of_ours(tree)
        if own.startswith("_") and not own.startswith("__")
    }
    assert crossing == set()


def test_tests_mirror_the_packages():
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and [*path.glob("test_*.py")]}
    beside = {"benchmarks", "browser", "faults", "paper"}
    assert folders - beside <= set(ORDER)


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


def test_the_library_does_without_the_experiments_on_it():
    """The folders beside src/ (paper/, benchmarks/, tests/) are not installed."""
    beside = {path.stem for path in SOURCE.parents[1].iterdir() if path.is_dir()} - {"src"}
    for name, tree in TREES.items():
        assert not {first(module) for module, _ in imports(tree)} & beside, name


def test_no_import_is_in_a_ring():
    assert set(TopologicalSorter(IMPORTS).static_order()) >= set(IMPORTS)


# ---- the public names


def test_importing_texthead_imports_no_torch():
    """Neither `import texthead` nor names that do not need torch import it."""
    code = "\n".join(
        [
            "import sys, texthead, texthead.data.sampling, texthead.text.prompts",
            "heavy = {'torch', 'numpy', 'transformers', 'timm', 'open_clip', 'sklearn', 'matplotlib', 'av', 'PIL', 'starlette'}",
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)",
            "texthead.recipes.paper(), texthead.Recipe, texthead.Views(4, 3), texthead.TextheadError, texthead.__version__",
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)",
            "texthead.MeanPool",
            "assert 'torch' in sys.modules",
        ]
    )
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
        assert value.__doc__


def test_no_public_name_is_that_of_a_package():
    """Importing a package binds its name and would hide a function of that name."""
    assert set(map(first, TREES)) & set(texthead.__all__) <= {"recipes"}


# ---- banned constructs


def test_torch_runs_nothing_that_a_file_says() -> None:
    """Ruff bans `eval`, `exec` and pickles."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called != "torch.jit.load", name
            if called == "torch.load":
                options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                assert options.get("weights_only") == "True", name


# An option as typed, not `--text: #1d1d1f` or `var(--text)` in a style sheet.
OPTION = re.compile(r"(?<![\w(-])--[a-z][a-z-]*(?![\w:-])")


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the strings of a module without docstrings, each f-string as one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield from texts(node)


@pytest.mark.parametrize(
    "name",
    sorted(
        name for name in TREES if first(name) not in ("commands", "cli") and not name.endswith((".command", ".options"))
    ),
)
def test_the_library_names_parameters_not_options(name):
    """Messages must also make sense in Python; a whole command is allowed in backticks or as the whole text."""
    if name != "apps.export.standalone":  # The standalone predict.py has options of its own.
        other = [re.sub(r"`[^`]*`|^texthead .*", "", text) for text in texts(TREES[name])]
        assert [text for text in other if OPTION.search(text)] == []
