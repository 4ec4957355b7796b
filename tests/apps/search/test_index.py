"""The index of a folder: what is encoded, when it is built again, and what it holds."""

import math
import os
from pathlib import Path

import pytest
import torch

import texthead as th
from made import COLOURS, encode, pictures, tiny_visual, write_broken, write_image
from texthead.apps.search.index import Index, open_index
from texthead.encoders.encoder import Encoder
from texthead.features.reading import Reading
from texthead.media.paths import MediaPath
from texthead.parallel.progress import Reporter


class Opened:
    """Opens the index of one folder again and again; counts frames that were encoded, and keeps the notes."""

    def __init__(self, data: Path):
        self.data, self.notes, self.encoded = data, list[str](), 0
        self.encoder = Encoder(tiny_visual(), None, scale=10.0)
        self.encoder.visual.net.register_forward_pre_hook(self._count)

    def _count(self, _: object, inputs: tuple[torch.Tensor]) -> None:
        self.encoded += len(inputs[0])

    def __call__(self, model: Encoder | None = None, **reading: object) -> Index:
        self.notes, self.encoded = [], 0
        how = Reading(**{"cache": True, **reading})
        return open_index(self.data, model or self.encoder, how, reporter=Reporter(note=self.notes.append))

    @property
    def file(self) -> Path:
        (file,) = (Path(os.environ["TEXTHEAD_CACHE"]) / "indexes").glob("*.safetensors")
        return file


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """A folder with a film of eight seconds each of three colours, a clip of a second, an image and a broken file."""
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    frames = [frame for colour in COLOURS for frame in pictures(colour, 1, 0) * 40]
    encode(tmp_path / "files" / "film.mp4", frames, rate=5)
    encode(tmp_path / "files" / "short.mp4", pictures("red", 5, 1), rate=5)
    write_image(tmp_path / "files" / "below" / "a.png", "red")
    write_broken(tmp_path / "files" / "broken.mp4")
    return Opened(tmp_path / "files")


def names(index: Index) -> list[str]:
    return [str(index.media(window).path.relative_to(index.data)) for window in range(len(index))]


def test_an_index_has_images_clips_and_the_scenes_of_films(opened: Opened) -> None:
    index = opened()
    image, *film, clip = names(index)
    assert (image, clip) == ("below/a.png", "short.mp4")
    assert opened.encoded == 1 + 24 + 4
    starts = {name.partition("#t=")[2].partition(",")[0] for name in film}
    assert {"8", "16"} <= starts
    assert index.spans[1, 0] == 0
    assert math.isinf(index.spans[len(film), 1])
    (error,) = index.skipped
    assert error.path.name == "broken.mp4"
    assert index.features.dtype == torch.float16
    with MediaPath(index.media(1).path).open() as part:
        assert part.num_frames > 1
    again = opened()
    assert opened.encoded == 0
    assert torch.equal(again.features, index.features)
    assert names(again) == names(index)


def test_public_names() -> None:
    assert th.open_index is open_index
