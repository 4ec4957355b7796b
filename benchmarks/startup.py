"""Start-up cost of the commands, and a cold prediction of one video.

    python -m benchmarks startup [--rounds 5]

Each figure is a new process from start to end. The cache is a new folder: the first load of `mini` with its text
encoder fits the bridge there, and all others find it. `import torch` alone is measured for comparison.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

import texthead as th
from benchmarks import videos
from benchmarks.rounds import Row, Section, interleaved, milliseconds, ratios, spread, table, timed
from texthead.runs.folder import write_run

LOAD = "import texthead; encoder = texthead.load_encoder('mini')"
WITH_TEXT = f"{LOAD}; encoder.encode_text(['a cat'])"
PEAK = "from benchmarks.rounds import own_peak_mb; print('peak', own_peak_mb())"
PREDICT = "`predict clip.mp4 --classes NAMES`, zero-shot"
MISTYPED = "`predict RUN` with a mistyped path"
TORCH, RUN, EXPORTED = (
    "`import torch`, for comparison",
    "`predict RUN clip.mp4`, second and later",
    "`python EXPORTED/predict.py clip.mp4`",
)


def write_models(folder: Path) -> None:
    """Write a run on `mini` with three classes, and its exported folder, as `run` and `exported`."""
    encoder = th.load_encoder("mini")
    names = ("a dress", "a hat", "shoes")
    head = th.FrozenHead(torch.randn(3, encoder.dim), names=names, kind="own")
    recipe = th.recipes.small(temporal="mean", size=224)
    model = th.Recognizer(encoder.visual.eval(), th.MeanPool(), head)
    write_run(folder / "run", model, recipe, encoder.visual.spec.pixels(recipe), names)
    th.export(th.load_run(folder / "run"), folder / "exported")


def programs(video: Path, models: Path) -> dict[str, list[str]]:
    """Return the arguments of each process, by title."""
    return {
        RUN: ["-m", "texthead", "predict", str(models / "run"), str(video)],
        EXPORTED: [str(models / "exported" / "predict.py"), str(video)],
        "`classes RUN list`": ["-m", "texthead", "classes", str(models / "run"), "list"],
        MISTYPED: ["-m", "texthead", "predict", str(models / "run"), f"{video}x"],
        "`texthead --help`": ["-m", "texthead", "--help"],
        "`import texthead`": ["-c", "import texthead"],
        TORCH: ["-c", "import torch"],
        "load `mini`, image encoder only": ["-c", LOAD],
        "load `mini` with text encoder": ["-c", WITH_TEXT],
        PREDICT: ["-m", "texthead", "predict", str(video), "--classes", "a dress, a hat, shoes"],
    }


def started(arguments: Sequence[str], cache: Path) -> str:
    """Run a new process; return its output."""
    environment = {**os.environ, "TEXTHEAD_CACHE": str(cache)}
    run = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    if run.returncode not in (0, 2):  # The mistyped path ends with 2.
        raise RuntimeError(run.stderr)
    return run.stdout


def peak(arguments: Sequence[str], cache: Path) -> float:
    """Return the peak memory of a new process in MB."""
    kind, *rest = arguments
    if kind == "-c":
        code = f"{rest[0]}; {PEAK}"
    else:
        arguments, run = (rest, "run_module") if kind == "-m" else (arguments, "run_path")
        code = _AS_PROGRAM.format(arguments=list(arguments), run=run, peak=PEAK)
    return float(started(["-c", code], cache).split()[-1])


_AS_PROGRAM = """
import runpy, sys
sys.argv = {arguments}
try:
    runpy.{run}(sys.argv[0], run_name='__main__')
except SystemExit as done:
    assert done.code in (0, 2, None)
{peak}
"""


def measure(rounds: int, seconds: int = 10, memory: bool = True) -> Section:
    """Measure each command; without `memory`, which takes a second process for each row, peaks are NaN."""
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        video = videos.encode(Path(name) / "video.mp4", videos.drawn(seconds, 0), 12)
        first = timed(lambda: started(["-c", WITH_TEXT], cache))()
        write_models(Path(name))
        commands = programs(video, Path(name))
        started(commands[RUN], cache)  # The first run keeps its graph.
        costs = interleaved({title: timed(lambda a=a: started(a, cache)) for title, a in commands.items()}, rounds)
        rows = [
            [title, *milliseconds(costs[title], 0), f"{peak(a, cache) if memory else math.nan:.0f}"]
            for title, a in commands.items()
        ]
        share = spread(ratios(costs, RUN, TORCH))
    rows.append(
        [
            "load `mini` with text encoder, first time",
            spread([1000 * first.wall], 0),
            spread([1000 * first.cpu], 0),
            "-",
        ]
    )
    over = ratios(costs, TORCH, RUN)
    ratio = f"The second and later `predict RUN` take {share} times the CPU time of `import torch`."
    text = f"{table(['new process', 'ms', 'CPU-ms', 'peak MB'], rows)}\n\n{ratio}"
    return Section(text, [Row(RUN, "`import torch` alone", over, target=0)])


def section(rounds: int, _: Path) -> Section:
    """Measure all commands."""
    text, rows = measure(rounds)
    about = f"{torch.get_num_threads()} threads; the video has 340x256 pixels and lasts 10 s."
    return Section(f"## Start-up\n\n{about}\n\n{text}", rows)
