"""Features of a frozen encoder: the mean of frames and views, of the readable files."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from made import PIXELS, SPEC, tiny_visual, write_broken, write_image, write_video
from messages import refuses
from texthead.data.dataset import Dataset, Item
from texthead.data.protocol import Protocol, Views
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError, EncoderError, MediaError
from texthead.features.frozen import FrozenEncoder
from texthead.features.reading import ReadOptions
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool

ONE = Views(origin="center")
CENTER = Protocol(4, PIXELS, ONE)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(tiny_visual(), None, scale=1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    videos = ((colour, write_video(folder / f"{colour}.mp4", colour, frames=6)) for colour in ("red", "blue"))
    return Dataset(tuple(Item(path, (colour,)) for colour, path in videos), "made here")


def test_a_feature_is_the_mean_of_frames_and_views(data: Dataset, encoder: Encoder) -> None:
    encode = partial(FrozenEncoder, encoder)
    items = encode(CENTER).items(data)
    model = Recognizer(encoder.visual, MeanPool(), nn.Identity())
    for row, item in zip(items.features, data.items, strict=True):
        with item.media.open() as media, torch.no_grad():
            taken = media.frames_at(ONE.frame_indices(media.num_frames, 4)[0])
            crops = view_crops(taken, PIXELS)
            assert torch.allclose(row, model.features(crops)[0], atol=1e-5)
    assert (items.data, items.targets.tolist(), items.skipped) == (data, [1, 0], ())
    assert encode(CENTER).items(data, ["red", "blue", "green"]).targets.tolist() == [0, 1]
    own = encode(Protocol(4, views=ONE)).items(data).features
    assert torch.equal(own, encode(Protocol(4, replace(PIXELS, resize=37), ONE)).items(data).features)  # 32 / 0.875
    assert encode().protocol == Protocol(8, SPEC.pixels(), ONE)
    two = encode(Protocol(4, views=Views(2, 3))).files([item.path for item in data.items]).features
    assert two.shape == own.shape
    assert not torch.allclose(two, own)


def test_unreadable_files_are_an_error_or_listed(encoder: Encoder, tmp_path: Path) -> None:
    image, video = write_image(tmp_path / "a.png", "red"), write_video(tmp_path / "c.mp4", "red")
    paths = [image, write_broken(tmp_path / "b.mp4"), video]
    with pytest.raises(MediaError, match="b.mp4"):
        FrozenEncoder(encoder, CENTER).files(paths)
    frozen = FrozenEncoder(encoder, CENTER, ReadOptions(cache=tmp_path / "cache", skip_unreadable=True))
    files = frozen.files(paths)
    assert files.positions == [0, 2]
    assert files.features.shape == (2, encoder.dim)
    assert [error.path for error in files.skipped] == [paths[1]]
    items = frozen.items(Dataset(tuple(Item(path, ("red",)) for path in paths), "made here"))
    assert torch.equal(items.features, files.features)
    assert [item.path for item in items.data.items] == [image, video]
    assert torch.equal(frozen.files(str(image)).features, files.features[:1])
    assert frozen.files(paths[1:2]).features.shape == (0, encoder.dim)
    with refuses(DataError, paths[1]):
        frozen.items(Dataset((Item(paths[1], ("red",)),), "made here"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_neither_returned_nor_kept(bad: float, data: Dataset, tmp_path: Path) -> None:
    encoder, paths = Encoder(tiny_visual(), None, scale=1.0), [item.path for item in data.items]
    expected = FrozenEncoder(encoder, CENTER).files(paths).features

    def overflow(_: nn.Module, frames: tuple[Tensor, ...], features: Tensor) -> Tensor:
        blue = frames[0].mean((2, 3)).argmax(1) == 2
        return features.index_fill(0, blue.nonzero()[:1, 0], bad)

    # A graph, which another test may have stored for these weights, has no hooks.
    cached = FrozenEncoder(encoder, CENTER, ReadOptions(cache=tmp_path / "cache", engine="eager"))
    hook = encoder.visual.net.register_forward_hook(overflow)
    for frozen in (cached, FrozenEncoder(encoder, CENTER, ReadOptions(engine="eager")), cached):
        with refuses(EncoderError, "blue.mp4", "not finite"):
            frozen.files(paths)
    hook.remove()
    assert torch.allclose(cached.files(paths).features, expected, atol=1e-5), "the overflow was kept"
