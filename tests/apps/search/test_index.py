"""The index of a folder: what is encoded, when it is built again, and what it holds."""

import math
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save_file

import texthead as th
from made import COLOURS, encode, noise, pictures, tiny_visual, write_broken, write_colour_run, write_image
from texthead.apps.search.index import Index, open_index
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError
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

    def __call__(self, model: object = None, **reading: object) -> Index:
        self.notes, self.encoded = [], 0
        how = Reading(**{"cache": True, **reading})
        return open_index(self.data, model or self.encoder, how, reporter=Reporter(note=self.notes.append))

    @property
    def file(self) -> Path:
        return next((Path(os.environ["TEXTHEAD_CACHE"]) / "indexes").glob("*.safetensors"))


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
    return [index.media(window).path.relative_to(index.data).as_posix() for window in range(len(index))]


def test_an_index_has_images_clips_and_the_scenes_of_films(opened: Opened) -> None:
    index = opened()
    image, *film, clip = names(index)
    assert (image, clip, opened.encoded) == ("below/a.png", "short.mp4", 1 + 24 + 4)
    assert {"8", "16"} <= {name.partition("#t=")[2].partition(",")[0] for name in film}
    (error,) = index.skipped
    assert error.path.name == "broken.mp4"
    with MediaPath(index.media(1).path).open() as part:
        assert part.num_frames > 1
    again = opened()
    assert (opened.encoded, names(again)) == (0, names(index))
    assert torch.equal(again.features, index.features)


def test_cosines_are_of_centred_features_in_single_precision(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened()
    monkeypatch.setattr("texthead.apps.search.index._AT_ONCE", 2)
    features = index.features.double()
    rows = noise(3, features.shape[1])
    centred = F.normalize(features - features.mean(0), dim=-1)
    expected = F.normalize(rows.double(), dim=-1) @ centred.T
    assert torch.allclose(index.cosines(rows).double(), expected, atol=1e-5)


def test_a_run_has_an_index_of_its_own_for_its_weights(opened: Opened, tmp_path: Path) -> None:
    opened()
    run = th.load_run(write_colour_run(tmp_path / "run"))
    index = opened(run)
    assert index.run is run
    assert len([*opened.file.parent.iterdir()]) == 2, "another protocol"
    features = th.FrozenEncoder(Encoder(run.model.visual, None, scale=1.0), run.protocol).files(index.media(0).path)
    assert torch.allclose(index.features[0].float(), features.features[0], rtol=2e-3)
    weights = tmp_path / "run" / "model.safetensors"
    tensors = load(weights.read_bytes())  # Windows replaces no mapped file.
    save_file({name: 1.5 * tensor for name, tensor in tensors.items()}, weights)
    opened(th.load_run(tmp_path / "run"))
    assert len([*opened.file.parent.iterdir()]) == 3


def test_a_manifest_selects_parts_and_moved_ones_are_encoded(opened: Opened) -> None:
    manifest = opened.data / "parts.csv"
    manifest.write_text("path,start,end\nfilm.mp4,1,9\nfilm.mp4,12,\nbelow/a.png,,\n")
    opened.data = manifest
    index = opened()
    assert index.spans.tolist() == [[1, 9], [12, math.inf], [0, math.inf]]
    assert [index.media(window).path.name for window in range(3)] == ["film.mp4#t=1,9", "film.mp4#t=12", "a.png"]
    manifest.write_text("path,start,end\nfilm.mp4,1,9\nfilm.mp4,13,\nbelow/a.png,,\n")
    assert opened().spans[1].tolist() == [13, math.inf]


def test_no_readable_file_is_an_error(opened: Opened, tmp_path: Path) -> None:
    opened.data = tmp_path / "others"
    write_broken(opened.data / "a.mp4")
    with pytest.raises(DataError, match=r"a\.mp4"):
        opened()


def test_notes_of_the_folder_are_reported(opened: Opened) -> None:
    (opened.data / "notes.txt").write_text("")
    opened()
    assert "notes.txt" in opened.notes[0]
