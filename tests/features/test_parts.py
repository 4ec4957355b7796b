"""Parts and their file share cached features, whichever was encoded first."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from made import PIXELS, pictures
from made import encode as encode_video
from texthead.data.protocol import Protocol
from texthead.data.sampling import evenly
from texthead.encoders.encoder import VisualEncoder
from texthead.features.cache import FeatureCache
from texthead.features.clips import encode
from texthead.features.reading import ReadOptions
from texthead.media.paths import MediaPath

PROTOCOL, every = Protocol(8, PIXELS), functools.partial(evenly, most=1000)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [np.roll(pictures("red", 1, 0)[0], 2 * i, axis=1) for i in range(20)]
    return encode_video(tmp_path_factory.mktemp("video") / "a.mp4", frames, rate=10, gop=5)


@pytest.fixture
def encoded(visual: VisualEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of frames in each call of the encoder."""
    counts: list[int] = []
    forward = VisualEncoder.forward

    def counted(self: VisualEncoder, frames: torch.Tensor) -> torch.Tensor:
        counts.append(len(frames))
        return forward(self, frames)

    monkeypatch.setattr(VisualEncoder, "forward", counted)
    return counts


def read(visual: VisualEncoder, paths: list[Path], cache: FeatureCache, workers: int = 0) -> list[torch.Tensor]:
    reading = ReadOptions(workers, cache=cache.path.parent)
    entries = [*encode(visual, paths, PROTOCOL, reading, choose=every)]
    assert all(isinstance(entry, torch.Tensor) for entry in entries), entries
    return [entry[0] for entry in entries if isinstance(entry, torch.Tensor)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_makes_its_parts_free(visual, video, cache, encoded, workers, monkeypatch) -> None:
    (whole,) = read(visual, [video], cache, workers)
    assert sum(encoded) == 20
    parts = [Path(f"{video}#t={span}") for span in ("0.5,1", "1.2", ",0.3")]
    result = read(visual, parts, cache, workers)
    assert sum(encoded) == 20, "nothing was encoded again"
    for entry, (first, stop) in zip(result, ((5, 10), (12, 20), (0, 3)), strict=True):
        assert torch.equal(entry, whole[first:stop])

    # Frame times are cached, so other parts need not open the file either.
    monkeypatch.setattr(MediaPath, "open", lambda media, **_: pytest.fail(f"{media} was opened"))
    (other,) = read(visual, [Path(f"{video}#t=1.5,1.7")], cache)
    assert torch.equal(other, whole[15:17])


def test_parts_make_their_file_free(visual, video, cache, encoded) -> None:
    halves = read(visual, [Path(f"{video}#t=,1"), Path(f"{video}#t=1")], cache)
    assert sum(encoded) == 20
    (whole,) = read(visual, [video], cache)
    assert sum(encoded) == 20
    assert len(whole) == 20
    assert torch.equal(whole, torch.cat(halves))
    (overlap,) = read(visual, [Path(f"{video}#t=0.8,1.2")], cache)
    assert torch.equal(overlap, whole[8:12])
