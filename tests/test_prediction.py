"""Files in, names out: each file once, in order, with probabilities that are the model's own."""

import os
from pathlib import Path

import pytest
import torch

from made import PIXELS, SPEC, tiny_visual, write_broken, write_frames, write_image, write_video
from texthead.datasets import Pixels
from texthead.decoding import open_media
from texthead.errors import DataError, MediaError
from texthead.heads import FrozenHead
from texthead.prediction import find_media, predict
from texthead.recipes import Recipe
from texthead.recognizer import Recognizer
from texthead.runs import Run
from texthead.sampling import Views
from texthead.temporal import MeanPool, TemporalTransformer
from texthead.transforms import view_crops

NAMES = ("red", "green", "blue", "violet", "none")


def make_model(dim: int = SPEC.dim) -> Recognizer:
    rows = torch.randn(5, dim, generator=torch.Generator().manual_seed(0))
    return Recognizer(tiny_visual(), MeanPool(), FrozenHead(rows, names=NAMES, scale=8.0)).eval()


def make_run(frames: int, origin: str = "centre") -> Run:
    recipe = Recipe(name="test", frames=frames, size=32, resize=36, origin=origin)
    return Run(Path("run"), make_model(), recipe, SPEC, PIXELS, frozenset(), (), frozenset(), frozenset())


def by_hand(model: Recognizer, path: Path, frames: int, views: Views, pixels: Pixels = PIXELS) -> dict[str, float]:
    """The probability of each name, file by file and view by view."""
    features = []
    with open_media(path) as media, torch.no_grad():
        for indices in views.frame_indices(media.num_frames, frames):
            clips = view_crops(media.frames_at(indices), pixels.size, pixels.resize, views.crops, pixels.interpolation)
            features += [model.features(clip[None])[0] for clip in clips]
        row = model.head(torch.stack(features).mean(0)).softmax(-1)
    return dict(zip(NAMES, row.tolist(), strict=True))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with media at three depths and other files between them."""
    root = tmp_path / "tree"
    write_video(root / "b.mp4", "red", frames=8)
    write_image(root / "deep" / "er" / "c.PNG", "blue")
    write_video(root / "deep" / "a.mkv", "green", frames=3)
    write_image(root / "z.jpg", "green")
    (root / "notes.txt").write_text("no media")
    (root / "empty").mkdir()
    return root


# --- which files ----------------------------------------------------------------------------------------------------


def test_folders_are_read_below_and_sorted(tree: Path) -> None:
    expected = [tree / "b.mp4", tree / "deep" / "a.mkv", tree / "deep" / "er" / "c.PNG", tree / "z.jpg"]
    assert find_media([tree]) == expected
    assert find_media([str(tree)]) == expected


def test_inputs_stay_in_the_order_that_they_are_named(tree: Path) -> None:
    assert find_media([tree / "z.jpg", tree / "deep", tree / "b.mp4"]) == [
        tree / "z.jpg",
        tree / "deep" / "a.mkv",
        tree / "deep" / "er" / "c.PNG",
        tree / "b.mp4",
    ]


def test_a_named_file_is_taken_whatever_its_suffix(tree: Path) -> None:
    assert find_media([tree / "notes.txt"]) == [tree / "notes.txt"]


def test_a_folder_of_frames_is_named_by_its_template(tree: Path) -> None:
    path = write_frames(tree / "clips" / "v1" / "img_{:05d}.png", "red", 4)
    assert find_media([path, tree / "b.mp4"]) == [path, tree / "b.mp4"]
    with pytest.raises(DataError, match="gone/img_{:05d}.png: no such file or folder"):
        find_media([tree / "gone" / "img_{:05d}.png"])


def test_hidden_files_are_found_only_by_name(tmp_path: Path) -> None:
    for name in (".a.mp4", ".trash/b.mp4", "c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert find_media([tmp_path]) == [tmp_path / "c.mp4"]
    assert find_media([tmp_path / ".trash"]) == [tmp_path / ".trash" / "b.mp4"]
    assert find_media([tmp_path / ".a.mp4"]) == [tmp_path / ".a.mp4"]


def test_names_without_a_file_behind_them_are_errors_where_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "lost.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    write_video(tmp_path / "there.mp4", "red", frames=2)
    assert find_media([tmp_path]) == [tmp_path / name for name in ("lost.mp4", "pipe.mp4", "there.mp4")]
    found = predict(make_run(1), [tmp_path], skip_unreadable=True)
    assert [bool(each.error) for each in found] == [True, True, False]
    with pytest.raises(MediaError, match=r"lost\.mp4: no such file"):
        predict(make_run(1), [tmp_path])
    with pytest.raises(MediaError, match=r"pipe\.mp4: a pipe or a device, not a file"):
        predict(make_run(1), [tmp_path / "pipe.mp4"])


def test_what_is_not_there(tree: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4: no such file or folder"):
        find_media([tree / "b.mp4", tree / "gone.mp4"])
    with pytest.raises(DataError, match="empty: folder holds no video or image"):
        find_media([tree, tree / "empty"])
    with pytest.raises(DataError, match=r"gone\.mp4: no such file or folder"):
        predict(make_run(2), [tree / "gone.mp4"], skip_unreadable=True)


# --- what comes back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [8, 1])
@pytest.mark.parametrize("origin", ["first", "centre"])
def test_videos_and_images_with_models_of_many_frames_and_of_one(tree: Path, frames: int, origin: str) -> None:
    run = make_run(frames, origin)
    found = predict(run, [tree], top=5)
    assert [prediction.path for prediction in found] == find_media([tree])
    for prediction in found:
        expected = by_hand(run.model, prediction.path, frames, Views(origin=origin))
        assert prediction.error is None
        assert dict(prediction.top) == pytest.approx(expected, abs=1e-5)
        assert sum(value for _, value in prediction.top) == pytest.approx(1, abs=1e-5)
        values = [value for _, value in prediction.top]
        assert values == sorted(values, reverse=True)
    assert len({tuple(round(v, 6) for _, v in sorted(prediction.top)) for prediction in found}) == 4, "files differ"


def test_a_folder_of_frames_is_a_video(tree: Path) -> None:
    path = write_frames(tree / "clips" / "v1" / "img_{:05d}.png", "red", 7)
    for views in (Views(1, 1), Views(2, 3)):
        (found,) = predict(make_run(3), [str(path)], views=views, top=5)
        assert found.path == path
        assert dict(found.top) == pytest.approx(by_hand(make_model(), path, 3, views), abs=1e-5)
    (tree / "clips" / "v1" / "img_00004.png").unlink()
    with pytest.raises(MediaError, match="img_00004.png is missing"):
        predict(make_run(3), [path])


def test_an_image_is_a_still_video(tree: Path) -> None:
    """A clip of one picture eight times over is the picture, where the temporal module is a mean."""
    (eight,), (one,) = (predict(make_run(frames), [tree / "z.jpg"], top=5) for frames in (8, 1))
    assert dict(eight.top) == pytest.approx(dict(one.top), abs=1e-5)


@pytest.mark.parametrize("top", [1, 2, 5, 9])
def test_the_best_names_come_first(tree: Path, top: int) -> None:
    run = make_run(4)
    (prediction,) = predict(run, [tree / "b.mp4"], top=top)
    expected = sorted(by_hand(run.model, tree / "b.mp4", 4, Views(origin="centre")).items(), key=lambda pair: -pair[1])
    assert [name for name, _ in prediction.top] == [name for name, _ in expected[:top]]
    assert len(prediction.top) == min(top, 5)
    assert prediction.top[0][1] == pytest.approx(expected[0][1], abs=1e-5), "of all names, not of the best alone"


def test_views_and_pooling_are_passed_on(tree: Path) -> None:
    run = make_run(4)
    views = Views(2, 3, "centre")
    (prediction,) = predict(run, [tree / "b.mp4"], top=5, views=views)
    assert dict(prediction.top) == pytest.approx(by_hand(run.model, tree / "b.mp4", 4, views), abs=1e-5)
    (by_probability,) = predict(run, [tree / "b.mp4"], top=5, views=views, pooling="probabilities")
    assert sum(value for _, value in by_probability.top) == pytest.approx(1, abs=1e-5)
    assert dict(by_probability.top) != pytest.approx(dict(prediction.top), abs=1e-6)


def test_a_bare_model_takes_eight_centred_frames_at_its_encoders_size(tree: Path) -> None:
    model = make_model()
    own = Pixels(32, 37, "bilinear")  # 32 / 0.875 = 36.6
    (prediction,) = predict(model, [tree / "b.mp4"], top=5)
    assert dict(prediction.top) == pytest.approx(
        by_hand(model, tree / "b.mp4", 8, Views(origin="centre"), own), abs=1e-5
    )
    (other,) = predict(model, [tree / "b.mp4"], top=5, frames=2, pixels=PIXELS, views=Views(origin="first"))
    assert dict(other.top) == pytest.approx(by_hand(model, tree / "b.mp4", 2, Views()), abs=1e-5)


def test_frames_and_pixels_of_a_run_can_be_overruled(tree: Path) -> None:
    run, pixels = make_run(8), Pixels(40, 44, "bicubic")
    (prediction,) = predict(run, [tree / "b.mp4"], top=5, frames=3, pixels=pixels)
    assert dict(prediction.top) == pytest.approx(
        by_hand(run.model, tree / "b.mp4", 3, Views(origin="centre"), pixels), abs=1e-5
    )


def test_a_model_left_in_training_mode_predicts_the_same(tree: Path) -> None:
    run = make_run(4)
    run.model.temporal = TemporalTransformer(SPEC.dim, 1, 32, heads=2, dropout=0.5)
    torch.nn.init.normal_(run.model.temporal.project_out.weight, std=0.1)
    run.model.eval()
    (expected,) = predict(run, [tree / "b.mp4"])
    run.model.train()
    (found,) = predict(run, [tree / "b.mp4"])
    assert found == expected


def test_many_files_with_workers_keep_their_order(tmp_path: Path) -> None:
    names = [f"{i:02}.png" for i in range(11)]
    for i, name in enumerate(names):
        write_image(tmp_path / name, ["red", "green", "blue"][i % 3], seed=i)
    seen: list[tuple[int, int]] = []
    run = make_run(1)
    found = predict(run, [tmp_path], workers=2, progress=lambda *done: seen.append(done))
    assert [prediction.path.name for prediction in found] == names
    assert seen[-1] == (11, 11)
    for prediction, alone in zip(found, (predict(run, [tmp_path / name])[0] for name in names), strict=True):
        assert dict(prediction.top) == pytest.approx(dict(alone.top), abs=1e-5)


def test_a_file_that_is_named_twice_answers_twice_in_its_places(tree: Path) -> None:
    inputs = [tree / "b.mp4", tree / "z.jpg", tree / "b.mp4"]
    found = predict(make_run(2), inputs)
    assert [prediction.path for prediction in found] == inputs
    assert found[0] == found[2]


# --- files that cannot be read --------------------------------------------------------------------------------------


def test_an_unreadable_file_is_an_error_with_its_path(tree: Path) -> None:
    broken = write_broken(tree / "c.mp4")
    with pytest.raises(MediaError, match=r"c\.mp4: .*--skip-unreadable") as caught:
        predict(make_run(2), [tree])
    assert caught.value.path == broken


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_file_that_is_skipped_keeps_its_place_and_says_why(tree: Path, workers: int) -> None:
    broken, text = write_broken(tree / "c.mp4"), tree / "notes.txt"
    inputs = [tree, text, tree / "b.mp4"]
    found = predict(make_run(2), inputs, skip_unreadable=True, workers=workers)
    assert [prediction.path for prediction in found] == find_media(inputs)
    assert [prediction.path for prediction in found if prediction.error] == [broken, text]
    for prediction in found:
        assert bool(prediction.error) != bool(prediction.top)
        assert str(prediction.path) not in (prediction.error or ""), "the path stands beside it already"
    expected = {prediction.path: prediction for prediction in predict(make_run(2), [tree / "b.mp4", tree / "z.jpg"])}
    assert all(dict(p.top) == pytest.approx(dict(expected[p.path].top), abs=1e-5) for p in found if p.path in expected)


def test_no_file_at_all_can_be_read(tree: Path) -> None:
    broken = write_broken(tree / "c.mp4")
    with pytest.raises(DataError, match=r"none of 1 files can be read: .*c\.mp4"):
        predict(make_run(2), [broken], skip_unreadable=True)
