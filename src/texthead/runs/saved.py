"""Read the metadata of a run folder without importing torch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from texthead.errors import RunError, naming, raising
from texthead.files import read_json, unused
from texthead.media.paths import MediaPath
from texthead.text.class_names import check_names


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Name a file of a run in errors on its content."""
    kinds = AttributeError, KeyError, TypeError
    with naming(path, RunError), raising(RunError, "damaged", "restore it from a copy", *kinds):
        yield


def classes_file(folder: Path) -> dict[str, Any]:
    """Return the content of a run's `classes.json`; raise RunError if it is missing, or holds no valid labels."""
    path = folder / "classes.json"
    classes = read_json(path)
    with in_file(path):
        check_names([entry["label"] for entry in classes["classes"]])
    return classes


def is_run(path: str | Path) -> bool:
    """Return whether the path is a folder with a recipe.json."""
    return (Path(path) / "recipe.json").is_file()


def check_run_exists(path: str | Path) -> None:
    """Raise RunError if the path of a run does not exist."""
    if not MediaPath(path).exists():
        raise RunError(f"{path}: does not exist; check the path (`texthead train` makes runs)")


def check_run(folder: str | Path) -> None:
    """Raise RunError if a path is not a run."""
    check_run_exists(folder)
    if not is_run(folder):
        new = unused(Path("run"))
        raise RunError(f"{folder}: not a run (no recipe.json in it); `texthead train DATA --out {new}` makes one")


def check_out(out: Path, *, resume: bool) -> None:
    """Raise RunError if the folder already contains a run (unless it is resumed), or other folders."""
    if is_run(out) and not resume:
        resume_it = ", or continue it with `resume`" if (out / "state").is_dir() else ""
        raise RunError(f"{out}: already contains a run; choose another folder{resume_it}")
    if not is_run(out) and out.is_dir() and any(path.is_dir() for path in out.iterdir()):
        raise RunError(f"{out}: contains folders that texthead did not create; choose a new folder")


def saved_classes(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return (an entry per class: label, name, prompt, row; the edits of an edited run).

    Raises:
        RunError: there is no run, or its files are damaged.
    """
    check_run(folder)
    recipe, classes = read_json(folder / "recipe.json"), classes_file(folder)
    with in_file(folder / "recipe.json"):
        rows = [{**entry, "row": row_source(recipe["head"], entry)} for entry in classes["classes"]]
    return rows, classes.get("edited")


def row_source(head: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """Return the source of a class's row, as text.

    Args:
        head: the head's entry in `recipe.json`.
        entry: the entry of the class in `classes.json`.
    """
    if "row" in entry:
        return entry["row"]
    kind = head["kind"]
    if head["type"] == "linear" or kind == "cosine":
        return "trained"
    return f"{kind}, trained" if head["type"] == "TrainableHead" else kind
