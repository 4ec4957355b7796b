"""A server of files on this machine that counts what it is asked for."""

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Ranged(http.server.SimpleHTTPRequestHandler):
    """A file server that supports range requests (unless `ranged` is False) and counts the bytes it sends."""

    ranged, sent, requests = True, 0, 0

    def do_GET(self) -> None:
        type(self).requests += 1
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if type(self).ranged else None
        if part:
            data = data[int(part[1]) : int(part[2]) + 1]
        type(self).sent += len(data)
        self.send_response(206 if part else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder, and yield the address; `Ranged.requests` counts from 0."""
    Ranged.ranged, Ranged.sent, Ranged.requests = True, 0, 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranged, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
