"""A table of what is installed with texthead: name, version, licence, and which of them came in for another one.

`python tools/licences.py > docs/dependencies.md`, or `make licences`.
"""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9._-]+")
# What a licence's text calls itself where a package gives the whole text, or only a file.
_TEXTS = {"MIT License": "MIT", "Apache License": "Apache-2.0", "Redistribution and use": "BSD"}


def needed(package: str, extras: frozenset[str] = frozenset()) -> dict[str, frozenset[str]]:
    """What a package requires here, by name, with the extras that it asks for."""
    found: dict[str, frozenset[str]] = {}
    for line in distribution(package).requires or []:
        before, _, marker = line.partition(";")
        wanted = re.search(r"extra\s*==\s*[\"']([\w-]+)[\"']", marker)
        if wanted and wanted[1] not in extras:
            continue
        match = _NAME.match(before)
        asked = re.search(r"\[([\w,\s-]+)\]", before)
        if match:
            own = frozenset(part.strip() for part in asked[1].split(",")) if asked else frozenset()
            name = match[0].lower().replace("_", "-")
            found[name] = found.get(name, frozenset()) | own
    return found


def licence(package: Distribution) -> str:
    """A licence's short name, as the package gives it: its expression, its classifiers, its field, or its file."""
    about: Any = package.metadata  # An email message, whose stub lacks `get`.
    if about.get("License-Expression"):
        return about["License-Expression"]
    named = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    if named := [name for name in named if name != "OSI Approved"]:
        return ", ".join(named)
    field = (about.get("License") or "").strip()
    if field and len(field) < 60 and "\n" not in field:
        return field
    for file in package.files or []:
        if "licen" in file.name.lower() and ".dist-info" in str(file):
            field += file.read_text(encoding="utf-8")
    return next((name for start, name in _TEXTS.items() if start in field), "not stated")


def closure(root: str, extras: frozenset[str]) -> dict[str, str]:
    """Each package that is installed for `root`, and which package asked for it first."""
    found, waiting = {}, [(name, more, root) for name, more in needed(root, extras).items()]
    while waiting:
        name, more, by = waiting.pop(0)
        if name in found or name == root:
            if name == root:
                waiting += [(n, m, root) for n, m in needed(root, more).items()]
            continue
        try:
            distribution(name)
        except PackageNotFoundError:
            continue  # For another system or version of Python.
        found[name] = by
        waiting += [(n, m, name) for n, m in needed(name, more).items()]
    return found


if __name__ == "__main__":
    extras = ("datasets", "demo", "languages", "lora", "onnx", "paper", "ray", "remote", "tensorboard", "ui")
    found = closure("texthead", frozenset(extras))
    print("# Dependencies\n")
    print(f"Everything that `pip install texthead[{','.join(extras)}]`")
    print("brought in where this was made, with the licence that each package states of itself.")
    print("`make licences` writes it anew.\n")
    print("| package | version | licence | for |\n|---|---|---|---|")
    for name, by in sorted(found.items()):
        package = distribution(name)
        print(f"| {name} | {package.version} | {licence(package)} | {by} |")
