"""A training step of `texthead.train` against a bare forward, backward, step loop of the same network.

    python -m benchmarks.step [--rounds 7]

Both sides train `mini` at 112 pixels on the same 8 batches of 16 images, which are read from memory: a fixed tensor
stands in for decoding on both sides, so that what is compared is the loop. Rounds are interleaved in one process;
the ratio is the median over rounds of texthead's time over the bare loop's.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import texthead as th
from texthead import training
from texthead.temporal import MeanPool

CLASSES, ITEMS, BATCH, SIZE = 8, 128, 16, 112


def make_model() -> th.Recognizer:
    """The network of both sides."""
    encoder = th.load_encoder("mini")
    generator = torch.Generator().manual_seed(0)
    weight = th.random_weights(CLASSES, encoder.dim, generator=generator)
    return th.Recognizer(
        encoder.visual, MeanPool(), th.FrozenHead(weight, names=[f"class {i}" for i in range(CLASSES)])
    )


def ours(data: th.Dataset, recipe: th.Recipe, clip: torch.Tensor) -> float:
    """Seconds a step inside texthead's loop, from the first step's end to the last one's."""
    marks: list[float] = []
    model = make_model()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(training.TrainClips, "__getitem__", lambda self, key: (clip, self.targets[key[1]], key[1])),
    ):
        th.train(model, data, None, recipe, out=folder, progress=lambda done, total: marks.append(time.perf_counter()))
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def bare(data: th.Dataset, recipe: th.Recipe, clip: torch.Tensor) -> float:
    """Seconds a step of the plainest loop."""
    model = make_model()
    model.head.log_scale.requires_grad_(False)
    training.set_training(model, recipe)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    targets = torch.arange(ITEMS) % CLASSES
    batch = torch.stack([clip] * BATCH)
    marks = []
    for start in range(0, ITEMS, BATCH):
        loss = F.cross_entropy(model(batch), targets[start : start + BATCH])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        marks.append(time.perf_counter())
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def main() -> None:
    """Print the medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    recipe = th.recipes.small(frames=1, temporal="mean", epochs=1, warmup=0.5, batch=BATCH)
    clip = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), dtype=np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.png"
        Image.new("RGB", (SIZE, SIZE)).save(path)
        data = th.Dataset(tuple(th.Item(path, f"class {i % CLASSES}", "train") for i in range(ITEMS)))
        pairs = [(ours(data, recipe, clip), bare(data, recipe, clip)) for _ in range(rounds + 1)][1:]
    ratio = [a / b for a, b in pairs]
    print(f"texthead: median {1000 * statistics.median(a for a, _ in pairs):.0f} ms a step of {BATCH} images")
    print(f"bare:     median {1000 * statistics.median(b for _, b in pairs):.0f} ms")
    print(
        f"ratio:    median {statistics.median(ratio):.3f} (min {min(ratio):.3f}, max {max(ratio):.3f}, {rounds} rounds)"
    )


if __name__ == "__main__":
    main()
