"""Uploads on a real server: room for all together, unfinished and nameless files, an hour until removal."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.routing import Route

from messages import refuses
from served_pages import Answer, Served, ask, connect, head, post, serving, until
from texthead.apps.serving import uploads as uploads_module
from texthead.apps.serving.server import page_app
from texthead.apps.serving.uploads import UPLOAD, Uploads
from texthead.errors import DataError

MB = 2**20
NAMED = f"{UPLOAD}?name=clip.mp4"


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    """Uploads of at most 1 MB, with room for two."""
    monkeypatch.setattr(uploads_module, "_ROOM", 2)
    return Uploads(tmp_path, MB)


@pytest.fixture
def served(uploads: Uploads) -> Iterator[Served]:
    with serving(page_app(uploads.routes, "127.0.0.1", most_bytes=uploads.limits)) as page:
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
        ("../../a #1?.png", "a #1?.png"),
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


def test_all_uploads_have_room_together(served: Served, tmp_path: Path) -> None:
    for content, status in ((b"a" * MB, 200), (b"b" * MB, 200), (b"c" * MB, 507)):
        assert ask(served, f"POST {NAMED}", f"Content-Length: {MB}", body=content).status == status
    assert sorted(path.read_bytes()[:1] for path in stored(tmp_path)) == [b"a", b"b"]


def test_a_file_is_removed_after_an_hour_and_makes_room(
    served: Served, uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "_SECONDS_KEPT", 0.2)
    for _ in range(3):
        sent = token(post(served, NAMED, bytes(MB)))
        until(lambda: not [*tmp_path.iterdir()])
        with refuses(DataError, "hour"):
            uploads.path(sent)
        assert ask(served, f"GET {UPLOAD}/{sent}").status == 400
    # The same line for what was never a token.
    for other in (None, 5, ["x"], "../x", "\ud800"):
        with refuses(DataError, "hour"):
            uploads.path(other)


def test_an_upload_that_breaks_off_leaves_nothing(served: Served, tmp_path: Path) -> None:
    waiting = [connect(served) for _ in range(2)]
    for connection in waiting:
        connection.sendall(head(served, f"POST {NAMED}", f"Content-Length: {MB}") + bytes(MB // 2))
    until(lambda: len(stored(tmp_path)) == 2)
    # What is still arriving takes up room.
    assert post(served, NAMED, b"a").status == 507
    for connection in waiting:
        with closing(connection):
            pass
    until(lambda: not [*tmp_path.iterdir()])
    assert post(served, NAMED, bytes(MB)).status == 200
    assert served.log == []


def test_a_full_disk_is_one_line(served: Served, uploads: Uploads, tmp_path: Path) -> None:
    tmp_path.rmdir()
    answer = post(served, NAMED, b"a")
    assert answer.status == 400
    assert json.loads(answer.text)["error"].startswith("clip.mp4: cannot be stored (No such file or directory)")
    assert uploads._files == {}
    tmp_path.mkdir()
    assert served.log == []


def test_only_a_post_uploads(uploads: Uploads) -> None:
    assert {route.path: route.methods for route in uploads.routes if isinstance(route, Route)} == {
        UPLOAD: {"POST"},
        f"{UPLOAD}/{{token}}": {"GET", "HEAD"},
    }
