"""The guard of a page on a real server: hosts, origins, addresses, body sizes."""

import resource
from collections.abc import Iterator
from contextlib import closing

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from served_pages import Served, ask, connect, head, serving
from texthead.apps.serving.guard import Guard
from texthead.apps.serving.server import STYLE, json_body, page_app

ACT, LARGE = "/api/act", "/large"
MB = 2**20


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A page with an address for JSON, and one for bodies of 2 MB."""

    async def act(request: Request) -> JSONResponse:
        return JSONResponse(await json_body(request))

    async def large(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    routes = [
        Route("/", lambda _: PlainTextResponse("inside")),
        Route(ACT, act, methods=["POST"]),
        Route(LARGE, large, methods=["POST"]),
    ]
    with serving(page_app(routes, "127.0.0.1", most_bytes={LARGE: 2 * MB})) as served:
        yield served


@pytest.mark.parametrize("path", ["/", STYLE])
def test_a_pages_own_addresses_are_answered(served: Served, path: str) -> None:
    answer = ask(served, f"GET {path}")
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/docs", "//", f"{ACT}/", "/../etc/passwd", "/base.css/..%2f", "/large%00"])
def test_other_addresses_do_not_exist(served: Served, path: str) -> None:
    answer = ask(served, f"GET {path}")
    assert answer.status == 404
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost:1", 200), ("[::1]:1", 200), ("LOCALHOST", 200), ("127.0.0.1", 200)),
        *(("x.example", 421), ("", 421), ("127.0.0.1:7861@evil.com", 421), ("[::1].evil.com", 421)),
        *(("127.0.0.1.evil.com", 421), ("::1", 421), ("localhost:x", 421), ("localhost:80:80", 421)),
        *(("127.0.0.1/.evil.com", 421), ("localhost.", 421)),
    ],
)
def test_dns_rebinding_refused(served: Served, host: str, status: int) -> None:
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
    for path in ("/", ACT, LARGE):
        assert ask(served, f"{method} {path}", header, "Content-Length: 0").status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", [STYLE, ACT, "/preview/0", "/media/0", "/upload/x", "/export"])
def test_other_sites_take_no_work(served: Served, path: str, site: str) -> None:
    assert [ask(served, f"{method} {path}", f"Sec-Fetch-Site: {site}").status for method in ("GET", "HEAD")] == [
        403,
        403,
    ]


def test_same_origin_and_links_allowed(served: Served) -> None:
    own = f"Origin: http://127.0.0.1:{served.port}"
    own_request = (own, "Sec-Fetch-Site: same-origin", "Content-Length: 2")
    assert ask(served, f"POST {ACT}", *own_request, body=b"{}").status == 200
    assert ask(served, "GET /", "Sec-Fetch-Site: cross-site").status == 200


@pytest.mark.parametrize("path", ["/", ACT])
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
        (f"POST {ACT}", ["Content-Length: 1073741824"]),
        (f"POST {ACT}", ["Transfer-Encoding: chunked"]),
        (f"POST {ACT}", ["Content-Length: 20"]),
        (f"POST {ACT}", ["Content-Length: 20", "Transfer-Encoding: chunked"]),
        (f"POST {ACT}", []),
        (f"POST {LARGE}", ["Content-Length: 1073741824"]),
        (f"POST {LARGE}", ["Transfer-Encoding: chunked"]),
        (f"POST {LARGE}", ["Content-Length: 20", "Transfer-Encoding: chunked"]),
        ("GET /?x", ["Transfer-Encoding: chunked"]),
        ("GET /", ["Content-Length: 1073741824"]),
    ],
)
def test_a_gigabyte_is_not_read(served: Served, line: str, headers: list[str]) -> None:
    """What the server takes stays in system buffers; its memory does not grow."""
    headers = [*headers, "Content-Type: application/json"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert flood(served, line, *headers, chunked="Transfer-Encoding: chunked" in headers) < 32 * MB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    assert ask(served, "GET /").status == 200
    assert served.log == []


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (f"POST {ACT}", ["Content-Length: 1048577"], 413),
        (f"POST {ACT}", ["Transfer-Encoding: chunked"], 411),
        (f"POST {ACT}", [], 411),
        (f"POST {LARGE}", [f"Content-Length: {2 * MB + 1}"], 413),
        (f"POST {LARGE}", [], 411),
        ("GET /", ["Content-Length: 1"], 413),
    ],
)
def test_a_body_has_a_length_and_a_limit(served: Served, line: str, headers: list[str], status: int) -> None:
    answer = ask(served, line, *headers)
    assert (answer.status, len(answer.text.splitlines())) == (status, 1)


def test_a_body_up_to_the_limit_is_passed_on(served: Served) -> None:
    assert ask(served, f"POST {ACT}", f"Content-Length: {MB}", body=b"{}".rjust(MB)).text == "{}"
    assert ask(served, f"POST {LARGE}", f"Content-Length: {2 * MB}", body=bytes(2 * MB)).text == str(2 * MB)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"data":' * 20_000,
        b"9" * 5000,
        b'{"a":"\\ud800"}',
    ],
)
def test_a_body_that_is_no_json_object_is_one_line(served: Served, body: bytes) -> None:
    answer = ask(served, f"POST {ACT}", f"Content-Length: {len(body)}", body=body)
    assert (answer.status, answer.text) == (400, '{"error":"the page sent no JSON object; reload it"}')
    assert served.log == []


@pytest.mark.parametrize(
    "path", [f"/media/{'a' * 256}", f"/{'a/' * 9}{'b' * 256}", f"/?{'a' * 2049}", "/" + "%ff" * 100]
)
def test_an_address_that_is_longer_than_any_file_is_refused(served: Served, path: str) -> None:
    assert ask(served, f"GET {path}").status == 414
    assert served.log == []


def test_without_hosts_any_name_will_do() -> None:
    guard = Guard(Starlette(), None, {})
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b""}
    assert guard._foreign(scope, Headers({"host": "x.example"})) is None
    for host in ("[", "a/b", "x@y", "", "a:b"):
        refusal = guard._foreign(scope, Headers({"host": host}))
        assert refusal, host
        assert refusal[0] == 421
