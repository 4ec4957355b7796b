"""What stands in front of a page, asked as a server asks it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from texthead.web.guard import Guard


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """An application that says yes to everything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


def answer(guard: Guard, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """(status, headers, body) of a request."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    told = {"host": "127.0.0.1:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": raw}
    asyncio.run(guard(scope, receive, send))  # pyright: ignore[reportArgumentType]
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(inner, ["127.0.0.1", "localhost", "::1"], tmp_path, most_bytes=300_000, most_bytes_of_one=2**20)


@pytest.mark.parametrize("path", ["/", "/assets/a.js", "/gradio_api/queue/join", "/gradio_api/file=/tmp/x/a.mp4"])
def test_the_pages_own_addresses_are_passed_on(guard: Guard, path: str) -> None:
    assert answer(guard, path)[::2] == (200, b"yes")


@pytest.mark.parametrize(
    "path",
    [
        *("/docs", "/login", "/monitoring", "/gradio_api/runs", "/gradio_api/vibe-edit", "/gradio_api/call/ask"),
        *("/gradio_api/proxy=http://x", "/gradio_api/file=http://x", "/gradio_api/file=x", "//", "/gradio_api/"),
    ],
)
def test_other_addresses_are_not_there(guard: Guard, path: str) -> None:
    assert answer(guard, path)[0] == 404


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:1", 200), ("[::1]:1", 200), ("LOCALHOST", 200), ("x.example", 421), ("", 421)]
)
def test_a_page_elsewhere_whose_name_points_here_cannot_ask(guard: Guard, host: str, status: int) -> None:
    assert answer(guard, "/", host=host)[0] == status


def test_without_hosts_any_may_ask(tmp_path: Path) -> None:
    open_to_all = Guard(inner, None, tmp_path, most_bytes=1, most_bytes_of_one=1)
    assert answer(open_to_all, "/", host="x.example")[0] == 200


def test_a_browser_is_told_to_fetch_nothing_from_elsewhere(guard: Guard) -> None:
    for path in ("/", "/docs"):
        policy = answer(guard, path)[1][b"content-security-policy"].decode()
        assert "connect-src 'self' data: blob:;" in policy
        assert "http" not in policy


def upload(guard: Guard, length: str | None) -> int:
    headers = {} if length is None else {"content_length": length}
    return answer(guard, "/gradio_api/upload", "POST", **headers)[0]


def test_an_upload_has_a_length_and_a_limit(guard: Guard) -> None:
    assert upload(guard, "300000") == 200
    assert upload(guard, None) == upload(guard, "many") == 411
    assert upload(guard, str(2**20 + 2**16 + 1)) == 413


def test_all_uploads_have_room_together(guard: Guard, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    held = tmp_path / "below" / "clip.mp4"
    held.write_bytes(bytes(200_000))
    assert upload(guard, "90000") == 200
    assert upload(guard, "100001") == 507
    held.unlink()
    assert upload(guard, "100001") == 200


def test_uploads_that_still_arrive_take_room(tmp_path: Path) -> None:
    statuses: list[int] = []

    async def asks_again(scope: Any, receive: Any, send: Any) -> None:
        if len(statuses) == 0:
            statuses.append(0)
            sent: list[Any] = []

            async def keep(message: Any) -> None:
                sent.append(message)

            await guard(scope, receive, keep)
            statuses[0] = sent[0]["status"]
        await inner(scope, receive, send)

    guard = Guard(asks_again, None, tmp_path, most_bytes=150_000, most_bytes_of_one=2**20)
    assert upload(guard, "100000") == 200
    assert statuses == [507]
    assert upload(guard, "100000") == 200
