"""Long videos are cut where their frames change; labelled parts stay as they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from made import COLOURS, encode, joined_colours, noise, pictures, tiny_visual, write_image
from texthead.apps.label import labelling
from texthead.apps.search.windows import cut
from texthead.data.dataset import Dataset, Item
from texthead.encoders.encoder import Encoder
from texthead.features.reading import ReadOptions
from texthead.media.paths import MediaPath


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5])
def test_windows_begin_where_scenes_do(spread: float) -> None:
    lengths, means = [5, 3, 8, 2, 6], F.normalize(noise(5, 64, seed=1), dim=-1)
    scenes = [mean + spread * noise(n, 64, seed=9 * n) / 8 for n, mean in zip(lengths, means, strict=True)]
    assert cut(torch.cat(scenes)) == [0, 5, 8, 16, 18]


def test_windows_are_neither_short_nor_long() -> None:
    for seed in range(20):
        count = int(np.random.default_rng(seed).integers(4, 90))
        result = [*cut(noise(count, 32, seed=seed)), count]
        assert all(2 <= length <= 10 for length in np.diff(result)), result
    # A static video is cut into as few windows as possible.
    assert len(cut(torch.ones(60, 8))) == 6
    assert cut(torch.ones(3, 8)) == [0]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A video of eight seconds each of red, green and blue, at five frames a second."""
    return joined_colours(tmp_path / "files" / "film.mp4", COLOURS, seconds=8.0, rate=5)


def test_only_long_videos_are_cut(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = encode(tmp_path / "files" / "short.mp4", pictures("red", 8, 1), rate=5)
    picture = write_image(tmp_path / "files" / "a.png", "red")
    files = Dataset((Item(film, ()), Item(short, (), group="g"), Item(picture, ())), "files")
    encoder = Encoder(tiny_visual(), None, scale=10.0)

    def cut_them(*known: Path, above: float = 10.0) -> list[str]:
        monkeypatch.setattr(labelling, "_LONG_SECONDS", above)
        labelled = [MediaPath(path).resolved() for path in known]
        result = labelling.cut_files(files, encoder, ReadOptions(cache=tmp_path / "cache"), known=labelled)
        return [item.path.name for item in result.items]

    result = cut_them()
    assert result[-2:] == ["short.mp4", "a.png"]
    assert {"film.mp4#t=8,", "film.mp4#t=16,"} & {f"{name.partition(',')[0]}," for name in result}
    ends = []
    for name in result[:-2]:
        with MediaPath(film.with_name(name)).open() as part:
            ends.append(part.num_frames)
    assert sum(ends) == 120, "every frame is in one window"
    assert cut_them(above=60.0) == ["film.mp4", "short.mp4", "a.png"]
    # A labelled window changes nothing; another labelled part replaces the windows that it overlaps.
    labelled = film.with_name(result[1])
    assert cut_them(labelled) == result
    moved = cut_them(film.with_name("film.mp4#t=5,7"))
    assert "film.mp4#t=5,7" in moved
    assert cut_them(film) == ["film.mp4", "short.mp4", "a.png"], "a label of the whole"
