"""Middleware in front of the page: which hosts, origins and addresses it answers, and how large a body may be."""

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The browser itself blocks requests of scripts and styles to other hosts.
_HEADERS = {
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
        "form-action 'self'; base-uri 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Without any referrer a form of the page itself would come with the origin null.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:@/\[\]]+)(:\d+)?")

# No file has a longer name, and nothing that the page asks for has a longer query.
_SEGMENT_BYTES, _QUERY_BYTES = 255, 2048

# The form around an uploaded file; every other body is parsed in memory.
_FORM_BYTES, _JSON_BYTES = 1 << 16, 1 << 20


class Uploads(NamedTuple):
    """Files that a page takes: at which address, into which folder, and how many bytes of one and of all together."""

    address: str
    folder: Path
    most_bytes: int
    most_bytes_of_one: int


class Guard:
    """ASGI middleware that answers what is not the page's business with one line and status 4xx.

    Args:
        hosts: names that a browser may use for this server, in lower case, without the port; None: any. With names, a
            site elsewhere cannot reach the page through a name of its own that resolves to this machine.
        is_open: whether an address is a part of the page.
        uploads: None of a page that takes no files.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] | None,
        is_open: Callable[[str], bool],
        uploads: Uploads | None = None,
    ):
        self._app = app
        self._hosts = hosts
        self._is_open = is_open
        self._uploads = uploads
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it before its body is read."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"].endswith("response.start"):
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        async def receive_whole() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                # Gradio removes an unfinished file on this error only.
                raise MultiPartException("the upload was interrupted")
            return message

        headers = Headers(scope=scope)
        refusal = self._foreign(scope, headers) or self._too_large(scope, headers)
        if refusal:
            # The server would go on reading the body of a connection that stays open.
            response = PlainTextResponse(refusal[1], refusal[0], {"connection": "close"})
            await response(scope, receive, send_with_headers)
        elif not self._is_upload(scope):
            with suppress(ClientDisconnect):
                await self._app(scope, receive, send_with_headers)
        else:
            size = int(headers["content-length"])
            self._arriving += size
            try:
                await self._app(scope, receive_whole, send_with_headers)
            finally:
                self._arriving -= size

    def _foreign(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return (status, reason) for a request that the page itself would not make."""
        host = headers.get("host", "").lower()
        match = _HOST.fullmatch(host)
        if match is None or (self._hosts is not None and match[1].strip("[]") not in self._hosts):
            return 421, "this page is not of that host"
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if (changes and headers.get("sec-fetch-site") == "cross-site") or (
            origin is not None and origin.lower().partition("://")[2] != host
        ):
            return 403, "this page takes no requests from other sites"
        longest = max(len(part.encode()) for part in scope["path"].split("/"))
        if longest > _SEGMENT_BYTES or len(scope["query_string"]) > _QUERY_BYTES:
            return 414, "the address is too long"
        is_open = scope["type"] == "http" and self._is_open(scope["path"])
        return None if is_open else (404, "not a part of this page")

    def _too_large(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return (status, reason) for a body without a length, or one that is too long.

        The server reads as many bytes of a body as its header states, so a false length gains nothing.
        """
        is_post = scope["method"] == "POST"
        stated = headers.get("content-length", "" if is_post else "0")
        if "transfer-encoding" in headers or not re.fullmatch(r"[0-9]{1,18}", stated):
            return 411, "a request must state the length of its body"
        size, uploads = int(stated), self._uploads
        if uploads is None or not self._is_upload(scope):
            return (413, f"the body is too large: {size} bytes") if size > _JSON_BYTES * is_post else None
        largest = uploads.most_bytes_of_one
        if size > largest + _FORM_BYTES:
            # Gradio's page looks for these words.
            return 413, f"File size exceeds maximum allowed size of {largest // 2**20} MB."
        if size + self._arriving + _bytes_below(uploads.folder) > uploads.most_bytes:
            return 507, "too many files were uploaded in the last hour: wait, or start the page again"
        return None

    def _is_upload(self, scope: Scope) -> bool:
        return self._uploads is not None and scope["method"] == "POST" and scope["path"] == self._uploads.address


def _bytes_below(folder: Path) -> int:
    """Sum the sizes of the files below a folder; one that was just removed counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total
