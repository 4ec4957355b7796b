"""Connections of clients that never send a whole request, or leave before it ends; files that are replaced."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from urllib import request as http

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from made import write_image
from served_pages import Served, ask, connect, serving
from texthead.apps.serving import previews, server
from texthead.apps.serving.server import DECODERS, page_app
from texthead.apps.serving.shown import ShownFiles

HEAD = b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A page that takes JSON and checks its connections twice a second."""
    monkeypatch.setattr(server, "LOOK", 0.5)

    async def act(request: Request) -> JSONResponse:
        return JSONResponse(await request.json())

    with serving(page_app([Route("/api", act, methods=["POST"])], "localhost")) as page:
        yield page


def ends(connection: socket.socket) -> bool:
    """Return whether the server closes the connection, whatever it answers first."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: ", HEAD, HEAD + b"[1,"])
def test_half_a_request_is_not_waited_for(served: Served, sent: bytes) -> None:
    with closing(connect(served, timeout=10)) as connection:
        connection.sendall(sent)
        assert ends(connection)
    assert served.log == []


@pytest.mark.slow
def test_a_body_that_trickles_is_not_waited_for(served: Served) -> None:
    with closing(connect(served, timeout=10)) as connection:
        connection.sendall(HEAD)
        with pytest.raises(OSError):  # noqa: PT011
            for _ in range(200):
                connection.sendall(b" ")
                time.sleep(0.05)


@pytest.mark.slow
def test_a_body_that_comes_steadily_is(served: Served) -> None:
    with closing(connect(served, timeout=10)) as connection:
        connection.sendall(HEAD)
        for _ in range(24):
            connection.sendall(b" " * 20_000)
            time.sleep(0.1)
        connection.sendall(b"[1]".rjust(20_000))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_disconnected_client_prints_nothing(served: Served) -> None:
    with closing(connect(served, timeout=10)) as connection:
        connection.sendall(HEAD + b"[1,")
        connection.shutdown(socket.SHUT_WR)
        assert ends(connection)
    assert served.log == []


@pytest.mark.parametrize(
    "replace",
    [
        lambda file, secret: file.symlink_to(secret),
        lambda file, secret: file.symlink_to(file),
        lambda file, secret: file.symlink_to("a" * 3000),
        lambda file, secret: os.mkfifo(file),
        lambda file, secret: file.mkdir(),
        lambda file, secret: (file.parent.rmdir(), file.parent.symlink_to(secret.parent)),
    ],
    ids=["link", "loop", "long link", "pipe", "folder", "link above"],
)
def test_a_file_that_is_replaced_is_not_served(tmp_path: Path, replace: Callable[[Path, Path], object]) -> None:
    for folder in ("data", "secret"):
        write_image(tmp_path / folder / "a.png", "red")
    file, shown = tmp_path / "data" / "a.png", ShownFiles()
    link = tmp_path / "link.png"
    link.symlink_to(write_image(tmp_path / "b.png", "red"))
    keys = [shown.key(number, path) for number, path in enumerate([file, link])]
    with serving(page_app([], "localhost", shown=shown)) as page:
        file.unlink()
        replace(file, tmp_path / "secret" / "a.png")
        for name in ("media", "preview", "still"):
            answer = ask(page, f"GET /{name}/{keys[0]}")
            assert (answer.status, len(answer.text.splitlines())) == (400, 1), answer.text
            assert ask(page, f"HEAD /{name}/{keys[1]}").status == 200, "a link from the start"
        assert page.log == []


def test_few_pictures_are_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write_image(tmp_path / f"{index}.png", "red", seed=index) for index in range(15)]
    running, most, lock = set[Path](), list[int](), threading.Lock()

    def slow(path: Path) -> tuple[str, bytes]:
        with lock:
            running.add(path)
            most.append(len(running))
        time.sleep(0.05)
        running.remove(path)
        return "image/webp", b""

    monkeypatch.setattr(previews, "preview", slow)
    shown = ShownFiles()
    keys = [shown.key(number, file) for number, file in enumerate(files)]
    with serving(page_app([], "localhost", shown=shown)) as page, ThreadPoolExecutor(15) as pool:
        answers = [*pool.map(lambda key: ask(page, f"HEAD /preview/{key}"), keys)]
    assert {answer.headers["content-type"] for answer in answers} == {"image/webp"}
    assert max(most) == DECODERS


HANGS_UP = """
import os, signal, sys, time
from contextlib import suppress
from pathlib import Path
from texthead.apps.serving.server import listening_socket, page_app, serve
from texthead.parallel.signals import ended_by_signals

def act(action, body):
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.3)
    return {"label": "written"}

with ended_by_signals(str) as ending:
    with suppress(KeyboardInterrupt), listening_socket("127.0.0.1", 0) as listening:
        serve(listening, page_app([], "127.0.0.1", page=Path(sys.argv[1]), act=act), "127.0.0.1", lambda page: print(page, flush=True))
sys.exit(ending.code)
"""


@pytest.mark.slow
def test_a_closed_terminal_lets_a_request_finish(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>")
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # These tests may run under nohup.
    process = subprocess.Popen([sys.executable, "-c", HANGS_UP, str(page)], stdout=PIPE, stderr=PIPE, text=True)
    signal.signal(signal.SIGHUP, before)
    with process:
        address = process.stdout.readline().strip()
        start = http.urlopen(address).read().decode().split('"')[1]
        request = http.Request(f"{address}/api/label", b"{}", {"x-start": start, "origin": address})
        with http.urlopen(request) as response:
            assert json.load(response) == {"label": "written"}
        assert (*process.communicate(timeout=60), process.returncode) == ("", "", 129)
