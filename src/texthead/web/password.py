"""A password in front of a page that others can reach: asked once, then known by a cookie."""

import hmac
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from texthead.errors import DataError
from texthead.files import read_text
from texthead.report.html import environment

SIGN_IN = "/sign-in"

COOKIE = "texthead"

# Shorter ones can be guessed.
SHORTEST = 8

# Wrong passwords within a minute, from one address and from all; after them the right one is refused too.
TRIES, TRIES_OF_ALL, MINUTE = 10, 100, 60.0

# Browsers that are signed in; of more the one that came first is asked again.
BROWSERS = 1000

# A form with a password.
_MOST_BYTES = 4096


def read_password(place: Path) -> str:
    """Return the first line of a file.

    Raises:
        DataError: it cannot be read, or the password is too short.
    """
    try:
        password = read_text(place, most=_MOST_BYTES).partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: cannot be read as a password ({error}); put it on the first line") from None
    if len(password) < SHORTEST:
        raise DataError(f"{place}: a password of {len(password)} characters; use {SHORTEST} or more")
    return password


def new_password() -> str:
    """Return a password that nobody guesses: 96 random bits."""
    return secrets.token_urlsafe(12)


class Password:
    """ASGI middleware that asks each browser for a password before anything is answered.

    The cookie is a random word that only this process knows; scripts cannot read it, and other sites cannot use it.

    Args:
        now: seconds, for the limit on wrong passwords.
    """

    def __init__(self, app: ASGIApp, password: str, now: Callable[[], float] = time.monotonic):
        self._app = app
        self._password = password.encode()
        self._now = now
        self._known: dict[str, None] = {}
        self._wrong: defaultdict[str, deque[float]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes from a browser that is signed in; answer all else with the form."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if scope["path"] == SIGN_IN and request.method == "POST":
            response = await self._sign_in(request)
        elif request.cookies.get(COOKIE) in self._known:
            await self._app(scope, receive, send)
            return
        elif scope["path"] == "/":
            response = _form("", 401)
        else:
            response = PlainTextResponse("sign in first", 401, {"connection": "close"})
        await response(scope, receive, send)

    async def _sign_in(self, request: Request) -> Response:
        address = request.client.host if request.client else ""
        if int(request.headers.get("content-length", 0)) > _MOST_BYTES:
            return _form("That is no password.", 413)
        given = _password_in(await request.body())
        # From here on nothing waits, so that no two requests count as one.
        if self._tries(address) >= TRIES or self._tries("") >= TRIES_OF_ALL:
            return _form("Too many wrong passwords: wait a minute.", 429)
        if not hmac.compare_digest(given, self._password):
            for tried in {address, ""}:
                self._wrong[tried].append(self._now())
            return _form("That is not the password.", 401)
        word = secrets.token_urlsafe(24)
        self._known[word] = None
        if len(self._known) > BROWSERS:
            del self._known[next(iter(self._known))]
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, word, httponly=True, samesite="strict")
        return response

    def _tries(self, address: str) -> int:
        """Count the wrong passwords of the last minute; "" is of all addresses."""
        for tried, times in list(self._wrong.items()):
            while times and times[0] < self._now() - MINUTE:
                times.popleft()
            if not times:
                del self._wrong[tried]
        return len(self._wrong[address]) if address in self._wrong else 0


def _password_in(body: bytes) -> bytes:
    """Return the password of a form, as a browser sends it; nothing of what is no form."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=4)
    except ValueError:
        return b""
    return fields.get("password", [""])[0].encode(errors="replace")


def _form(problem: str, status: int) -> Response:
    page = environment("texthead.web").get_template("sign-in.html").render(problem=problem, address=SIGN_IN)
    return HTMLResponse(page, status)
