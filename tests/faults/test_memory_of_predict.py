"""Naming 3,000 clips takes no more memory than naming a few hundred."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from made import COLOURS, write_small_run, write_video
from texthead.prediction.bulk import Part, PartOptions, open_parts, predict_parts
from texthead.runs.run import load_run

CLIPS, PART = 3000, 50


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(slope, half of its 95 % interval) of a least-squares line; neighbours hang together, so blocks of ten count as one."""
    x, y = (values[: len(values) // 5 * 5].reshape(-1, 5).mean(1) for values in (x, y))
    centred = x - x.mean()
    found = (centred * y).sum() / (centred**2).sum()
    left = y - y.mean() - found * centred
    error = np.sqrt((left**2).sum() / (len(x) - 2) / (centred**2).sum())
    return float(found), 1.96 * float(error)


def resident() -> float:
    """Bytes in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_stays_flat_over_three_thousand_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(write_small_run(tmp_path / "run"))
    colours = list(COLOURS)
    clips = [write_video(tmp_path / f"{n}.mp4", colours[n % 3], frames=6 + n % 20, seed=n) for n in range(60)]
    (tmp_path / "list.txt").write_text("\n".join(map(str, clips * (CLIPS // len(clips)))))
    seen: list[tuple[int, float]] = []

    def note(part: Part) -> None:
        seen.append((PART * (part.number + 1), resident()))

    parts = open_parts(run, tmp_path / "list.txt", tmp_path / "named", options=PartOptions(PART))
    predict_parts(parts, done=note)
    assert seen[-1][0] == CLIPS
    # The first parts fill what is kept for good.
    count, held = np.array(seen[10:]).T
    found, half = slope(count, held)
    with capsys.disabled():
        print(f"{found:.0f} ± {half:.0f} bytes a clip over {CLIPS} clips, {held[-1] / 2**20:.0f} MB in the end")
    # One small frame that is kept of each clip would be 7 kB.
    assert found - half < 1000
    assert held[-1] - held[0] < 20 * 2**20
