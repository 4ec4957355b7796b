"""Encoders of other packages, which register a module in the entry point group `texthead.encoders`.

    [project.entry-points."texthead.encoders"]
    mine = "my_package.encoder"

makes `mine:REST` a source for `load_encoder`. The module is imported when its prefix is first used.
"""

from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from texthead.errors import EncoderError

GROUP = "texthead.encoders"


def package_prefixes() -> dict[str, str]:
    """Return {prefix: package} of the encoder modules that installed packages register."""
    return {entry.name: _package(entry) for entry in entry_points(group=GROUP)}


def package_module(prefix: str) -> ModuleType | None:
    """Return the module that an installed package registers for a prefix; None if there is none.

    Raises:
        EncoderError: two packages register the prefix, or the module cannot be imported or lacks `load` or `spec`.
    """
    entries = [*entry_points(group=GROUP, name=prefix)]
    if not entries:
        return None
    packages = " and ".join(sorted(map(_package, entries)))
    if len(entries) > 1:
        raise EncoderError(f"encoder {prefix!r} is in several packages ({packages}): uninstall all but one")
    (entry,) = entries
    try:
        module = entry.load()
    except Exception as error:  # Importing runs the package's own code, which may raise anything.
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise EncoderError(
            f"encoder {prefix!r}: {entry.value} of package {packages} cannot be imported ({problem}): "
            "repair the package or uninstall it"
        ) from error
    missing = [name for name in ("load", "spec") if not callable(getattr(module, name, None))]
    if missing:
        raise EncoderError(
            f"encoder {prefix!r}: {entry.value} of package {packages} has no function {' or '.join(missing)}: "
            "an encoder module needs load(rest) and spec(rest)"
        )
    return module


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"
