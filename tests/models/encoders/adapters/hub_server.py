"""A loopback server that speaks as much of the hub's API as a download of a model takes."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPO = "makers/tiny-model"
COMMIT = "c0ffee" * 6 + "abcd"


class Hub(ThreadingHTTPServer):
    """One repository with one commit; `asked` lists what was requested."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if REPO not in path:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        _, _, rest = path.partition(f"{REPO}/")
        verb, _, rest = rest.partition("/")
        revision, _, name = rest.partition("/")
        if revision not in (COMMIT, "main"):
            self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif verb == "revision":
            self.send(200, json.dumps({"id": REPO, "sha": COMMIT, "siblings": []}).encode())
        elif verb == "tree":
            self.send(200, json.dumps(self.tree()).encode())
        else:
            self.file(name)

    def tree(self) -> list[dict[str, object]]:
        files = sorted(path for path in self.server.folder.rglob("*") if path.is_file())
        return [
            {
                "type": "file",
                "path": path.relative_to(self.server.folder).as_posix(),
                "size": path.stat().st_size,
                "oid": etag(path),
            }
            for path in files
        ]

    def file(self, name: str) -> None:
        path = self.server.folder / name
        if not path.is_file():
            self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{etag(path)}"', "X-Repo-Commit": COMMIT}
        self.send(200, path.read_bytes(), headers)

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """Serve a folder as the files of the one commit."""
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
