"""The answers behind the page: names as in `predict`, events as in `timeline`."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from made import (
    calibrate_run,
    noise,
    side_by_side,
    sound,
    write_broken,
    write_image,
    write_several_run,
    write_small_run,
    write_untrained,
    write_video,
)
from messages import prints, refuses
from pages import Page
from texthead.apps.page.answers import Answerer, Question
from texthead.apps.page.html import timeline_html, top_classes_html
from texthead.encoders.load import load_encoder
from texthead.errors import DataError
from texthead.evaluation.calibration import NONE
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.prediction.predictions import json_entry


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_run(tmp_path_factory.mktemp("runs") / "run")


def answerer_of(run: Path) -> Answerer:
    return Answerer(str(run), None, "cpu")


@pytest.fixture(scope="module")
def of_run(run: Path) -> Answerer:
    return answerer_of(run)


# A graph that another process stores between two commands changes the last bits, so the engine is fixed.
@pytest.fixture(scope="module")
def zero_shot() -> Answerer:
    return Answerer(None, None, "cpu")


def test_names_and_probabilities_are_those_of_predict(of_run: Answerer, run: Path, tmp_path: Path, say) -> None:
    video = write_video(tmp_path / "clip.mp4", "red", frames=12)
    named = of_run(Question(video))
    assert [json_entry(named.prediction)] == json.loads(say("predict", run, video, "--json")[1])
    assert (named.seconds, named.frames, named.notes) == (pytest.approx(1.2), 12, ())


def test_notes_on_typed_names_list_what_the_run_loses(tmp_path: Path) -> None:
    visual = load_encoder("mini").visual
    model = Recognizer(visual, MeanPool(), FrozenHead(noise(2, visual.spec.dim), names=["a", "b"], kind="normal"))
    run = calibrate_run(write_untrained(tmp_path / "run", model), temperature=2.0, threshold=0.5)
    image = write_image(tmp_path / "red.png", "red")
    answerer = answerer_of(run)
    own, typed = answerer(Question(image)), answerer(Question(image, ("jumping", "running")))
    assert (own.notes, typed.calibration) == ((), None)
    assert own.calibration is not None
    for note, part in zip(typed.notes, ("normal", "calibrated", "mini"), strict=True):
        prints(note, part)
    other = answerer(Question(image, ("sleeping", "running")))
    assert {name for name, _ in other.prediction.top} == {"sleeping", "running"}


def test_events_are_those_of_timeline(of_run: Answerer, run: Path, tmp_path: Path, say) -> None:
    video = write_video(tmp_path / "clip.mp4", "red", frames=30)
    timed = of_run(Question(video, times=True))
    expected = json.loads(say("timeline", run, video, "--json")[1])["events"]
    result = [(event.name, round(event.start, 3), round(event.end, 3)) for event in timed.events]
    assert result == [(event["name"], event["start"], event["end"]) for event in expected] != []
    assert timed.names[0] == max(timed.events, key=lambda event: event.end - event.start).name
    assert timed.ends[-1] == pytest.approx(3.0)
    assert timed.scores.shape == (len(timed.ends), 2)
    assert np.allclose(timed.scores.sum(-1), 1, atol=1e-5)


def test_error_answer_names_file(of_run: Answerer, tmp_path: Path) -> None:
    for make in (write_broken, sound):
        file = tmp_path / f"{make.__name__}.mp4"
        make(file)
        with pytest.raises(DataError, match=f"^{file.name}: ") as caught:
            of_run(Question(file))
        assert str(tmp_path) not in str(caught.value)
    with refuses(DataError, "red.png"):
        of_run(Question(write_image(tmp_path / "red.png", "red"), times=True))


def test_answers_of_several_labels(tmp_path: Path, say) -> None:
    run = write_several_run(tmp_path / "run")
    both = write_image(tmp_path / "both.png", "red")
    PIL.Image.fromarray(side_by_side("red", "green", 1, 9)[0]).save(both)
    answerer = answerer_of(run)
    named = answerer(Question(both))
    assert [json_entry(named.prediction)] == json.loads(say("predict", run, both, "--json")[1])
    assert {name for name, _ in named.prediction.labels} == {"red", "green"}
    page = Page(top_classes_html(named))
    assert len([row for row in page.all("tr") if row.get("class") == "first"]) == 2
    video = write_video(tmp_path / "red.mp4", "red", frames=30)
    timed = answerer(Question(video, times=True))
    assert [event.name for event in timed.events] == ["red"]
    assert set(timed.events.rule.thresholds) == {"red", "green", "blue"}
    # No class is above its threshold.
    write_several_run(tmp_path / "strict", (20.0, 20.0, 20.0))
    strict = answerer_of(tmp_path / "strict")
    html = top_classes_html(strict(Question(both)))
    prints(html, NONE, "no class is above its threshold")
    assert 'class="first"' not in html
    prints(timeline_html(strict(Question(video, times=True))), "No event", "its threshold for 1 s")
