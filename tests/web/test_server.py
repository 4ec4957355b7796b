"""Connections of clients that never send a whole request, or leave before it ends."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from texthead.web import server
from texthead.web.server import PatientProtocol, guarded, listening_socket

HEAD = b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n"


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("uvicorn.error").addHandler(handler)
    yield lines
    logging.getLogger("uvicorn.error").removeHandler(handler)


@pytest.fixture
def port(log: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a page that takes JSON and checks its connections twice a second."""
    monkeypatch.setattr(server, "LOOK", 0.5)

    async def act(request: Request) -> JSONResponse:
        return JSONResponse(await request.json())

    app = guarded(Starlette(routes=[Route("/api", act, methods=["POST"])]), "localhost", lambda path: path == "/api")
    with listening_socket("127.0.0.1", 0) as listening:
        page = uvicorn.Server(uvicorn.Config(app, http=PatientProtocol, log_level="error"))
        thread = threading.Thread(target=page.run, kwargs={"sockets": [listening]})
        thread.start()
        while not page.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        page.should_exit = True
        thread.join()


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
def test_half_a_request_is_not_waited_for(port: int, log: list[str], sent: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        connection.sendall(sent)
        assert ends(connection)
    assert log == []


@pytest.mark.slow
def test_a_body_that_trickles_is_not_waited_for(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        connection.sendall(HEAD)
        with pytest.raises(OSError):  # noqa: PT011
            for _ in range(200):
                connection.sendall(b" ")
                time.sleep(0.05)


@pytest.mark.slow
def test_a_body_that_comes_steadily_is(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        connection.sendall(HEAD)
        for _ in range(24):
            connection.sendall(b" " * 20_000)
            time.sleep(0.1)
        connection.sendall(b"[1]".rjust(20_000))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_in_the_middle_leaves_no_line(port: int, log: list[str]) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        connection.sendall(HEAD + b"[1,")
        connection.shutdown(socket.SHUT_WR)
        assert ends(connection)
    assert log == []
