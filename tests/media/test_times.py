"""The times of a video's frames where its time stamps are missing, repeated or go backward."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from texthead.media.paths import MediaPath
from texthead.media.video import mended_times


def write_stamped(path: Path, stamps: list[int]) -> Path:
    """Write a film whose frames have these stamps, in thousandths of a second; its header says 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuvj420p"
        for number, stamp in enumerate(stamps):
            picture = av.VideoFrame.from_ndarray(np.full((48, 48, 3), 4 * number % 256, np.uint8))
            for packet in stream.encode(picture.reformat(format="yuvj420p")):
                packet.time_base = Fraction(1, 1000)
                packet.pts = packet.dts = stamp
                container.mux(packet)
    return path


@pytest.mark.parametrize("repeated", [1, 10, 30])
def test_one_repeated_time_stamp_costs_no_other(tmp_path: Path, repeated: int) -> None:
    """Matroska allows equal stamps."""
    stamps = [1000 * (second - (second == repeated)) for second in range(31)]
    with MediaPath(write_stamped(tmp_path / "a.mkv", stamps)).open() as video:
        assert video.has_times
        assert video.times == pytest.approx(range(31), abs=0.01)


@given(st.lists(st.one_of(st.none(), st.integers(0, 10_000)), min_size=2, max_size=60))
def test_mended_times_ascend_and_keep_what_ascends(times: list[int | None]) -> None:
    mended = mended_times(times)
    assert not mended or (len(mended) == len(times) and all(a < b for a, b in pairwise(mended)))
    ascending = sorted({time for time in times if time is not None})
    if len(ascending) >= 2:
        assert mended_times([*ascending]) == ascending
        assert mended_times([*ascending, None])[:-1] == ascending


def test_worked_examples_of_mended_times() -> None:
    assert mended_times([0, 4, 4, None, 16]) == [0, 4, 8, 12, 16]
    assert mended_times([None, 2, 4]) == [0, 2, 4]
    assert mended_times([None, None, None, 2]) == []
