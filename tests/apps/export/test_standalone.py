"""predict.py of an exported folder: the library's frames, crops and pixels, without the library."""

import ast
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import torch

from made import tiny_visual, write_image, write_video
from media_files import write_grey_tiff
from texthead.apps.export import standalone
from texthead.apps.export.export import preprocessing
from texthead.apps.export.scorer import Scorer
from texthead.data.clips import ViewClips
from texthead.data.protocol import Pixels, Protocol, Views
from texthead.data.transforms import _scale, view_crops
from texthead.errors import MediaError
from texthead.media.find import media_below
from texthead.media.open import media_suffixes
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.recipes import Along, Origin

FILE = Path(standalone.__file__)
PIXELS = Pixels(32, 36, "bicubic")
VISUAL = tiny_visual()


def scorer_of(frames: int, views: Views, pixels: Pixels) -> Scorer:
    """Return a scorer that is only used for its crops."""
    return Scorer(Recognizer(VISUAL, MeanPool(), torch.nn.Identity()), Protocol(frames, pixels, views))


def settings_of(frames: int, views: Views, pixels: Pixels) -> dict:
    """Return the settings that preprocessing.json would hold."""
    return preprocessing(scorer_of(frames, views, pixels))


def both(path: Path, frames: int, views: Views, pixels: Pixels = PIXELS):
    """Return (the library's views of a file, those cut from predict.py's clips); an error replaces the views."""
    ours = ViewClips([path], Protocol(frames, pixels, views))[0]
    try:
        clips = standalone.read_clips(path, settings_of(frames, views, pixels))
        alone = scorer_of(frames, views, pixels).crops(torch.from_numpy(clips[None]))[0].numpy()
    except standalone.Refused as error:
        alone = error
    return ours if isinstance(ours, MediaError) else ours.numpy(), alone


def check_same(path: Path, frames: int, views: Views, pixels: Pixels = PIXELS) -> None:
    ours, alone = both(path, frames, views, pixels)
    assert isinstance(alone, np.ndarray), alone
    assert np.array_equal(ours, alone)


def test_it_imports_only_the_packages_that_its_card_lists():
    tree = ast.parse(FILE.read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [getattr(node, "module", None) or alias.name for node in nodes for alias in node.names]
    named = {module.partition(".")[0] for module in modules}
    at_once = {n.names[0].name for n in tree.body if isinstance(n, ast.Import)}
    assert named - set(sys.stdlib_module_names) == {"numpy", "av", "onnxruntime", "PIL"}
    assert at_once - set(sys.stdlib_module_names) == {"av", "numpy"}


@pytest.mark.parametrize("origin", get_args(Origin))
def test_frames_are_those_of_sampling(origin):
    for frames in (1, 2, 3, 8, 16, 128):
        for clips in (1, 2, 3, 4, 7):
            views = Views(clips, 1, origin)
            for length in (1, 2, 3, 7, 8, 9, 31, 100, 127, 128, 129, 300, 1001):
                for each in (views, replace(views, stride=3)):
                    result = standalone.frame_indices(length, settings_of(frames, each, PIXELS))
                    assert result == each.frame_indices(length, frames), (length, frames, clips)


@pytest.mark.parametrize("along", get_args(Along))
def test_crops_in_the_model_are_those_of_the_library(along):
    for crops in (1, 3):
        short = 32 if crops == 3 and along == "long-side" else 36
        for width, height in ((short, short), (short + 1, short), (57, short), (short, 57), (short, 254), (999, short)):
            frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8))
            result = scorer_of(2, Views(1, crops, along=along), PIXELS).crops(frames[None, None])[0]
            pixels = Pixels(32, min(width, height), "bicubic")
            assert torch.equal(result, view_crops(frames.permute(0, 3, 1, 2), pixels, crops, along))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_resized_picture_is_torchs(interpolation):
    """To the bit, also where exact values end in a half, as those of a picture that is scaled to two thirds may."""
    rng = np.random.default_rng(0)
    sides = [tuple(int(side) for side in (*rng.integers(2, 500, 2), *rng.integers(2, 300, 2))) for _ in range(60)]
    for height, width, *size in (*sides, (300, 330, 200, 220), (240, 320, 100, 200), (120, 160, 224, 299)):
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        theirs = _scale(torch.from_numpy(picture)[None].permute(0, 3, 1, 2), tuple(size), interpolation)
        ours = standalone.scaled(picture, *size, interpolation == "bicubic")
        assert np.array_equal(ours, theirs[0].permute(1, 2, 0).numpy()), (height, width, size)


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "mpeg4"), (".avi", "mpeg4"), (".ts", "libx264")]
)
def test_a_video_gives_the_same_views(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"a{suffix}", "red", frames=19, codec=codec)
    for frames, views in ((1, Views()), (8, Views(origin="center")), (5, Views(3, 3)), (16, Views(2, 3, "dense"))):
        check_same(path, frames, views)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1", "LA", "CMYK", "I;16"])
def test_an_image_of_any_mode_gives_the_same_views(tmp_path, mode):
    rng, path = np.random.default_rng(2), tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        PIL.Image.fromarray(rng.integers(0, 2**16, (40, 50), dtype=np.uint16)).save(path)
    else:
        picture = PIL.Image.fromarray(rng.integers(0, 256, (40, 50, 4), dtype=np.uint8), "RGBA")
        (picture.convert("RGB") if mode == "CMYK" else picture).convert(mode).save(path)
    for squash in (False, True):
        check_same(path, 1, Views(), Pixels(32, 36, "bicubic", squash))


@pytest.mark.parametrize(("bits", "white_is_zero"), [(8, True), (12, False), (16, False), (16, True)])
def test_grey_of_any_depth_gives_the_same_views(tmp_path, bits, white_is_zero):
    ramp = np.linspace(0, 1, 40 * 56).reshape(40, 56)
    check_same(write_grey_tiff(tmp_path / "a.tif", ramp, bits, white_is_zero=white_is_zero), 1, Views())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_an_image_turned_by_exif_gives_the_same_views(tmp_path, suffix):
    picture = PIL.Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    for orientation in range(1, 9):
        exif = PIL.Image.Exif()
        exif[PIL.ExifTags.Base.Orientation] = orientation
        picture.save(tmp_path / f"a{suffix}", exif=exif)
        check_same(tmp_path / f"a{suffix}", 1, Views(1, 3))


def test_damaged_or_large_files_and_no_media_are_refused(tmp_path):
    sound = write_image(tmp_path / "a.png", "red").read_bytes()
    (tmp_path / "chunk.png").write_bytes(sound.replace(b"IDAT", b"\xe1\x06\xa8\xbf"))
    for name, size in (("long", (16_385, 1)), ("thin", (1, 1001)), ("bomb", (14_000, 14_000))):
        PIL.Image.new("1", size).save(tmp_path / f"{name}.png")
    PIL.Image.new("L", (40, 40)).save(tmp_path / "eps.png", "EPS")
    (tmp_path / "noise.mp4").write_bytes(b"no video" * 50)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {write_video(tmp_path / 'b.mp4', 'red')}\n")
    names = ("chunk.png", "long.png", "thin.png", "bomb.png", "eps.png", "noise.mp4", "list.mp4", "none.mp4")
    for name in names:
        ours, alone = both(tmp_path / name, 4, Views())
        assert isinstance(ours, MediaError), name
        assert isinstance(alone, standalone.Refused), name
    for path, problem in ((tmp_path / "none.mp4", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(standalone.Refused, match=problem):
            standalone.read_clips(path, {})


def test_a_folder_is_the_files_that_predict_reads_of_it(tmp_path):
    for name in ("b.JPG", "c/a.png", "c/d.mp4", ".hidden/e.png", ".f.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path) for path in standalone.files_of(tmp_path)] == media_below(tmp_path)[0]
    assert standalone.files_of(tmp_path / "b.JPG") == [tmp_path / "b.JPG"]
    (tmp_path / "empty").mkdir()
    assert standalone.files_of(tmp_path / "empty") == [tmp_path / "empty"]
    assert media_suffixes() == standalone.IMAGES | standalone.VIDEOS


@pytest.mark.slow
def test_views_match_for_many_codecs(shared):
    """Rotation, variable frame rate, 10 bits, odd sizes, damage: predict.py never reads a file differently."""
    derived, real = (sorted((shared / "decode" / name).iterdir()) for name in ("derived", "real"))
    files = [path for path in derived if path.is_file() and path.suffix != ".md"]
    files += [path for path in real if path.name.startswith(("decord", "zamba", "mmaction2_test"))]
    same = 0
    for path in files:
        ours, alone = both(path, 8, Views(origin="center"))
        assert isinstance(ours, MediaError) == isinstance(alone, Exception), path.name
        if isinstance(alone, np.ndarray):
            assert np.array_equal(ours, alone), path.name
            same += 1
    assert same >= 25


def test_answers_and_sets_of_a_calibrated_model(tmp_path):
    """Computed by hand: scores 2 1 0 at temperature 0.5 give 0.867 0.117 0.016."""
    predictor = standalone.Predictor.__new__(standalone.Predictor)
    predictor.names = ["a", "b", "c"]
    predictor.settings = settings_of(1, Views(), Pixels(8, 8, "bicubic"))
    predictor.model = lambda clips: np.array([[2.0, 1.0, 0.0]])
    path = write_image(tmp_path / "a.png", "red")
    for needed, answer in ((0.86, "a"), (0.87, standalone.NONE)):
        predictor.thresholds = {
            "temperature": 0.5,
            "threshold": {"false_accept": 0.05, "probability": needed},
            "coverage": {"level": 0.9, "quantile": 1.5},
        }
        assert predictor.predict(path, 1)["set"] == ["a", "b"], "`top` does not cut the set"
        result = predictor.predict(path, 2)
        assert [pair["name"] for pair in result["top"]] == ["a", "b"]
        assert [pair["probability"] for pair in result["top"]] == pytest.approx([0.866813, 0.117310], abs=1e-6)
        assert (result["answer"], result["set"]) == (answer, ["a", "b"])
        assert (standalone.NONE in standalone.as_text(result)) == (answer != "a")
    result["path"], result["top"][0]["name"] = "a\nb\x1b.png", "\u202ered"
    assert standalone.as_text(result).splitlines()[::2] == ["a\\nb\\x1b.png", "   11.7 %  b"]
    assert "\\u202ered" in standalone.as_text(result)
