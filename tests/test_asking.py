"""From a file and typed names to the parts of a page: what comes when, and what a mistake or a lost process shows."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from made import write_broken, write_image, write_small_run, write_video
from texthead.answers import Answerer, Limits, Source
from texthead.asking import Rules, Shown, shown, uploaded
from texthead.errors import DataError
from texthead.watched import Held


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """A small run in a process of its own."""
    run = write_small_run(tmp_path_factory.mktemp("runs") / "run")
    with Held(partial(Answerer, Source(run=str(run), device="cpu"), Limits(seconds=5.0))) as process:
        process.begin()
        yield process


def test_a_video_is_shown_part_by_part(held: Held, uploads: Path) -> None:
    video = write_video(uploads / "clip.mp4", "red", frames=20)
    first, second, third = shown(held, Rules(uploads), str(video), " \n", ["when", "where"])
    assert "clip.mp4" in first.named
    assert "2.0 s, 20 frames" in first.named
    assert "Looking along" in first.when
    assert "Covering" in first.where
    assert "th-lanes" in second.when
    assert "Covering" in second.where
    assert "th-strip" in third.where
    assert (third.named, third.when) == (first.named, second.when)
    assert first.downloads != second.downloads == third.downloads
    assert not third.error


def test_only_what_is_asked_for_is_looked_at(held: Held, uploads: Path) -> None:
    video, image = write_video(uploads / "clip.mp4", "red"), write_image(uploads / "red.png", "red")
    (only,) = shown(held, Rules(uploads), str(video), "", [])
    assert (only.when, only.where) == ("", "")
    first, last = shown(held, Rules(uploads), str(image), "", ["when", "where"])
    assert (first.when, last.when) == ("", "")
    assert "th-strip" in last.where


def test_a_mistake_is_one_line(held: Held, uploads: Path) -> None:
    broken = write_broken(uploads / "broken.mp4")
    (parts,) = shown(held, Rules(uploads), str(broken), "", ["when"])
    assert parts == Shown(error=parts.error)
    assert parts.error.startswith('<p class="th-error" role="alert">broken.mp4: ')
    (parts,) = shown(held, Rules(uploads), None, "", [])
    assert "choose a video or an image first" in parts.error


def test_only_uploads_are_read(held: Held, uploads: Path, tmp_path: Path) -> None:
    outside = write_image(tmp_path / "red.png", "red")
    link = uploads / "link.png"
    link.symlink_to(outside)
    for path in (
        outside,
        link,
        uploads / ".." / outside.name,
        uploads / "gone.png",
        uploads,
        "http://127.0.0.1:9/x.png",
    ):
        with pytest.raises(DataError, match="only files that were uploaded here"):
            uploaded(path, uploads)
        (parts,) = shown(held, Rules(uploads), str(path), "", [])
        assert "only files that were uploaded here" in parts.error
        assert not parts.named


def slow(part: str) -> Callable[..., object]:
    """A model of two classes that takes long over one part, or ends in it."""
    return partial(_slow, part)


def _slow(part: str) -> Callable[..., object]:
    run = Path(os.environ["SLOW_RUN"])
    answer = Answerer(Source(run=str(run), device="cpu"), Limits())

    def wait(question):
        if question.part == part:
            time.sleep(60)
        return answer(question)

    return wait


def _ends() -> Callable[..., object]:
    return lambda _: os._exit(9)


@pytest.mark.slow
def test_what_was_found_stays_where_the_rest_takes_too_long(
    tmp_path: Path, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_RUN", str(write_small_run(tmp_path / "run")))
    video = write_video(uploads / "clip.mp4", "red", frames=20)
    with Held(slow("where")) as late:
        late.begin()
        began = time.monotonic()
        *_, before, last = shown(late, Rules(uploads, limit=8.0), str(video), "", ["when", "where"])
        assert 7 < time.monotonic() - began < 40
    assert "clip.mp4: took longer than 8 s, the limit of this page" in last.error
    assert (last.named, last.when, last.where) == (before.named, before.when, "")
    assert "th-lanes" in last.when


def test_a_process_that_ends_is_told_and_replaced(uploads: Path) -> None:
    image = write_image(uploads / "red.png", "red")
    with Held(_ends) as dying:
        for _ in range(2):
            (parts,) = shown(dying, Rules(uploads), str(image), "", [])
            assert "red.png: its process ended (exit code 9); try a shorter or a smaller file" in parts.error
