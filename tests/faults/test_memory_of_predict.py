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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_stays_flat_over_three_thousand_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(write_small_run(tmp_path / "run"))
    clips = [write_video(tmp_path / f"{n}.mp4", [*COLOURS][n % 3], frames=6 + n % 20, seed=n) for n in range(60)]
    (tmp_path / "list.txt").write_text("\n".join(map(str, clips * (CLIPS // len(clips)))))
    sizes: list[tuple[int, int]] = []

    def note(part: Part) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append((PART * (part.number + 1), pages * resource.getpagesize()))

    predict_parts(open_parts(run, tmp_path / "list.txt", tmp_path / "named", part=PART), done=note)
    assert sizes[-1][0] == CLIPS
    # The first parts fill caches.
    size = np.array(sizes[10:])
    # Neighbours correlate, so five count as one.
    x, y = size[: len(size) // 5 * 5].reshape(-1, 5, 2).mean(1).T
    (rate, _), covariance = np.polyfit(x, y, 1, cov=True)
    half, growth = 1.96 * np.sqrt(covariance[0, 0]), (size[-1] - size[0])[1]
    with capsys.disabled():
        print(f"{rate:.0f} ± {half:.0f} bytes a clip over {CLIPS} clips, {growth / 2**20:.0f} MB in all")
    # A leak of one small frame a clip would be 7 kB.
    assert rate - half < 1000
    assert growth < 20 * 2**20
