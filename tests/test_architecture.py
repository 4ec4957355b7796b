"""The import order is the architecture; the public names are there without torch; no habit that we have sworn off."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import texthead

SOURCE = Path(texthead.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): ast.parse(path.read_text()) for path in FILES}

# What a module may import of ours, at the top or inside a function. Modules not named here may import anything that
# makes no ring, except the programs.
ALLOWED = {
    "errors": set(),
    "distributed": {"errors"},
    "batches": {"datasets", "distributed", "errors", "recipes", "workers"},
    "text_files": set(),
    "sample_tables": set(),
    "workers": {"errors", "loader_server", "memory"},
    "loader_server": set(),
    "prompts": {"errors", "label_files", "text_files"},
    "name_lint": {"prompts"},
    "parsing": {"text_files"},
    "options": {"parsing", "recipes"},
    "label_files": {"errors", "text_files"},
    "class_swaps": {"intervals"},
    "overview": {"datasets", "decoding", "features", "frame_files", "media_facts"},
    "class_maps": {"errors"},
    "intervals": set(),
    "confusions": {"class_maps", "intervals"},
    "figures": {"errors", "reliability"},
    "strips": {"errors", "figures"},
    "report": {"errors", "files"},
    "saliency": {"errors", "features", "recognizer"},
    "reliability": set(),
    "calibration": {"errors", "reliability"},
    "watched": {"errors"},
    "guard": set(),
    "temporal": {"errors"},
    "sampling": {"errors"},
    "standalone": set(),
    "tensorboard_log": {"errors"},
    "quantization": {"errors"},
    "splits": {"errors"},
    "recipes": {"errors"},
    "frame_files": {"errors"},
    "shard_files": {"errors", "frame_files", "text_files"},
    "clips": {"errors"},
    "images": {"clips", "errors", "frame_files"},
    "video_streams": {"clips", "errors"},
    "videos": {"clips", "errors", "sample_tables", "video_streams"},
    "decoding": {"clips", "errors", "frame_files", "images", "shard_files", "video_streams", "videos", "workers"},
    "events": {"calibration", "errors"},
    "streams": {"errors", "video_streams", "videos"},
    "files": {"errors", "frame_files", "shard_files", "text_files"},
    "towers": {"errors"},
    "weights": {"errors"},
    "sentences": {"errors", "weights"},
    "mini": {"errors", "files", "sentences", "towers"},
    "openclip": {"errors", "files", "text_files", "towers", "weights"},
    "published": {"errors", "sampling", "weights"},
    "hf": {"errors", "openclip", "text_files", "towers", "weights"},
    "timm_visual": {"errors", "towers", "weights"},
    "pairing": {"errors", "sentences", "towers"},
    "encoders": {"errors", "hf", "mini", "openclip", "pairing", "timm_visual", "towers"},
    "transforms": {"errors", "sampling"},
    "heads": {"errors", "prompts", "recipes"},
    "prompt_head": {"errors", "heads", "prompts", "towers"},
    "recognizer": {"errors", "heads", "temporal"},
    "matching": {"distributed", "errors", "heads", "recognizer", "towers"},
    "lists": {"errors", "frame_files", "label_files", "text_files"},
    "hub_datasets": {"decoding", "errors", "files"},
    "datasets": {
        "errors",
        "splits",
        "sampling",
        "decoding",
        "transforms",
        "label_files",
        "lists",
        "hub_datasets",
        "shard_files",
        "text_files",
    },
}
PROGRAMS = {"cli", "__main__"}


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from nodes(child)


def ours(tree: ast.AST) -> set[str]:
    """Our modules that a module imports, by their names below `texthead`."""
    found: set[str] = set()
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom):
            if node.module == "texthead":
                found |= {alias.name for alias in node.names if alias.name in TREES}
            elif (node.module or "").startswith("texthead."):
                found.add(node.module.removeprefix("texthead."))
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("texthead.") for alias in node.names if alias.name.startswith("texthead.")
            }
    return found


IMPORTS = {name: ours(tree) for name, tree in TREES.items()}


def test_the_reader_of_imports_reads_all_forms():
    code = (
        "from texthead import heads, __version__\nimport texthead.splits\nfrom texthead.errors import DataError\n"
        "def f():\n    from texthead.cli import main\nif TYPE_CHECKING:\n    from texthead.runs import Run\nimport torch\n"
    )
    assert ours(ast.parse(code)) == {"heads", "splits", "errors", "cli"}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_module_imports_only_what_lies_below_it(name):
    assert IMPORTS[name] <= ALLOWED[name]


def test_one_module_imports_gradio_and_one_command_that_module():
    imports = {
        name: {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        for name, tree in TREES.items()
    }
    assert {name for name, found in imports.items() if any(x.partition(".")[0] == "gradio" for x in found)} == {"page"}
    assert {name for name, found in IMPORTS.items() if "page" in found} == {"ui_job"}


def test_one_module_makes_loaders():
    """So that one place says how their processes begin."""
    calls = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("DataLoader")
    }
    assert calls == {"workers"}


def test_nothing_imports_the_programs():
    assert {name for name, imported in IMPORTS.items() if imported & PROGRAMS} <= {"__main__"}


def test_the_library_does_without_the_experiments_on_it():
    """What stands beside it in the checkout (paper/, benchmarks/, tests/) is not installed."""
    beside = {path.stem for path in SOURCE.parents[1].iterdir() if path.is_dir()} - {"src"}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {module.partition(".")[0] for module in imported} & beside, name


def test_every_import_of_ours_exists():
    assert set().union(*IMPORTS.values()) <= set(TREES)


def test_no_module_imports_itself_in_a_ring():
    order = list(TopologicalSorter(IMPORTS).static_order())
    assert order.index("errors") < order.index("heads") < order.index("training") < order.index("cli")


# ---- the public names


def test_importing_texthead_imports_no_torch():
    """Neither at once nor for what needs none."""
    code = "\n".join(
        [
            "import sys, texthead",
            "heavy = {'torch', 'numpy', 'transformers', 'timm', 'open_clip', 'sklearn', 'matplotlib', 'av', 'PIL', 'gradio'}",
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
def test_every_public_name_resolves_to_what_it_says(name):
    value = getattr(texthead, name)
    if name == "recipes":
        assert value.__name__ == "texthead.recipes"
    else:
        assert value.__name__ == name
        assert value.__module__ == f"texthead.{texthead._HOMES[name]}"
        assert value.__doc__


def test_a_type_checker_is_told_the_same_names():
    (told,) = (node for node in TREES["__init__"].body if isinstance(node, ast.If))
    names = {}
    for node in told.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            # `as` the same name makes it public.
            assert alias.asname == alias.name
            names[alias.name] = node.module.removeprefix("texthead").removeprefix(".")
    assert names == {**texthead._HOMES, "recipes": ""}
    assert sorted(texthead.__all__) == sorted(names)
    assert len(set(texthead.__all__)) == len(texthead.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'build_model'"):
        texthead.build_model  # noqa: B018
    assert not hasattr(texthead, "utils")


# ---- habits


@pytest.mark.parametrize("name", TREES)
def test_no_habit_that_we_have_sworn_off(name):
    for node in ast.walk(TREES[name]):
        where = f"{name}.py:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Global), f"{where}: global statement"
        if isinstance(node, ast.ImportFrom):
            assert node.module != "__future__", f"{where}: shapes in annotations must be there at run time"
            assert all(alias.name != "*" for alias in node.names), f"{where}: star import"
            assert node.level == 0, f"{where}: relative import"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "torch.load":
                options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                assert options.get("weights_only") == "True", f"{where}: torch.load can run what a file says"
            assert called not in ("eval", "exec", "pickle.load", "pickle.loads", "torch.jit.load"), f"{where}: {called}"


def test_only_training_goes_backward():
    calls = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward"
    }
    assert calls == {"training"}


def test_every_public_function_and_class_says_what_comes_back():
    bare = [
        f"{name}.{node.name}"
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_" and not ast.get_docstring(node)
    ]
    assert not bare
