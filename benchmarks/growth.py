"""Scaling of time and memory with the number of items and with the number of classes.

    python -m benchmarks growth [--rounds 5]

Items: 1,000 and 8,000 drawn pictures of 64 pixels are in class folders on the disk. A new process reads the folder,
encodes every picture with a very small ViT, trains a linear head on the features for one epoch with a run folder, and
scores all pictures. The slope is that of the least-squares line through all rounds, with the 95 % interval.

Classes: a training step of ViT-B/32 (random weights) on 2 clips of 2 frames, with a frozen head of that many rows.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
import torch.nn.functional as F
from PIL import Image

import texthead as th
from benchmarks.rounds import (
    Cost,
    Section,
    in_new_process,
    interleaved,
    judge,
    milliseconds,
    now,
    own_peak_mb,
    peak_mb,
    ratios,
    since,
    spread,
    table,
    timed,
)
from texthead.encoders.encoder import VisualEncoder, build_visual
from texthead.encoders.load import spec_of
from texthead.encoders.openclip import ClipModel
from texthead.evaluation import evaluate
from texthead.models.temporal import MeanPool
from texthead.training.step import set_training

SIDE, KINDS, TIMES = 64, 10, (1, 8)
VISION = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1, "head_width": 32}
CLASSES = (10, 10000)
BATCH, FRAMES = 2, 2


# --- items


def draw(folder: Path, count: int) -> None:
    """Write different pictures of noise into class folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"kind {number % KINDS}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((SIDE, SIDE)).save(path)


def small_visual() -> VisualEncoder:
    """Return a ViT of one block on 32 pixels, always the same."""
    torch.manual_seed(0)
    return build_visual(ClipModel("openclip:small", {"embed_dim": 64, "vision_cfg": VISION}).spec)


def experiment(folder: Path) -> tuple[Cost, float]:
    """Read, encode, train and score the folder; return (cost, the peak memory of this process in MB)."""
    torch.set_num_threads(1)
    visual = small_visual()
    start = now()
    data = th.read_dataset(folder)
    recipe = th.recipes.small(size=32, frames=1, temporal="mean", epochs=1, batch=64, tune="none", center=False)
    pixels = visual.spec.pixels(recipe)
    model = th.Recognizer(visual, MeanPool(), th.LinearHead(visual.spec.dim, names=data.classes))
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "kept"
        th.fine_tune(model, data, None, recipe, out=Path(name) / "run", reading=th.ReadOptions(cache=cache))
        evaluate(model, data, th.Protocol(1, pixels), th.ReadOptions(cache=cache))
    return since(start), own_peak_mb()


def measure_items(rounds: int, fewest: int, times: Sequence[int] = TIMES) -> str:
    """Return the table over numbers of items."""
    counts = [fewest * factor for factor in times]
    costs: dict[int, list[Cost]] = {count: [] for count in counts}
    peaks: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as name:
        for count in counts:
            draw(Path(name) / str(count), count)
        for number in range(rounds):
            for count in counts if number % 2 else reversed(counts):
                cost, peak = in_new_process(experiment, Path(name) / str(count))
                costs[count].append(cost)
                peaks[count].append(peak)
    rows = []
    for count in counts:
        each = 1000 * statistics.median(cost.cpu for cost in costs[count]) / count
        rows.append([str(count), *milliseconds(costs[count], 0), f"{each:.2f}", spread(peaks[count], 0)])
    time = slope(counts, [[1000 * cost.cpu for cost in costs[count]] for count in counts])
    memory = slope(counts, [[1024 * peak for peak in peaks[count]] for count in counts])
    fits = [
        f"CPU time: {time[0]:.3f} ± {time[1]:.3f} ms per item (95 %)",
        f"memory: {memory[0]:.2f} ± {memory[1]:.2f} kB per item (95 %)",
    ]
    headers = ["items", "ms", "CPU-ms", "CPU-ms per item", "peak MB"]
    return f"{table(headers, rows)}\n\n" + "\n".join(f"- {line}" for line in fits)


def slope(counts: Sequence[int], values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return (slope of the least-squares line through all values over their counts, half its 95 % interval)."""
    at = [count for count, draws in zip(counts, values, strict=True) for _ in draws]
    line: Any = scipy.stats.linregress(at, [value for draws in values for value in draws])
    return float(line.slope), float(scipy.stats.t.ppf(0.975, len(at) - 2) * line.stderr)


# --- classes


def step_with(visual: VisualEncoder, classes: int, clips: torch.Tensor) -> Callable[[], None]:
    """Return a function that takes one training step with a frozen head of that many rows."""
    weight = torch.randn(classes, visual.spec.dim, generator=torch.Generator().manual_seed(0))
    model = th.Recognizer(visual, MeanPool(), th.FrozenHead(weight, names=[f"class {i}" for i in range(classes)]))
    set_training(model, th.recipes.small())
    optimizer = torch.optim.AdamW(visual.parameters(), lr=1e-6)
    targets = torch.arange(len(clips))

    def step() -> None:
        F.cross_entropy(model(clips), targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def tower_and_clips(architecture: str, frames: int) -> tuple[VisualEncoder, torch.Tensor]:
    """Return an encoder with random weights, and clips for it."""
    visual = build_visual(spec_of(architecture))
    rng = np.random.default_rng(0)
    shape = (BATCH, frames, 3, visual.spec.size, visual.spec.size)
    return visual, torch.from_numpy(rng.integers(0, 256, shape, np.uint8))


def step_once(architecture: str, frames: int, classes: int) -> None:
    """Take one step in this process, to measure its memory."""
    visual, clips = tower_and_clips(architecture, frames)
    step_with(visual, classes, clips)()


def measure_classes(
    rounds: int, classes: Sequence[int], architecture: str = "openclip:ViT-B-32", frames: int = FRAMES
) -> str:
    """Return the table over numbers of classes."""
    visual, clips = tower_and_clips(architecture, frames)
    ways = {f"{count} classes": timed(step_with(visual, count, clips)) for count in classes}
    costs = interleaved(ways, rounds)
    fewest = f"{classes[0]} classes"
    rows = []
    for count in classes:
        title = f"{count} classes"
        times = ["1", "-"] if title == fewest else judge(ratios(costs, title, fewest), at_most=1.05)
        memory = peak_mb(step_once, architecture, frames, count)
        rows.append([title, *milliseconds(costs[title], 0), *times, f"{memory:.0f}"])
    return table(["ViT-B/32, one step", "ms", "CPU-ms", f"CPU time / {fewest}", "target", "peak MB"], rows)


def section(rounds: int, _: Path) -> Section:
    """Measure both."""
    items = "One thread; reading, encoding, one epoch of a head and scoring, in a new process."
    classes = f"{BATCH} clips of {FRAMES} frames, {torch.get_num_threads()} threads."
    return Section(
        f"## Scaling\n\n### Items\n\n{items}\n\n{measure_items(rounds, 1000)}\n\n"
        f"### Classes\n\n{classes}\n\n{measure_classes(rounds, CLASSES)}"
    )
