"""The command line: the same seed, machine and thread count give bit-identical losses and weights on a CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from made import COLOURS, write_video


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--tune", "all"), ("--head", "linear", "--tune", "none")])
def test_two_processes_train_the_same_to_the_bit(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The runs differ in hash seed and number of workers; one has a cold cache, one a warm cache."""
    for number in range(8):
        colour = list(COLOURS)[number % 2]
        write_video(tmp_path / "data" / colour / f"{number}.mp4", colour, seed=number)
    runs = []
    for workers in ("0", "2"):
        out = tmp_path / f"run{workers}"
        few = ["--set", "size=32", "--set", "frames=2", "--set", "epochs=2", "--set", "batch=3", "--seed", "5"]
        words = ["train", str(tmp_path / "data"), *few, "--workers", workers, "--out", str(out), *options]
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": workers}
        subprocess.run([sys.executable, "-m", "texthead", *words], env=alone, check=True, capture_output=True)
        lines = (out / "metrics.jsonl").read_text().splitlines()
        timeless = [line.partition(', "clips_per_second"')[0] for line in lines]
        assert sum('"loss"' in line for line in timeless) == 4
        runs.append((timeless, (out / "model.safetensors").read_bytes(), (out / "split.json").read_bytes()))
    assert runs[0] == runs[1]
