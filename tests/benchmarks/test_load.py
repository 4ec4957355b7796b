"""Small load tests with real kills; hostile requests do not affect the page."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks import load

MB = 2**20
ASK, UPLOAD = "/ask", "/upload"


@pytest.mark.nightly("benchmarks/load.py")
@pytest.mark.parametrize(
    "arguments",
    [
        ["page", "--minutes", "0.5", "--clients", "3", "--every", "10"],
        ["label", "--writers", "2", "--kills", "2", "--every", "3"],
    ],
)
def test_nothing_is_lost_or_wrong(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = load.main(arguments)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, result["bad"]) == (0, 0), result
    assert result["kills"] >= 2
    assert result.get("right", result.get("acknowledged", result.get("rows"))) > 10


def hostile() -> Iterator[bytes]:
    """Yield requests that the server must refuse."""
    question = {"file": None, "names": "", "parts": []}
    bodies = [b"", b"{", b"\xff", b"[" * 100_000, json.dumps(question | {"file": "/etc/passwd"}).encode()]
    bodies += [json.dumps(question | {"names": "\ud800" * 1000, "parts": [None] * 1000}).encode()]
    kind = b"Content-Type: application/json\r\n"
    for path in (ASK, UPLOAD, "/", "/page.js", "/upload/x"):
        for body in bodies:
            yield b"POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s" % (
                *(path.encode(), kind, len(body), body),
            )
        yield b"POST %s HTTP/1.1\r\nHost: localhost\r\n%sTransfer-Encoding: chunked\r\n\r\n" % (path.encode(), kind)
        large = b"POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: 1000000000\r\n\r\n" % (path.encode(), kind)
        yield large + b"a" * (64 * MB)
    for path in (b"/upload/" + b"a" * 5000, b"/upload/..%2f..%2fetc/passwd", b"/page.js/../../../etc/passwd"):
        yield b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path
    for host in (b"127.0.0.1:1@evil.com", b"[::1].evil.com", b"localhost.", b"[", b"localhost\r\nHost: localhost"):
        yield b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host
    yield b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % b"".join(b"X-%d: a\r\n" % i for i in range(20_000))
    yield b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00" * 50


def status(port: int, request: bytes) -> int | None:
    """Return the response status, or None if the server closed the connection first."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        with suppress(OSError):
            connection.sendall(request)
        try:
            answer = http.client.HTTPResponse(connection)
            answer.begin()
        except OSError:
            return None
        return answer.status


@pytest.mark.slow
def test_hostile_requests_leave_page_unchanged(tmp_path: Path) -> None:
    run, log = load.small_run(tmp_path / "run"), tmp_path / "log.txt"
    server, address = load.start_page(log, "ui", run)
    with load.ended([server]):
        port = urlsplit(address).port or 0
        assert status(port, b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200
        before, lines = load.megabytes(server.pid), log.read_text()
        for request in hostile():
            result = status(port, request)
            assert result is None or 400 <= result < 500, (request[:200], result)
        assert status(port, b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200
        assert load.megabytes(server.pid) - before < 100
        assert log.read_text() == lines
