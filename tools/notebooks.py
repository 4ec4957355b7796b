"""Run the notebooks of notebooks/ and keep their outputs: python -m tools.notebooks [NAME...]

What differs from run to run or from machine to machine is left out: times, versions, progress bars.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Return a notebook with its outputs, run in an empty folder.

    Raises: CellExecutionError for a cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    own = {"TEXTHEAD_CACHE": str(folder / "cache"), "IPYTHONDIR": str(folder / "ipython"), "TQDM_DISABLE": "1"}
    client.execute(env={**os.environ, **own})
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return notebook


def main(names: list[str]) -> None:
    """Write the notebooks anew, all if none is named."""
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(run(path, Path(folder)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
