"""Start-up cost of the commands, and a cold prediction of one video.

    python -m benchmarks startup [--rounds 5]

Each figure is a new process from start to end. The cache is a new folder: the first load of `mini` with its text
encoder fits the bridge there, and all others find it. `import torch` alone is measured for comparison. The commands
with a folder of photos find features and texts in the cache; "new" are files and class names that are not there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

import texthead as th
from benchmarks import videos
from benchmarks.rounds import Cost, Row, Section, interleaved, milliseconds, ratios, spread, table, timed
from texthead import ReadOptions
from texthead.runs.folder import write_run

WITH_TEXT = "import texthead; encoder = texthead.load_encoder('mini'); encoder.encode_text(['a cat'])"
PEAK = "from benchmarks.rounds import own_peak_mb; print('peak', own_peak_mb())"
PREDICT = "`predict clip.mp4 --classes NAMES`, zero-shot"
MISTYPED = "`predict RUN` with a mistyped path"
TORCH, RUN, EXPORTED = (
    "`import torch`, for comparison",
    "`predict RUN clip.mp4`, second and later",
    "`python EXPORTED/predict.py clip.mp4`",
)
TRAIN, NEW, BESIDE = (
    "`train FOLDER --tune none`, 125 photos",
    "the same, new files and class names",
    "the same, beside encoding the photos",
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
        PREDICT: ["-m", "texthead", "predict", str(video), "--classes", "a dress, a hat, shoes"],
    }


def write_photos(folder: Path, each: int = 25) -> list[Path]:
    """Write class folders of drawn photos; return their paths."""
    paths = []
    for seed, name in enumerate(("dress", "hat", "pants", "shirt", "shoes")):
        (folder / name).mkdir(parents=True)
        for number, frame in enumerate(videos.drawn(10, seed)[:: 10 * videos.FPS // each][:each]):
            paths.append(folder / name / f"{number}.jpg")
            Image.fromarray(frame).save(paths[-1], quality=90)
    return paths


def experiments(photos: Path, folder: Path) -> dict[str, list[str]]:
    """Return the arguments of the commands on labelled photos, by title; the first writes the run of the others."""
    run, again = str(folder / "trained"), str(folder / "again")
    commands = {
        "": ["train", str(photos), "--tune", "none", "--out", run],
        TRAIN: ["train", str(photos), "--tune", "none", "--out", again],
        NEW: ["train", str(photos), "--tune", "none", "--out", again],
        "`compare FOLDER`": ["compare", str(photos)],
        "`eval RUN`": ["eval", run],
        "`report RUN`, 4 saliency maps": ["report", run],
        "`label FOLDER --next 5`": ["label", str(photos), "--classes", "dress, hat", "--next", "5"],
    }
    load = ["-c", f"import texthead as th; th.load_run({run!r})"]
    return {title: ["-m", "texthead", *words] for title, words in commands.items()} | {"`th.load_run(RUN)`": load}


def started(arguments: Sequence[str], cache: Path) -> str:
    """Run a new process; return its output."""
    environment = {**os.environ, "TEXTHEAD_CACHE": str(cache)}
    run = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    if run.returncode not in (0, 2):  # The mistyped path ends with 2.
        raise RuntimeError(run.stderr)
    return run.stdout


def started_on_photos(title: str, arguments: Sequence[str], folder: Path) -> None:
    """Run a command on labelled photos, without the folder that it writes; `NEW` knows the encoder alone."""
    cache = folder / ("encoder" if title == NEW else "cache")
    for path in (folder / "again", folder / "encoder" / "features", folder / "encoder" / "texts"):
        shutil.rmtree(path, ignore_errors=True)
    started(arguments, cache)


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


def measure(rounds: int, seconds: int = 10, memory: bool = True, each: int = 25) -> Section:
    """Measure each command; without `memory`, which takes a second process for each row, peaks are NaN.

    Args:
        seconds: length of the video.
        each: photos per class.
    """
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        video = videos.encode(Path(name) / "video.mp4", videos.drawn(seconds, 0), 12)
        first = timed(lambda: started(["-c", WITH_TEXT], cache))()
        write_models(Path(name))
        commands = programs(video, Path(name))
        started(commands[RUN], cache)  # The first run keeps its graph.
        photos = write_photos(Path(name) / "photos", each)
        on_photos = experiments(Path(name) / "photos", Path(name))
        for title, arguments in on_photos.items():
            if title != NEW:
                started_on_photos(title, arguments, Path(name))
        shutil.copytree(cache, Path(name) / "encoder")
        del on_photos[""]
        ways = {title: timed(lambda a=a: started(a, cache)) for title, a in commands.items()}
        ways |= {t: timed(lambda t=t, a=a: started_on_photos(t, a, Path(name))) for t, a in on_photos.items()}
        frozen = th.FrozenEncoder(th.load_encoder("mini"), reading=ReadOptions(engine="onnxruntime"))  # As the command.
        frozen.files(photos)  # It makes the graph if there is none.
        ways[BESIDE] = timed(lambda: frozen.files(photos))
        costs = interleaved(ways, rounds, warm=False)
        peaks = {t: f"{peak(commands[t], cache):.0f}" for t in (RUN, EXPORTED, PREDICT, TORCH) if memory}
    costs[BESIDE] = [
        Cost(*(all_ - part for all_, part in zip(*pair, strict=True)))
        for pair in zip(costs[NEW], costs[BESIDE], strict=True)
    ]
    costs["load `mini` with text encoder, first time"] = [first] * max(1, rounds)
    shares = {title: ratios(costs, title, TORCH) for title in costs}
    rows = [
        [title, *milliseconds(own, 0), spread(shares[title]), peaks.get(title, "-")] for title, own in costs.items()
    ]
    text = table(["new process", "ms", "CPU-ms", "CPU time / that of `import torch`", "peak MB"], rows)
    named = [RUN, TRAIN, *(title for title in on_photos if title not in (TRAIN, NEW)), BESIDE]
    alone = "`import torch` alone"
    goals = {TRAIN: 1 / 2.5, BESIDE: 1 / 2.5}
    over = {title: [1 / share for share in shares[title]] for title in named}
    return Section(text, [Row(title, alone, over[title], target=goals.get(title, 0)) for title in named])


def section(rounds: int, _: Path) -> Section:
    """Measure all commands."""
    text, rows = measure(rounds)
    about = f"{torch.get_num_threads()} threads; the video has 340x256 pixels and lasts 10 s."
    return Section(f"## Start-up\n\n{about}\n\n{text}", rows)
