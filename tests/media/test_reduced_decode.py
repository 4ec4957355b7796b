"""Large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, as far as the wanted size allows, and stay right."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from media_files import scene
from messages import refuses
from texthead.data.clips import ViewClips
from texthead.data.protocol import Pixels, Protocol
from texthead.errors import MediaError
from texthead.media import image as images
from texthead.media.paths import MediaPath


def photo(path: Path, width: int = 336, height: int = 248, mode: str = "RGB", **options: Any) -> Path:
    PIL.Image.fromarray(scene(1)[0]).resize((width, height)).convert(mode).save(path, **options)
    return path


def read(path: Path, min_short_side: int = 0) -> np.ndarray:
    with MediaPath(path).open() as media:
        media.min_short_side = min_short_side
        return media.frames_at([0])[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("min_short_side", "scale"), [(0, 1), (249, 1), (125, 1), (124, 2), (63, 2), (62, 4), (31, 8), (1, 8)]
)
def test_the_size_that_is_wanted_is_kept(tmp_path: Path, min_short_side: int, scale: int) -> None:
    assert read(photo(tmp_path / "a.jpg"), min_short_side).shape == (248 // scale, 336 // scale, 3)
    assert read(photo(tmp_path / "odd.jpg", height=244), min_short_side).shape[0] in (244, 122, 61), (
        "no part of a pixel"
    )
    assert read(photo(tmp_path / "a.png"), min_short_side).shape == (248, 336, 3)


@pytest.mark.parametrize(
    "kind",
    [
        *({}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}, {"mode": "L"}),
        *({"mode": "CMYK"}, {"format": "MPO", "save_all": True, "append_images": [PIL.Image.new("RGB", (8, 8))]}),
        *({"width": 3000, "height": 40}, {"width": 32, "height": 2992}),
    ],
)
@pytest.mark.parametrize("min_short_side", [0, 4])
def test_pixels_are_those_of_pillow(tmp_path, monkeypatch, kind, min_short_side) -> None:
    path = photo(tmp_path / "a.jpg", **kind)
    picture = read(path, min_short_side)
    with PIL.Image.open(path) as image:
        image.draft(None, (image.width // 8, image.height // 8) if min_short_side else image.size)
        assert np.array_equal(picture, np.asarray(image.convert("RGB")))
    monkeypatch.setattr(images, "_jpeg", lambda *_: None)  # For files that simplejpeg does not read.
    assert np.array_equal(picture, read(path, min_short_side))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos_stay_upright_and_keep_their_full_size(tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = photo(tmp_path / "a.jpg", 1200, 904, exif=exif)
    whole, reduced = (
        torch.from_numpy(read(path, min_short_side)).permute(2, 0, 1)[None].float() for min_short_side in (0, 100)
    )
    assert reduced.shape[-2:] == ((150, 113) if orientation > 4 else (113, 150))
    average = torch.nn.functional.interpolate(whole, reduced.shape[-2:], mode="area")
    assert (average - reduced).abs().mean() < 2
    with MediaPath(path).open() as media:
        media.min_short_side = 100
        assert dict(media.iter_frames({0}))
    assert media.shape == ((1200, 904) if orientation > 4 else (904, 1200))


def test_views_are_close_and_exact_ones_can_be_had(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", 800, 600)
    sizes = [Pixels(64, 72, "bicubic", decode=decode) for decode in ("reduced", "exact")]
    whole = Pixels(64, 72, "bicubic", antialias=False)
    assert [each.min_short_side for each in (*sizes, whole)] == [144, 0, 0]
    reduced, exact = (np.asarray(ViewClips([path], Protocol(1, pixels))[0], np.float32) for pixels in sizes)
    assert 0 < np.abs(reduced - exact).mean() < 1
    assert repr(sizes[0]) != repr(sizes[1]), "part of the feature cache's key"


def test_a_folder_of_photos_is_reduced_and_of_one_size(tmp_path: Path) -> None:
    for name, width in (("1.jpg", 640), ("2.jpg", 640), ("3.jpg", 1280)):
        photo(tmp_path / name, width, width * 3 // 4)
    with MediaPath(tmp_path / "*").open() as media:
        media.min_short_side = 100
        assert media.frames_at([0, 1]).shape == (2, 3, 120, 160)
        with refuses(MediaError, "640x480", "1280x960", "3.jpg"):
            media.frames_at([0, 2])


@pytest.mark.parametrize("min_short_side", [0, 30])
def test_a_photo_cut_short_is_refused(tmp_path: Path, min_short_side: int) -> None:
    path = photo(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-200])
    with refuses(MediaError, "truncated"):
        read(path, min_short_side)
