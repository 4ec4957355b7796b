"""From a request to the parts of the page: their order, user errors, a process that ends, requests by hand."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from made import write_broken, write_image, write_small_run, write_video
from messages import prints, refuses
from pages import Page
from served_pages import opened
from texthead.apps.page.answers import About, Answerer, Question
from texthead.apps.page.app import LOAD_SECONDS, answer_in_steps, ui_app
from texthead.apps.page.worker import StatefulWorker
from texthead.errors import EncoderError


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatefulWorker]:
    """A small run in a process of its own."""
    run = write_small_run(tmp_path_factory.mktemp("runs") / "run")
    with StatefulWorker(partial(Answerer, str(run), None, "cpu")) as process:
        process.run(None, 60.0)
        yield process


def show(held: StatefulWorker, path: Path, limit: float = 300.0) -> list[dict[str, str]]:
    """Return what changes on the page, step by step, after the first status."""
    first, *steps = answer_in_steps(held, Question(path), limit)
    assert [*first] == ["status"]
    return steps


def test_a_video_is_shown_part_by_part(held: StatefulWorker, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", "red", frames=20)
    first, second = show(held, video)
    assert {"clip.mp4", "2.0 s, 20 frames"} <= set(Page(first["named"]).strings)
    assert (bool(first["status"]), second["status"]) == (True, "")
    assert [*first] == ["named", "status"]
    assert [*second] == ["when", "status"]
    assert 'class="lanes"' in second["when"]
    # An image has no times.
    (only,) = show(held, write_image(tmp_path / "red.png", "red"))
    assert ([*only], only["status"]) == (["named", "status"], "")


def test_a_mistake_is_one_line(held: StatefulWorker, tmp_path: Path) -> None:
    (step,) = show(held, write_broken(tmp_path / "broken.mp4"))
    assert [*step] == ["error"]
    assert step["error"].startswith("broken.mp4: ")
    assert len(step["error"].splitlines()) == 1


def test_the_model_is_loaded_before_the_page(held: StatefulWorker) -> None:
    assert held.run(None, LOAD_SECONDS) == About("Run run", ("a", "b"))
    with StatefulWorker(partial(Answerer, None, "nowhere", "cpu")) as wrong, refuses(EncoderError, "nowhere"):
        wrong.run(None, LOAD_SECONDS)


def test_a_file_is_asked_about_by_its_token(held: StatefulWorker, tmp_path: Path) -> None:
    image = write_image(tmp_path / "red.png", "red")
    (tmp_path / "uploads").mkdir()
    with opened(ui_app(held, About("a model", ("a", "b")), tmp_path / "uploads")) as client:
        sent = client.post("/upload?name=red.png", content=image.read_bytes()).json()
        answer = client.post("/ask", json={"file": sent["file"], "names": ""})
        _, last = map(json.loads, answer.text.splitlines())
        assert "red.png" in Page(last["named"]).strings
        assert client.get("/").text.startswith("<!doctype html>")
        for name in ("page.js", "page.css"):
            assert client.get(f"/{name}").headers["cache-control"] == "no-store"
        # Names cannot be classes: the answer comes without waiting for a turn.
        twice = client.post("/ask", json={"file": sent["file"], "names": "a cat, a cat"})
        assert twice.status_code == 400
        prints(twice.json()["error"], "a cat")


QUESTION = {"file": "x", "names": ""}


@pytest.mark.parametrize(
    "body", [*({**QUESTION, "file": file} for file in (None, "/etc/passwd")), {**QUESTION, "names": ["x"]}, {}]
)
def test_a_request_by_hand_is_refused(tmp_path: Path, body: dict) -> None:
    (tmp_path / "red.png").touch()
    with opened(ui_app(object.__new__(StatefulWorker), About("", ()), tmp_path)) as client:
        answer = client.post("/ask", content=json.dumps(body))
    assert answer.status_code == 400
    assert [*answer.json()] == ["error"]
