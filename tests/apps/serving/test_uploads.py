"""Uploads on a real server: their names, how many stay, unfinished files."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from messages import prints, refuses
from platforms import WINDOWS
from served_pages import Answer, Served, ask, connect, head, post, serving, until
from texthead.apps.serving.files import UPLOAD, Uploads
from texthead.apps.serving.server import page_app
from texthead.errors import DataError

MB = 2**20
NAMED = f"{UPLOAD}?name=clip.mp4"


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path)


@pytest.fixture
def served(uploads: Uploads) -> Iterator[Served]:
    with serving(page_app(uploads.routes)) as page:
        yield page


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def token(answer: Answer) -> str:
    assert answer.status == 200
    return json.loads(answer.text)["file"]


def test_a_file_comes_back_as_it_was_sent(served: Served, uploads: Uploads) -> None:
    answer = post(served, NAMED, b"0123456789")
    assert json.loads(answer.text)["type"] == "video/mp4"
    assert uploads.path(token(answer)).name == "clip.mp4"
    # A player reads a video in ranges.
    back = ask(served, f"GET {UPLOAD}/{token(answer)}", "Range: bytes=2-4")
    assert (back.status, back.text, back.headers["content-type"]) == (206, "234", "video/mp4")


def test_a_file_that_a_browser_might_run_is_not_shown(served: Served) -> None:
    for name in ("page.html", "drawing.svg", "script.js", "clip"):
        answer = post(served, f"{UPLOAD}?name={name}", b"<script>alert(1)</script>")
        assert json.loads(answer.text)["type"] is None
        back = ask(served, f"GET {UPLOAD}/{token(answer)}")
        assert back.headers["content-type"] == "application/octet-stream"
        assert back.headers["x-content-type-options"] == "nosniff"


def test_a_name_has_no_folders_and_an_end(served: Served, uploads: Uploads, tmp_path: Path) -> None:
    for name, expected in (
        ("../../a #1?.png", "a #1_.png" if WINDOWS else "a #1?.png"),
        ("C:\\files\\b.png", "b.png"),
        ("/etc/c\0d.png", "d.png"),
        ("ü" * 200 + ".png", "ü" * 98 + ".png"),
    ):
        path = uploads.path(token(post(served, f"{UPLOAD}?name={quote(name, safe='')}", b"a")))
        assert path.name == expected
        assert path.parent.parent == tmp_path
    for name in ("", "..", "a/", "%ff%00"):
        answer = post(served, f"{UPLOAD}?name={name}", b"a")
        assert (answer.status, "name" in answer.text) == (400, True)
    assert served.log == []


def test_the_last_files_stay(served: Served, uploads: Uploads, tmp_path: Path) -> None:
    sent = [token(post(served, NAMED, b"%d" % number)) for number in range(12)]
    assert sorted(int(path.read_bytes()) for path in stored(tmp_path)) == [*range(2, 12)]
    assert len([*tmp_path.iterdir()]) == 10
    assert uploads.path(sent[-1]).is_file()
    # The same line for what was never a token.
    for other in (sent[0], None, 5, ["x"], "../x", "\ud800"):
        with refuses(DataError, "not here", "upload it again"):
            uploads.path(other)
    assert ask(served, f"GET {UPLOAD}/{sent[0]}").status == 400


def test_a_file_beyond_the_limit_is_refused_unread(served: Served, tmp_path: Path) -> None:
    answer = ask(served, f"POST {NAMED}", f"Content-Length: {Uploads.MEGABYTES * 2**20 + 1}", body=b"a")
    assert answer.status == 400
    prints(json.loads(answer.text)["error"], "clip.mp4", "200 MB")
    assert stored(tmp_path) == []


def test_an_upload_that_breaks_off_leaves_nothing(served: Served, tmp_path: Path) -> None:
    waiting = [connect(served) for _ in range(2)]
    for connection in waiting:
        connection.sendall(head(served, f"POST {NAMED}", f"Content-Length: {MB}") + bytes(MB // 2))
    until(lambda: len(stored(tmp_path)) == 2)
    for connection in waiting:
        with closing(connection):
            pass
    until(lambda: not [*tmp_path.iterdir()])
    assert post(served, NAMED, bytes(MB)).status == 200
    assert served.log == []
