"""Speed of `mini` on this machine: frames per second forward and in training.

    python -m benchmarks mini [--rounds 5]

Batches of 32 frames of 112 and of 224 pixels; memory is the peak of the whole script.
"""

from collections.abc import Callable
from pathlib import Path

import torch

import texthead as th
from benchmarks.rounds import Section, interleaved, own_peak_mb, spread, table, timed
from texthead.training.step import set_training

BATCH, SIZES = 32, (112, 224)


def measure(rounds: int, batch: int = BATCH, sizes: tuple[int, ...] = SIZES) -> str:
    """Return the table."""
    visual = th.load_encoder("mini").visual
    ways: dict[str, Callable[[], object]] = {}
    for size in sizes:
        frames = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
        ways[f"forward at {size} pixels"] = lambda x=frames: forward(visual, x)
        ways[f"training at {size} pixels"] = lambda x=frames: train_step(visual, x)
    costs = interleaved({title: timed(run, per=batch) for title, run in ways.items()}, rounds)
    rows = [
        [title, *(spread([1 / getattr(cost, clock) for cost in costs[title]], 0) for clock in ("wall", "cpu"))]
        for title in ways
    ]
    return table([f"`mini`, batches of {batch}", "frames per second", "frames per CPU-second"], rows)


@torch.inference_mode()
def forward(visual: torch.nn.Module, frames: torch.Tensor) -> None:
    """Run a forward pass in evaluation mode."""
    visual.eval()
    visual(frames)


def train_step(visual: torch.nn.Module, frames: torch.Tensor) -> None:
    """Run a forward pass, a backward pass and a step of AdamW."""
    set_training(visual, th.recipes.small())
    optimizer = torch.optim.AdamW(visual.parameters(), lr=1e-6)
    visual(frames).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def section(rounds: int, _: Path) -> Section:
    """Measure both sizes."""
    head = f"## Speed of `mini`\n\n{torch.get_num_threads()} threads."
    return Section(f"{head}\n\n{measure(rounds)}\n\nPeak memory of the script: {own_peak_mb():.0f} MB.")
