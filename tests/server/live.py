"""A server process to be tested over real sockets, and clients that misbehave."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
SECONDS = 60  # for whatever must happen at all


class Live:
    """A server of a library in a child process."""

    def __init__(self, library: Path, **options) -> None:
        path = os.pathsep.join([str(HERE), str(HERE.parent / "photos"), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "child.py"), json.dumps({"library": str(library)} | options)],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "SENSORIUM_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._csrf: str | None = None

    def __enter__(self) -> Live:
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate(timeout=SECONDS))
        ready = json.loads(line)
        self.url = urlsplit(ready["url"])
        self.token = ready["token"]
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.ended = self.process.communicate(timeout=SECONDS)
        finally:
            self.process.kill()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.url.port

    def connect(self) -> socket.socket:
        """A connection on which nothing was said yet."""
        connection = socket.create_connection(self.address, timeout=SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """An ordinary request on a connection of its own: status, headers, body."""
        headers = dict(headers or {})
        if method not in ("GET", "HEAD"):
            headers.setdefault("X-Sensorium-CSRF", self.csrf)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if content is not None:
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def document(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        """Status and JSON of an ordinary request."""
        status, _, content = self.ask(method, path, body)
        return status, json.loads(content or b"null")

    @property
    def csrf(self) -> str:
        if self._csrf is None:
            self._csrf = json.loads(self.ask("GET", "/api/v1/session")[2])["csrf"]
        return self._csrf

    def head(self, method: str, path: str, *headers: str) -> bytes:
        """The first lines of a request as they go over the wire."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.url.port}", *headers, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def seconds_to_answer(self, path: str = "/api/v1/session") -> float:
        """How long an ordinary request takes."""
        begun = time.perf_counter()
        assert self.ask("GET", path)[0] == 200
        return time.perf_counter() - begun


def received(connection: socket.socket) -> bytes:
    """Everything until the other end closes the connection, or resets it."""
    content = b""
    try:
        while part := connection.recv(65_536):
            content += part
    except ConnectionError:
        pass
    return content


def status_of(content: bytes) -> int:
    """The status of an answer as it came over the wire."""
    assert content.startswith(b"HTTP/1.1 "), content[:100]
    return int(content[9:12])


def photo_named(server: Live, name: str) -> int:
    ids = server.document("GET", "/api/v1/grid")[1]["ids"]
    cards = server.document("GET", f"/api/v1/photos?ids={','.join(map(str, ids))}")[1]["photos"]
    return next(card["id"] for card in cards if card["name"] == name)


def until(true, seconds: float = 15) -> bool:
    """Whether something becomes true in time."""
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            return False
        time.sleep(0.1)
    return True
