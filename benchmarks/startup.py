"""CPU time of commands beside that of `import torch`, each a new process from start to end.

    python -m benchmarks startup [--rounds 5]

The cache is a new folder, filled beforehand: `mini` with its text encoder, graphs, features and texts. The training of
"new" files and class names finds the encoder alone there; encoding them in this process is subtracted.
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
from benchmarks.rounds import Cost, Row, Section, interleaved, timed
from texthead.runs.folder import write_run

TORCH, ALONE = "import torch", "`import torch` alone"
TRAIN, NEW = "`train FOLDER --tune none`, 125 photos", "train on new files and class names"
ENCODE, BESIDE = "encode the photos", "`train FOLDER --tune none`, new files and class names, beside encoding them"


def write_models(folder: Path) -> None:
    """Write a run on `mini` with three classes, and its exported folder, as `run` and `exported`."""
    encoder = th.load_encoder("mini")
    names = ("a dress", "a hat", "shoes")
    head = th.FrozenHead(torch.randn(3, encoder.dim), names=names, kind="own")
    recipe = th.recipes.small(temporal="mean", size=224)
    model = th.Recognizer(encoder.visual.eval(), th.MeanPool(), head)
    write_run(folder / "run", model, recipe, encoder.visual.spec.pixels(recipe), names)
    th.export(th.load_run(folder / "run"), folder / "exported")


def write_photos(folder: Path, each: int) -> list[Path]:
    """Write class folders of drawn photos; return their paths."""
    paths = []
    for seed, name in enumerate(("dress", "hat", "pants", "shirt", "shoes")):
        (folder / name).mkdir(parents=True)
        for number, frame in enumerate(videos.drawn(10, seed)[:: 10 * videos.FPS // each][:each]):
            paths.append(folder / name / f"{number}.jpg")
            Image.fromarray(frame).save(paths[-1], quality=90)
    return paths


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the arguments of each command, by title; the first writes the run of others."""
    video, photos, run, trained = (str(folder / name) for name in ("video.mp4", "photos", "run", "trained"))
    train = ["train", photos, "--tune", "none", "--out"]
    words = {
        "": [*train, trained],
        "`predict RUN clip.mp4`, second and later": ["predict", run, video],
        "`predict clip.mp4 --classes NAMES`, zero-shot": ["predict", video, "--classes", "a dress, a hat, shoes"],
        TRAIN: [*train, str(folder / "again")],
        NEW: [*train, str(folder / "again")],
        "`compare FOLDER`": ["compare", photos],
        "`eval RUN`": ["eval", trained],
        "`label FOLDER --next 5`": ["label", photos, "--classes", "dress, hat", "--next", "5"],
        "`texthead --help`": ["--help"],
    }
    return {title: ["-m", "texthead", *each] for title, each in words.items()} | {
        "`th.load_run(RUN)`": ["-c", f"import texthead as th; th.load_run({trained!r})"],
        "`python EXPORTED/predict.py clip.mp4`": [str(folder / "exported" / "predict.py"), video],
        TORCH: ["-c", "import torch"],
    }


def started(arguments: Sequence[str], cache: Path) -> None:
    """Run a new process to its end."""
    environment = {**os.environ, "TEXTHEAD_CACHE": str(cache)}
    run = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr)


def started_fresh(title: str, arguments: Sequence[str], folder: Path) -> None:
    """Run a command without the folder that it writes; `NEW` knows the encoder alone."""
    for path in (folder / "again", folder / "encoder" / "features", folder / "encoder" / "texts"):
        shutil.rmtree(path, ignore_errors=True)
    started(arguments, folder / ("encoder" if title == NEW else "cache"))


def section(rounds: int, _: Path, seconds: int = 10, each: int = 25) -> Section:
    """Measure all commands.

    Args:
        seconds: length of the video.
        each: photos per class.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos.encode(folder / "video.mp4", videos.drawn(seconds, 0), 12)
        photos = write_photos(folder / "photos", each)
        write_models(folder)
        words = commands(folder)
        for title, arguments in words.items():
            if title != NEW:
                started_fresh(title, arguments, folder)
        shutil.copytree(folder / "cache", folder / "encoder")
        del words[""]
        ways = {title: timed(lambda t=title, a=each: started_fresh(t, a, folder)) for title, each in words.items()}
        frozen = th.FrozenEncoder(
            th.load_encoder("mini"), reading=th.ReadOptions(engine="onnxruntime")
        )  # As the command.
        frozen.files(photos)  # It makes the graph if there is none.
        ways[ENCODE] = timed(lambda: frozen.files(photos))
        costs = interleaved(ways, rounds, warm=False)
    pairs = zip(costs.pop(NEW), costs.pop(ENCODE), strict=True)
    costs[BESIDE] = [Cost(whole.wall - part.wall, whole.cpu - part.cpu) for whole, part in pairs]
    goals = {TRAIN: 1 / 2.5, BESIDE: 1 / 2.5}
    return Section(costs, [Row(title, ALONE, title, TORCH, goals.get(title, 0)) for title in costs if title != TORCH])
