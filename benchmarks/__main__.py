"""The benchmarks behind the first table of BENCHMARKS.md, section by section.

    python -m benchmarks [NAME ...] [--rounds 5] [--data ../shared/data] [--out BENCHMARKS.md]

Each section runs in a process of its own, one after the other. Its results are stored in build/bench, so that a run
that was stopped goes on with the sections that are missing; results of another processor, other versions, other sources
or another number of rounds are measured again. A NAME measures that section again. With `--out`, the first table and
the sections replace the text between their marks in that file. Run it on an idle machine.

A section is a module with `section(rounds, data)`, which returns a `rounds.Section`.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path

from benchmarks import ffmpeg
from benchmarks.rounds import Row, in_new_process, section_of, spread, table

SECTIONS = ("reading", "transforms", "step", "cached", "views", "startup", "mini", "engine", "peers", "photos")
SECTIONS += ("growth",)
ROOT = Path(__file__).parents[1]
TABLE, BENCH = "first table", "make bench"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
PACKAGES = ("torch", "torchvision", "numpy", "av", "pillow", "simplejpeg", "onnxruntime", "transformers", "accelerate")
PACKAGES += ("decord", "torchcodec", "opencv-python-headless", "imageio-ffmpeg")


def machine() -> str:
    """Describe the machine: processor, cores, instruction sets, versions; neither its name nor a path."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    known = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in text.splitlines()}
    kind = " ".join(f"{key.split()[-1]} {known[key]}" for key in ("cpu family", "model") if key in known)
    name = f"{known.get('model name', platform.machine())} {kind}"
    flags = ", ".join(flag for flag in FLAGS if flag in text.split())
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    hardware = f"{name.strip()}, {cores} cores{f' ({flags})' if flags else ''}, {platform.system()}"
    return f"{hardware}, Python {platform.python_version()}; {versions}"


def version(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def sources() -> str:
    """Return a digest of the files that are measured and of those that measure."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("src", "benchmarks") for path in (ROOT / folder).rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def conditions(rounds: int) -> dict[str, object]:
    """Return what the results of one table have in common."""
    return {"machine": machine(), "sources": sources(), "rounds": rounds}


def measured(name: str, rounds: int, data: Path) -> dict:
    """Measure a section in a new process; return what is stored of it."""
    begun, started = time.perf_counter(), str(date.today())
    text, rows = in_new_process(section_of, name, rounds, data)
    minutes = (time.perf_counter() - begun) / 60
    return {**conditions(rounds), "date": started, "minutes": minutes, "text": text, "rows": rows}


def stored(path: Path, wanted: Mapping[str, object]) -> dict | None:
    """Return a section's stored results if there are any and they belong to these conditions; say if they do not."""
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    other = [key for key, value in wanted.items() if kept[key] != value]
    if other:
        print(f"{path.stem}: stored results have other {' and '.join(other)}, so it is measured again", file=sys.stderr)
        return None
    return kept


def first_table(sections: Sequence[dict]) -> str:
    """Return the ratios of all sections, with their limits; a median below its target is bold."""
    rows, last = [], None
    for row in (Row(*row) for section in sections for row in section["rows"]):
        ratio = spread(row.ratios)
        if statistics.median(row.ratios) < row.target:
            ratio = f"**{ratio}**"
        limit = f"{spread(row.limit)}, {row.limit_of}" if row.limit else "-"
        rows.append(["" if row.task == last else row.task, row.other, ratio, limit])
        last = row.task
    return table(["task", "compared with", "other's CPU time / texthead's", "limit"], rows)


def replaced(text: str, mark: str, content: str) -> str:
    """Return the text with the content between the two marks of that name.

    Raises:
        ValueError: the text has no such marks.
    """
    begin, end = f"<!-- begin: {mark} -->", f"<!-- end: {mark} -->"
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"the file must contain the lines {begin} and {end}; the results go between them")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def report(results: Mapping[str, dict], rounds: int) -> tuple[str, str]:
    """Return the first table and all sections, both with date, machine and command."""
    days = sorted({section["date"] for section in results.values()})
    minutes = sum(section["minutes"] for section in results.values())
    about = f"`make bench`, {' to '.join([days[0], *days[1:][-1:]])}, {machine()}. {minutes:.1f} minutes in all."
    how = (
        f"Ratios of CPU time, all threads, median (min-max) of {rounds} interleaved rounds. Above 1, texthead is "
        "faster; bold: below the target. The limit is the ratio if texthead did nothing but what it names. One "
        "thread unless stated."
    )
    texts = [
        f"{section['text']}\n\n`python -m benchmarks {name}`: {section['minutes']:.1f} min."
        for name, section in results.items()
    ]
    head = f"{about}\n{how}\n\n{first_table([*results.values()])}"
    return head, "\n\n".join([f"{about} Figures are the median of {rounds} interleaved rounds (min-max).", *texts])


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"measure again, of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the sets of real clips")
    parser.add_argument("--results", type=Path, default=Path("build/bench"), help="folder of the stored results")
    parser.add_argument("--out", type=Path, help="file in which to replace the text between the marks")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - {*SECTIONS}:
        parser.error(f"no section {', '.join(unknown)}: choose of {', '.join(SECTIONS)}")
    return chosen


def main() -> None:
    """Measure the sections that are missing or named, print the first table, and write all into the file."""
    chosen = options()
    if chosen.out:
        text = chosen.out.read_text(encoding="utf-8")
        replaced(replaced(text, TABLE, ""), BENCH, "")  # Fail on a file without marks before the minutes pass.
    chosen.results.mkdir(parents=True, exist_ok=True)
    results = {}
    with tempfile.TemporaryDirectory() as links:
        if sys.platform == "linux" and (path := ffmpeg.linked(Path(links))):
            os.environ["LD_LIBRARY_PATH"] = path
        for name in SECTIONS if chosen.out else chosen.names or SECTIONS:
            path = chosen.results / f"{name}.json"
            section = None if name in chosen.names else stored(path, conditions(chosen.rounds))
            if section is None:
                section = measured(name, chosen.rounds, chosen.data)
                path.write_text(json.dumps(section, indent=1) + "\n", encoding="utf-8")
                print(f"{section['text']}\n\n{name}: {section['minutes']:.1f} min\n", flush=True)
            results[name] = section
    head, sections = report(results, chosen.rounds)
    print(head)
    if chosen.out:
        text = replaced(chosen.out.read_text(encoding="utf-8"), TABLE, head)
        chosen.out.write_text(replaced(text, BENCH, sections), encoding="utf-8")


if __name__ == "__main__":
    main()
