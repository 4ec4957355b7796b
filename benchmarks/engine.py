"""Frames per CPU-second of each engine for a frozen encoder.

    python -m benchmarks engine [--rounds 5]

`mini` with its own weights at 128 and 224 pixels, a ViT-B/32 of open_clip and one of timm with random weights: eager
torch, eager torch with batch norms folded into convolutions, and onnxruntime, eight frames at a time. The last column
is the one-time cost of the graph: export and comparison of features.
"""

import copy
import os
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import texthead as th
from benchmarks.rounds import Section, interleaved, now, ratios, since, spread, table, timed
from texthead.encoders.encoder import VisualEncoder, build_visual
from texthead.encoders.lazy import weights_digest
from texthead.encoders.load import spec_of
from texthead.features.engine import Engine, graph_path, make_graph

FRAMES = 8

CASES = (("mini", 128), ("mini", 224), ("openclip:ViT-B-32", 224), ("timm:vit_base_patch32_224", 224))


def visual_of(source: str) -> VisualEncoder:
    """Return an encoder: `mini` as it is published, others with random weights."""
    if source == "mini":
        return th.load_encoder(source).visual.eval()
    torch.manual_seed(0)
    return build_visual(spec_of(source)).eval()


def folded(visual: VisualEncoder) -> VisualEncoder | None:
    """Return a copy whose batch norms are part of the convolutions before them; None where there are none."""
    made = copy.deepcopy(visual)
    count = 0
    for module in list(made.modules()):
        children = list(module.named_children())
        for (name, conv), (behind, norm) in pairwise(children):
            if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                continue
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            # timm's norms hold the activation too.
            layers = [layer for layer in (getattr(norm, "drop", None), getattr(norm, "act", None)) if layer is not None]
            setattr(module, behind, nn.Sequential(*layers))
            count += 1
    return made if count else None


def measure(source: str, size: int, rounds: int) -> list[list[str]]:
    """Return the rows of an encoder at a size."""
    visual = visual_of(source)
    frames = torch.randint(0, 256, (FRAMES, 3, size, size), dtype=torch.uint8)
    begun = now()
    make_graph(graph_path(weights_digest(visual), size), visual, frames)
    export = since(begun).cpu
    engines: dict[str, Callable[[Tensor], Tensor]] = {"eager": visual}
    fused = folded(visual)
    if fused is not None:
        engines["eager, batch norms folded"] = fused
    engines["onnxruntime"] = Engine(visual, "onnxruntime")
    with torch.inference_mode():
        ways = {name: timed(lambda encode=encode: encode(frames), per=FRAMES) for name, encode in engines.items()}
        costs = interleaved(ways, rounds)
        gaps = {
            name: 1 - torch.cosine_similarity(encode(frames), visual(frames)).min() for name, encode in engines.items()
        }
    return [
        [
            f"`{source}`, {size}",
            name,
            spread([1 / cost.cpu for cost in costs[name]], 0),
            spread(ratios(costs, "eager", name)),
            spread(ratios(costs, "onnxruntime", name)),
            f"{max(0.0, float(gaps[name])):.0e}",
            f"{export:.1f}" if name == "onnxruntime" else "-",
        ]
        for name in engines
    ]


def section(rounds: int, _: Path) -> Section:
    """Measure all encoders, with a folder of graphs of their own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TEXTHEAD_CACHE"] = folder  # The process is this section's own.
        rows = [row for source, size in CASES for row in measure(source, size, rounds)]
    head = ["encoder, pixels", "engine", "frames per CPU-second", "over eager", "over onnxruntime", "1 - cosine"]
    head.append("export, CPU-s")
    about = f"{torch.get_num_threads()} threads, {FRAMES} frames at a time."
    return Section(f"## Engines\n\n{about}\n\n{table(head, rows)}")
