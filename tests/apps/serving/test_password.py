"""The password of a page: no access without it, few attempts, a cookie that cannot be guessed."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from messages import refuses
from served_pages import ask, serving
from texthead.apps.serving.password import COOKIE, SIGN_IN, TRIES, TRIES_OF_ALL, Password, new_password, read_password
from texthead.apps.serving.server import STYLE, page_app
from texthead.errors import DataError

WORD = "correct horse, bättery"


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Iterator[TestClient]:
    app = Starlette(routes=[Route(path, lambda _: PlainTextResponse("inside")) for path in ("/", "/api/state")])
    with TestClient(Password(app, WORD, now=clock), follow_redirects=False) as client:
        yield client


def sign_in(client: TestClient, password: str, **headers: str) -> int:
    headers = {"content-type": "application/x-www-form-urlencoded", **headers}
    return client.post(SIGN_IN, content=f"password={quote(password)}", headers=headers).status_code


def test_nothing_is_answered_before_the_password(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 401
    assert 'type="password"' in page.text
    assert client.get("/api/state").status_code == 401
    assert client.get("/", cookies={COOKIE: "x"}).status_code == 401
    assert sign_in(client, "correct horse") == 401
    assert sign_in(client, "") == 401
    assert client.get("/api/state").status_code == 401
    assert sign_in(client, WORD) == 303
    assert client.get("/api/state").text == "inside"
    assert client.get("/").text == "inside"
    cookie = client.cookies.jar.__iter__().__next__()
    assert len(cookie.value or "") >= 32
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"


def test_lockout_after_ten_wrong_passwords(client: TestClient, clock: Clock) -> None:
    for _ in range(TRIES):
        assert sign_in(client, "wrong") == 401
    assert sign_in(client, WORD) == 429
    clock.now = 59
    assert sign_in(client, WORD) == 429
    clock.now = 61
    assert sign_in(client, WORD) == 303


def test_many_addresses_share_a_limit(clock: Clock) -> None:
    door = Password(Starlette(routes=[Route("/", lambda _: PlainTextResponse("inside"))]), WORD, now=clock)
    owner, other = (TestClient(door, client=("10.0.2.1", 1), follow_redirects=False) for _ in range(2))
    assert sign_in(owner, WORD) == 303
    for index in range(TRIES_OF_ALL):
        assert sign_in(TestClient(door, client=(f"10.0.0.{index}", 1)), "wrong") == 401
    assert sign_in(TestClient(door, client=("10.0.1.1", 1)), WORD) == 429
    assert owner.get("/").text == "inside"
    assert sign_in(other, WORD) == 303, "the owner opens another browser"
    clock.now = 61
    assert sign_in(TestClient(door, client=("10.0.1.1", 1), follow_redirects=False), WORD) == 303
    assert not door._wrong, "nothing is kept of what is over"


def test_a_network_of_ipv6_is_one_address(clock: Clock) -> None:
    door = Password(Starlette(), WORD, now=clock)
    hosts = [
        *(f"2001:db8::{index}" for index in range(TRIES)),
        "2001:db8::ff",
        "2001:db8:0:1::1",
        "::ffff:10.0.0.1",
        "::1",
    ]
    tries = [sign_in(TestClient(door, client=(host, 1)), "wrong") for host in hosts]
    assert tries == [*[401] * TRIES, 429, 401, 401, 401]


def test_headers_of_a_proxy_hide_no_address() -> None:
    body = b"password=wrong"
    with serving(page_app([], "0.0.0.0", WORD)) as page:
        for index in range(TRIES_OF_ALL):
            header = (
                f"X-Forwarded-For: 10.0.0.{index}",
                f"Forwarded: for=10.0.0.{index}",
                f"Content-Length: {len(body)}",
            )
            assert ask(page, f"POST {SIGN_IN}", *header, body=body).status == (401 if index < TRIES else 429)
        other = http.client.HTTPConnection("127.0.0.1", page.port, source_address=("127.0.0.2", 0))
        other.request("POST", SIGN_IN, f"password={quote(WORD)}")
        assert other.getresponse().status == 303
        other.close()


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"password", b"a=b&" * 9, b"password=%ff%00", b"{}", b"password=" + b"x" * 5000]
)
def test_what_is_no_form_is_a_wrong_password(client: TestClient, body: bytes) -> None:
    assert client.post(SIGN_IN, content=body).status_code in (401, 413)
    assert client.post(SIGN_IN, files={"password": b"x"}).status_code == 401


def test_the_guard_comes_before_the_password() -> None:
    routes = [Route("/", lambda _: PlainTextResponse("inside"))]
    client = TestClient(page_app(routes, "0.0.0.0", WORD), follow_redirects=False)
    assert sign_in(client, WORD, origin="http://evil.example") == 403
    assert client.get("/elsewhere").status_code == 401
    # The form has a style.
    assert STYLE in client.get("/").text
    assert client.get(STYLE).headers["content-type"].startswith("text/css")
    assert sign_in(client, WORD) == 303
    assert client.get("/").text == "inside"
    # Without a password there is no sign-in.
    alone = TestClient(page_app(routes, "127.0.0.1"), base_url="http://127.0.0.1")
    assert alone.get("/").text == "inside"
    assert alone.post(SIGN_IN, content=b"").status_code == 404


def test_passwords_of_a_file(tmp_path: Path) -> None:
    password_file = tmp_path / "password.txt"
    password_file.write_text(f"{WORD}\nmore\n", encoding="utf-8")
    assert read_password(password_file) == WORD
    password_file.write_text("short\n")
    with refuses(DataError, "5 characters", "8 or more"):
        read_password(password_file)
    for broken in (b"\xff\xfe", b"x" * 5000):
        password_file.write_bytes(broken)
        with refuses(DataError, "password.txt"):
            read_password(password_file)
    with refuses(DataError, "nothing"):
        read_password(tmp_path / "nothing")
    assert len({new_password() for _ in range(100)}) == 100
    assert len(new_password()) >= 16
