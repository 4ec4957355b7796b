"""A server of files on this machine that counts what it is asked for."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Requests(http.server.SimpleHTTPRequestHandler):
    """A file server that counts the requests."""

    count = 0

    def send_head(self) -> object:  # For GET and HEAD.
        type(self).count += 1
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder, and yield the address; `Requests.count` counts from 0."""
    Requests.count = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Requests, directory=str(folder)))
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
