"""Fine-tuning and encoding on one GPU: images per second, share of the card's peak (MFU), ratio to a bare loop.

    python -m benchmarks.gpu                      on an otherwise idle GPU with bf16; about ten minutes
    python -m benchmarks.gpu --smoke              a few steps of a tiny network on a CPU, as a test

CLIP's visual encoder and six transformer layers over 8 frames, 400 frozen rows, random weights, as in the published
recipe: bf16 autocast (float32 on a CPU), fused AdamW, torch's attention. The bare loop steps on one batch on the GPU;
`train` gets the same clip for all items from memory ("in memory"), or decodes JPEG frames in worker processes
("files"). A step lasts from one forward pass to the next, by events on the GPU; those on batches that were loaded ahead
do not count.

MFU: operations of the forward pass, in training three times these, over the maker's dense bf16 figure, if it is in
PEAKS, and over a matrix product of the same run.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from itertools import cycle, islice
from pathlib import Path
from unittest import mock

import open_clip
import torch
import torch.nn.functional as F

import texthead as th
from benchmarks import videos
from benchmarks.rounds import table
from paper.costs import Costs
from texthead.data.clips import TrainClips
from texthead.encoders.encoder import VisualEncoder, build_visual
from texthead.encoders.openclip import ClipModel
from texthead.features.engine import Engine
from texthead.training.step import set_training

FRAMES, STORED, CLASSES = 8, 32, 400
AHEAD = 2  # Batches that each worker loads ahead.
TINY = {"embed_dim": 64, "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}}
MODELS = {"ViT-B-32": 256, "ViT-B-16": 64, "ViT-L-14": 16}  # Clips a step.

# The maker's dense bf16 rate in TFLOP/s, by torch's name of the card. For others only the matrix product is known.
PEAKS = {
    "NVIDIA H100 80GB HBM3": 989,
    "NVIDIA H100 PCIe": 756,
    "NVIDIA H200": 989,
    "NVIDIA A100-SXM4-40GB": 312,
    "NVIDIA A100-SXM4-80GB": 312,
    "NVIDIA A100-PCIE-40GB": 312,
    "NVIDIA A100 80GB PCIe": 312,
    "NVIDIA L4": 121,
    "NVIDIA GeForce RTX 4090": 165,
}
Marks = list["torch.cuda.Event | float"]


# ---- models and their operations


def visual_of(name: str) -> VisualEncoder:
    """Return a tower of open_clip with random weights and OpenAI's activation."""
    torch.manual_seed(0)
    config = TINY if name == "tiny" else open_clip.get_model_config(name) or {}
    return build_visual(ClipModel(f"openclip:{name}", {**config, "quick_gelu": True}).spec)


def model_of(name: str) -> th.Recognizer:
    """Return the recogniser of the published recipe."""
    visual, names = visual_of(name), [f"class {number}" for number in range(CLASSES)]
    weight = torch.randn(CLASSES, visual.spec.dim, generator=torch.Generator().manual_seed(0))
    return th.Recognizer(visual, th.TemporalTransformer(visual.spec.dim), th.FrozenHead(weight, names=names))


@cache
def step_operations(name: str, frames: int = FRAMES) -> float:
    """Return the floating-point operations of a training step of one clip: forward, and twice that backward."""
    with torch.device("meta"):
        model = model_of(name)
    return 6.0 * Costs.from_model(model, frames=frames, size=model.spec.size).multiply_adds


# ---- time


def mark(device: torch.device) -> "torch.cuda.Event | float":
    """Return a mark of this point in the device's work."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds(marks: Marks, first: int = 0) -> float:
    """Return the mean seconds between two marks from the first that counts on."""
    begin, end = marks[first], marks[-1]
    if isinstance(end, torch.cuda.Event):
        end.synchronize()
        return begin.elapsed_time(end) / 1000 / (len(marks) - 1 - first)  # pyright: ignore
    return (end - begin) / (len(marks) - 1 - first)  # pyright: ignore[reportOperatorIssue]


def seconds_of(call: Callable[[], object], device: torch.device, calls: int) -> float:
    """Return the mean seconds of a call, after three that do not count."""
    marks: Marks = []
    for _ in range(calls + 4):
        marks.append(mark(device))
        call()
    return seconds(marks, 3)


def matmul_rate(device: torch.device, side: int) -> float:
    """Return the TFLOP/s of a bf16 matrix product of random numbers."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: torch.mm(a, b), device, 30) / 1e12


# ---- loops: each returns the seconds of a step


def recipe_for(frames: int, batch: int) -> th.Recipe:
    """Return the published recipe for one epoch, which is in bf16 on a GPU."""
    return th.recipes.text4vis(frames=frames, batch=batch, epochs=1, warmup=0.2)


def bare(model: th.Recognizer, recipe: th.Recipe, device: torch.device, steps: int) -> float:
    """Step on a batch that is on the device."""
    set_training(model, recipe)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.lr, fused=device.type == "cuda" or None)
    side = model.spec.size
    clips = torch.randint(0, 256, (recipe.batch, recipe.frames, 3, side, side), dtype=torch.uint8, device=device)
    targets = torch.arange(recipe.batch, device=device) % CLASSES

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(clips)
        F.cross_entropy(logits.float(), targets).backward()
        if recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return seconds_of(step, device, steps)


def trained(model: th.Recognizer, recipe: th.Recipe, folders: list[Path], workers: int, steps: int) -> float:
    """Run `texthead.fine_tune` on folders of frames with some workers; with none, on one clip in memory."""
    device, side, first = model.device, model.spec.size, workers * AHEAD + 3
    items = (th.Item(path / "img_{:05d}.jpg", (model.names[i],), "train") for i, path in enumerate(folders))
    data = th.Dataset(tuple(islice(cycle(items), (first + steps + 1) * recipe.batch)))
    clip = torch.randint(0, 256, (recipe.frames, 3, side, side), dtype=torch.uint8)
    marks: Marks = []
    hook = model.visual.register_forward_pre_hook(lambda *_: marks.append(mark(device)))

    def read(_: TrainClips, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        return clip, key[1]

    patched = nullcontext() if workers else mock.patch.object(TrainClips, "__getitem__", read)
    reading = th.ReadOptions(workers=workers)
    with tempfile.TemporaryDirectory() as out, patched:
        th.fine_tune(model, data, None, recipe, out=out, reading=reading, checkpoint_every=0)
    hook.remove()
    return seconds(marks, first)


# ---- tables


def rows_of(name: str, batch: int, device: torch.device, folders: list[Path], workers: int, steps: int, frames: int):
    """Yield the rows of a model: (loop, seconds of a step)."""
    recipe = recipe_for(frames, batch)
    loops: dict[str, Callable[[th.Recognizer], float]] = {
        "bare": lambda model: bare(model, recipe, device, steps),
        "texthead.train, in memory": lambda model: trained(model, recipe, folders, 0, steps),
        f"texthead.train, files, {workers} workers": lambda model: trained(model, recipe, folders, workers, steps),
    }
    for loop, run in loops.items():
        yield loop, run(model_of(name).to(device))
        let_go(device)


def engines_of(name: str, device: torch.device, frames: int, steps: int):
    """Yield the rows of a frozen encoder: (engine, seconds for so many frames)."""
    visual = visual_of(name).to(device).eval()
    side = visual.spec.size
    batch = torch.randint(0, 256, (frames, 3, side, side), dtype=torch.uint8, device=device)
    with torch.inference_mode():
        yield "frozen, eager", seconds_of(partial(Engine(visual, "eager"), batch), device, steps)
    let_go(device)


def let_go(device: torch.device) -> None:
    """Release the previous row's memory, and reset the peak."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def lines(rows, name: str, images: int, operations: float, peak: float | None, matmul: float) -> list[list[str]]:
    """Return the lines of rows (loop, seconds for so many images and operations); the first is the reference.

    GPU time is short: if a row fails, its error is the line, and the model's other rows are left out.
    """
    done: list[list[str]] = []
    reference = 0.0
    try:
        for loop, each in rows:
            reference = reference or each
            rate = operations / each / 1e12
            shares = [f"{100 * rate / whole:.1f}" if whole else "-" for whole in (peak, matmul)]
            done.append([name, loop, f"{images / each:.1f}", f"{rate:.1f}", *shares, f"{reference / each:.2f}"])
    except Exception as error:
        done.append([name, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", *["-"] * 5])
    return done


def card(smoke: bool) -> torch.device:
    """Return the device to measure.

    Raises:
        LookupError: no GPU, or one without bf16.
    """
    if smoke:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise LookupError(f"no CUDA GPU here (torch {torch.__version__}): use a machine that has one, or --smoke")
    name, (major, minor) = torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0)
    if major < 8:
        raise LookupError(f"{name} has no bf16 (compute capability {major}.{minor}, 8.0 is needed): use a newer card")
    return torch.device("cuda", 0)


def main() -> int:
    """Print the table; return 2 if there is no usable GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, help="processes that read clips (default: all cores but one)")
    parser.add_argument("--smoke", action="store_true", help="a few steps of a tiny network on the CPU")
    chosen = parser.parse_args()
    try:
        device = card(chosen.smoke)
    except LookupError as error:
        print(error, file=sys.stderr)
        return 2
    workers = chosen.workers or max(1, len(os.sched_getaffinity(0)) - 1)
    models, frames, steps = ({"tiny": 2}, 2, 2) if chosen.smoke else (MODELS, FRAMES, 30)
    name = "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    peak, matmul = PEAKS.get(name), matmul_rate(device, 256 if chosen.smoke else 8192)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        drawn = [list(videos.drawn(2, seed)[:STORED]) for seed in range(2 if chosen.smoke else 64)]
        folders = [videos.write_frames(Path(folder) / f"{i}", clip, videos.HEIGHT) for i, clip in enumerate(drawn)]
        for model, batch in models.items():
            images, operations = batch * frames, batch * step_operations(model, frames)
            loops = rows_of(model, batch, device, folders, workers, steps, frames)
            rows += lines(loops, model, images, operations, peak, matmul)
            engines = engines_of(model, device, images, steps)
            encoding = images * step_operations(model, 1) / 3  # With the temporal layers, which are few.
            rows += lines(engines, model, images, encoding, peak, matmul)
            print(f"{model} done", file=sys.stderr)
    print(f"{name}, torch {torch.__version__}. TFLOP/s: {matmul:.1f} in a matrix product; peak {peak or 'unknown'}.")
    head = ["model", "loop", "images/s", "TFLOP/s", "MFU, %", "% of a matrix product", "speed / the first row's"]
    print(f"\n{table([head, *rows])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
