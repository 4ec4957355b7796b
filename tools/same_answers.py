"""Compare the output of two runs of `predict --json`, as of two systems: python -m tools.same_answers FIRST SECOND

Prints the number of files and the largest difference of a probability; the exit code is 1 above 1e-4, or if the files
differ.
"""

import json
import sys
from pathlib import Path, PureWindowsPath

MAX_DIFFERENCE = 1e-4


def probabilities(path: Path) -> dict[tuple[str, str], float]:
    """Return the probability of each (file, class) in an output; notes may follow it."""
    text = path.read_text(encoding="utf-8")
    files, _ = json.JSONDecoder().raw_decode(text[text.index("[") :])
    return {
        (PureWindowsPath(file["path"]).as_posix(), each["name"]): each["probability"]
        for file in files
        for each in file["top"]
    }


def main(first: str, second: str) -> int:
    """Print the comparison of two outputs and return the exit code."""
    one, other = probabilities(Path(first)), probabilities(Path(second))
    if not one or one.keys() != other.keys():
        print(f"different files or classes: {sorted(one.keys() ^ other.keys())[:3]}")
        return 1
    most = max(abs(value - other[key]) for key, value in one.items())
    print(f"{len({file for file, _ in one})} files: probabilities differ by at most {most:.2g}")
    return int(most > MAX_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
