"""The notebooks in notebooks/ run from start to end, and their committed outputs reveal nothing about a machine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from made import with_bridge

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 300_000
MACHINE = re.compile(r"/(tmp|home|root|Users|usr|work)/|site-packages|\b20\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b")

# What a slow machine says of work that takes seconds.
PROGRESS = re.compile(r"((.+: [\d,]+ of [\d,]+ \w+|.+ \.\.\.( \d+ s)?)\n)+")

Cell = dict[str, Any]


def code(path: Path) -> list[Cell]:
    """Return the code cells of a committed notebook."""
    return [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def kinds(cell: Cell) -> list[list[str]]:
    """Return the media types of each output of a cell, without progress."""
    outputs = (output for output in cell["outputs"] if output.get("name") != "stderr")
    return [sorted(output.get("data", [output["output_type"]])) for output in outputs]


def assert_clean(cells: list[Cell]) -> None:
    """Check that no cell failed or wrote more than progress to standard error."""
    for output in (output for cell in cells for output in cell["outputs"]):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr" or PROGRESS.fullmatch("".join(output["text"])), output["text"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebook_outputs_machine_independent(path: Path) -> None:
    assert path.stat().st_size <= MAX_BYTES
    cells, notebook = code(path), json.loads(path.read_text("utf-8"))
    prose = ["".join(cell["source"]) for cell in notebook["cells"] if cell not in cells]
    assert all((FOLDER / link).is_file() for text in prose for link in re.findall(r"\]\((?!http)([^)]+)\)", text))
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert all(cell["metadata"] == {} and len(cell["source"]) <= 22 for cell in notebook["cells"])
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert_clean(cells)
    for output in (output for cell in cells for output in cell["outputs"]):
        texts = {"text": output.get("text", ""), **output.get("data", {})}
        for kind, text in texts.items():
            assert kind.startswith("image/") or not MACHINE.search("".join(text))


@pytest.mark.nightly("notebooks")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    """Each cell gives the same kinds of output as the committed one."""
    from tools.notebooks import run

    with_bridge(tmp_path / "cache")
    made = [cell for cell in run(path, tmp_path).cells if cell.cell_type == "code"]
    assert_clean(made)
    for before, after in zip(code(path), made, strict=True):
        assert kinds(after) == kinds(before), after.source
