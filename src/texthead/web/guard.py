"""Middleware that checks hosts, origins, addresses and body sizes."""

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

# Browsers then block requests of scripts and styles to other hosts.
_HEADERS = {
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
        "form-action 'self'; base-uri 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    # With no-referrer, the page's own forms would have the origin null.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:@/\[\]]+)(:\d+)?")

# File names are at most this long, and so are the page's queries.
_SEGMENT_BYTES, _QUERY_BYTES = 255, 2048

# Overhead of an upload form; limit for other bodies, which are parsed in memory.
_FORM_BYTES, _JSON_BYTES = 1 << 16, 1 << 20


class Uploads(NamedTuple):
    """File uploads: address, folder, and limits in bytes for all files and for one."""

    address: str
    folder: Path
    most_bytes: int
    most_bytes_of_one: int


class Guard:
    """ASGI middleware that answers unwanted requests with status 4xx and one line of text.

    Args:
        hosts: allowed host names of this server, in lower case, without port; None for any. A list prevents DNS
            rebinding: other sites cannot reach the page through their own name that resolves to this machine.
        is_open: whether an address belongs to the page.
        uploads: None if the page takes no files.
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
        """Forward a request, or reject it before its body is read."""
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
                # Only on this error, Gradio removes the unfinished file.
                raise MultiPartException("the upload was interrupted")
            return message

        headers = Headers(scope=scope)
        refusal = self._foreign(scope, headers) or self._too_large(scope, headers)
        if refusal:
            # On an open connection, the server would go on reading the body.
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
        """Return (status, reason) for a request that the page itself never makes, else None."""
        host = headers.get("host", "").lower()
        match = _HOST.fullmatch(host)
        if match is None or (self._hosts is not None and match[1].strip("[]") not in self._hosts):
            return 421, "this page is not available under that host name"
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if (changes and headers.get("sec-fetch-site") == "cross-site") or (
            origin is not None and origin.lower().partition("://")[2] != host
        ):
            return 403, "this page accepts no requests from other sites"
        longest = max(len(part.encode()) for part in scope["path"].split("/"))
        if longest > _SEGMENT_BYTES or len(scope["query_string"]) > _QUERY_BYTES:
            return 414, "the address is too long"
        is_open = scope["type"] == "http" and self._is_open(scope["path"])
        return None if is_open else (404, "not part of this page")

    def _too_large(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return (status, reason) for a body that is too long or has no length, else None.

        The server reads only as many bytes as the header states, so a false length gains nothing.
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
            # Gradio's page recognises this text.
            return 413, f"File size exceeds maximum allowed size of {largest // 2**20} MB."
        if size + self._arriving + _bytes_in(uploads.folder) > uploads.most_bytes:
            return 507, "too many files were uploaded in the last hour; wait, or restart the page"
        return None

    def _is_upload(self, scope: Scope) -> bool:
        return self._uploads is not None and scope["method"] == "POST" and scope["path"] == self._uploads.address


def _bytes_in(folder: Path) -> int:
    """Return the total size of the files in a folder, ignoring files removed meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total
