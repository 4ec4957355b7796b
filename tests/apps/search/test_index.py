"""The index of a folder: what is encoded, when it is built again, and what it holds."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save_file

import texthead as th
from made import COLOURS, joined_colours, noise, tiny_visual, write_broken, write_colour_run, write_image
from texthead.apps.search.index import open_index
from texthead.encoders.encoder import Encoder
from texthead.media.paths import MediaPath
from texthead.parallel.progress import Reporter

ENCODER = Encoder(tiny_visual(), None, scale=10.0)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a film of eight seconds each of three colours, a clip of a second, an image and a broken file."""
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    joined_colours(tmp_path / "files" / "film.mp4", COLOURS, seconds=8.0, rate=5)
    joined_colours(tmp_path / "files" / "short.mp4", ["red"], seconds=1.0, rate=5)
    write_image(tmp_path / "files" / "below" / "a.png", "red")
    write_broken(tmp_path / "files" / "broken.mp4")
    return tmp_path / "files"


def test_an_index_has_images_clips_and_the_scenes_of_films(files: Path) -> None:
    (files / "notes.txt").write_text("")
    notes: list[str] = []
    index = open_index(files, ENCODER, reporter=Reporter(note=notes.append))
    assert "notes.txt" in notes[0]
    paths = [index.media(window).path.relative_to(index.data).as_posix() for window in range(len(index))]
    image, *film, clip = paths
    assert (image, clip) == ("below/a.png", "short.mp4")
    assert {"8", "16"} <= {name.partition("#t=")[2].partition(",")[0] for name in film}
    (error,) = index.skipped
    assert error.path.name == "broken.mp4"
    with MediaPath(index.media(1).path).open() as part:
        assert part.num_frames > 1


def test_cosines_are_of_centered_features_in_single_precision(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_index(files, ENCODER)
    monkeypatch.setattr("texthead.apps.search.index._AT_ONCE", 2)
    features = index.features.double()
    rows = noise(3, features.shape[1])
    centered = F.normalize(features - features.mean(0), dim=-1)
    expected = F.normalize(rows.double(), dim=-1) @ centered.T
    assert torch.allclose(index.cosines(rows).double(), expected, atol=1e-5)


def test_a_run_has_an_index_of_its_own_for_its_weights(files: Path, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "indexes"
    open_index(files, ENCODER)
    run = th.load_run(write_colour_run(tmp_path / "run"))
    index = open_index(files, run)
    assert index.run is run
    assert len([*kept.glob("*.safetensors")]) == 2, "another protocol"
    features = th.FrozenEncoder(Encoder(run.model.visual, None, scale=1.0), run.protocol).files(index.media(0).path)
    # Features near 0 have the absolute error of the others, from engines and half precision.
    assert torch.allclose(index.features[0].float(), features.features[0], rtol=2e-3, atol=1e-4)
    weights = tmp_path / "run" / "model.safetensors"
    tensors = load(weights.read_bytes())  # Windows replaces no mapped file.
    save_file({name: 1.5 * tensor for name, tensor in tensors.items()}, weights)
    open_index(files, th.load_run(tmp_path / "run"))
    assert len([*kept.glob("*.safetensors")]) == 3


def test_a_manifest_selects_parts(files: Path) -> None:
    manifest = files / "parts.csv"
    manifest.write_text("path,start,end\nfilm.mp4,1,9\nfilm.mp4,12,\nbelow/a.png,,\n")
    index = open_index(manifest, ENCODER)
    assert index.spans.tolist() == [[1, 9], [12, math.inf], [0, math.inf]]
    assert [index.media(window).path.name for window in range(3)] == ["film.mp4#t=1,9", "film.mp4#t=12", "a.png"]
    manifest.write_text(manifest.read_text().replace("12", "13"))
    assert open_index(manifest, ENCODER).spans[1].tolist() == [13, math.inf]
