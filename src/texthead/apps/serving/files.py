"""Files of a page: those that it shows, by keys that stand for path and content, and those that it receives."""

import hashlib
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from texthead.errors import DataError
from texthead.media import MediaPath
from texthead.platform import file_name

# Files of users that browsers show.
MEDIA_TYPES = {f".{kind}": f"image/{kind}" for kind in ["jpeg", "png", "gif", "webp", "bmp", "avif"]}
MEDIA_TYPES |= {".jpg": "image/jpeg", ".webm": "video/webm"} | dict.fromkeys((".mp4", ".m4v", ".mov"), "video/mp4")

UPLOAD, _KEPT = "/upload", 10

# Length of a file name in bytes; of longer names the end is kept, with the suffix.
_NAME_BYTES = 200


def media_response(path: Path) -> Response:
    """Return a response with a file of a user; browsers show it only if it is a video or an image.

    Raises:
        DataError: it is gone, or not a file of its own, such as a folder of frames.
    """
    if not path.is_file():
        raise DataError(f"{path.name}: no such file; reload the page")
    return FileResponse(path, media_type=MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"))


class ShownFiles:
    """Files and parts of videos by key: a digest of path, size and time of change, and of the part.

    A number would name another file once one is added, and a browser would show and label that one.
    """

    def __init__(self) -> None:
        self._known = dict[str, tuple[int, Path]]()

    def key(self, number: int, path: Path) -> str:
        """Return the key of a file as it is now; the page then knows it by this key."""
        key = _digest(path)
        self._known[key] = number, path
        return key

    def find(self, key: object, *, changed: bool = False) -> tuple[int, Path]:
        """Return number and path of a file.

        Args:
            changed: whether the file may have changed since it was shown.

        Raises:
            DataError: the page shows no such file, or the file has changed.
        """
        if not isinstance(key, str) or key not in self._known:
            raise DataError("this page does not show that file; reload the page")
        number, path = self._known[key]
        if not changed and _digest(path) != key:
            raise DataError(f"{MediaPath(path).file.name}: changed since it was shown; reload the page")
        return number, path


def _digest(path: Path) -> str:
    file = MediaPath(path).file
    facts = [os.fspath(path), os.path.realpath(file)]
    with suppress(OSError):
        status = file.stat()
        facts += [status.st_size, status.st_mtime_ns]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


class Uploads:
    """Files of the browser, each known by a random token.

    Args:
        folder: an empty folder.
    """

    MEGABYTES = 200  # of the largest file

    def __init__(self, folder: Path):
        self._folder, self._files = folder, dict[str, Path]()

    @property
    def routes(self) -> list[Route]:
        """The addresses that receive a file (as the body of a request) and send it back for the page to show."""
        return [
            Route(UPLOAD, self._receive, methods=["POST"]),
            Route(f"{UPLOAD}/{{token}}", lambda request: media_response(self.path(request.path_params["token"]))),
        ]

    def path(self, token: object) -> Path:
        """Return the path of a file.

        Raises:
            DataError: there is no such file, or not any more.
        """
        path = self._files.get(token) if isinstance(token, str) else None
        if path is None:
            raise DataError(f"this page keeps the last {_KEPT} files, and this one is not here; upload it again")
        return path

    async def _receive(self, request: Request) -> Response:
        name, token = re.split(r"[/\\\0]", request.query_params.get("name", ""))[-1], secrets.token_urlsafe(16)
        name = name.encode(errors="replace")[-_NAME_BYTES:].decode(errors="ignore")
        if name in ("", ".", ".."):
            raise DataError(f"'{name}' is not the name of a file; rename it")
        path = self._folder / token / (name := file_name(name))
        if int(request.headers.get("content-length", 0)) > self.MEGABYTES << 20:
            raise DataError(f"{name}: larger than {self.MEGABYTES} MB, the limit; use a smaller file, or cut it")
        try:
            path.parent.mkdir()
            with path.open("wb") as file:
                async for chunk in request.stream():
                    file.write(chunk)
        except BaseException as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            if isinstance(error, OSError):
                raise DataError(f"{name}: cannot be stored ({error.strerror}); free some disk space") from None
            raise
        self._files[token] = path
        if len(self._files) > _KEPT:
            shutil.rmtree(self._files.pop(next(iter(self._files))).parent, ignore_errors=True)
        return JSONResponse({"file": token, "type": MEDIA_TYPES.get(path.suffix.lower())})
