"""`texthead profile`: what a recogniser costs, before any weights are there."""

import resource
import statistics
import time
from typing import Any

import torch
from rich.table import Table

from texthead.commands.console import results
from texthead.encoders.encoder import VisualSpec, build_visual
from texthead.encoders.load import spec_of
from texthead.errors import EncoderError
from texthead.models.cost import count
from texthead.models.heads import LinearHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import make_temporal
from texthead.parallel.device import pick_device

ROUNDS = 5


def profile(options: Any) -> None:
    """Print the counts; with --measure also memory and clips/s of the forward pass with random weights."""
    spec = spec_of(options.encoder)
    size = options.size or spec.size
    if size != spec.size and not spec.any_size:
        raise EncoderError(f"{options.encoder} takes {spec.size} pixels only, got --size {size}")
    with torch.device("meta"):
        found = count(_model(spec, options), frames=options.frames, size=size)
    table = Table("", "multiply-adds, G", "parameters, M", title=f"{options.encoder}, {options.frames}x{size}x{size}")
    table.add_row("true", f"{found.multiply_adds / 1e9:.2f}", f"{found.parameters / 1e6:.2f}")
    table.add_row(
        "as the paper counts", f"{found.paper_multiply_adds / 1e9:.1f}", f"{found.paper_parameters / 1e6:.1f}"
    )
    show = results()
    show.print(table)
    show.print("the paper leaves out attention and layer norms")
    if options.measure:
        speed, gigabytes = _measure(_model(spec, options), options.frames, size, pick_device(options.device))
        show.print(f"forward: {speed:.3g} clips/s, at most {gigabytes:.2f} GB of memory (random weights, one clip)")


def _model(spec: VisualSpec, options: Any) -> Recognizer:
    visual = build_visual(spec)
    transformer: dict[str, Any] = {}
    if options.temporal == "transformer":
        narrow = {} if options.width is None else {"width": options.width, "mlp_ratio": 2}
        transformer = {"dim": spec.dim, "layers": options.layers, **narrow}
    temporal = make_temporal({"kind": options.temporal, **transformer}, visual)
    names = [str(place) for place in range(options.classes)]
    return Recognizer(visual, temporal, LinearHead(spec.dim, names=names) if names else torch.nn.Identity())


def _measure(model: Recognizer, frames: int, size: int, device: torch.device) -> tuple[float, float]:
    """(clips/s, the median of some rounds; the peak of memory in GB: of the device, or of this process on a CPU)."""
    model.to(device).eval()
    clip = torch.zeros(1, frames, 3, size, size, dtype=torch.uint8, device=device)
    seconds: list[float] = []
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            model(clip).cpu()
            seconds.append(time.perf_counter() - start)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1e9
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return 1 / statistics.median(seconds[1:]), peak
