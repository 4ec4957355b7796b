"""Predicting 3,000 clips takes no more memory than predicting a few hundred."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from made import COLOURS, write_small_run, write_video
from texthead.prediction.load import load_run

CLIPS, SLICE = 3000, 50


def sizes_of(folder: Path) -> list[tuple[int, int]]:
    """Return the process's resident bytes after each slice: (clips so far, bytes)."""
    run = load_run(write_small_run(folder / "run"))
    clips = [write_video(folder / f"{n}.mp4", [*COLOURS][n % 3], frames=6 + n % 20, seed=n) for n in range(60)]
    sizes: list[tuple[int, int]] = []
    for number in range(CLIPS // SLICE):
        run.predict([clips[(number * SLICE + place) % len(clips)] for place in range(SLICE)])
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append((SLICE * (number + 1), pages * os.sysconf("SC_PAGESIZE")))
    return sizes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_stays_flat_over_three_thousand_clips(tmp_path: Path) -> None:
    # A new process: after other tests, the heap varies by megabytes.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        sizes = pool.submit(sizes_of, tmp_path).result()
    assert sizes[-1][0] == CLIPS
    # The first slices fill caches. A leak of one small frame a clip would be 7 kB.
    clips, size = np.array(sizes[10:]).T
    assert size[-1] - size[0] < 20 * 2**20
    assert np.polyfit(clips, size, 1)[0] < 1000
