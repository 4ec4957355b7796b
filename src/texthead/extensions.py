"""Entry points: encoders, commands and others that installed packages add.

    [project.entry-points."texthead.encoders"]
    mine = "my_package.encoder"

Each group has a table of texthead's own entries in the same form; `find` returns both. Nothing is imported before
`load`, so that one broken package stops only what it adds.
"""

import hashlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from texthead.errors import EncoderError, RunError, TextheadError, line_of, raising

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OURS = "texthead"
KINDS = ("augmentations", "commands", "encoders", "heads", "losses", "readers", "sources", "temporal")


@dataclass(frozen=True)
class Extension:
    """An entry of a group: the value is `module` or `module:object`; the packages are those that register the name."""

    kind: str
    name: str
    value: str
    packages: tuple[str, ...]

    @property
    def ours(self) -> bool:
        """Whether texthead itself brings the entry."""
        return self.packages == (OURS,)

    @property
    def package(self) -> str:
        """The package, or the packages joined by "and"."""
        return " and ".join(sorted(self.packages))

    @property
    def error(self) -> type[TextheadError]:
        """The class of errors about the entry."""
        return EncoderError if self.kind == "encoder" else RunError

    def load(self, needs: Sequence[str] = (), base: type = object) -> Any:
        """Import the module or object and return it.

        Args:
            needs: functions that it must have.
            base: class that it must be a subclass of, if it is not `object`.

        Raises:
            TextheadError: several packages register the name, it cannot be imported, or it is of another form.
        """
        if len(self.packages) > 1:
            raise self.error(f"{self.kind} {self.name!r} is in the packages {self.package}: uninstall all but one")
        if self.ours:
            return resolve_name(self.value)
        try:
            with redirect_stdout(sys.stderr):  # Standard output is for results.
                loaded = resolve_name(self.value)
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # Importing runs the package's own code, which may even leave the program.
            raise self.error(self.broken(f"cannot be imported ({line_of(problem, kind=True)})")) from problem
        missing = [name for name in needs if not callable(getattr(loaded, name, None))]
        problem = f"has no function {' or '.join(missing)}" if missing else ""
        if base is not object and not (isinstance(loaded, type) and issubclass(loaded, base)):
            problem = f"is not a subclass of {base.__name__}"
        if problem:
            raise self.error(self.broken(problem))
        return loaded

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn an error of a package's code into `error`, which names the package."""
        try:
            yield
        except Exception as problem:
            if self.ours or isinstance(problem, TextheadError):
                raise
            raise self.error(self.broken(f"failed ({line_of(problem, kind=True)})")) from problem

    def broken(self, problem: str) -> str:
        """Return the message for an entry that cannot be used; `problem` follows its name."""
        where = f"{self.kind} {self.name!r}: {self.value} of package {self.package}"
        return f"{where} {problem}: repair the package or uninstall it"


def find(group: str, ours: Mapping[str, str] | None = None) -> dict[str, Extension]:
    """Return the entries of a group by their names: texthead's own, then those of installed packages.

    A package cannot replace an entry of texthead's own; a warning names one that tries.

    Args:
        group: name of the group of entry points, such as "texthead.encoders".
        ours: {name: value} of texthead's own entries.

    Raises:
        RunError: the metadata of a package cannot be read.
    """
    # Damaged metadata may raise anything.
    with raising(RunError, "metadata of an installed package is damaged", "reinstall it", Exception):
        installed = [(getattr(entry.dist, "name", "") or "unknown", entry) for entry in _installed(group)]
    kind = group.rpartition(".")[2]
    kind = {"losses": "loss", "temporal": "temporal module"}.get(kind, kind.removesuffix("s"))
    extensions = {name: Extension(kind, name, value, (OURS,)) for name, value in (ours or {}).items()}
    for package, entry in sorted(installed, key=lambda each: each[0] != OURS):
        # A reader's name is a suffix, whose case does not matter.
        name = entry.name.lower().lstrip(".") if kind == "reader" else entry.name
        before = extensions.get(name)
        if before is None:
            extensions[name] = Extension(kind, name, entry.value, (package,))
        elif not before.ours:
            extensions[name] = Extension(kind, name, entry.value, (*before.packages, package))
        elif package != OURS:
            _warn(f"{kind} {entry.name!r} of package {package} is ignored: texthead has its own; rename it")
    return extensions


@cache
def _warn(problem: str) -> None:
    """Log a warning once."""
    logging.getLogger(__name__).warning(problem)


def code_of_packages(*groups: str) -> str:
    """Return a digest of the Python files of packages that add to these groups; "" if none does."""
    entries = [each for group in groups for each in find(group).values() if not each.ours]
    files: list[Path] = []
    for module in sorted({each.value.partition(":")[0].partition(".")[0] for each in entries}):
        spec = find_spec(module)
        for folder in map(Path, spec.submodule_search_locations or [spec.origin or ""] if spec else []):
            files += sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
    codes = [file.read_bytes() for file in files if file.is_file()]
    return hashlib.sha256(b"\0".join(codes)).hexdigest()[:16] if codes else ""


def _installed(group: str) -> "Sequence[EntryPoint]":
    """Return the entry points of a group; a package that is installed later is found by the next process."""
    return _entry_points().get(group, ())


@cache
def _entry_points() -> "dict[str, Sequence[EntryPoint]]":
    """Return our groups, read once: the metadata of 250 packages takes 10 ms."""
    from importlib.metadata import entry_points

    found = entry_points()
    return {group: tuple(found.select(group=group)) for group in (f"{OURS}.{kind}" for kind in KINDS)}
