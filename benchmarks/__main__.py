"""All benchmarks behind BENCHMARKS.md in one run.

    python -m benchmarks [NAME ...] [--rounds 5] [--data ../shared/data] [--out BENCHMARKS.md]

Each script runs in a process of its own, one after the other, and prints its section. With `--out` the sections also
take the place of what lies between the two marks in that file, if none has failed. Run it with nothing beside.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib import metadata
from pathlib import Path

from benchmarks import ffmpeg

SCRIPTS = ("reading", "transforms", "step", "cached", "views", "startup", "mini", "engine", "peers", "growth")
BEGIN, END = "<!-- begin: make bench -->", "<!-- end: make bench -->"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
PACKAGES = ("torch", "torchvision", "numpy", "av", "pillow", "transformers", "accelerate", "decord", "torchcodec")
PACKAGES += ("opencv-python-headless", "imageio-ffmpeg")


def machine() -> str:
    """What it was run on: cores, what the processor knows, versions; neither a name of the machine nor a path."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    known = set(info.read_text().split()) if info.is_file() else set()
    flags = ", ".join(flag for flag in FLAGS if flag in known)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    told = f"{cores} cores, {platform.machine()}{f' ({flags})' if flags else ''}, {platform.system()}"
    return f"{date.today()}, {told}, Python {platform.python_version()}; {versions}."


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def section(name: str, arguments: list[str], path: str) -> str:
    """What a script prints, empty where it fails; `path` is where it finds FFmpeg's libraries."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    environment = {**os.environ, **({"LD_LIBRARY_PATH": path} if path else {})}
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    return "" if run.returncode else run.stdout.strip()


def replaced(text: str, sections: str) -> str:
    """The text with the sections between its two marks.

    Raises: ValueError for a text without them.
    """
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"it must hold the lines {BEGIN} and {END}, between which the sections go")
    return f"{before}{BEGIN}\n\n{sections}\n\n{END}{after}"


def options() -> argparse.Namespace:
    """The command's options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("names", nargs="*", choices=[*SCRIPTS, []], metavar="NAME", help=f"of {', '.join(SCRIPTS)}")
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--data", default="../shared/data", help="folder with sets of real clips")
    found.add_argument("--out", type=Path, help="file whose part between the marks is replaced")
    chosen = found.parse_args()
    if chosen.out and chosen.names:
        found.error("--out takes the sections of all scripts: leave out the names, or print only")
    return chosen


def main() -> None:
    """Run the scripts, print their sections, write them into the file."""
    chosen = options()
    if chosen.out:
        replaced(chosen.out.read_text(encoding="utf-8"), "")  # A file without marks is said before the minutes pass.
    begun, sections = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as links:
        path = ffmpeg.linked(Path(links)) if sys.platform == "linux" else ""
        for name in chosen.names or SCRIPTS:
            started = time.perf_counter()
            data = ["--data", chosen.data] if name == "reading" else []
            told = section(name, ["--rounds", str(chosen.rounds), *data], path)
            if not told:
                sys.exit(f"benchmarks.{name} has failed; what came before it is printed above, nothing is written")
            sections.append(f"{told}\n\n`python -m benchmarks {name}`: {(time.perf_counter() - started) / 60:.1f} min.")
            print(f"{sections[-1]}\n", flush=True)
    minutes = (time.perf_counter() - begun) / 60
    about = (
        f"`python -m benchmarks`, {machine()} {minutes:.1f} minutes in all. Figures are the median of {chosen.rounds} "
        "interleaved rounds (min-max); ratios are taken within each round. CPU time covers all threads."
    )
    print(about)
    if chosen.out:
        text = replaced(chosen.out.read_text(encoding="utf-8"), "\n\n".join([about, *sections]))
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
