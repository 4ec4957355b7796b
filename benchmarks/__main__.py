"""The speed tables of BENCHMARKS.md, section by section.

    python -m benchmarks [NAME ...] [--rounds 5] [--data ../shared/data] [--out BENCHMARKS.md]

Each section runs in a process of its own, one after the other. Its costs are stored in build/bench, so that a run that
was stopped goes on with the sections that are missing; results of another processor, other versions, other sources or
another number of rounds are measured again. A NAME measures that section again. With `--out`, the column of this
processor is replaced in that file, between its marks. Run it on an idle machine.

A section is a module with `section(rounds, data)`, which returns a `rounds.Section`.
"""

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import platform
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib import metadata
from pathlib import Path

from benchmarks.rounds import Cost, Costs, Row, ratios, section_of, spread, table

SECTIONS = ("reading", "cached", "startup", "engine", "peers")
ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- begin: make bench -->", "<!-- end: make bench -->"
TORCH = "`import torch` alone"
COMMANDS = (
    "### Commands beside `import torch`\n\nCPU time of `import torch` over that of the command, in a new process."
)
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
PACKAGES = ("torch", "torchvision", "numpy", "av", "pillow", "simplejpeg", "onnxruntime", "transformers")
PACKAGES += ("decord", "torchcodec")


def processor() -> str:
    """Name the processor, and the instruction set that torch is held to, if it is."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    known = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in text.splitlines()}
    kind = " ".join(f"{key.split()[-1]} {known[key]}" for key in ("cpu family", "model") if key in known)
    held = os.environ.get("ATEN_CPU_CAPABILITY")
    name = re.sub(r"\(R\)| Processor", "", known.get("model name", platform.machine()))
    return f"{name} {kind}".strip() + (f", held to {held.upper()}" if held else "")


def conditions(rounds: int) -> dict[str, object]:
    """Return what the results of one column have in common: cores, instruction sets, versions, sources, rounds."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    present = info.read_text().split() if info.is_file() else []
    flags = ", ".join(flag for flag in FLAGS if flag in present)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    about = f"{cores} cores ({flags}), {platform.system()}, Python {platform.python_version()}; {versions}"
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("src", "benchmarks") for path in (ROOT / folder).rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return {"processor": processor(), "about": about, "sources": digest.hexdigest()[:12], "rounds": rounds}


def version(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def result_of(name: str, path: Path, options: argparse.Namespace) -> dict:
    """Return a section's stored results if they belong to these conditions, else measure it in a new process."""
    wanted = conditions(options.rounds)
    if path.is_file() and name not in options.names:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if all(stored[key] == value for key, value in wanted.items()):
            return stored
        print(f"{name}: stored results are of other conditions, so it is measured again", file=sys.stderr)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        costs, rows = pool.submit(section_of, name, options.rounds, options.data).result()
    result = {**wanted, "date": str(date.today()), "costs": costs, "rows": rows}
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def costs_of(result: dict) -> Costs:
    """Return the costs of stored or new results."""
    return {title: [Cost(*cost) for cost in costs] for title, costs in result["costs"].items()}


def cells(results: Sequence[dict]) -> dict[tuple[str, str], str]:
    """Return the ratio of each row, with its limit, by (task, other)."""
    found = {}
    for result in results:
        costs = costs_of(result)
        for row in (Row(*row) for row in result["rows"]):
            values = ratios(costs, row.theirs, row.ours)
            cell = spread(values) if statistics.median(values) >= row.target else f"**{spread(values)}**"
            if row.limit:
                cell += f", limit {statistics.median(ratios(costs, row.theirs, row.limit)):.2f}"
            found[row.task, f"{row.other} (limit: {row.limit_of})" if row.limit else row.other] = cell
    return found


def merged(before: Sequence[Sequence[str]], name: str, fresh: dict[tuple[str, ...], str]) -> list[list[str]]:
    """Return a table with the column `name` replaced or added; rows and columns that were not measured stay."""
    wide = len(next(iter(fresh)))
    head = [*before[0], *([] if name in before[0] else [name])]
    old = {tuple(row[:wide]): dict(zip(before[0][wide:], row[wide:], strict=True)) for row in before[1:]}
    keys = [*old, *(key for key in fresh if key not in old)]
    own = {key: {**old.get(key, {}), name: fresh.get(key, old.get(key, {}).get(name, "-"))} for key in keys}
    return [head, *([*key, *(own[key].get(column, "-") for column in head[wide:])] for key in keys)]


def updated(text: str, results: Sequence[dict]) -> str:
    """Return the file with the column of this processor.

    Raises:
        ValueError: the file has no marks, or not two tables between them.
    """
    before, begun, rest = text.partition(BEGIN)
    inside, ended, after = rest.partition(END)
    blocks = re.findall(r"(?:^\|.*\n?)+", inside, re.MULTILINE)
    if not (begun and ended) or len(blocks) != 2:
        raise ValueError(f"the file must have two tables between the lines {BEGIN} and {END}")
    tables = [[[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in b.splitlines()] for b in blocks]
    speed, commands = ([rows[0], *rows[2:]] for rows in tables)
    name, days = processor(), sorted(result["date"] for result in results)
    notes = [line for line in inside.splitlines() if line.startswith("- ") and not line.startswith(f"- {name}: ")]
    notes.append(f"- {name}: {' to '.join(dict.fromkeys((days[0], days[-1])))}, {results[0]['about']}")
    measured = cells(results)
    speed = merged(speed, name, {key: cell for key, cell in measured.items() if key[1] != TORCH})
    commands = merged(commands, name, {(task,): cell for (task, other), cell in measured.items() if other == TORCH})
    return "\n\n".join([f"{before}{BEGIN}", "\n".join(notes), table(speed), COMMANDS, table(commands), f"{END}{after}"])


def linked(folder: Path) -> str:
    """Return an LD_LIBRARY_PATH on which torchcodec finds the libraries inside PyAV's wheel, through links in `folder`.

    The links have the usual names, `libavcodec.so.62`; the wheel's own names contain a digest. The loader reads the
    path when a process starts, so it is for new processes.
    """
    spec = importlib.util.find_spec("av")
    inside = Path(spec.origin).parent.parent / "av.libs" if spec and spec.origin else folder
    for path in inside.glob("lib*"):
        if match := re.fullmatch(r"(lib(?:av|sw)\w+)-\w+(\.so\.\d+).*", path.name):
            (folder / f"{match[1]}{match[2]}").symlink_to(path)
    before = os.environ.get("LD_LIBRARY_PATH")
    return os.pathsep.join([str(folder), str(inside), *([before] if before else [])])


def main() -> None:
    """Measure the sections that are missing or named, print their tables, and write the column into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"measure again, of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the sets of real clips")
    parser.add_argument("--results", type=Path, default=Path("build/bench"), help="folder of the stored results")
    parser.add_argument("--out", type=Path, help="file in which to replace the column of this processor")
    options = parser.parse_args()
    if unknown := set(options.names) - {*SECTIONS}:
        parser.error(f"no section {', '.join(unknown)}: choose of {', '.join(SECTIONS)}")
    options.results.mkdir(parents=True, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory() as links:
        if sys.platform == "linux":
            os.environ["LD_LIBRARY_PATH"] = linked(Path(links))
        for name in SECTIONS if options.out else options.names or SECTIONS:
            results.append(result_of(name, options.results / f"{name}.json", options))
            costs = costs_of(results[-1])
            each = [[title, *(spread([1e3 * c[clock] for c in costs[title]]) for clock in (0, 1))] for title in costs]
            print(f"{table([[name, 'ms', 'CPU-ms'], *each])}\n")
            print(
                f"{table([['task', 'compared with', 'ratio'], *([*k, v] for k, v in cells(results[-1:]).items())])}\n"
            )
            sys.stdout.flush()
    if options.out:
        text = updated(options.out.read_text(encoding="utf-8"), results)
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
