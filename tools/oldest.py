"""Constraints for pip: the lowest version that pyproject.toml allows of every dependency but torch and torchvision."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)(?:\[([\w,]+)\])?(?:>=([\w.]+))?")
# pip's index decides which build of these fits the machine.
_SKIPPED = {"torch", "torchvision"}


def lowest(pyproject: dict) -> list[str]:
    """Return `name==version` of each dependency and of those of the extra `dev`."""
    project = pyproject["project"]
    lines = [*project["dependencies"], *_requirements(project, "dev")]
    matches = filter(None, map(_REQUIREMENT.match, lines))
    return sorted({f"{match[1]}=={match[3]}" for match in matches if match[3] and match[1] not in _SKIPPED})


def _requirements(project: dict, extra: str) -> Iterator[str]:
    """Yield the requirements of an extra; those of the project's extras that it names, in their place."""
    for line in project["optional-dependencies"][extra]:
        match = _REQUIREMENT.match(line)
        if match and match[1] == project["name"]:
            for inner in match[2].split(","):
                yield from _requirements(project, inner)
        else:
            yield line


if __name__ == "__main__":
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(lowest(tomllib.loads(text))))
