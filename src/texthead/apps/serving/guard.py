"""Middleware that checks hosts, origins, addresses and body sizes."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Browsers then load scripts, styles and media from this page only, and run no script or style inside the markup.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # With no-referrer, the page's own forms would have the origin null.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # A page of another folder may be at this address next.
    "cache-control": "no-store",
}

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:@/\[\]]+)(:\d+)?")

# File names are at most this long, and so are the page's queries.
_SEGMENT_BYTES, _QUERY_BYTES = 255, 2048

# Limit for bodies, most of which are parsed in memory.
_BODY_BYTES = 1 << 20


class Guard:
    """ASGI middleware that answers unwanted requests with status 4xx and one line of text.

    Args:
        hosts: allowed host names of this server, in lower case, without port; None for any. A list prevents DNS
            rebinding: other sites cannot reach the page through their own name that resolves to this machine.
        most_bytes: limits of the body, by address, where it is not 1 MiB.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None, most_bytes: Mapping[str, int]):
        self._app = app
        self._hosts = hosts
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request, or reject it before its body is read."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"].endswith("response.start"):
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._foreign(scope, headers) or self._too_large(scope, headers)
        if refusal:
            # On an open connection, the server would go on reading the body.
            response = PlainTextResponse(refusal[1], refusal[0], {"connection": "close"})
            await response(scope, receive, send_with_headers)
        else:
            with suppress(ClientDisconnect):
                await self._app(scope, receive, send_with_headers)

    def _foreign(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return (status, reason) for a request that the page itself never makes, else None."""
        host = headers.get("host", "").lower()
        match = _HOST.fullmatch(host)
        if match is None or (self._hosts is not None and match[1].strip("[]") not in self._hosts):
            return 421, "this page is not available under that host name"
        origin = headers.get("origin")
        # Links of other sites may lead to the page itself; the other addresses change something, or take work.
        is_link = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] == "/"
        is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if (is_foreign and not is_link) or (origin is not None and origin.lower().partition("://")[2] != host):
            return 403, "this page accepts no requests from other sites"
        longest = max(len(name.encode()) for name in scope["path"].split("/"))
        if longest > _SEGMENT_BYTES or len(scope["query_string"]) > _QUERY_BYTES:
            return 414, "the address is too long"
        return None if scope["type"] == "http" else (404, "not part of this page")

    def _too_large(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return (status, reason) for a body that is too long or has no length, else None.

        The server reads only as many bytes as the header states, so a false length gains nothing.
        """
        is_post = scope["method"] == "POST"
        stated = headers.get("content-length", "" if is_post else "0")
        if "transfer-encoding" in headers or not re.fullmatch(r"[0-9]{1,18}", stated):
            return 411, "a request must state the length of its body"
        most = self._most_bytes.get(scope["path"], _BODY_BYTES) if is_post else 0
        return (413, f"{int(stated)} bytes are too many; the limit is {most}") if int(stated) > most else None
