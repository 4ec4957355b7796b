"""Predicting 3,000 clips takes no more memory than predicting a few hundred."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from made import COLOURS, write_small_run, write_video
from texthead.parts import Part, open_parts, predict_parts
from texthead.runs import load_run

CLIPS, PART = 3000, 50


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return (slope, half of its 95 % interval) of a least-squares line; neighbours correlate, so five count as one."""
    x, y = (values[: len(values) // 5 * 5].reshape(-1, 5).mean(1) for values in (x, y))
    centred = x - x.mean()
    rate = (centred * y).sum() / (centred**2).sum()
    left = y - y.mean() - rate * centred
    error = np.sqrt((left**2).sum() / (len(x) - 2) / (centred**2).sum())
    return float(rate), 1.96 * float(error)


def resident() -> float:
    """Return the bytes in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_stays_flat_over_three_thousand_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(write_small_run(tmp_path / "run"))
    colours = list(COLOURS)
    clips = [write_video(tmp_path / f"{n}.mp4", colours[n % 3], frames=6 + n % 20, seed=n) for n in range(60)]
    (tmp_path / "list.txt").write_text("\n".join(map(str, clips * (CLIPS // len(clips)))))
    sizes: list[tuple[int, float]] = []

    def note(part: Part) -> None:
        sizes.append((PART * (part.number + 1), resident()))

    predict_parts(open_parts(run, tmp_path / "list.txt", tmp_path / "named", part=PART), done=note)
    assert sizes[-1][0] == CLIPS
    # The first parts fill caches.
    clips_done, size = np.array(sizes[10:]).T
    rate, half = slope(clips_done, size)
    with capsys.disabled():
        print(f"{rate:.0f} ± {half:.0f} bytes a clip over {CLIPS} clips, {size[-1] / 2**20:.0f} MB in the end")
    # A leak of one small frame a clip would be 7 kB.
    assert rate - half < 1000
    assert size[-1] - size[0] < 20 * 2**20
