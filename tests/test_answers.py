"""What a page asks of a model, without a page: the same names as `predict`, the same events as `timeline`, limits."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made import calibrate_run, noise, sound, write_broken, write_image, write_small_run, write_video
from texthead.answers import About, Answerer, Limits, Lit, Named, Question, Source, Timed, measured
from texthead.encoders import load_encoder
from texthead.errors import DataError, MediaError, RunError
from texthead.heads import FrozenHead
from texthead.prediction import json_entry
from texthead.recipes import Recipe
from texthead.recognizer import Recognizer
from texthead.runs import write_run
from texthead.temporal import MeanPool
from texthead.view_features import own_pixels

NAMES = ("a red thing", "a lake", "a tree")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def of_run(run: Path) -> Answerer:
    return Answerer(Source(run=str(run), device="cpu"), Limits(seconds=5.0, frames=40, names=3))


@pytest.fixture(scope="module")
def zero_shot() -> Answerer:
    return Answerer(Source(device="cpu"), Limits())


def test_about_says_what_is_loaded(of_run: Answerer, zero_shot: Answerer) -> None:
    assert of_run(None) == About("run run", ("a", "b"))
    assert zero_shot(None) == About("mini, without training", ())


def test_names_and_probabilities_are_those_of_predict(
    of_run: Answerer, run: Path, tmp_path: Path, say: Callable[..., tuple[int, str, str]]
) -> None:
    video = write_video(tmp_path / "clip.mp4", "red", frames=12)
    named = of_run(Question(video))
    assert isinstance(named, Named)
    assert [json_entry(named.found)] == json.loads(say("predict", run, video, "--json")[1])
    assert (named.seconds, named.frames, named.notes) == (pytest.approx(1.2), 12, ())


def test_typed_names_are_those_of_predict_with_classes(
    zero_shot: Answerer, tmp_path: Path, say: Callable[..., tuple[int, str, str]]
) -> None:
    image = write_image(tmp_path / "red.png", "red")
    named = zero_shot(Question(image, NAMES))
    assert isinstance(named, Named)
    assert [json_entry(named.found)] == json.loads(say("predict", image, "--classes", ",".join(NAMES), "--json")[1])
    assert (named.seconds, named.frames) == (0, 1)
    assert named.prompts == NAMES
    (known,) = named.notes
    assert "mini knows objects" in known


def test_typed_names_tell_what_the_run_loses_by_them(tmp_path: Path) -> None:
    visual = load_encoder("mini").visual
    model = Recognizer(visual, MeanPool(), FrozenHead(noise(2, visual.spec.dim), names=["a", "b"], kind="normal"))
    split: dict[str, object] = {"train": [], "held_out": [], "train_content": [], "held_out_content": []}
    write_run(tmp_path / "run", model, Recipe(name="test", frames=1), own_pixels(visual.spec), ["a", "b"], split)
    run = calibrate_run(tmp_path / "run", temperature=2.0, threshold=0.5)
    image = write_image(tmp_path / "red.png", "red")
    answerer = Answerer(Source(run=str(run), device="cpu"), Limits())
    own, typed = answerer(Question(image)), answerer(Question(image, NAMES))
    assert isinstance(own, Named)
    assert isinstance(typed, Named)
    assert (own.notes, typed.calibration) == ((), None)
    assert own.calibration is not None
    no_text, uncalibrated, objects = typed.notes
    assert "are no text (its head is normal)" in no_text
    assert "calibration is of its own classes" in uncalibrated
    assert "mini knows objects" in objects


def test_events_are_those_of_timeline(
    of_run: Answerer, run: Path, tmp_path: Path, say: Callable[..., tuple[int, str, str]]
) -> None:
    video = write_video(tmp_path / "clip.mp4", "red", frames=30)
    timed = of_run(Question(video, part="when"))
    assert isinstance(timed, Timed)
    expected = json.loads(say("timeline", run, video, "--json")[1])
    assert [(e.name, round(e.start, 3), round(e.end, 3)) for e in timed.events] == [
        (e["name"], e["start"], e["end"]) for e in expected["events"]
    ]
    assert timed.events
    assert timed.names[0] == max(timed.events, key=lambda event: event.end - event.start).name
    assert timed.ends[-1] == pytest.approx(3.0)
    assert timed.scores.shape == (len(timed.ends), 2)
    assert np.allclose(timed.scores.sum(-1), 1, atol=1e-5)


def test_where_lights_what_the_best_name_needs(of_run: Answerer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", "red", frames=12)
    lit, named = of_run(Question(video, part="where")), of_run(Question(video))
    assert isinstance(lit, Lit)
    assert isinstance(named, Named)
    assert (lit.name, lit.before) == (named.found.top[0][0], pytest.approx(named.found.top[0][1], abs=1e-5))
    assert lit.frames.shape == (2, 32, 32, 3)
    assert lit.heat.shape == (2, 7, 7)
    assert 0 <= lit.heat.min() <= lit.heat.max() <= 1


def test_where_has_the_probabilities_of_a_calibrated_run(tmp_path: Path) -> None:
    run = write_small_run(tmp_path / "run")
    calibrate_run(run, temperature=3.0, threshold=0.5)
    answerer, video = Answerer(Source(run=str(run), device="cpu"), Limits()), write_video(tmp_path / "a.mp4", "red")
    lit, named = answerer(Question(video, part="where")), answerer(Question(video))
    assert isinstance(lit, Lit)
    assert isinstance(named, Named)
    assert lit.before == pytest.approx(named.found.top[0][1], abs=1e-5)


def test_what_is_wrong_is_the_answer_and_names_the_file_alone(of_run: Answerer, tmp_path: Path) -> None:
    for make in (write_broken, sound):
        file = tmp_path / f"{make.__name__}.mp4"
        make(file)
        answer = of_run(Question(file))
        assert isinstance(answer, DataError)
        assert str(answer).startswith(f"{file.name}: ")
        assert str(tmp_path) not in str(answer)
    answer = of_run(Question(write_image(tmp_path / "red.png", "red"), part="when"))
    assert isinstance(answer, DataError)
    assert "pictures have no times" in str(answer)


def test_a_video_beyond_the_limits_is_not_looked_at(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", "red", frames=30)
    assert measured(video, Limits(seconds=3.0, frames=30)) == (3, 30)
    with pytest.raises(MediaError, match="3 s long, and this page takes videos of 2.9 s"):
        measured(video, Limits(seconds=2.9))
    with pytest.raises(MediaError, match="30 frames, and this page takes 29"):
        measured(video, Limits(frames=29))


@pytest.mark.parametrize("part", ["names", "when", "where"])
def test_limits_hold_for_whatever_is_asked(of_run: Answerer, tmp_path: Path, part) -> None:
    video = write_video(tmp_path / "clip.mp4", "red", frames=41)
    assert "41 frames, and this page takes 40" in str(of_run(Question(video, part=part)))


def test_names_that_cannot_be_classes(of_run: Answerer, zero_shot: Answerer, tmp_path: Path) -> None:
    image = write_image(tmp_path / "red.png", "red")
    assert "type the names to choose from" in str(zero_shot(Question(image)))
    assert "4 class names: this page takes 3" in str(of_run(Question(image, ("a", "b", "c", "d"))))
    assert "both read 'push up'" in str(zero_shot(Question(image, ("push_up", "Push up"))))
    # The small run's encoder has no text half.
    assert isinstance(of_run(Question(image, ("a", "b"))), Exception)


def test_the_last_names_are_kept(zero_shot: Answerer) -> None:
    first = zero_shot.model(NAMES)
    assert zero_shot.model(NAMES) is first
    assert zero_shot.model(NAMES[:2]) is not first


def test_a_missing_run_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="missing"):
        Answerer(Source(run=str(tmp_path)), Limits())
