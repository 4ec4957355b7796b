"""Connections of clients that never send a whole request, or leave before it ends."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from served_pages import Served, connect, serving
from texthead.apps.serving import server
from texthead.apps.serving.server import page_app

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
