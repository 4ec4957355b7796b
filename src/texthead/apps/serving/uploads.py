"""Files that a page receives: written to a folder within limits, and removed after an hour."""

import asyncio
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from texthead.apps.serving.server import MEDIA_TYPES, media_response
from texthead.errors import DataError

UPLOAD = "/upload"

_SECONDS_KEPT = 3600.0

# All files together may have this many times the size of the largest.
_ROOM = 10

# Length of a file name in bytes; of longer names the end is kept, with the suffix.
_NAME_BYTES = 200


class _Upload(NamedTuple):
    path: Path
    size: int


class Uploads:
    """Files of browsers, each known by a random token.

    Args:
        folder: an empty folder.
        most_bytes: size of the largest file.
    """

    def __init__(self, folder: Path, most_bytes: int):
        self._folder = folder
        self._most_bytes = most_bytes
        self._files: dict[str, _Upload] = {}

    @property
    def routes(self) -> list[Route]:
        """The addresses that receive a file (as the body of a request) and send it back for the page to show."""
        return [
            Route(UPLOAD, self._receive, methods=["POST"]),
            Route(f"{UPLOAD}/{{token}}", lambda request: media_response(self.path(request.path_params["token"]))),
        ]

    @property
    def limits(self) -> Mapping[str, int]:
        """The largest body by address, for `page_app`."""
        return {UPLOAD: self._most_bytes}

    def path(self, token: object) -> Path:
        """Return the path of a file.

        Raises:
            DataError: there is no such file, or not any more.
        """
        upload = self._files.get(token) if isinstance(token, str) else None
        if upload is None:
            raise DataError("uploaded files are kept for an hour, and this one is not here; upload it again")
        return upload.path

    async def _receive(self, request: Request) -> Response:
        size = int(request.headers["content-length"])
        if size + sum(upload.size for upload in self._files.values()) > _ROOM * self._most_bytes:
            line = "too many files were uploaded in the last hour; wait, or restart the page"
            return JSONResponse({"error": line}, 507, {"connection": "close"})
        name, token = _file_name(request.query_params.get("name", "")), secrets.token_urlsafe(16)
        path = self._folder / token / name
        # Also takes up the room of a file that is still arriving.
        self._files[token] = _Upload(path, size)
        try:
            path.parent.mkdir()
            async with await anyio.open_file(path, "wb") as file:
                async for chunk in request.stream():
                    await file.write(chunk)
        except BaseException as error:
            self._remove(token)
            if isinstance(error, OSError):
                raise DataError(f"{name}: cannot be stored ({error.strerror}); free some disk space") from None
            raise
        asyncio.get_running_loop().call_later(_SECONDS_KEPT, self._remove, token)
        return JSONResponse({"file": token, "type": MEDIA_TYPES.get(path.suffix.lower())})

    def _remove(self, token: str) -> None:
        shutil.rmtree(self._files.pop(token).path.parent, ignore_errors=True)


def _file_name(name: str) -> str:
    """Return the name of a file without folders.

    Raises:
        DataError: nothing is left of it.
    """
    name = re.split(r"[/\\\0]", name)[-1].encode(errors="replace")[-_NAME_BYTES:].decode(errors="ignore")
    if name in ("", ".", ".."):
        raise DataError(f"{name!r} is not the name of a file; rename it")
    return name
