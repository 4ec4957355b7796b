"""The windows of files: how they are cut and encoded, and the file that keeps them."""

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from families import save_family
from made import COLOURS, PIXELS, encode, pictures, tiny_visual, write_broken, write_frames, write_image
from messages import prints
from texthead.apps.checkpoints.temporal import JoinedFrames
from texthead.apps.search import windows as kept
from texthead.apps.search.windows import Windows, encode_windows, windows_of
from texthead.data.protocol import Protocol
from texthead.encoders.load import load_encoder
from texthead.features.reading import ReadOptions
from texthead.features.views import item_features
from texthead.media.paths import MediaPath, Span
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.parallel.progress import Reporter

PROTOCOL = Protocol(2, PIXELS)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of eight seconds each of red, green and blue, at five frames a second."""
    frames = [frame for colour in COLOURS for frame in pictures(colour, 1, 0) * 40]
    return encode(tmp_path_factory.mktemp("film") / "film.mp4", frames, rate=5)


@pytest.fixture
def files(film: Path, tmp_path: Path) -> list[Path]:
    """The film, a clip of a second, an image and a broken file."""
    folder = tmp_path / "files"
    folder.mkdir()
    shutil.copy2(film, folder)
    clip = encode(folder / "short.mp4", pictures("red", 5, 1), rate=5)
    return [folder / "film.mp4", clip, write_image(folder / "a.png", "red"), write_broken(folder / "broken.mp4")]


class Keeper:
    """Encodes windows with a file and a cache; `new` are the names of the files that were opened, `notes` the notes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.file, self.reading = folder / "kept" / "windows.safetensors", ReadOptions(cache=folder / "cache")
        self.model = Recognizer(tiny_visual(), MeanPool(), nn.Identity())
        self.model.visual.net.register_forward_pre_hook(self._count)
        monkeypatch.setattr(kept, "windows_of", self._windows_of)

    def _count(self, _: object, inputs: tuple[torch.Tensor]) -> None:
        self.frames += len(inputs[0])

    def _windows_of(self, model: Recognizer, paths: list[Path], *rest: object) -> Iterator:
        self.new = [path.name for path in paths]
        yield from windows_of(model, paths, *rest)

    def __call__(self, paths: list[Path]) -> Windows:
        self.new, self.notes, self.frames = [], list[str](), 0
        reporter = Reporter(note=self.notes.append)
        return encode_windows(self.model, paths, PROTOCOL, self.reading, reporter, file=self.file)


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    return Keeper(tmp_path, monkeypatch)


def test_a_film_has_a_window_for_each_scene_and_a_clip_has_one(files: list[Path], keeper: Keeper) -> None:
    windows = keeper(files)
    assert keeper.frames == 24 + 4 + 1, "a frame a second, at least four"
    of_film = windows.spans[windows.file_of == 0]
    assert {8.0, 16.0} <= {*of_film[:, 0].tolist()}
    assert of_film[0, 0] == 0
    assert torch.equal(of_film[1:, 0], of_film[:-1, 1])
    assert math.isinf(of_film[-1, 1])
    assert windows.spans[windows.file_of > 0].tolist() == [[0.0, math.inf]] * 2
    assert list(windows.problems) == [str(files[3])]
    assert windows.features.dtype == torch.float16
    # A window's feature is that of its part of the film.
    parts = [MediaPath(files[0]).part(Span(*span)).path for span in of_film.tolist()]
    expected = torch.stack([each.mean(0) for each in item_features(keeper.model, parts, Protocol(8, PIXELS))])
    cosine = torch.cosine_similarity(expected, windows.features[windows.file_of == 0].float())
    assert cosine.min() > 0.999


def test_only_new_and_changed_files_are_opened(files: list[Path], keeper: Keeper) -> None:
    first = keeper(files)
    again = keeper(files)
    assert (keeper.new, keeper.frames) == ([], 0)
    for name in ("file_of", "spans", "features"):
        assert torch.equal(getattr(again, name), getattr(first, name)), name
    assert again.problems == first.problems, "an unreadable file is remembered"
    # A file that is gone leaves; a renamed or touched one is known by its content.
    renamed = files[0].rename(files[0].with_name("renamed.mp4"))
    os.utime(files[2], (1, 1))
    moved = keeper([renamed, files[2], files[3]])
    assert (keeper.new, keeper.frames) == (["renamed.mp4", "a.png"], 0)
    assert moved.paths == [str(renamed), str(files[2]), str(files[3])]
    assert torch.equal(moved.features, first.features[first.file_of != 1])
    # A changed one is encoded again, and one that could not be read is tried again.
    write_image(files[2], "blue")
    shutil.copy(renamed, files[3])
    changed = keeper([renamed, files[2], files[3]])
    assert (keeper.new, keeper.frames) == (["a.png", "broken.mp4"], 1)
    assert not changed.problems
    assert not torch.equal(changed.features[changed.file_of == 1], moved.features[moved.file_of == 1])


@pytest.mark.parametrize("harm", ["truncated", "texts"])
def test_a_damaged_file_is_made_again(files: list[Path], keeper: Keeper, harm: str) -> None:
    before = keeper(files)
    data = keeper.file.read_bytes()
    damaged = {"truncated": data[:-100], "texts": data.replace(b"film.mp4", b'film"mp4')}[harm]
    assert damaged != data
    keeper.file.unlink()  # It is still mapped.
    keeper.file.write_bytes(damaged)
    after = keeper(files)
    (note,) = keeper.notes
    assert note.startswith(f"{keeper.file}: damaged (")
    assert note.endswith("; it is made again")
    assert keeper.frames == 0, "the features are in the cache"
    assert torch.equal(after.features, before.features)
    keeper(files)
    assert not keeper.notes


def test_features_of_joined_frames_are_kept(files: list[Path], keeper: Keeper) -> None:
    """A clip's feature is as long as its frames together."""
    keeper.model.temporal = JoinedFrames()
    before = keeper(files)
    assert before.features.shape[1] == PROTOCOL.frames * keeper.model.spec.dim
    assert torch.equal(keeper(files).features, before.features)
    assert (keeper.new, keeper.notes, keeper.frames) == ([], [], 0)


def test_an_interrupted_build_continues(files: list[Path], keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*arguments: object) -> Iterator:
        entries = windows_of(*arguments)
        yield next(entries)
        raise KeyboardInterrupt

    monkeypatch.setattr(kept, "windows_of", stops)
    with pytest.raises(KeyboardInterrupt):
        keeper(files)
    assert not keeper.file.exists()
    assert not [*keeper.file.parent.glob("*")]
    monkeypatch.setattr(kept, "windows_of", windows_of)
    keeper(files)
    assert keeper.frames == 4 + 1, "the film was encoded before the interrupt"


def test_parts_frame_folders_and_single_frames_are_one_window(film: Path, keeper: Keeper, tmp_path: Path) -> None:
    template = write_frames(tmp_path / "clip" / "img_{:02d}.png", "blue")
    one = encode(tmp_path / "one.mp4", pictures("red", 1, 1), rate=5)
    part = film.with_name("film.mp4#t=3,21")
    windows = keeper([part, template, one])
    assert windows.spans.tolist() == [[3.0, 21.0], [0.0, math.inf], [0.0, math.inf]]
    assert not windows.problems
    (template.parent / "img_07.png").write_bytes((template.parent / "img_06.png").read_bytes())
    keeper([part, template, one])
    assert keeper.new == [template.name], "a folder with another frame has changed"


def transformer() -> Recognizer:
    visual = tiny_visual()
    torch.manual_seed(0)
    return Recognizer(visual, TemporalTransformer(visual.spec.dim, layers=1), nn.Identity()).eval()


def videomae(folder: Path) -> Recognizer:
    save_family(folder, "videomae")
    return Recognizer(load_encoder(f"hf:{folder}").visual, MeanPool(), nn.Identity())


@pytest.mark.parametrize("model", [lambda _: transformer(), videomae], ids=["transformer", "videomae"])
def test_clips_and_temporal_modules_see_windows_of_five_seconds(film, tmp_path, model) -> None:
    recognizer = model(tmp_path / "encoder")
    protocol = PROTOCOL if recognizer.encodes_frames_independently else recognizer.protocol
    reading = ReadOptions(cache=tmp_path / "cache")
    windows = encode_windows(recognizer, [film, write_broken(tmp_path / "b.mp4")], protocol, reading)
    assert windows.spans[:, 0].tolist() == [0, 5, 10, 15, 20]
    assert [Path(path).name for path in windows.problems] == ["b.mp4"]
    parts = [MediaPath(film).part(Span(*span)).path for span in windows.spans.tolist()]
    expected = torch.cat([*item_features(recognizer, parts, protocol)])
    assert torch.allclose(windows.features.float(), expected, rtol=2e-3, atol=2e-3)


def test_features_that_are_no_numbers_are_their_file_s_problem(files: list[Path], keeper: Keeper) -> None:
    keeper.model.visual.net.register_forward_hook(lambda _, __, features: features * torch.nan)
    windows = keeper(files[2:3])
    assert len(windows.features) == 0
    prints(windows.problems[str(files[2])], "NaN")


def test_large_features_stay_finite(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "windows_of", lambda *_: iter([([Span()], torch.tensor([[1e9, -1e9, 1.0]]))]))
    model = Recognizer(tiny_visual(), MeanPool(), nn.Identity())
    assert encode_windows(model, files[2:3]).features.tolist() == [[65504.0, -65504.0, 1.0]]
