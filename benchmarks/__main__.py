"""All benchmarks behind BENCHMARKS.md in one run.

    python -m benchmarks [NAME ...] [--rounds 5] [--data ../shared/data] [--out BENCHMARKS.md]

Each script runs in its own process, one after the other, and prints its section. With `--out` the sections also
replace the text between the two marks in that file, unless a script fails. Run it on an idle machine.
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
    """Describe the machine: date, cores, instruction sets, versions; neither its name nor a path."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    known = set(info.read_text().split()) if info.is_file() else set()
    flags = ", ".join(flag for flag in FLAGS if flag in known)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    hardware = f"{cores} cores, {platform.machine()}{f' ({flags})' if flags else ''}, {platform.system()}"
    return f"{date.today()}, {hardware}, Python {platform.python_version()}; {versions}."


def version(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def section(name: str, arguments: list[str], path: str) -> str:
    """Run a script and return its output, empty if it fails; `path` is its LD_LIBRARY_PATH, for FFmpeg's libraries."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    environment = {**os.environ, **({"LD_LIBRARY_PATH": path} if path else {})}
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    return "" if run.returncode else run.stdout.strip()


def replaced(text: str, sections: str) -> str:
    """Return the text with the sections between its two marks.

    Raises:
        ValueError: the text has no marks.
    """
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"the file must contain the lines {BEGIN} and {END}; the sections go between them")
    return f"{before}{BEGIN}\n\n{sections}\n\n{END}{after}"


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SCRIPTS, []], metavar="NAME", help=f"of {', '.join(SCRIPTS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", default="../shared/data", help="folder with the data sets of real clips")
    parser.add_argument("--out", type=Path, help="file in which to replace the text between the marks")
    chosen = parser.parse_args()
    if chosen.out and chosen.names:
        parser.error("--out needs the sections of all scripts; leave out the names, or leave out --out")
    return chosen


def main() -> None:
    """Run the scripts, print their sections and write them into the file."""
    chosen = options()
    if chosen.out:
        replaced(chosen.out.read_text(encoding="utf-8"), "")  # Fail on a file without marks before the minutes pass.
    begun, sections = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as links:
        path = ffmpeg.linked(Path(links)) if sys.platform == "linux" else ""
        for name in chosen.names or SCRIPTS:
            started = time.perf_counter()
            data = ["--data", chosen.data] if name == "reading" else []
            text = section(name, ["--rounds", str(chosen.rounds), *data], path)
            if not text:
                sys.exit(f"benchmarks.{name} failed; the sections before it are printed above, no file was changed")
            sections.append(f"{text}\n\n`python -m benchmarks {name}`: {(time.perf_counter() - started) / 60:.1f} min.")
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
