"""Predictions for files: each file once, in order, with the model's own probabilities."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from made import PIXELS, SPEC, noise, tiny_visual, write_broken, write_frames, write_image, write_video
from messages import refuses
from platforms import mkfifo, symlink
from texthead.data.protocol import Pixels, Protocol, Views
from texthead.data.transforms import view_crops
from texthead.errors import DataError, MediaError, RunError
from texthead.evaluation.calibration import Calibration, Threshold
from texthead.features.reading import ReadOptions
from texthead.features.views import item_features
from texthead.media import find
from texthead.media.paths import MediaPath
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.parallel.progress import Reporter
from texthead.prediction.load import load_run, zero_shot
from texthead.prediction.run import Run
from texthead.recipes import Recipe
from texthead.runs.folder import rows_digest
from texthead.transfer.transductive import refine

NAMES = ("red", "green", "blue", "violet", "none")
CENTER = Views(origin="center")


def make_model() -> Recognizer:
    return Recognizer(tiny_visual(), MeanPool(), FrozenHead(noise(5, SPEC.dim), names=NAMES, scale=8.0)).eval()


def make_run(frames: int, origin: str = "center") -> Run:
    recipe = Recipe(name="test", frames=frames, size=32, resize=36, origin=origin)
    return Run(make_model(), recipe, PIXELS)


def predict_by_hand(
    model: Recognizer, path: Path, frames: int, views: Views = CENTER, pixels: Pixels = PIXELS
) -> dict[str, float]:
    """Return the probability of each name, computed view by view."""
    features = []
    with MediaPath(path).open() as media, torch.no_grad():
        for indices in views.frame_indices(media.num_frames, frames):
            clips = view_crops(media.frames_at(indices), pixels, views.crops)
            features += [model.features(clip[None])[0] for clip in clips]
        row = model.head(torch.stack(features).mean(0)).softmax(-1)
    return dict(zip(NAMES, row.tolist(), strict=True))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with media at three depths and other files among them."""
    root = tmp_path / "tree"
    write_video(root / "b.mp4", "red", frames=8)
    write_image(root / "deep" / "er" / "c.PNG", "blue")
    write_video(root / "deep" / "a.mkv", "green", frames=3)
    write_image(root / "z.jpg", "green")
    (root / "notes.txt").write_text("no media")
    (root / "empty").mkdir()
    return root


def find_media(*arguments) -> list[Path]:
    return [*map(Path, find.find_media(*arguments))]


def test_inputs_in_order_and_folders_sorted(tree: Path) -> None:
    video, image, text = tree / "b.mp4", tree / "z.jpg", tree / "notes.txt"
    deep = [tree / "deep" / "a.mkv", tree / "deep" / "er" / "c.PNG"]
    assert find_media([tree]) == find_media(str(tree)) == find_media(tree) == [video, *deep, image]
    assert find_media([image, tree / "deep", video]) == [image, *deep, video]
    assert find_media([text]) == [text], "a named file is taken whatever its suffix"


LEFT = "not media, not in a class folder, a broken link, a link to a folder, or a folder of the system"


def test_what_a_folder_has_besides_media_is_counted_and_named(tree: Path) -> None:
    for name in ("a.xmp", "deep/b.xmp", "deep/er/c.xmp", "Thumbs.db", "deep/.hidden"):
        (tree / name).write_text("no media")
    notes: list[str] = []
    make_run(2).predict([tree, tree / "z.jpg"], reporter=Reporter(note=notes.append))
    assert notes == [f"skipped a.xmp, b.xmp, c.xmp and 1 more: {LEFT}"]
    assert find_media([tree / "z.jpg", tree / "deep"], Reporter(note=notes.append))
    assert notes[1:] == [f"skipped b.xmp, c.xmp: {LEFT}"]


def test_hidden_files_are_found_only_by_name(tmp_path: Path) -> None:
    for name in (".a.mp4", ".trash/b.mp4", "c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert find_media([tmp_path]) == [tmp_path / "c.mp4"]
    assert find_media([tmp_path / ".trash"]) == [tmp_path / ".trash" / "b.mp4"]
    assert find_media([tmp_path / ".a.mp4"]) == [tmp_path / ".a.mp4"]


def test_missing_files_are_errors_when_read(tmp_path: Path) -> None:
    symlink(tmp_path / "lost.mp4", "nowhere.mp4")
    mkfifo(tmp_path / "pipe.mp4")
    write_video(tmp_path / "there.mp4", "red", frames=2)
    assert find_media([tmp_path]) == [tmp_path / name for name in ("lost.mp4", "pipe.mp4", "there.mp4")]
    result = make_run(1).predict([tmp_path], reading=ReadOptions(skip_unreadable=True))
    assert [bool(each.error) for each in result] == [True, True, False]
    for inputs, name in ((tmp_path, "lost.mp4"), (tmp_path / "pipe.mp4", "pipe.mp4")):
        with refuses(MediaError, tmp_path / name):
            make_run(1).predict([inputs])


def test_what_is_not_there(tree: Path) -> None:
    for name in ("gone.mp4", "gone/img_{:05d}.png", "empty"):
        with refuses(DataError, tree / name):
            find_media([tree / "b.mp4", tree / name])
    for one in (str(tree / "gone.mp4"), tree / "gone.mp4"):
        with refuses(DataError, tree / "gone.mp4"):
            make_run(2).predict(one)
    with refuses(DataError, tree / "gone.mp4"):
        make_run(2).predict([tree / "gone.mp4"], reading=ReadOptions(skip_unreadable=True))


@pytest.mark.parametrize("frames", [8, 1])
@pytest.mark.parametrize("origin", ["first", "center"])
def test_videos_and_images_with_models_of_many_frames_and_of_one(tree: Path, frames: int, origin: str) -> None:
    run = make_run(frames, origin)
    result = run.predict([tree], top=5)
    assert [prediction.path for prediction in result] == find_media([tree])
    for prediction, short in zip(result, run.predict([tree], top=2), strict=True):
        expected = predict_by_hand(run.model, prediction.path, frames, Views(origin=origin))
        assert prediction.error is None
        assert dict(prediction.top) == pytest.approx(expected, abs=1e-5)
        values = [value for _, value in prediction.top]
        assert values == sorted(values, reverse=True)
        assert short.top == prediction.top[:2], "probabilities are of all names, not of the best alone"
    # With mean pooling, a clip that repeats one picture scores like the picture.
    assert dict(result[-1].top) == pytest.approx(predict_by_hand(run.model, tree / "z.jpg", 1), abs=1e-5)
    assert len({tuple(round(v, 6) for _, v in sorted(prediction.top)) for prediction in result}) == 4, "files differ"


def test_a_picture_is_encoded_once(tree: Path) -> None:
    run, seen = make_run(8), []
    run.model.visual.register_forward_hook(lambda _, frames, __: seen.append(len(frames[0])))
    run.predict([tree / "z.jpg", tree / "b.mp4"], reading=ReadOptions(batch=2, engine="eager"))
    assert sum(seen) == 1 + 8


def test_a_folder_of_frames_is_a_video(tree: Path) -> None:
    path = write_frames(tree / "clips" / "v1" / "img_{:05d}.png", "red", 7)
    assert find_media([path, tree / "b.mp4"]) == [path, tree / "b.mp4"]
    for views in (Views(1, 1), Views(2, 3)):
        (result,) = make_run(3).predict([str(path)], Protocol(3, views=views), top=5)
        assert result.path == path
        assert dict(result.top) == pytest.approx(predict_by_hand(make_model(), path, 3, views), abs=1e-5)
    (tree / "clips" / "v1" / "img_00004.png").unlink()
    with refuses(MediaError, path, "img_00004.png"):
        make_run(3).predict([path])


def test_protocol_defaults_to_run(tree: Path) -> None:
    """A bare model uses eight centered frames at its encoder's own size."""
    model, views, pixels = make_model(), Views(2, 3, "center"), Pixels(40, 44, "bicubic")
    own = Pixels(32, 37, "bilinear")  # 32 / 0.875 = 36.6
    for source, protocol, expected in [
        (make_run(4), None, (4, CENTER)),
        (make_run(4), Protocol(4, views=views), (4, views)),
        (make_run(8), Protocol(3, pixels, CENTER), (3, CENTER, pixels)),
        (Run.from_model(model), None, (8, CENTER, own)),
        (Run.from_model(model), Protocol(2, views=views), (2, views, own)),
        (Run.from_model(model), Protocol(2, PIXELS), (2, Views())),
    ]:
        (prediction,) = source.predict([tree / "b.mp4"], protocol, top=5)
        assert dict(prediction.top) == pytest.approx(predict_by_hand(model, tree / "b.mp4", *expected), abs=1e-5)


def test_a_run_of_class_names_predicts_as_from_its_folder(tree: Path, tmp_path: Path) -> None:
    run = zero_shot(["a red thing", "a blue thing"])
    with refuses(RunError, "mini", "`save`"):
        run.calibrate()
    run.save(tmp_path / "saved")
    (first,), (second,) = (each.predict(tree / "z.jpg") for each in (run, load_run(tmp_path / "saved")))
    assert dict(second.top) == pytest.approx(dict(first.top), abs=1e-6)


def test_many_files_with_workers_keep_their_order(tmp_path: Path) -> None:
    names = [f"{i:02}.png" for i in range(11)]
    for i, name in enumerate(names):
        write_image(tmp_path / name, ["red", "green", "blue"][i % 3], seed=i)
    seen: list[tuple[int, int]] = []
    run = make_run(1)
    first = tmp_path / names[0]
    reporter = Reporter().counting(lambda *done: seen.append(done))
    result = run.predict([first, tmp_path], reading=ReadOptions(workers=2), reporter=reporter)
    assert [prediction.path.name for prediction in result] == [first.name, *names]
    assert result[0] == result[1], "a file that is named twice is answered twice"
    assert seen[-1] == (12, 12)
    for prediction, alone in zip(result[1:], (run.predict([tmp_path / name])[0] for name in names), strict=True):
        assert dict(prediction.top) == pytest.approx(dict(alone.top), abs=1e-5)


@pytest.mark.parametrize("heat", [None, 4.0])
def test_unlabelled_refines_after_temperature(tree: Path, heat: float | None) -> None:
    run, item = make_run(1), tree / "z.jpg"
    if heat:
        digest, protocol = rows_digest(run.head.weight), run.protocol.to_json()
        run = replace(run, calibration=Calibration(heat, 40, Threshold(0.05, 0.99, 19), None, digest, protocol))
    write_broken(tree / "broken.mp4")
    reading = ReadOptions(skip_unreadable=True)
    notes: list[str] = []
    (result,) = run.predict([item], reading=reading, unlabelled=[tree], reporter=Reporter(note=notes.append))
    entries = item_features(run.model, [item, *(path for path in find_media([tree]) if path != item)], run.protocol)
    features = torch.stack([entry[0] for entry in entries if isinstance(entry, torch.Tensor)])
    x = torch.nn.functional.normalize(features - features.mean(0), dim=-1)
    scores = refine(run.model.head(features).detach() / (heat or 1), x, run.head.weight.detach()).scores[0]
    assert dict(result.top) == pytest.approx(dict(zip(NAMES, scores.softmax(-1).tolist(), strict=True)), abs=1e-5)
    assert result.accepted, "the threshold is of files that are scored alone"
    assert [note for note in notes if "too few" in note] == notes[-1:]


def test_an_unreadable_file_is_an_error_or_a_row_with_the_reason(tree: Path) -> None:
    broken, text = write_broken(tree / "c.mp4"), tree / "notes.txt"
    with pytest.raises(MediaError, match="skip_unreadable") as caught:  # The message quotes the decoder.
        make_run(2).predict([tree])
    assert caught.value.path == broken
    with pytest.raises(DataError, match=r"^\S+[/\\]c\.mp4: cannot be read"):
        make_run(2).predict([broken], reading=ReadOptions(skip_unreadable=True))
    with pytest.raises(DataError, match=r"none of 2 files can be read: \S+[/\\]c\.mp4: "):
        make_run(2).predict([broken, text], reading=ReadOptions(skip_unreadable=True))
    inputs = [tree, text, tree / "b.mp4"]
    result = make_run(2).predict(inputs, reading=ReadOptions(skip_unreadable=True))
    assert [prediction.path for prediction in result] == find_media(inputs)
    assert [prediction.path for prediction in result if prediction.error] == [broken, text]
    for prediction in result:
        assert bool(prediction.error) != bool(prediction.top)
        assert str(prediction.path) not in (prediction.error or "")
    expected = {prediction.path: prediction for prediction in make_run(2).predict([tree / "b.mp4", tree / "z.jpg"])}
    assert all(dict(p.top) == pytest.approx(dict(expected[p.path].top), abs=1e-5) for p in result if p.path in expected)


def test_pooling_is_passed_on(tree: Path) -> None:
    protocol = Protocol(4, views=Views(2, 3, "center"))
    (by_feature,) = make_run(4).predict([tree / "b.mp4"], protocol)
    (by_probability,) = make_run(4).predict([tree / "b.mp4"], replace(protocol, pooling="probabilities"))
    assert sum(value for _, value in by_probability.top) == pytest.approx(1, abs=1e-5)
    assert dict(by_probability.top) != pytest.approx(dict(by_feature.top), abs=1e-6)
