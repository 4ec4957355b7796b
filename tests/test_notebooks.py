"""The notebooks of notebooks/ run from start to end, and are committed with outputs that tell nothing of a machine."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from tools.notebooks import FOLDER, METADATA, run

PATHS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 300_000


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def tables(notebook: nbformat.NotebookNode) -> int:
    """Return the number of outputs that are tables."""
    return sum("<table" in output.get("data", {}).get("text/html", "") for output in outputs(notebook))


def test_all_are_there() -> None:
    assert [path.stem for path in PATHS] == ["few_labels", "new_head", "quick_start", "reading_a_report"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_outputs_of_no_machine(path: Path) -> None:
    assert path.stat().st_size <= MOST_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert all(len(cell.source.splitlines()) <= 22 for cell in notebook.cells)
    assert tables(notebook) >= 3
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        texts = [output.get("text", ""), *map(str, output.get("data", {}).values())]
        if "image/png" in output.get("data", {}):
            texts = [output.data["text/plain"]]
        for text in texts:
            assert not re.search(r"/(tmp|home|root|Users|usr|work)/|site-packages|\b20\d\d-\d\d-\d\d\b", text)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_link_of_a_notebook_leads_to_a_file(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)
        for link in re.findall(r"\]\((?!http)([^)]+)\)", cell.source) if cell.cell_type == "markdown" else ():
            assert (FOLDER / link).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    """With tables and pictures in the cells that are committed with them."""
    pytest.importorskip("ipykernel")
    committed, made = nbformat.read(path, as_version=4), run(path, tmp_path)
    assert not [output for output in outputs(made) if output.get("name") == "stderr" or output.output_type == "error"]
    assert tables(made) == tables(committed)
    for before, after in zip(committed.cells, made.cells, strict=True):
        if before.cell_type == "code":
            assert kinds(after) == kinds(before), after.source


def kinds(cell: nbformat.NotebookNode) -> list[list[str]]:
    return [sorted(output.get("data", {output.output_type: ""})) for output in cell.outputs]
