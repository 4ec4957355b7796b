"""`mini` on this machine: frames a second forward and in training, memory, loading; and the start-up of the commands.

    python -m benchmarks.mini [--rounds 5]

Each figure is a median over rounds with minimum and maximum. Loading is measured in fresh processes, the first time
with an empty cache folder (the bridge is fitted), then with the cache.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch

import texthead as th
from texthead import training

LOAD = (
    "import time; t = time.perf_counter(); import texthead as th; e = th.load_encoder('mini'); {}; "
    "print(time.perf_counter() - t)"
)


def spread(values: list[float], digits: int = 0) -> str:
    """Median (minimum-maximum)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def frames_a_second(step: Callable[[], object], frames: int, rounds: int) -> str:
    """The rate of a step over that many frames."""
    step()
    rates = []
    for _ in range(rounds):
        started = time.perf_counter()
        step()
        rates.append(frames / (time.perf_counter() - started))
    return spread(rates)


def seconds(code: str, cache: str) -> float:
    """What a fresh process prints."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TEXTHEAD_CACHE": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout.split()[-1])


def start_up(arguments: list[str], rounds: int) -> str:
    """Wall seconds of a command."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    return spread(times, 2)


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"texthead --help, s: {start_up(['-m', 'texthead', '--help'], rounds)}")
    print(f"import texthead, s: {start_up(['-c', 'import texthead'], rounds)}")
    with tempfile.TemporaryDirectory() as cache:
        text = LOAD.format("e.encode_text(['a cat'])")
        print(f"mini, first load with text (fits the bridge), s: {seconds(text, cache):.1f}")
        print(f"mini, later loads with text, s: {spread([seconds(text, cache) for _ in range(rounds)], 2)}")
        print(f"mini, visual half only, s: {spread([seconds(LOAD.format('0'), cache) for _ in range(rounds)], 2)}")
    started = time.perf_counter()
    encoder = th.load_encoder("mini")
    encoder.encode_text(["a cat"])
    print(f"mini in a process with torch imported, s: {time.perf_counter() - started:.2f}")
    started = time.perf_counter()
    th.load_encoder("mini").encode_text(["a cat"])
    print(f"the same again, s: {time.perf_counter() - started:.2f}")
    visual = encoder.visual
    for size in (112, 224):
        frames = torch.randint(0, 256, (32, 3, size, size), dtype=torch.uint8)
        with torch.inference_mode():
            print(f"forward at {size}, frames/s: {frames_a_second(lambda x=frames: visual(x), 32, rounds)}")
        recipe = th.recipes.small()
        training.set_training(visual, recipe)
        optimizer = torch.optim.AdamW(visual.parameters(), lr=1e-6)

        def step(x: torch.Tensor = frames, optimizer: torch.optim.Optimizer = optimizer) -> None:
            visual(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        print(f"training at {size}, frames/s: {frames_a_second(step, 32, rounds)}")
        visual.eval()
    print(f"peak memory, MB: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


if __name__ == "__main__":
    main()
