"""The heads by name: texthead's own, and those that installed packages add as entry points."""

from typing import Any

from torch import nn

from texthead.errors import RunError
from texthead.extensions import Extension, find
from texthead.models.head_rows import RowKind
from texthead.models.heads import Config, Head, Names, Prompts
from texthead.recipes import HEADS, NAMED, named

HEAD_GROUP = NAMED["head"][0]

# The heads that a run can hold: also those that training cannot start with.
SAVED = HEADS | {name: f"texthead.models.heads:{name}" for name in ("FrozenHead", "TrainableHead", "ProbeHead")}
SAVED["SeveralHead"] = "texthead.models.multilabel_head:MultiLabelHead"


def head_kind(name: str) -> tuple[RowKind | type[Head], Extension]:
    """Return the rows, or the class of heads, that training starts with under this name, and their entry.

    Raises:
        RunError: no installed package has such a head, or the package is broken.
    """
    entry = named("head", name)
    kind = entry.load()
    if isinstance(kind, RowKind) or (isinstance(kind, type) and issubclass(kind, Head)):
        return kind, entry
    if isinstance(kind, type) or not callable(kind):
        raise RunError(entry.broken("is neither a function that returns rows, nor a RowKind or subclass of Head"))
    return RowKind(entry.load()), entry


def head_of_json(about: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> Head:
    """Return the head that `head_json` described, to load weights into.

    Raises:
        RunError: no installed package has such a head, or the package is broken.
    """
    name = about["type"]
    entry = find(HEAD_GROUP, SAVED).get(name)
    if entry is None:
        raise RunError(f"head {name!r} is of no installed package: install the package that the run was trained with")
    return entry.load(base=Head).from_config(about, names, dim=dim, prompts=prompts)


def as_head(head: nn.Module) -> Head:
    """Return the head if it can be restored from a run folder.

    Raises:
        RunError: the head is of another class.
    """
    if not isinstance(head, Head) or _name_of(type(head)) is None:
        raise RunError(
            f"a {type(head).__name__} cannot be saved in a run: pass your rows to `FrozenHead(rows, names=..., "
            f"kind='...')` or TrainableHead, or install your class as an entry point of the group {HEAD_GROUP}"
        )
    return head


def head_json(head: Head) -> dict[str, Any]:
    """Return the head's entry in `recipe.json`: its name in the table, and its config."""
    return {"type": _name_of(type(head)), **head.config()}


def _name_of(kind: type[Head]) -> str | None:
    """Return the name of a class in the table, None if it has none; no other package is imported."""
    package = kind.__module__.partition(".")[0]
    entries = find(HEAD_GROUP, SAVED).values()
    in_package = [entry for entry in entries if entry.value.replace(":", ".").startswith(f"{package}.")]
    return next((entry.name for entry in in_package if entry.load() is kind), None)
