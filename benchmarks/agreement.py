"""Compare what `predict`, `eval` and `timeline` print with each exact engine, line by line, on real sets.

    python -m benchmarks.agreement --data ../shared/data [--sets clothing airborne]

Each set's run is made once, by `train --tune none --engine eager`. A set without training items is
classified zero-shot.
A row has the number of printed lines, how many of them differ between the engines, and the largest difference between
two numbers in the same place; lines whose words differ follow the table.
"""

import argparse
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import texthead as th
from benchmarks.rounds import table
from texthead.apps.timeline.events import Hysteresis
from texthead.apps.timeline.timeline import Sliding, find_events
from texthead.cli import main as cli
from texthead.recipes import EngineName

ENGINES: tuple[EngineName, ...] = ("eager", "onnxruntime")

# Clips last one or two seconds: allow events as short as that, and uncertain ones.
SLIDING, RULE = Sliding(window=0.5), Hysteresis(enter=0.3, leave=0.2, min_length=0.2)

_NUMBER = re.compile(r"\d+\.?\d*")


class Difference(NamedTuple):
    """Printed lines, those that differ, the largest difference of a number in them, and line pairs with other words."""

    lines: int
    differing: int
    gap: float
    reworded: list[tuple[str, str]]


def differences(first: str, second: str) -> Difference:
    """Compare two texts line by line.

    Raises:
        ValueError: the texts have different numbers of lines.
    """
    pairs = list(zip(first.splitlines(), second.splitlines(), strict=True))
    differing = [(one, other) for one, other in pairs if one != other]
    reworded = [(one, other) for one, other in differing if _NUMBER.sub("", one) != _NUMBER.sub("", other)]
    numbers = [zip(_NUMBER.findall(a), _NUMBER.findall(b), strict=True) for a, b in differing if (a, b) not in reworded]
    gap = max((abs(float(a) - float(b)) for pair in numbers for a, b in pair), default=0.0)
    return Difference(len(pairs), len(differing), gap, reworded)


def printed(*arguments: object) -> str:
    """Return what a command prints on standard output; if it fails, print its error and return nothing."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = cli.main([str(argument) for argument in arguments])
    except SystemExit as error:
        code = error.code
    if code:
        print(f"{' '.join(map(str, arguments[:2]))}: {err.getvalue().strip()[-300:]}", file=sys.stderr)
        return ""
    return out.getvalue()


def outputs(set_file: Path, run: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (title, text with each engine) of a set; a set with training items gets its own run."""
    data = th.read_dataset(set_file)
    head, other = [], []
    if {item.split for item in data.items} >= {"train", "test"}:
        printed("train", set_file, "--engine", "eager", "--tune", "none", "--out", run)
    else:
        names = folder / "names.txt"
        names.write_text("\n".join(data.classes))
        head, other = ["--classes", names, "--names", "verbatim"], ["--zero-shot", "--names", "verbatim"]
    paths = [item.path for item in data.items]
    for title, options in (("predict", []), ("predict --json", ["--json"])):
        yield title, [printed("predict", run, *paths, *head, *options, "--engine", engine) for engine in ENGINES]
    evals = [_eval(run, set_file, other, folder, engine) for engine in ENGINES]
    yield "eval --json", [text for text, _ in evals]
    yield "eval --out", [items for _, items in evals]
    videos = [item.path for item in data.items if item.split == "test" and item.path.suffix == ".mp4"]
    if videos:
        yield "events", [events(run, videos, engine) for engine in ENGINES]


def _eval(run: Path, set_file: Path, other: list[str], folder: Path, engine: str) -> tuple[str, str]:
    items = folder / "items.csv"
    items.write_text("")
    options = ("--baselines", "never", "--json", "--out", items, "--engine", engine)
    text = printed("eval", run, set_file, "--split", "test", *other, *options)
    return text.replace(f'"engine": "{engine}"', '"engine": ""'), items.read_text()


def events(folder: Path, videos: list[Path], engine: EngineName) -> str:
    """Return the events of each video in a line, as `timeline --json` prints them."""
    run = th.load_run(folder)
    results = (find_events(run, video, sliding=SLIDING, rule=RULE, engine=engine) for video in videos)
    return "\n".join(json.dumps([event.to_json() for event in each]) for each in results)


def measure(data: Path, names: list[str]) -> str:
    """Return the table of all sets below a folder, or of the named ones, and the lines whose words differ."""
    rows, reworded = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sets = {path.parent.name: path for path in sorted(data.glob("*/*/*.csv"))}
        run = folder
        for name in names or sets:
            candidate = folder / name
            run = candidate if {item.split for item in th.read_dataset(sets[name]).items} >= {"train", "test"} else run
            for title, (first, second) in outputs(sets[name], run, folder):
                diff = differences(first, second)
                rows.append([name, title, str(diff.lines), str(diff.differing), f"{diff.gap:g}"])
                reworded += [f"{name}, {title}\n  {a}\n  {b}" for a, b in diff.reworded]
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
        real = sorted((data / "decode" / "real").glob("*")) if not names else []
        if real:
            pairs = [printed("predict", run, *real, "--json", "--skip-unreadable", "--engine", e) for e in ENGINES]
            diff = differences(*pairs)
            rows.append(["decode/real", "predict --json", str(diff.lines), str(diff.differing), f"{diff.gap:g}"])
    head = ["set", "command", "lines", "differing lines", "largest difference"]
    return "\n".join([f"## Engines: {' and '.join(ENGINES)}\n", table(head, rows), *reworded])


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the data sets")
    options.add_argument("--sets", nargs="*", default=[], help="sets, by the names of their folders (default: all)")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TEXTHEAD_CACHE"] = cache
        print(measure(chosen.data, chosen.sets))


if __name__ == "__main__":
    main()
