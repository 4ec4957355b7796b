"""Constraints for pip: the lowest version that pyproject.toml allows of every dependency but torch and torchvision."""

import re
import tomllib
from pathlib import Path

_LOWEST = re.compile(r"([A-Za-z0-9_.-]+)(\[[\w,]+\])?>=([\w.]+)")
# Of a build that fits the machine, which pip's index alone decides.
_LEFT = {"torch", "torchvision"}


def lowest(pyproject: dict) -> list[str]:
    """`name==version` of each dependency, those of the extras of `dev` too."""
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    (own,) = (line for line in extras["dev"] if line.startswith(f"{project['name']}["))
    wanted = [extra.strip() for extra in own.partition("[")[2].rstrip("]").split(",")]
    lines = [*project["dependencies"], *extras["dev"], *(line for extra in wanted for line in extras[extra])]
    found = (_LOWEST.match(line) for line in lines if line != own)
    return sorted({f"{match[1]}=={match[3]}" for match in found if match and match[1] not in _LEFT})


if __name__ == "__main__":
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(lowest(tomllib.loads(text))))
