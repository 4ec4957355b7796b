"""What installed packages add to texthead through entry points: encoders, commands and others, each in its own group.

    [project.entry-points."texthead.encoders"]
    mine = "my_package.encoder"

Each group has a table of texthead's own entries in the same form; `find` returns both. Nothing is imported before
`load`, so that one broken package stops only what it adds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from texthead.errors import RunError, TextheadError, line_of

OURS = "texthead"


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

    def load(self, needs: Sequence[str] = (), error: type[TextheadError] = RunError) -> Any:
        """Import the module or object and return it.

        Args:
            needs: functions that it must have.
            error: class of the error.

        Raises:
            TextheadError: several packages register the name, it cannot be imported, or it lacks a function.
        """
        if len(self.packages) > 1:
            raise error(f"{self.kind} {self.name!r} is in several packages ({self.package}): uninstall all but one")
        if self.ours:
            return resolve_name(self.value)
        try:
            loaded = resolve_name(self.value)
        except Exception as problem:  # Importing runs the package's own code, which may raise anything.
            raise error(self.broken(f"cannot be imported ({line_of(problem, kind=True)})")) from problem
        missing = [name for name in needs if not callable(getattr(loaded, name, None))]
        if missing:
            raise error(self.broken(f"has no function {' or '.join(missing)}"))
        return loaded

    def broken(self, problem: str) -> str:
        """Return the message for an entry that cannot be used; `problem` follows its name."""
        where = f"{self.kind} {self.name!r}: {self.value} of package {self.package}"
        return f"{where} {problem}: repair the package or uninstall it"


def find(group: str, ours: Mapping[str, str] | None = None) -> dict[str, Extension]:
    """Return the entries of a group by their names: texthead's own, then those of installed packages.

    A package cannot replace an entry of texthead's own.

    Args:
        group: name of the group of entry points, such as "texthead.encoders".
        ours: {name: value} of texthead's own entries.
    """
    from importlib.metadata import entry_points

    kind = group.rpartition(".")[2].removesuffix("s")
    found = {name: Extension(kind, name, value, (OURS,)) for name, value in (ours or {}).items()}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist else "unknown"
        before = found.get(entry.name)
        if before is None:
            found[entry.name] = Extension(kind, entry.name, entry.value, (package,))
        elif not before.ours:
            found[entry.name] = Extension(kind, entry.name, entry.value, (*before.packages, package))
    return found
