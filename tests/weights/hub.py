"""A hub on this machine: enough of the real one's protocol to list, redirect, stream, resume and fail."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What is served, what goes wrong, and what was asked."""

    files: dict[str, bytes]
    repository: str = "someone/something"
    large: frozenset[str] = frozenset({"model.safetensors", "pytorch_model.bin"})
    cut_after: dict[str, list[int]] = field(default_factory=dict)
    """Per file: after how many bytes each of the next answers breaks off."""
    swapped: dict[str, bytes] = field(default_factory=dict)
    """Per file: what is sent instead of what was declared."""
    ranges: bool = True
    gated: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of every request for content."""
    address: str = ""

    def listing(self) -> bytes:
        siblings = []
        for name, content in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            one: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
            if name in self.large:
                digest = hashlib.sha256(content).hexdigest()
                one["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(one)
        info = {"id": self.repository, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
        return json.dumps(info).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers for the `Hub` that its server carries."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = urlsplit(self.path).path
        if path.startswith("/api/models/"):
            self.answer_api(hub, path.removeprefix("/api/models/"))
        elif found := re.fullmatch(rf"/{hub.repository}/resolve/{COMMIT}/(.+)", path):
            name = found[1]
            if name not in hub.files:
                self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
            elif name in hub.large:
                self.send(302, b"", {"Location": f"{hub.address}/content/{name}"})
            else:
                self.stream(hub, name)
        elif path.startswith("/content/"):
            self.stream(hub, path.removeprefix("/content/"))
        else:
            self.send(404, b"")

    def answer_api(self, hub: Hub, path: str) -> None:
        name, _, revision = path.partition("/revision/")
        if hub.gated:
            self.send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif name != hub.repository:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("", "main", COMMIT):
            self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self.send(200, hub.listing(), {"Content-Type": "application/json"})

    def stream(self, hub: Hub, name: str) -> None:
        wanted = self.headers.get("Range")
        hub.requests.append((name, wanted))
        content = hub.swapped.get(name, hub.files[name])
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and hub.ranges else 0
        if start >= len(content) > 0:
            self.send(416, b"")
            return
        body = content[start:]
        self.send_response(206 if wanted and hub.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        if wanted and hub.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        breaks = hub.cut_after.get(name, [])
        if breaks:
            self.wfile.write(body[: breaks.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
        else:
            self.wfile.write(body)

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Start serving; the caller shuts it down."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = hub  # type: ignore[attr-defined]
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server
