"""The guard of the page, in front of the real page on a real server: hosts, origins, addresses, body sizes."""

import http.client
import json
import logging
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import pytest
import uvicorn
from fastapi import FastAPI
from gradio.data_classes import FileData
from starlette.datastructures import Headers

from texthead.parallel.worker_pool import StatefulWorker
from texthead.web.answers import About, Limits
from texthead.web.app import UPLOAD, asgi_app, build_page, is_open
from texthead.web.guard import Guard, Uploads
from texthead.web.server import LOCAL, listening_socket
from texthead.web.session import Rules

JOIN = "/gradio_api/queue/join"
MB = 2**20


class Served(NamedTuple):
    """A guarded page: its port, the folder of uploads, what the server logged."""

    port: int
    folder: Path
    log: list[str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page that takes uploads of 1 MB, 2.5 MB in total; its model is never called."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        rules = Rules(folder, megabytes=1)
        page = asgi_app(build_page(object.__new__(StatefulWorker), About("a model", ()), rules, Limits()), rules)
        guard = Guard(page, LOCAL, is_open, Uploads(UPLOAD, folder, 5 * MB // 2, MB))
        with listening_socket("127.0.0.1", 0) as listening:
            server = uvicorn.Server(uvicorn.Config(guard, log_level="error"))
            log: list[str] = []
            handler = logging.Handler()
            handler.emit = lambda record: log.append(logging.Formatter().format(record))
            logging.getLogger("uvicorn.error").addHandler(handler)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            until(lambda: server.started)
            yield Served(listening.getsockname()[1], folder, log)
            server.should_exit = True
            thread.join()


class Answer(NamedTuple):
    """The response to a request: its status, headers and text."""

    status: int
    headers: http.client.HTTPMessage
    text: str


def ask(served: Served, line: str, *headers: str, body: bytes = b"") -> Answer:
    """Send a request unchanged, adding a Host header if it has none, and return the response."""
    with closing(connect(served)) as connection:
        connection.sendall(head(served, line, *headers) + body)
        with closing(http.client.HTTPResponse(connection)) as response:
            response.begin()
            return Answer(response.status, response.headers, response.read().decode())


def connect(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=30)


def head(served: Served, line: str, *headers: str) -> bytes:
    """Return the request line and headers."""
    host = [] if any(header.lower().startswith("host:") for header in headers) else [f"Host: 127.0.0.1:{served.port}"]
    return "".join(f"{part}\r\n" for part in (f"{line} HTTP/1.1", *host, *headers, "")).encode()


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", "/gradio_api/info", "/gradio_api/startup-events"])
def test_the_pages_own_addresses_are_answered(served: Served, path: str) -> None:
    answer = ask(served, f"GET {path}")
    assert answer.status == 200
    assert "connect-src 'self' data: blob:;" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        *("/docs", "/login", "/monitoring", "/gradio_api/runs", "/gradio_api/vibe-edit", "/gradio_api/call/ask"),
        *("/gradio_api/proxy=http://x", "/gradio_api/file=http://x", "/gradio_api/file=x", "//", "/gradio_api/"),
    ],
)
def test_other_addresses_are_not_there(served: Served, path: str) -> None:
    answer = ask(served, f"GET {path}")
    assert (answer.status, answer.text) == (404, "not part of this page")
    assert "http" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost:1", 200), ("[::1]:1", 200), ("LOCALHOST", 200), ("127.0.0.1", 200)),
        *(("x.example", 421), ("", 421), ("127.0.0.1:7861@evil.com", 421), ("[::1].evil.com", 421)),
        *(("127.0.0.1.evil.com", 421), ("::1", 421), ("localhost:x", 421), ("localhost:80:80", 421)),
        *(("127.0.0.1/.evil.com", 421), ("localhost.", 421)),
    ],
)
def test_a_site_elsewhere_whose_name_points_here_is_refused(served: Served, host: str, status: int) -> None:
    assert ask(served, "GET /", f"Host: {host}").status == status


@pytest.mark.parametrize(
    "header",
    [
        *("Origin: http://evil.example", "Origin: null", "Origin: http://127.0.0.1:1", "Origin: http://[x"),
        "Sec-Fetch-Site: cross-site",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_sites_change_nothing(served: Served, header: str, method: str) -> None:
    for path in (JOIN, UPLOAD, "/gradio_api/cancel"):
        assert ask(served, f"{method} {path}", header, "Content-Length: 0").status == 403


def test_the_page_itself_may_ask_and_a_link_may_lead_to_it(served: Served) -> None:
    own = f"Origin: http://127.0.0.1:{served.port}"
    assert ask(served, f"POST {JOIN}", own, "Sec-Fetch-Site: same-origin", "Content-Length: 0").status == 400
    assert ask(served, "GET /", "Sec-Fetch-Site: cross-site").status == 200


@pytest.mark.parametrize("path", ["/", JOIN])
def test_there_are_no_websockets(served: Served, path: str) -> None:
    key = ("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13")
    answer = ask(
        served, f"GET {path}", "Connection: Upgrade", "Upgrade: websocket", *key, "Origin: http://evil.example"
    )
    assert 400 <= answer.status < 500


def flood(served: Served, line: str, *headers: str, chunked: bool) -> int:
    """Send up to 1 GB and return how much of it the server took."""
    piece, taken = bytes(MB // 4), 0
    framed = f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece
    with closing(connect(served)) as connection:
        try:
            connection.sendall(head(served, line, *headers))
            while taken < 1024 * MB:
                connection.sendall(framed)
                taken += len(piece)
        except OSError:
            return taken
    raise AssertionError("the server took all of it")


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        (f"POST {JOIN}", ["Content-Length: 1073741824"]),
        (f"POST {JOIN}", ["Transfer-Encoding: chunked"]),
        (f"POST {JOIN}", ["Content-Length: 20"]),
        (f"POST {JOIN}", ["Content-Length: 20", "Transfer-Encoding: chunked"]),
        (f"POST {JOIN}", []),
        (f"POST {UPLOAD}", ["Content-Length: 1073741824"]),
        (f"POST {UPLOAD}", ["Transfer-Encoding: chunked"]),
        (f"POST {UPLOAD}", ["Content-Length: 20", "Transfer-Encoding: chunked"]),
        ("GET /gradio_api/queue/data?session_hash=x", ["Transfer-Encoding: chunked"]),
        ("GET /", ["Content-Length: 1073741824"]),
    ],
)
def test_a_gigabyte_is_not_read(served: Served, line: str, headers: list[str]) -> None:
    """What the server takes stays in system buffers; its memory does not grow."""
    headers = [*headers, "Content-Type: application/json"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert flood(served, line, *headers, chunked="Transfer-Encoding: chunked" in headers) < 32 * MB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    assert ask(served, "GET /config").status == 200
    assert served.log == []


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (f"POST {JOIN}", ["Content-Length: 1048577"], 413),
        (f"POST {JOIN}", ["Transfer-Encoding: chunked"], 411),
        (f"POST {JOIN}", [], 411),
        (f"POST {UPLOAD}", [f"Content-Length: {MB + 2**16 + 1}"], 413),
        (f"POST {UPLOAD}", [], 411),
        ("GET /", ["Content-Length: 1"], 413),
    ],
)
def test_a_body_has_a_length_and_a_limit(served: Served, line: str, headers: list[str], status: int) -> None:
    answer = ask(served, line, *headers)
    assert (answer.status, len(answer.text.splitlines())) == (status, 1)


def test_a_body_of_a_megabyte_is_passed_on(served: Served) -> None:
    headers = f"Content-Length: {MB}", "Content-Type: application/json"
    answer = ask(served, f"POST {JOIN}", *headers, body=b"{}".rjust(MB))
    assert answer.status == 400
    assert "data: Field required" in answer.text


QUESTION = {"data": [None, "", []], "fn_index": 0, "session_hash": "s"}
FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"data":' * 20_000),
        b'{"data":[NaN,NaN,NaN],"fn_index":0,"session_hash":"s"}',
        b'{"data":[null,"\\ud800",[]],"fn_index":0,"session_hash":"s"}',
        b'{"data":[null,"",[]],"fn_index":' + b"9" * 5000 + b',"session_hash":"s"}',
        b'{"data":[null,"",[]],"fn_index":1e400,"session_hash":"s"}',
        *({**QUESTION, "fn_index": index} for index in (1, -1, 10**30, True, None, "0", 0.5, [0])),
        *({**QUESTION, "session_hash": session} for session in ("x" * 41, "../x", "\0", "\ud800", 5, None)),
        *({**QUESTION, "data": data} for data in ([], [None], [None] * 4, {}, None, "x")),
        *({**QUESTION, "data": [file, "", []]} for file in ("/etc/passwd", 5, [FILE], {"path": "http://x"})),
        *({**QUESTION, "data": [{**FILE, "path": path}, "", []]} for path in (5, None, "\0", "a" * 5000)),
        *({**QUESTION, "data": [None, names, []]} for names in (5, ["x"], {"a": 1}, "x" * 20_001)),
        *({**QUESTION, "data": [None, "", closer]} for closer in (None, "when", ["no"], [[1]], 5)),
        {**QUESTION, "trigger_id": -1},
    ],
)
@pytest.mark.parametrize("path", [JOIN, "/gradio_api/cancel", "/gradio_api/reset"])
def test_the_queue_takes_what_the_page_sends_and_nothing_else(served: Served, path: str, body: object) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = f"Content-Length: {len(raw)}", "Content-Type: application/json"
    answer = ask(served, f"POST {path}", *headers, body=raw)
    assert (answer.status, len(answer.text.splitlines())) == (400, 1)
    assert served.log == []


@pytest.mark.parametrize("query", ["session_hash=nobody", "session_hash=%ff", "", "session_hash=x&session_hash=y"])
def test_answers_of_a_session_that_nobody_has_are_not_there(served: Served, query: str) -> None:
    assert ask(served, f"GET /gradio_api/queue/data?{query}").status == 404
    assert served.log == []


@pytest.mark.parametrize(
    "path", [f"/assets/{'a' * 256}", f"/gradio_api/file=/{'a/' * 9}{'b' * 256}", f"/?{'a' * 2049}", "/" + "%ff" * 100]
)
def test_an_address_that_is_longer_than_any_file_is_refused(served: Served, path: str) -> None:
    assert ask(served, f"GET {path}").status == 414
    assert served.log == []


@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        ("x", b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nabc'),
        ("x", b'--x\r\nContent-Disposition: form-data; name="else"; filename="a.png"\r\n\r\nabc\r\n--x--\r\n'),
        ("x", b'--x\r\nContent-Disposition: form-data; name="files"; filename=".."\r\n\r\nabc\r\n--x--\r\n'),
        *(("x", body) for body in (b"", b"--x--\r\n", b"\0" * 2000)),
        *((boundary, b"--x--\r\n") for boundary in ("", "b" * 300)),
    ],
)
def test_a_form_without_a_whole_file_leaves_nothing(
    served: Served, boundary: str, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    before = uploads(served)
    headers = f"Content-Length: {len(body)}", f"Content-Type: multipart/form-data; boundary={boundary}"
    assert ask(served, f"POST {UPLOAD}", *headers, body=body).status == 400
    assert uploads(served) == before
    assert (served.log, capfd.readouterr().err) == ([], "")


def form(content: bytes, file: bytes = b'; filename="clip.mp4"') -> tuple[list[str], bytes]:
    """Return the headers and the body of an upload."""
    name = b'Content-Disposition: form-data; name="files"' + file
    body = b"\r\n".join([b"--x", name, b"", content, b"--x--", b""])
    return [f"Content-Length: {len(body)}", "Content-Type: multipart/form-data; boundary=x"], body


def uploads(served: Served) -> list[Path]:
    """Return the uploaded files and what is left of unfinished ones."""
    return [path for path in served.folder.rglob("*") if path.is_file()]


def test_all_uploads_have_room_together(served: Served) -> None:
    try:
        for content, status in ((b"a" * MB, 200), (b"b" * MB, 200), (b"c" * MB, 507)):
            headers, body = form(content)
            answer = ask(served, f"POST {UPLOAD}", *headers, body=body if status == 200 else b"")
            assert answer.status == status
        assert sorted(path.read_bytes()[:1] for path in uploads(served)) == [b"a", b"b"]
    finally:
        for path in uploads(served):
            path.unlink()
    headers, body = form(b"c")
    assert ask(served, f"POST {UPLOAD}", *headers, body=body).status == 200


def test_an_upload_has_no_text_fields_which_would_lie_in_memory(served: Served) -> None:
    before = uploads(served)
    headers, body = form(b"a" * (MB // 2), file=b"")
    assert ask(served, f"POST {UPLOAD}", *headers, body=body).status == 400
    assert uploads(served) == before
    assert served.log == []


def test_an_upload_that_still_arrives_takes_room_and_leaves_nothing_when_it_breaks_off(served: Served) -> None:
    before = uploads(served)
    headers, body = form(b"d" * MB)
    waiting = [connect(served) for _ in range(2)]
    for connection in waiting:
        connection.sendall(head(served, f"POST {UPLOAD}", *headers) + body[: MB // 2])
    until(lambda: len(uploads(served)) == len(before) + 2)
    assert ask(served, f"POST {UPLOAD}", *headers).status == 507
    for connection in waiting:
        connection.close()
    until(lambda: uploads(served) == before)
    assert ask(served, f"POST {UPLOAD}", *headers, body=body).status == 200
    assert served.log == []


def until(condition: Callable[[], bool]) -> None:
    """Wait up to ten seconds for the condition."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_hosts_any_name_will_do() -> None:
    guard = Guard(FastAPI(), None, is_open)
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b""}
    assert guard._foreign(scope, Headers({"host": "x.example"})) is None
    for host in ("[", "a/b", "x@y", "", "a:b"):
        refusal = guard._foreign(scope, Headers({"host": host}))
        assert refusal, host
        assert refusal[0] == 421


def test_a_question_leaves_no_file_beside_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = build_page(object.__new__(StatefulWorker), About("a model", ()), Rules(tmp_path), Limits())
    (file,) = (block for block in page.blocks.values() if isinstance(block, gr.File))
    (tmp_path / "a.png").touch()
    assert file.preprocess(FileData(path=str(tmp_path / "a.png"))) == str(tmp_path / "a.png")
    assert file.preprocess(None) is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
