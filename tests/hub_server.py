"""A small local server for the Hugging Face Hub client: repositories with commits."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


@dataclass
class Hub:
    """The server's content and the requests it received.

    Attributes:
        repos: the branches of each repository, each a list of commits (id, files).
        large: large files by SHA-256, as uploaded.
        requests: "METHOD path" of each request.
    """

    address: str = ""
    repos: dict[str, dict[str, list[tuple[str, dict[str, bytes]]]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def commit(self, repo: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add a commit and return its id."""
        branches = self.repos.setdefault(repo, {"main": []})
        before = branches.get(branch) or branches["main"]
        whole = {**(before[-1][1] if before else {}), **files}
        number = hashlib.sha1(repr((repo, branch, len(before), sorted(whole))).encode()).hexdigest()
        branches.setdefault(branch, list(before)).append((number, whole))
        return number

    def add_folder(self, repo: str, folder: Path) -> str:
        """Add the files of a folder as a commit."""
        return self.commit(
            repo, {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        )

    def at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return (id, files) of a branch's last commit or of a commit id, or None if there is none."""
        branches = self.repos.get(repo, {})
        if branches.get(revision):
            return branches[revision][-1]
        return next((each for commits in branches.values() for each in commits if each[0] == revision), None)


class Handler(BaseHTTPRequestHandler):
    """Handle requests of the Hub client."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def handle_one(self) -> None:
        """Answer one request."""
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        writes = self.command in ("POST", "PUT") and not path.startswith("/upload")
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        for pattern, act in ROUTES:
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                return act(self, body, **match.groupdict())
        return self.answer(404, {"error": f"no route {path}"}, {"X-Error-Code": "EntryNotFound"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    def answer(self, code: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a value as JSON, or bytes unchanged."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in {
            "Content-Length": str(len(data)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def who(self, body: bytes) -> None:
        """Send the user of the token."""
        self.answer(200, {"type": "user", "name": "me", "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def create(self, body: bytes) -> None:
        """Create a repository."""
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        code = 409 if name in self.hub.repos else 200
        self.hub.repos.setdefault(name, {"main": []})
        self.hub.private.setdefault(name, asked.get("private") is True or asked.get("visibility") == "private")
        if not self.hub.repos[name]["main"]:
            self.hub.commit(name, {".gitattributes": b""})
        self.answer(code, {"url": f"{self.hub.address}/{name}", "name": name, "id": name})

    def info(self, body: bytes, repo: str, revision: str | None = None) -> None:
        """Describe a repository."""
        snapshot = self.hub.at(repo, revision or "main")
        if snapshot is None:
            code = "RevisionNotFound" if repo in self.hub.repos else "RepoNotFound"
            return self.answer(404, {"error": "not found"}, {"X-Error-Code": code})
        siblings = [{"rfilename": name} for name in snapshot[1]]
        return self.answer(200, {"id": repo, "modelId": repo, "sha": snapshot[0], "siblings": siblings, "tags": []})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        """List the files of a commit."""
        snapshot = self.hub.at(repo, revision)
        assert snapshot is not None
        rows = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in snapshot[1].items()
        ]
        self.answer(200, rows)

    def resolve(self, body: bytes, repo: str, revision: str, file: str) -> None:
        """Send a file."""
        snapshot = self.hub.at(repo, revision)
        if snapshot is None or file not in snapshot[1]:
            known = repo in self.hub.repos
            code = ("EntryNotFound" if snapshot else "RevisionNotFound") if known else "RepoNotFound"
            return self.answer(
                404, {"error": code}, {"X-Error-Code": code, **({"X-Repo-Commit": snapshot[0]} if snapshot else {})}
            )
        data = snapshot[1][file]
        start, code = 0, 200
        if ranged := re.match(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start, code = int(ranged[1]), 206
        etag = hashlib.sha256(data).hexdigest()
        return self.answer(
            code, data[start:], {"ETag": f'"{etag}"', "X-Repo-Commit": snapshot[0], "Accept-Ranges": "bytes"}
        )

    def branch(self, body: bytes, repo: str, branch: str) -> None:
        """Create a branch."""
        branches = self.hub.repos[repo]
        code = 409 if branch in branches else 200
        branches.setdefault(branch, list(branches["main"]))
        self.answer(code, {})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        """Report which files are uploaded separately."""
        files = [
            {"path": each["path"], "uploadMode": "lfs" if each["size"] > 2**16 else "regular", "shouldIgnore": False}
            for each in json.loads(body)["files"]
        ]
        self.answer(200, {"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        """Send the upload addresses of large files."""
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.hub.address}/upload/{each['oid']}", "header": {}}}}
            for each in json.loads(body)["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        """Store a large file."""
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.large[oid] = body
        self.answer(200, b"")

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        """Store a commit."""
        files = {}
        for line in body.decode().splitlines():
            each = json.loads(line)
            if each["key"] == "file":
                files[each["value"]["path"]] = base64.b64decode(each["value"]["content"])
            elif each["key"] == "lfsFile":
                files[each["value"]["path"]] = self.hub.large[each["value"]["oid"]]
        number = self.hub.commit(repo, files, revision)
        url = f"{self.hub.address}/{repo}/commit/{number}"
        self.answer(200, {"success": True, "commitUrl": url, "commitOid": number, "pullRequestUrl": None})

    def validate(self, body: bytes) -> None:
        """Accept the front matter of a card."""
        self.answer(200, {"errors": [], "warnings": []})


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_REVISION = r"(?P<revision>[\w.-]+)"

ROUTES = (
    (r"GET /api/whoami-v2", Handler.who),
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (rf"GET /api/models/{_REPO}", Handler.info),
    (rf"GET /api/models/{_REPO}/revision/{_REVISION}", Handler.info),
    (rf"GET /api/models/{_REPO}/tree/{_REVISION}", Handler.tree),
    (rf"POST /api/models/{_REPO}/branch/(?P<branch>[\w.-]+)", Handler.branch),
    (rf"POST /api/models/{_REPO}/preupload/{_REVISION}", Handler.preupload),
    (rf"POST /api/models/{_REPO}/commit/{_REVISION}", Handler.commit),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /upload/(?P<oid>\w+)", Handler.upload),
    (rf"(GET|HEAD) /{_REPO}/resolve/{_REVISION}/(?P<file>.+)", Handler.resolve),
)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run a hub on a free local port."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
