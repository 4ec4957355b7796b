"""Clients that leave, files that are replaced while they are shown, and pictures of many files at once."""

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from made import write_image
from messages import refuses
from platforms import mkfifo, symlink
from served_pages import ask, connect, head, serving
from texthead.apps.serving import previews
from texthead.apps.serving.files import ShownFiles
from texthead.apps.serving.server import DECODERS, listening, page_app
from texthead.errors import DataError, RunError


def test_disconnected_client_prints_nothing() -> None:
    async def act(request: Request) -> JSONResponse:
        return JSONResponse(await request.json())

    with serving(page_app([Route("/api", act, methods=["POST"])])) as page:
        with closing(connect(page, timeout=10)) as connection:
            connection.sendall(head(page, "POST /api", "Content-Length: 500000") + b"[1,")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
        assert page.log == []


def test_a_port_that_is_taken_or_none_is_refused() -> None:
    with listening(0) as taken:
        for port in (taken.getsockname()[1], 70_000):
            with refuses(RunError, f"port {port}: cannot listen", "`port`"):
                listening(port)


@pytest.mark.parametrize(
    "replace",
    [
        lambda file, secret: symlink(file, secret),
        lambda file, secret: mkfifo(file),
        lambda file, secret: (file.parent.rmdir(), symlink(file.parent, secret.parent)),
        lambda file, secret: write_image(file, "blue", seed=1),
        lambda file, secret: None,
    ],
    ids=["link", "pipe", "link above", "another file", "gone"],
)
def test_a_file_that_is_replaced_is_not_served(tmp_path: Path, replace: Callable[[Path, Path], object]) -> None:
    for folder in ("data", "secret"):
        write_image(tmp_path / folder / "a.png", "red")
    file, shown = tmp_path / "data" / "a.png", ShownFiles()
    key = shown.key(0, file)
    with serving(page_app([], shown=shown)) as page:
        file.unlink()
        replace(file, tmp_path / "secret" / "a.png")
        for name in ("media", "preview", "still"):
            answer = ask(page, f"GET /{name}/{key}")
            assert (answer.status, len(answer.text.splitlines())) == (400, 1), answer.text
        assert page.log == []
    with refuses(DataError, "a.png", "changed", "reload"):
        shown.find(key)
    assert shown.find(key, changed=True) == (0, file)


def test_a_link_from_the_start_is_served(tmp_path: Path) -> None:
    shown, link = ShownFiles(), tmp_path / "link.png"
    symlink(link, write_image(tmp_path / "b.png", "red"))
    key = shown.key(0, link)
    with serving(page_app([], shown=shown)) as page:
        for name in ("media", "preview", "still"):
            assert ask(page, f"HEAD /{name}/{key}").status == 200


def test_keys_name_one_part_of_one_content_of_one_path(tmp_path: Path) -> None:
    shown = ShownFiles()
    symlink(tmp_path / "link", tmp_path / "a")
    paths = [tmp_path / name for name in ("a", "b", "link", "a#t=1,2", "a#t=1,3", "b#t=1,2", "\udcff", "gone")]
    for path in paths[:2]:
        path.write_bytes(b"1")
        os.utime(path, ns=(5, 5))
    keys = {shown.key(number, path) for number, path in enumerate(paths)}
    assert len(keys) == len(paths)
    assert {shown.find(key)[1] for key in keys} == {*paths}
    for other in (None, 0, "", "x", ["x"], *paths):
        with refuses(DataError, "reload"):
            shown.find(other)
    (tmp_path / "a").write_bytes(b"2")
    assert shown.key(0, tmp_path / "a") not in keys


def test_few_pictures_are_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write_image(tmp_path / f"{index}.png", "red", seed=index) for index in range(15)]
    running, most, lock = set[Path](), list[int](), threading.Lock()

    def slow(path: Path, *_: object) -> tuple[str, bytes]:
        with lock:
            running.add(path)
            most.append(len(running))
        time.sleep(0.05)
        running.remove(path)
        return "image/webp", b""

    monkeypatch.setattr(previews, "preview", slow)
    shown = ShownFiles()
    keys = [shown.key(number, file) for number, file in enumerate(files)]
    with serving(page_app([], shown=shown)) as page, ThreadPoolExecutor(15) as pool:
        answers = [*pool.map(lambda key: ask(page, f"HEAD /preview/{key}"), keys)]
    assert {answer.headers["content-type"] for answer in answers} == {"image/webp"}
    assert max(most) == DECODERS
