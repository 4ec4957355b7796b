"""Fine-tuning on one GPU: clips per second, share of the card's peak, waiting, memory; with published steps.

    python -m benchmarks.gpu [--out gpu.json] [--minutes 9]     on an otherwise idle GPU
    python -m benchmarks.gpu --smoke                            two steps of a tiny network on a CPU, as a test

It needs torch, torchvision, open_clip and timm, and draws its clips: 32 JPEG frames of 340x256 a clip, in the page
cache, so no disk is measured. If texthead can be imported, `texthead.train` runs on the same clips. The model is that
of the published logs: CLIP's visual encoder with its QuickGELU, six transformer layers over 8 frames, 400 frozen rows.
Weights are random and float32, the forward pass uses bf16 autocast: at a learning rate of 5e-6, bf16 weights would not
change. AdamW is fused, attention is torch's.

- "in memory": the same batch of uint8 frames on the GPU in every step: the cost of a step without waiting.
- "fed": clips come from worker processes into pinned memory, and are copied during the previous step. Batches loaded
  ahead are used up before the clock starts.
- Waiting is the share of time between the end of a step and the start of the next, by events on the GPU. The
  published logs' share is an estimate from the fastest steps.
- Share of the peak: three times the multiply-adds of a forward pass, two operations each, recomputation not counted;
  over the maker's dense bf16 figure, if it is in PEAKS, and over a matrix product of the same run.
- The frozen encoder is texthead's, with each of its engines on frames on the GPU; the first call compiles.
"""

import argparse
import gc
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

FRAMES, STORED, CLASSES, WIDTH, HEIGHT = 8, 32, 400, 340, 256
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
AHEAD = 2  # Batches that each worker loads ahead.
TINY = {"embed_dim": 64, "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}}

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


@dataclass(frozen=True)
class Published:
    """A run of 8 frames in Text4Vis' logs, whose GPUs are not named.

    `mean` and `ready` are seconds a step: all logged lines, and their 10th percentile without the time for data.
    """

    model: str
    gpus: int
    batch: int
    mean: float
    ready: float

    @property
    def waiting(self) -> float:
        """Return the percentage of a step spent waiting for clips, by any of the GPUs."""
        return 100 * (1 - self.ready / self.mean)


PUBLISHED = (
    Published("ViT-B-32", gpus=8, batch=32, mean=0.766, ready=0.246),
    Published("ViT-B-16", gpus=8, batch=32, mean=0.811, ready=0.731),
    Published("ViT-L-14", gpus=32, batch=8, mean=0.746, ready=0.714),
)


@dataclass(frozen=True)
class Row:
    """What one line of the table measures; the batch is halved until it fits."""

    model: str
    batch: int
    compiled: bool = False
    checkpointing: bool = False
    channels_last: bool = False
    fed: bool = False

    @property
    def settings(self) -> str:
        """Return what differs from the plain loop."""
        named = {"compiled": self.compiled, "checkpointing": self.checkpointing, "channels last": self.channels_last}
        return ", ".join(name for name, on in named.items() if on) or "plain"


# Most informative first: when time is short, the last are left out.
ROWS = (
    Row("ViT-B-32", 256, fed=True),
    Row("ViT-B-16", 64, fed=True),
    Row("ViT-L-14", 16, fed=True),
    Row("ViT-B-32", 256, compiled=True, fed=True),
    Row("ViT-B-16", 64, compiled=True),
    Row("ViT-L-14", 16, compiled=True),
    Row("ViT-L-14", 64, checkpointing=True),
    Row("ViT-B-16", 64, channels_last=True),
)
SMOKE = (Row("tiny", 2, fed=True), Row("tiny", 2, checkpointing=True, channels_last=True))


@dataclass
class Measured:
    """The figures of a row, None if not measured. Memory is in GiB, waiting in percent of the time."""

    row: Row
    loop: str = "bare"
    clips_per_second: float | None = None
    fed_clips_per_second: float | None = None
    waiting: float | None = None
    memory: float | None = None
    first_step_seconds: float | None = None
    steps: int = 0
    fed_steps: int = 0


@dataclass(frozen=True)
class Setting:
    """Where and how long: `seconds` each for the batch in memory and for fed clips, at least `least` steps."""

    device: torch.device
    clips: tuple[Path, ...]
    workers: int
    seconds: float
    least: int
    frames: int = FRAMES


# ---- clips


def draw_clip(folder: Path, seed: int) -> Path:
    """Draw a clip into the folder, a moving shape over a moving background; return the folder."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 236, (24, 40, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((2 * WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-2, 3, (HEIGHT, 2 * WIDTH, 1))  # A frame takes about 20 kB, close to a real one.
    background = Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    (x, y), (dx, dy) = rng.uniform(0, 150, 2), rng.uniform(-4, 6, 2)
    for number in range(STORED):
        frame = background.crop((4 * number, 0, 4 * number + WIDTH, HEIGHT))
        left, top = x + dx * number, y + dy * number
        ImageDraw.Draw(frame).ellipse((left, top, left + 80, top + 60), fill=colour)
        frame.save(folder / f"img_{number + 1:05d}.jpg", quality=90)
    return folder


def draw_clips(root: Path, count: int, processes: int) -> tuple[Path, ...]:
    """Draw `count` clips; return their folders."""
    folders = [root / f"clip-{number:05d}" for number in range(count)]
    with ProcessPoolExecutor(processes) as pool:
        return tuple(pool.map(draw_clip, folders, range(count)))


class Clips(torch.utils.data.Dataset):
    """Random frames of segments in one random resized crop, flipped half of the time, uint8; and a label."""

    def __init__(self, folders: Sequence[Path], frames: int, size: int):
        self.folders, self.frames, self.size = folders, frames, size

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        rng = np.random.default_rng(position)
        folder = self.folders[position % len(self.folders)]
        side, ratio = np.sqrt(rng.uniform(0.08, 1) * WIDTH * HEIGHT), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        width, height = min(WIDTH, side * np.sqrt(ratio)), min(HEIGHT, side / np.sqrt(ratio))
        left, top = rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height)
        box = (left, top, left + width, top + height)
        bounds = np.arange(self.frames + 1) * STORED // self.frames
        chosen = rng.integers(bounds[:-1], bounds[1:])
        pictures = [Image.open(folder / f"img_{number + 1:05d}.jpg") for number in chosen]
        cut = [picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box) for picture in pictures]
        # Height, width, channels, as decoded; the GPU permutes them.
        clip = np.stack([np.asarray(picture) for picture in cut])
        return torch.from_numpy(clip[:, :, ::-1].copy() if rng.random() < 0.5 else clip), position % CLASSES


def workers_that_fit(wanted: int, batch_bytes: int, shared: Path = Path("/dev/shm")) -> int:
    """Return at most `wanted` workers, so that their batches loaded ahead fit into shared memory."""
    if not shared.is_dir():
        return wanted
    fit = int(0.8 * shutil.disk_usage(shared).free / (batch_bytes * (AHEAD + 1)))
    if fit < wanted:
        print(f"{shared} has space for the batches of {fit} workers, not {wanted}; enlarge it", file=sys.stderr)
    return min(wanted, fit)


def batches(setting: Setting, batch: int, size: int) -> torch.utils.data.DataLoader:
    """Return a loader of batches, in pinned memory if there is a GPU."""
    workers = workers_that_fit(setting.workers, batch * setting.frames * size * size * 3)
    return torch.utils.data.DataLoader(
        Clips(setting.clips, setting.frames, size),
        batch_size=batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=setting.device.type == "cuda",
    )


def on_device(loader: torch.utils.data.DataLoader, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the loader's batches on the device; a copy overlaps the previous step."""
    if device.type != "cuda":
        yield from loader
        return
    copies = torch.cuda.Stream(device)
    for batch in loader:
        with torch.cuda.stream(copies):
            clips, targets = (tensor.to(device, non_blocking=True) for tensor in batch)
        now = torch.cuda.current_stream(device)
        now.wait_stream(copies)
        for tensor in (clips, targets):
            tensor.record_stream(now)  # Keeps the other stream from reusing this memory while it is read.
        yield clips, targets


# ---- the model and a step


def architecture(name: str) -> dict:
    """Return open_clip's config of a model, with OpenAI's activation."""
    return {**(TINY if name == "tiny" else open_clip.get_model_config(name) or {}), "quick_gelu": True}


class Recognizer(nn.Module):
    """Clips (batch, frames, height, width, channels; uint8) -> logits of 400 frozen rows."""

    weight: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, layout: torch.memory_format = torch.contiguous_format):
        super().__init__()
        config = architecture(name)
        dim = config["embed_dim"]
        text = open_clip.CLIPTextCfg(context_length=8, vocab_size=8, width=64, heads=1, layers=1)
        self.visual = open_clip.CLIP(dim, config["vision_cfg"], text, quick_gelu=True).visual
        layer = nn.TransformerEncoderLayer(
            dim, dim // 64, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.temporal = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.log_scale = nn.Parameter(torch.tensor(100.0).log())
        self.register_buffer("weight", F.normalize(torch.randn(CLASSES, dim), dim=-1))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1) * 255)
        self.layout = layout

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.flatten(0, 1).permute(0, 3, 1, 2).contiguous(memory_format=self.layout)
        frames = frames.float().sub_(self.mean).div_(self.std)
        features = self.visual(frames).unflatten(0, clips.shape[:2])
        features = (features + self.temporal(features)).mean(1)
        return self.log_scale.exp() * F.normalize(features, dim=-1) @ self.weight.T


def image_size(name: str) -> int:
    """Return the side of the frames in pixels."""
    return architecture(name)["vision_cfg"]["image_size"]


def step_operations(name: str, frames: int = FRAMES) -> float:
    """Return the floating-point operations of a training step of one clip: forward, and twice that backward.

    Counted in training mode: in evaluation the counter misses the fused attention.
    """
    with torch.device("meta"):
        model = Recognizer(name)
        clip = torch.empty(1, frames, image_size(name), image_size(name), 3, dtype=torch.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(clip)
    return 3.0 * counter.get_total_flops()


def make_step(row: Row, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a training step of a new model: (clips, labels) -> the loss, still on the device."""
    layout = torch.channels_last if row.channels_last else torch.contiguous_format
    torch.manual_seed(0)
    with torch.device(device):
        model = Recognizer(row.model, layout)
    model = model.to(memory_format=layout).train()  # pyright: ignore[reportCallIssue]
    model.visual.set_grad_checkpointing(row.checkpointing)
    if row.compiled:
        # All blocks share one compiled graph, which takes seconds instead of minutes.
        for block in model.visual.transformer.resblocks:
            block.compile(dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-6, weight_decay=0.2, fused=device.type == "cuda")

    def step(clips: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            loss = F.cross_entropy(model(clips).float(), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


# ---- time and memory


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def mark(device: torch.device) -> "torch.cuda.Event | float":
    """Return a mark of this point in the device's work."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def between(first: "torch.cuda.Event | float", last: "torch.cuda.Event | float") -> float:
    """Return the seconds between two marks that the device has passed."""
    if isinstance(first, torch.cuda.Event) and isinstance(last, torch.cuda.Event):
        return first.elapsed_time(last) / 1000
    return last - first  # pyright: ignore[reportOperatorIssue]


def peak_memory(device: torch.device) -> float:
    """Return the peak GiB of tensors on the GPU since the last reset; on a CPU, of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def let_go(device: torch.device) -> None:
    """Release the previous row's memory and compiled code, and reset the peak."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def seconds_each(call: Callable[[], object], device: torch.device, seconds: float, least: int) -> tuple[float, int]:
    """Return (seconds of a call, calls) over about `seconds`, after two calls to estimate the number."""
    wait(device)
    started = time.perf_counter()
    for _ in range(2):
        call()
    wait(device)
    calls = max(least, round(seconds / ((time.perf_counter() - started) / 2)))
    first = mark(device)
    for _ in range(calls):
        call()
    last = mark(device)
    wait(device)
    return between(first, last) / calls, calls


def matmul_rate(device: torch.device, side: int) -> float:
    """Return the TFLOP/s of a bf16 matrix product of random numbers."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(10):
        torch.mm(a, b)
    rates = [2 * side**3 / seconds_each(lambda: torch.mm(a, b), device, 0.3, 3)[0] / 1e12 for _ in range(5)]
    return statistics.median(rates)


def measure(row: Row, setting: Setting) -> Measured:
    """Measure a row.

    Raises:
        torch.cuda.OutOfMemoryError: the batch does not fit.
        RuntimeError: the loss is not finite.
    """
    device, size = setting.device, image_size(row.model)
    step = make_step(row, device)
    clips = torch.randint(0, 256, (row.batch, setting.frames, size, size, 3), dtype=torch.uint8, device=device)
    targets = torch.arange(row.batch, device=device) % CLASSES
    started = time.perf_counter()
    step(clips, targets)
    wait(device)
    found = Measured(row, first_step_seconds=time.perf_counter() - started)
    for _ in range(3):
        step(clips, targets)
    each, found.steps = seconds_each(partial(step, clips, targets), device, setting.seconds, setting.least)
    found.clips_per_second = row.batch / each
    if not step(clips, targets).isfinite():
        raise RuntimeError("the loss is not finite")
    del clips, targets
    if row.fed:
        each, found.waiting, found.fed_steps = feed(step, row, setting)
        found.fed_clips_per_second = row.batch / each
    found.memory = peak_memory(device)
    return found


def feed(step: Callable[[Tensor, Tensor], Tensor], row: Row, setting: Setting) -> tuple[float, float, int]:
    """Return (seconds per step, percent of it that the device waits, steps) with clips from the loader."""
    loader = batches(setting, row.batch, image_size(row.model))
    first = loader.num_workers * AHEAD + 1
    marks, started = [], 0.0
    for number, (clips, targets) in enumerate(on_device(loader, setting.device)):
        begun = mark(setting.device)
        step(clips, targets)
        if number == first:
            started = time.perf_counter()
        if number >= first:
            marks.append((begun, mark(setting.device)))
        if len(marks) > setting.least and time.perf_counter() - started > setting.seconds:
            break
    wait(setting.device)
    ends = [end for _, end in marks]
    total = between(ends[0], ends[-1])
    waited = sum(between(end, begun) for end, (begun, _) in zip(ends, marks[1:], strict=False))
    return total / (len(marks) - 1), 100 * waited / total, len(marks) - 1


def that_fits(run: Callable[[Row], Measured], row: Row, device: torch.device) -> Measured:
    """Measure the row with the largest of its batch, a half, a quarter, ... that fits.

    Raises:
        RuntimeError: not even one clip fits.
    """
    while row.batch >= 1:
        let_go(device)
        try:
            return run(row)
        except torch.cuda.OutOfMemoryError:
            pass  # Retry outside: the exception keeps the tensors alive.
        print(f"{row.model}, {row.settings}: {row.batch} clips do not fit", file=sys.stderr)
        row = replace(row, batch=row.batch // 2)
    raise RuntimeError("not even one clip fits")


def texthead_loop(row: Row, setting: Setting) -> Measured:
    """Measure `texthead.train` on the same clips, fed.

    Raises:
        ImportError: texthead or a dependency is not installed.
    """
    import texthead as th
    from texthead.encoders.encoder import build_visual
    from texthead.encoders.openclip import tower_spec

    spec = tower_spec(f"openclip:{row.model}", architecture(row.model), {})
    names = [f"class {number}" for number in range(len(setting.clips))]
    weight = th.random_weights(len(names), spec.dim, generator=torch.Generator().manual_seed(0))
    model = th.Recognizer(build_visual(spec), th.TemporalTransformer(spec.dim), th.FrozenHead(weight, names=names))
    workers = workers_that_fit(setting.workers, row.batch * setting.frames * spec.size**2 * 3)
    first = workers * AHEAD + 1
    items = [
        th.Item(folder / "img_{:05d}.jpg", name, "train") for folder, name in zip(setting.clips, names, strict=True)
    ]
    wanted = (first + max(setting.least, 20)) * row.batch
    data = th.Dataset(tuple(items), "drawn").repeat(-(-wanted // len(items)))
    recipe = th.recipes.text4vis(frames=setting.frames, batch=row.batch, epochs=1, warmup=0.2, precision="bf16")
    marks: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as out:
        th.train(
            model.to(setting.device),
            data,
            None,
            recipe,
            out=out,
            execution=th.Execution(workers=workers),
            reporter=th.Reporter().counting(lambda done, _: marks.append((time.perf_counter(), done)), "train"),
        )
    # The last batch is smaller.
    (begun, before), (ended, after) = marks[first], marks[-2]
    return Measured(
        row,
        "texthead.train",
        fed_clips_per_second=(after - before) / (ended - begun),
        memory=peak_memory(setting.device),
        fed_steps=(after - before) // row.batch,
    )


def frozen_rates(name: str, setting: Setting, frames: int) -> Iterator[dict[str, object]]:
    """Yield the figures of each engine on a frozen encoder: frames per second, seconds of the first call, 1 - cosine.

    Raises:
        ImportError: texthead or a dependency is not installed.
    """
    from texthead.encoders.encoder import build_visual
    from texthead.encoders.openclip import tower_spec
    from texthead.features.engine import Engine

    torch.manual_seed(0)
    visual = build_visual(tower_spec(f"openclip:{name}", architecture(name), {})).to(setting.device).eval()
    side = visual.spec.size
    batch = torch.randint(0, 256, (frames, 3, side, side), dtype=torch.uint8, device=setting.device)
    with torch.inference_mode():
        exact = visual(batch).double()
        for wanted in ("eager", "compiled", "bf16") if setting.device.type == "cuda" else ("eager", "bf16"):
            let_go(setting.device)
            encode, started = Engine(visual, wanted), time.perf_counter()
            gap = 1 - F.cosine_similarity(encode(batch).double(), exact).min().item()
            first = time.perf_counter() - started
            each, _ = seconds_each(partial(encode, batch), setting.device, setting.seconds / 3, setting.least)
            yield {
                "model": f"{name}, frozen",
                "engine": wanted,
                "frames": frames,
                "frames_per_second": frames / each,
                "first_call_seconds": first,
                "one_minus_cosine": gap,
                "memory": peak_memory(setting.device),
            }


# ---- the whole run


def run_rows(rows: Sequence[Row], setting: Setting, until: float) -> Iterator[Measured | str]:
    """Yield each row's figures, or a line with the reason for none; texthead's loop on the first row's model last."""
    jobs = [(row, measure, f"{row.model}, {row.settings}") for row in rows]
    jobs.append((rows[0], texthead_loop, f"{rows[0].model}, texthead.train"))
    longest = 0.0
    for row, run, title in jobs:
        started = time.monotonic()
        if started + longest > until:
            yield f"{title}: no time left"
            continue
        try:
            yield that_fits(lambda row, run=run: run(row, setting), row, setting.device)
        except Exception as error:  # GPU time is short: a failed row must not stop the others.
            yield f"{title}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        longest = max(longest, time.monotonic() - started)


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


def json_row(found: Measured, matmul: float, peak: float | None, frames: int) -> dict[str, object]:
    """Return a row for the JSON: its figures, and the arithmetic rate they imply."""
    rate = found.clips_per_second
    tflops = None if rate is None else rate * step_operations(found.row.model, frames) / 1e12
    of_peak = None if tflops is None or peak is None else 100 * tflops / peak
    of_matmul = None if tflops is None else 100 * tflops / matmul
    arithmetic = {"tflops": tflops, "percent_of_peak": of_peak, "percent_of_matmul": of_matmul}
    plain = {key: value for key, value in asdict(found).items() if key != "row"}
    return {**asdict(found.row), "settings": found.row.settings, **plain, **arithmetic}


COLUMNS = {
    "clips_per_second": "clips/s, in memory",
    "tflops": "TFLOP/s",
    "percent_of_peak": "% of peak",
    "percent_of_matmul": "% of a matrix product",
    "fed_clips_per_second": "clips/s, fed",
    "waiting": "waiting, %",
    "memory": "peak memory, GiB",
    "first_step_seconds": "first step, s",
}


def line(row: dict) -> str:
    """Return a row of the table."""
    cells = ["-" if row[key] is None else f"{row[key]:.1f}" for key in COLUMNS]
    return f"| {row['model']} | {row['loop']}, {row['settings']} | {row['batch']} | {' | '.join(cells)} |"


def published_table() -> str:
    """Return the table of the published steps, per GPU."""
    rows = [
        f"| {p.model} | {p.gpus} x {p.batch} | {p.batch / p.ready:.1f} | {p.batch / p.mean:.1f} | {p.waiting:.0f} |"
        for p in PUBLISHED
    ]
    head = "| Text4Vis' logs, 8 frames; GPU not named | GPUs x clips | clips/s a GPU, ready step | mean | waiting, % |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures to a JSON file after every row")
    parser.add_argument("--minutes", type=float, default=9.0, help="start no row that would end later, in minutes (9)")
    parser.add_argument("--workers", type=int, help="processes that read clips (default: all cores but one)")
    parser.add_argument("--smoke", action="store_true", help="two steps of a tiny network on the CPU")
    return parser.parse_args()


def main() -> int:
    """Print the tables; return 2 if there is no usable GPU."""
    started, arguments = time.monotonic(), options()
    try:
        device = card(arguments.smoke)
    except LookupError as error:
        print(error, file=sys.stderr)
        return 2
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # The rest of float32 may use TF32.
    cores = len(os.sched_getaffinity(0))
    workers = (1 if arguments.smoke else max(1, cores - 1)) if arguments.workers is None else arguments.workers
    name = "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    peak, matmul = PEAKS.get(name), matmul_rate(device, 256 if arguments.smoke else 8192)
    print(f"{name}, torch {torch.__version__}, {cores} cores, {workers} workers. bf16, TFLOP/s: a matrix product")
    print(f"{matmul:.1f}, the maker's dense peak {peak or 'not known here'}.\n")
    print(
        f"| model | loop | clips a step | {' | '.join(COLUMNS.values())} |\n|{'---|' * (3 + len(COLUMNS))}", flush=True
    )
    about = {"device": name, "torch": torch.__version__, "cores": cores, "workers": workers}
    about |= {"matmul_tflops": matmul, "peak_tflops": peak, "published": [asdict(p) for p in PUBLISHED]}
    rows, left_out = [], []
    with tempfile.TemporaryDirectory() as folder:
        clips = draw_clips(Path(folder), 4 if arguments.smoke else 128, max(1, workers))
        setting = Setting(device, clips, workers, seconds=10.0, least=5)
        if arguments.smoke:
            setting = replace(setting, seconds=0.0, least=2, frames=2)
        for row_results in run_rows(SMOKE if arguments.smoke else ROWS, setting, started + 60 * arguments.minutes):
            if isinstance(row_results, str):
                left_out.append(row_results)
            else:
                rows.append(json_row(row_results, matmul, peak, setting.frames))
                print(line(rows[-1]), flush=True)
            if arguments.out:
                arguments.out.write_text(json.dumps({**about, "rows": rows, "left_out": left_out}, indent=1) + "\n")
        frozen = []
        for name in ("tiny",) if arguments.smoke else ("ViT-B-32", "ViT-L-14"):
            try:
                frozen += frozen_rates(name, setting, 4 if arguments.smoke else 64)
            except Exception as error:  # As above.
                left_out.append(f"{name}, frozen: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    if frozen:
        print(f"\n| encoder | {' | '.join(list(frozen[0])[1:])} |\n|{'---|' * len(frozen[0])}")
    for row in frozen:
        print(f"| {' | '.join(f'{value:.3g}' if isinstance(value, float) else str(value) for value in row.values())} |")
    if arguments.out:
        arguments.out.write_text(
            json.dumps({**about, "rows": rows, "frozen": frozen, "left_out": left_out}, indent=1) + "\n"
        )
    print("".join(f"\nleft out: {what}" for what in left_out))
    print(f"\n{published_table()}\n\n{time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
