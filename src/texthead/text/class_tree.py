"""Class trees: the broader names above each class, such as `animal` and `dog` above `pug`. Imports no torch."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from texthead.errors import DataError, listed, naming
from texthead.files import read_yaml
from texthead.text.class_names import check_names, clean_name

# In place of a file: nested folders are a tree.
FOLDERS = "folders"

# A tree in a file.
FORM = "{animal: {dog: [pug, beagle], cat: [siamese]}}"


@dataclass(frozen=True)
class ClassTree:
    """The broader names above each class, from the top down: {"pug": ("animal", "dog"), "kite": ()}.

    Raises:
        DataError: a name stands below two others, or is itself a class.
    """

    above: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        parents: dict[str, str] = {}
        for names in self.above.values():
            for parent, name in pairwise(("", *names)):
                if parents.setdefault(name, parent) != parent:
                    both = " and ".join(repr(each) if each else "no name" for each in (parents[name], parent))
                    raise DataError(f"the name {name!r} is below {both}: list each name once in the tree")
        if broader := {name for names in self.above.values() for name in names}:
            check_names(sorted(broader))
        if both := [name for name in parents if name in self.above]:
            raise DataError(f"{both[0]!r} is a class and a superclass: list the class below it")

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[str]] | None) -> "ClassTree | None":
        """Return the tree that a run's `classes.json` holds, or None."""
        return None if value is None else cls({str(label): tuple(map(str, names)) for label, names in value.items()})

    def ancestors(self, label: str) -> tuple[str, ...]:
        """Return the names above a label, which need not be a class of the tree; empty if it is not in the tree.

        A label is found by its `clean_name` too; a new one such as `animal/dog/poodle` by the names before it.
        """
        if label in self.above:
            return self.above[label]
        if same := [each for each in self.above if clean_name(each).casefold() == clean_name(label).casefold()]:
            return self.above[same[0]]
        names = {name for above in self.above.values() for name in above}
        return tuple(name for name in accumulate(label.split("/")[:-1], "{}/{}".format) if name in names)

    def with_labels(self, labels: Sequence[str]) -> "ClassTree":
        """Return the tree with the ancestors of each label.

        Raises:
            DataError: no label is in the tree.
        """
        ancestors = {label: self.ancestors(label) for label in labels}
        if not any(ancestors.values()):
            raise DataError(f"no class is in the tree, which has {listed([*self.above])}: use the labels of the data")
        return ClassTree({**self.above, **ancestors})

    def broader(self, labels: Sequence[str]) -> dict[str, list[int]]:
        """Return the positions in `labels` of the classes below each broader name.

        Left out are names above a single class or above all classes, which say nothing; of names above the same
        classes only the lowest is returned.
        """
        below: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            for name in self.above.get(label, ()):
                below.setdefault(name, []).append(index)
        lowest = {tuple(classes): name for name, classes in below.items() if 1 < len(classes) < len(labels)}
        return {name: list(classes) for classes, name in lowest.items()}


def read_tree(path: Path) -> ClassTree:
    """Read a tree from YAML or JSON: a mapping from names to what is below them, ending in lists of classes.

    Raises:
        DataError: the file is missing, no YAML, or not of this form.
    """
    return tree_of(read_yaml(path, FORM), path)


def tree_of(value: Mapping[str, Any], path: Path) -> ClassTree:
    """Return the tree in a mapping of a file.

    Raises:
        DataError: a class or a name has two places in it.
    """
    pairs = [*_ancestors_of(value, ())]
    labels = [label for label, _ in pairs]
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise DataError(f"{path}: class {twice[0]!r} is in the tree twice: list it once")
    with naming(path):
        return ClassTree(dict(pairs))


def _ancestors_of(value: object, above: tuple[str, ...]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Yield each class below a value of the file, and the names above it; an empty value makes its name a class."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _ancestors_of(below, (*above, str(name))) if below else [(str(name), above)]
    elif isinstance(value, list):
        for each in value:
            yield from _ancestors_of(each, above)
    else:
        yield str(value), above
