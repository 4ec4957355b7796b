"""What stands in front of a page: only its own addresses, only its own host, and nothing is fetched from elsewhere."""

import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The browser itself refuses what a script or style would ask of another host.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
    "form-action 'self'; base-uri 'self'; frame-ancestors 'none'; object-src 'none'"
)

_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

_API = "/gradio_api/"

# What the page asks for. Gradio has more, among it addresses that fetch others for whoever asks.
_OPEN = ("/assets/", "/static/", "/theme.css", "/config", "/favicon.ico", "/robots.txt", "/manifest.json")

_OPEN_API = (
    *("upload", "upload_progress", "queue/join", "queue/data", "heartbeat/", "startup-events", "info", "cancel"),
    *("app_id", "reset", "theme.css", "file=/"),
)

# What a form adds to the file in it.
_FORM_BYTES = 1 << 16


class Guard:
    """An ASGI application in front of another one.

    Args:
        hosts: the names that a browser may call this server by, in lower case, without a port; None: any. With names,
            a page elsewhere whose name is made to point here cannot ask.
        folder: where uploads lie, at most `most_bytes` of them.
        most_bytes_of_one: of one upload; a larger one is refused before it is read.
    """

    def __init__(self, app: App, hosts: Iterable[str] | None, folder: Path, most_bytes: int, most_bytes_of_one: int):
        self._app = app
        self._hosts = None if hosts is None else frozenset(hosts)
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_bytes_of_one = most_bytes_of_one
        self._arriving = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        size = _upload_bytes(scope)
        refusal = self._refusal(scope) or self._no_room(size)
        if refusal is None:
            self._arriving += size
            try:
                await self._app(scope, receive, sent)
            finally:
                self._arriving -= size
            return
        status, why = refusal
        await sent({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await sent({"type": "http.response.body", "body": why.encode()})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """(status, reason), if the request is not one of the page's own."""
        headers = dict(scope["headers"])
        host = _without_port(headers.get(b"host", b"").decode("latin-1").lower())
        if self._hosts is not None and host not in self._hosts:
            return 421, "this page is not of that host"
        path = scope["path"]
        inner = path.removeprefix(_API)
        is_open = path == "/" or path.startswith(_OPEN) or (inner != path and inner.startswith(_OPEN_API))
        return None if is_open else (404, "not a part of this page")

    def _no_room(self, size: float) -> tuple[int, str] | None:
        """(status, reason), if an upload of so many bytes is too much."""
        if size == math.inf:
            return 411, "an upload must say its length"
        if size > self._most_bytes_of_one + _FORM_BYTES:
            # Gradio looks for these words.
            return 413, f"File size exceeds maximum allowed size of {self._most_bytes_of_one // 2**20} MB."
        if size and _bytes_below(self._folder) + self._arriving + size > self._most_bytes:
            return 507, "too many files were uploaded in the last hour: wait, or start the page again"
        return None


def _upload_bytes(scope: Scope) -> float:
    """The length that an upload claims; infinity where it claims none, and 0 for any other request."""
    if scope["method"] != "POST" or scope["path"] != f"{_API}upload":
        return 0.0
    claimed = dict(scope["headers"]).get(b"content-length", b"")
    return float(claimed) if claimed.isdigit() else math.inf


def _bytes_below(folder: Path) -> int:
    """The bytes of the files below a folder; one that is just removed counts nothing."""
    found = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            found += path.lstat().st_size
    return found


def _without_port(host: str) -> str:
    """`127.0.0.1:7860` is 127.0.0.1, `[::1]:7860` is ::1."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
