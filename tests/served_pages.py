"""Serve a web application in a thread, send it raw requests, and open a page without a browser."""

import http.client
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import uvicorn
from starlette.testclient import TestClient

from texthead.apps.serving.server import Guard, listening, server_config


class Served(NamedTuple):
    """A served page: its port, its token, and what the server logged."""

    port: int
    token: str
    log: list[str]

    @property
    def link(self) -> str:
        """The address that a browser opens first."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"


@contextmanager
def serving(app: Guard) -> Iterator[Served]:
    """Serve a page until the end of the block."""
    log: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: log.append(logging.Formatter().format(record))
    with listening(0) as listener:
        server = uvicorn.Server(server_config(app))
        logging.getLogger("uvicorn.error").addHandler(handler)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        try:
            yield Served(listener.getsockname()[1], app.token, log)
        finally:
            server.should_exit = True
            thread.join()
            logging.getLogger("uvicorn.error").removeHandler(handler)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for the condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Answer(NamedTuple):
    """The response to a request: its status, headers and text."""

    status: int
    headers: http.client.HTTPMessage
    text: str


def connect(served: Served, timeout: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=timeout)


def head(served: Served, line: str, *headers: str) -> bytes:
    """Return the request line and headers, with those that a browser adds."""
    names = {header.partition(":")[0].lower() for header in headers}
    own = {"Host": f"127.0.0.1:{served.port}", "Cookie": f"texthead-{served.port}={served.token}"}
    added = [f"{name}: {value}" for name, value in own.items() if name.lower() not in names]
    return "".join(f"{part}\r\n" for part in (f"{line} HTTP/1.1", *added, *headers, "")).encode()


def ask(served: Served, line: str, *headers: str, body: bytes = b"") -> Answer:
    """Send a request unchanged, adding a host and the cookie if it has none, and return the response."""
    with closing(connect(served)) as connection:
        connection.sendall(head(served, line, *headers) + body)
        with closing(http.client.HTTPResponse(connection, method=line.split()[0])) as response:
            response.begin()
            return Answer(response.status, response.headers, response.read().decode())


def post(served: Served, path: str, body: bytes) -> Answer:
    """Send a body with its length."""
    return ask(served, f"POST {path}", f"Content-Length: {len(body)}", body=body)


def act(page: TestClient, action: str, status: int = 200, **body: object) -> Any:
    """Ask a page that has been opened for an action, and return its answer."""
    answer = page.post(f"/api/{action}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def opened(app: Guard) -> TestClient:
    """Return a client that has opened the link of a page, and acts as a tab of it."""
    client = TestClient(app, base_url="http://127.0.0.1")
    start = re.search('data-start="([^"]+)"', client.get(f"/?token={app.token}").text)
    client.headers["x-start"] = start[1] if start else ""
    return client
