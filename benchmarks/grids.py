"""Compare an epoch of an attentive probe on cached grids of features with the same epoch on grids in memory.

    python -m benchmarks.grids [--rounds 5] [--clips 300]

The grids are random, of V-JEPA 2 L's size: 8 x 4 x 4 features of 1024 numbers in half precision. The probe has width
256, batches have 32 clips. Both give equal losses to the bit.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.rounds import interleaved, judge, milliseconds, parser, ratios, table, timed
from texthead.data.clips import TrainFeatures, epoch_batches, loader
from texthead.features.cache import FeatureCache
from texthead.features.clips import CachedClips, Units
from texthead.models.temporal import AttentivePool
from texthead.recipes import small

TOKENS, DIM, CLASSES = 128, 1024, 10
RECIPE = small(batch=32)
CACHED, MEMORY = "cached", "in memory"


def cached_grids(folder: Path, count: int, tokens: int = TOKENS) -> list[CachedClips]:
    """Return random grids, one for each of `count` files, which are written to a cache."""
    cache = FeatureCache("grids", folder, "float16")
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        cache.put(str(number), [0.0] * 64, [[0]], torch.randn(1, tokens * DIM, generator=generator))
    return [CachedClips(cache, str(number), Units([[0]], [[0]]), DIM) for number in range(count)]


def read_epoch(bank: Sequence[Sequence[Tensor]]) -> torch.utils.data.DataLoader:
    """Return the batches of an epoch, as training reads them."""
    clips = TrainFeatures(bank, frames=64, seed=0)
    return loader(clips, epoch_batches(len(clips), RECIPE), 0, torch.device("cpu"))


def read_all(folder: Path, count: int) -> int:
    """Write grids to a cache, read an epoch of them, and return the number of clips."""
    return sum(len(positions) for _, positions in read_epoch(cached_grids(folder, count)))


def train_epoch(bank: Sequence[Sequence[Tensor]]) -> list[float]:
    """Train a new probe for an epoch, and return the loss of each step."""
    torch.manual_seed(0)
    probe = torch.nn.Sequential(AttentivePool(DIM, 256), torch.nn.Linear(DIM, CLASSES))
    optimizer, losses = torch.optim.AdamW(probe.parameters(), lr=1e-3), []
    for clips, positions in read_epoch(bank):
        loss = F.cross_entropy(probe(clips), positions % CLASSES)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


def measure(rounds: int, clips: int, tokens: int = TOKENS) -> str:
    """Return the table.

    Raises:
        ValueError: the losses differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        cached = cached_grids(Path(folder), clips, tokens)
        banks = {CACHED: cached, MEMORY: [list(grids) for grids in cached]}
        if train_epoch(banks[CACHED]) != train_epoch(banks[MEMORY]):
            raise ValueError("cached grids and grids in memory give different losses")
        costs = interleaved({name: timed(lambda bank=bank: train_epoch(bank)) for name, bank in banks.items()}, rounds)
    verdicts = [" (".join(judge(ratios(costs, CACHED, MEMORY, clock), at_most=2)) + ")" for clock in ("wall", "cpu")]
    rows = [[CACHED, *milliseconds(costs[CACHED], 0), *verdicts], [MEMORY, *milliseconds(costs[MEMORY], 0), "", ""]]
    return table(["an epoch on grids", "ms", "CPU-ms", "ratio, wall time", "ratio, CPU time"], rows)


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--clips", type=int, default=300, help="number of clips (300)")
    chosen = options.parse_args()
    print(f"{chosen.clips} clips, {torch.get_num_threads()} threads.\n\n{measure(chosen.rounds, chosen.clips)}")


if __name__ == "__main__":
    main()
