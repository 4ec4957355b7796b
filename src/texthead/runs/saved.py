"""Read the metadata of a run folder without importing torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from texthead.errors import RunError
from texthead.files import read_json
from texthead.media.paths import MediaPath


class SavedClasses(NamedTuple):
    """The content of `classes.json`: an entry per class (label, name, prompt, row), and the edits of an edited run."""

    entries: list[dict[str, Any]]
    edited: dict[str, Any] | None


def is_run(path: str | Path) -> bool:
    """Return whether the path is a folder with a recipe.json."""
    return (Path(path) / "recipe.json").is_file()


def check_run_exists(path: str | Path) -> None:
    """Raise RunError if the path of a run does not exist."""
    media = MediaPath(path)
    if not (media.address or media.exists()):
        raise RunError(f"{path}: does not exist; check the path (`texthead train` makes runs)")


def check_run(folder: str | Path) -> None:
    """Raise RunError if a path is not a run."""
    check_run_exists(folder)
    if not is_run(folder):
        raise RunError(f"{folder}: not a run (no recipe.json in it); `texthead train DATA --out {folder}` makes one")


def check_out(out: Path, *, resume: bool) -> None:
    """Raise RunError if the folder already holds a run (unless it is resumed), or other folders."""
    if is_run(out) and not resume:
        resume_it = ", or continue it with `resume`" if (out / "state").is_dir() else ""
        raise RunError(f"{out}: already holds a run; choose another folder{resume_it}")
    if not is_run(out) and out.is_dir() and any(path.is_dir() for path in out.iterdir()):
        raise RunError(f"{out}: holds folders that are not of a run, which are left alone; choose a new folder")


def saved_classes(folder: Path) -> SavedClasses:
    """Return the classes of a run, each with the source of its row.

    Raises:
        RunError: there is no run, or its files are damaged.
    """
    check_run(folder)
    head, classes = read_json(folder / "recipe.json").get("head"), read_json(folder / "classes.json")
    entries, edited = classes.get("classes"), classes.get("edited")
    if not isinstance(head, dict) or not isinstance(entries, list) or not isinstance(edited, dict | None):
        raise RunError(f"{folder}: recipe.json or classes.json is damaged; restore both from one copy")
    try:
        rows = [
            {**{key: entry[key] for key in ("label", "name", "prompt")}, **entry, "row": row_source(head, entry)}
            for entry in entries
        ]
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder}: recipe.json or classes.json lacks {error}; restore both from one copy") from None
    return SavedClasses(rows, edited)


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
