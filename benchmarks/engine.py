"""CPU time of each engine for a frozen encoder, on frames in memory.

    python -m benchmarks engine [--rounds 5]

`mini` with its own weights at 128 and 224 pixels, a ViT-B/32 of open_clip and one of timm with random weights: eager
torch and onnxruntime, eight frames at a time. The export of the graph is not counted.
"""

import os
import tempfile
from pathlib import Path

import torch

import texthead as th
from benchmarks.rounds import Costs, Row, Section, interleaved, timed
from texthead.encoders.encoder import build_visual
from texthead.encoders.lazy import weights_digest
from texthead.encoders.load import spec_of
from texthead.features.engine import Engine, graph_path, make_graph

FRAMES = 8
CASES = (("mini", 128), ("mini", 224), ("openclip:ViT-B-32", 224), ("timm:vit_base_patch32_224", 224))


def section(rounds: int, _: Path, cases: tuple[tuple[str, int], ...] = CASES) -> Section:
    """Measure all encoders, with a folder of graphs of their own."""
    costs: Costs = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        os.environ["TEXTHEAD_CACHE"] = folder  # The process is this section's own.
        for source, size in cases:
            visual = th.load_encoder(source).visual if source == "mini" else build_visual(spec_of(source))
            frames = torch.randint(0, 256, (FRAMES, 3, size, size), dtype=torch.uint8)
            make_graph(graph_path(weights_digest(visual.eval()), size), visual, frames)
            name = f"`{source}`, {size} pixels"
            engines = {f"{name}: torch": visual, f"{name}: onnxruntime": Engine(visual, "onnxruntime")}
            ways = {
                title: timed(lambda encode=encode, x=frames: encode(x), FRAMES) for title, encode in engines.items()
            }
            costs |= interleaved(ways, rounds)
            task = f"encode ready frames, {name}, {torch.get_num_threads()} threads"
            rows.append(Row(task, "torch", f"{name}: onnxruntime", f"{name}: torch"))
    return Section(costs, rows)
