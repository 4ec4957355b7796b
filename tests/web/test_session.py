"""From a file and typed names to the parts of a page: their order, user errors, and a process that ends."""

import os
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import pytest

from made import write_broken, write_image, write_small_run, write_video
from messages import prints, refuses
from pages import Page
from texthead.errors import DataError
from texthead.parallel.worker_pool import StatefulWorker
from texthead.web.answers import Answerer, Limits, ModelSource
from texthead.web.html import error_html, waiting_html
from texthead.web.session import AnswerParts, Rules, answer_in_steps, uploaded


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatefulWorker]:
    """A small run in a process of its own."""
    run = write_small_run(tmp_path_factory.mktemp("runs") / "run")
    with StatefulWorker(partial(Answerer, ModelSource(run=str(run), device="cpu"), Limits(seconds=5.0))) as process:
        process.begin()
        yield process


def show(
    held: StatefulWorker, uploads: Path, path: Path | str | None, closer: Collection[str] = ()
) -> list[AnswerParts]:
    return [*answer_in_steps(held, Rules(uploads), None if path is None else str(path), " \n", closer)]


def test_a_video_is_shown_part_by_part(held: StatefulWorker, uploads: Path) -> None:
    video = write_video(uploads / "clip.mp4", "red", frames=20)
    first, second, third = show(held, uploads, video, ["when", "where"])
    assert {"clip.mp4", "2.0 s, 20 frames"} <= set(Page(first.named).strings)
    assert (first.when, first.where) == (waiting_html("when"), waiting_html("where"))
    assert "th-lanes" in second.when
    assert second.where == first.where
    assert "th-strip" in third.where
    assert (third.named, third.when) == (first.named, second.when)
    assert first.downloads != second.downloads == third.downloads
    assert not third.error


def test_only_the_chosen_parts_are_computed(held: StatefulWorker, uploads: Path) -> None:
    video, image = write_video(uploads / "clip.mp4", "red"), write_image(uploads / "red.png", "red")
    (only,) = show(held, uploads, video)
    assert (only.when, only.where) == ("", "")
    # A picture has no times.
    first, last = show(held, uploads, image, ["when", "where"])
    assert (first.when, last.when) == ("", "")
    assert "th-strip" in last.where


def test_a_mistake_is_one_line(held: StatefulWorker, uploads: Path) -> None:
    (parts,) = show(held, uploads, write_broken(uploads / "broken.mp4"), ["when"])
    assert parts == AnswerParts(error=parts.error)
    assert parts.error.startswith('<p class="th-error" role="alert">broken.mp4: ')
    (parts,) = show(held, uploads, None)
    prints(Page(parts.error).text)


def test_only_uploads_are_read(held: StatefulWorker, uploads: Path, tmp_path: Path) -> None:
    outside = write_image(tmp_path / "red.png", "red")
    (uploads / "link.png").symlink_to(outside)
    beside = [uploads / name for name in ("link.png", "../red.png", "gone.png", "")]
    for path in (outside, *beside, "http://127.0.0.1:9/x.png"):
        with refuses(DataError, "upload") as caught:
            uploaded(path, uploads)
        (parts,) = show(held, uploads, path)
        assert parts == AnswerParts(error=error_html(str(caught.value)))


def _slow_where() -> Callable[..., object]:
    """Return a model of two classes that is slow to answer "where"."""
    answer = Answerer(ModelSource(run=os.environ["SLOW_RUN"], device="cpu"), Limits())

    def wait(question):
        if question.part == "where":
            time.sleep(60)
        return answer(question)

    return wait


def _ends() -> Callable[..., object]:
    return lambda _: os._exit(9)


@pytest.mark.slow
def test_finished_parts_stay_where_another_takes_too_long(tmp_path: Path, uploads: Path, monkeypatch) -> None:
    monkeypatch.setenv("SLOW_RUN", str(write_small_run(tmp_path / "run")))
    video = write_video(uploads / "clip.mp4", "red", frames=20)
    with StatefulWorker(_slow_where) as late:
        late.begin()
        began = time.monotonic()
        *_, before, last = answer_in_steps(late, Rules(uploads, limit=8.0), str(video), "", ["when", "where"])
        assert 7 < time.monotonic() - began < 40
    prints(Page(last.error).text, "clip.mp4", "8 s")
    assert (last.named, last.when, last.where) == (before.named, before.when, "")
    assert "th-lanes" in last.when


@pytest.mark.slow
def test_a_process_that_ends_is_an_error_and_is_replaced(uploads: Path) -> None:
    image = write_image(uploads / "red.png", "red")
    with StatefulWorker(_ends) as dying:
        for _ in range(2):
            (parts,) = show(dying, uploads, image)
            prints(Page(parts.error).text, "red.png", "exit code 9")
