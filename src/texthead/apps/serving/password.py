"""Password protection for pages that others can reach; a cookie remembers signed-in browsers."""

import hmac
import secrets
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from texthead.errors import DataError
from texthead.files import read_text
from texthead.report import environment

SIGN_IN = "/sign-in"

COOKIE = "texthead"

# Minimum length; shorter passwords can be guessed.
SHORTEST = 8

# Wrong passwords allowed per minute, per address and in all; then the right one is rejected too. The limit of all does
# not hold for an address that a browser has signed in from.
TRIES, TRIES_OF_ALL, MINUTE = 10, 100, 60.0

# Maximum number of signed-in browsers; the oldest must then sign in again.
BROWSERS = 1000

# Maximum size of a sign-in form or password file.
_MOST_BYTES = 4096


def read_password(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        DataError: it cannot be read, or the password is too short.
    """
    try:
        password = read_text(path, most=_MOST_BYTES).partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a password ({error}); put the password on the first line") from None
    if len(password) < SHORTEST:
        raise DataError(f"{path}: the password has {len(password)} characters; use {SHORTEST} or more")
    return password


def new_password() -> str:
    """Return a password of 96 random bits."""
    return secrets.token_urlsafe(12)


class Password:
    """ASGI middleware that requires a password from each browser.

    The cookie is a random token known only to this process; scripts cannot read it, and other sites cannot use it.

    Args:
        public: addresses that need no password, such as the style of the form.
        now: returns the time in seconds, for the limit on wrong passwords.
    """

    def __init__(
        self,
        app: ASGIApp,
        password: str,
        public: Collection[str] = (),
        now: Callable[[], float] = time.monotonic,
    ):
        self._app = app
        self._public = public
        self._password = password.encode()
        self._now = now
        self._known: dict[str, str] = {}  # The address of each token.
        self._wrong: list[tuple[float, str]] = []  # Time and address of the wrong passwords of the last minute.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward requests of signed-in browsers; answer all others with the form."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if scope["path"] == SIGN_IN and request.method == "POST":
            response = await self._sign_in(request)
        elif request.cookies.get(COOKIE) in self._known or scope["path"] in self._public:
            await self._app(scope, receive, send)
            return
        elif scope["path"] == "/":
            response = _form("", 401)
        else:
            response = PlainTextResponse("sign in first", 401, {"connection": "close"})
        await response(scope, receive, send)

    async def _sign_in(self, request: Request) -> Response:
        address = _source(request.client.host if request.client else "")
        if int(request.headers.get("content-length", 0)) > _MOST_BYTES:
            return _form("That is too long for a password.", 413)
        password = _password_in(await request.body())
        # No await from here on, so that concurrent requests cannot evade the count.
        known = address in self._known.values()
        if self._tries(address) >= TRIES or (not known and self._tries("") >= TRIES_OF_ALL):
            return _form("Too many wrong passwords. Wait a minute.", 429)
        if not hmac.compare_digest(password, self._password):
            self._wrong.append((self._now(), address))
            return _form("That is not the password.", 401)
        token = secrets.token_urlsafe(24)
        self._known[token] = address
        if len(self._known) > BROWSERS:
            del self._known[next(iter(self._known))]
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    def _tries(self, address: str) -> int:
        """Count the wrong passwords of the last minute from an address; "" for all addresses."""
        begin = self._now() - MINUTE
        self._wrong = [(seconds, own) for seconds, own in self._wrong if seconds >= begin]
        return sum(address in ("", own) for _, own in self._wrong)


def _source(host: str) -> str:
    """Return what a client's wrong passwords count for: its address, or the IPv6 network that one machine can own."""
    with suppress(ValueError):
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
            return address.exploded[:19]
    return host


def _password_in(body: bytes) -> bytes:
    """Return the password from a form body; empty if there is none."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=4)
    except ValueError:
        return b""
    return fields.get("password", [""])[0].encode(errors="replace")


def _form(problem: str, status: int) -> Response:
    page = environment("texthead.apps.serving").get_template("sign-in.html").render(problem=problem, address=SIGN_IN)
    return HTMLResponse(page, status)
