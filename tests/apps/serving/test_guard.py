"""What a page answers on a real server: its own browser alone, whatever another site or program sends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from made import write_image
from messages import prints
from served_pages import Served, ask, opened, post, serving
from texthead.apps.serving.files import ShownFiles, Uploads
from texthead.apps.serving.server import json_body, page_app

ACT, STYLE = "/act", "/style.css"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page that shows and takes files, with an address for JSON."""
    folder, shown = tmp_path_factory.mktemp("files"), ShownFiles()
    shown.key(0, write_image(folder / "a.png", "red"))
    (folder / "uploads").mkdir()

    async def act(request: Request) -> JSONResponse:
        return JSONResponse(await json_body(request))

    routes = [Route("/", lambda _: PlainTextResponse("inside")), Route(ACT, act, methods=["POST"])]
    with serving(page_app([*routes, *Uploads(folder / "uploads").routes], shown=shown)) as served:
        yield served


@pytest.mark.parametrize("path", ["/", STYLE])
def test_a_pages_own_addresses_are_answered(served: Served, path: str) -> None:
    answer = ask(served, f"GET {path}")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "path",
    [
        *("/docs", "/../etc/passwd", "/server.py", "/media/..%2fa.png", "/media/%2fetc"),
        *("/media/0", "/upload/..%2f..%2fetc%2fpasswd", f"/still/{'a' * 5000}", "/" + "%ff" * 100),
    ],
)
def test_other_addresses_lead_to_nothing(served: Served, path: str) -> None:
    answer = ask(served, f"GET {path}")
    assert answer.status in (400, 404)
    assert "content-security-policy" in answer.headers
    assert served.log == []


@pytest.mark.parametrize("path", ["/", STYLE, ACT, "/media/0", "/nothing"])
@pytest.mark.parametrize("cookie", ["", "texthead-1={token}", "texthead-{port}=x"])
def test_nothing_is_answered_without_the_token(served: Served, path: str, cookie: str) -> None:
    """The token is in a cookie of another port, or is another one."""
    header = f"Cookie: {cookie.format(port=served.port, token=served.token)}"
    for line in (f"GET {path}", f"HEAD {path}", f"GET {path}?token=", f"GET {path}?token=x%ff", f"POST {path}"):
        answer = ask(served, line, header)
        assert (answer.status, len(answer.text.splitlines())) == (403, int("HEAD" not in line)), line
        assert "set-cookie" not in answer.headers
    assert served.log == []


def test_the_link_leaves_a_cookie_for_this_port(served: Served) -> None:
    answer = ask(served, f"GET /?token={served.token}", "Cookie: a=b")
    name, value, *about = answer.headers["set-cookie"].replace("=", "; ", 1).split("; ")
    assert (answer.text, name, value) == ("inside", f"texthead-{served.port}", served.token)
    assert {*about} == {"Path=/", "HttpOnly", "SameSite=Strict"}
    assert len(served.token) == 24
    # A tab with the link of an earlier start is let in by the cookie of this one.
    assert ask(served, "GET /?token=x").status == 200
    # Two pages on two ports keep each other's cookies.
    with serving(page_app([])) as other:
        both = f"Cookie: texthead-{served.port}={served.token}; texthead-{other.port}={other.token}"
        assert [ask(page, f"GET {STYLE}", both).status for page in (served, other)] == [200, 200]
        assert served.token != other.token


def test_a_tab_of_an_earlier_start_acts_on_nothing(tmp_path: Path) -> None:
    """It would act on the files and labels of another command."""
    acted = list[str]()
    page = tmp_path / "a.html"
    page.write_text("<html></html>")
    tab = opened(page_app([], page, lambda action, _: acted.append(action) or {}))
    assert tab.post("/api/skip", json={}).status_code == 200
    tab.headers["x-start"] = "earlier"
    answer = tab.post("/api/label", json={})
    assert answer.status_code == 400
    prints(answer.json()["error"], "reload")
    assert acted == ["skip"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost:1", 200), ("[::1]:1", 200), ("LOCALHOST", 200), ("127.0.0.1", 200)),
        *(("x.example", 403), ("", 403), ("127.0.0.1.evil.com", 403), ("127.0.0.1:7861@evil.com", 403)),
    ],
)
def test_dns_rebinding_refused(served: Served, host: str, status: int) -> None:
    assert ask(served, f"GET /?token={served.token}", f"Host: {host}").status == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{own}"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_sites_change_nothing(served: Served, origin: str, method: str) -> None:
    """Even with the cookie, which browsers send to all ports of this machine."""
    header = f"Origin: {origin.replace('{own}', f'127.0.0.1:{served.port}')}"
    for path in ("/", ACT, "/upload?name=a.png", f"/?token={served.token}"):
        assert ask(served, f"{method} {path}", header, "Content-Length: 0").status == 403


def test_the_page_itself_may_act(served: Served) -> None:
    own = (f"Origin: http://127.0.0.1:{served.port}", "Sec-Fetch-Site: same-origin", "Content-Length: 2")
    assert ask(served, f"POST {ACT}", *own, body=b"{}").status == 200


def test_there_are_no_websockets(served: Served) -> None:
    key = ("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", "Origin: http://evil.example")
    for path in ("/", ACT):
        assert ask(served, f"GET {path}", "Connection: Upgrade", "Upgrade: websocket", *key).status == 403


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":"\\ud800"}'])
def test_a_body_that_is_no_json_object_is_one_line(served: Served, body: bytes) -> None:
    answer = post(served, ACT, body)
    assert (answer.status, answer.text) == (400, '{"error":"the page sent no JSON object; reload it"}')
    assert served.log == []
