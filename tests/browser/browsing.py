"""A real server process and a real browser, and what must never happen on the page."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
NO_BROWSER = "no browser to test with: apt-get install chromium fonts-noto-cjk"
REQUIRED = "SENSORIUM_BROWSER_TESTS"
"""When this is `required`, what is missing fails the tests; else it skips them."""

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
PATIENCE = 20_000
"""Milliseconds to wait for something on the page: test machines have few cores."""

_ADDRESS = re.compile(r" is at (https?://\S+)/ ")
_TOKEN = re.compile(r"shown only now: (\S+)")


def do_without(missing: str) -> NoReturn:
    """Leave a test out because something is not installed, or fail it where everything must be."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(missing)
    pytest.skip(missing)


@dataclass(frozen=True)
class Server:
    """A server that listens; ``token`` is the administrator's when it demands one."""

    url: str
    token: str | None


@contextmanager
def serving(library: Path, *arguments: str, program: Sequence[str] = ("-m", "sensorium")) -> Iterator[Server]:
    """``sensorium serve`` on a free port, ended with the context."""
    command = [
        sys.executable,
        *program,
        "serve",
        "--library",
        str(library),
        "--port",
        "0",
        *arguments,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            token = None
            for line in process.stdout:
                if found := _TOKEN.search(line):
                    token = found[1]
                if found := _ADDRESS.search(line):
                    break
            else:
                raise AssertionError(f"the server ended with code {process.wait()} before it listened")
            yield Server(found[1], token)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@contextmanager
def browsing() -> Iterator[Browser]:
    """Debian's Chromium."""
    assert CHROMIUM is not None, NO_BROWSER
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and what went wrong on it: errors, refused loads, requests to other hosts."""

    page: Page
    server: Server
    faults: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open an address of the page and wait until its room is there."""
        self.page.goto(self.server.url + path)
        self.page.wait_for_selector("h1", timeout=PATIENCE)
        return self.page

    def check(self) -> None:
        """Nothing went wrong so far."""
        assert not self.faults, "\n".join(self.faults)


@contextmanager
def watched(browser: Browser, server: Server, **options: Any) -> Iterator[Watched]:
    """A fresh window, watched: an English desktop in light colours unless told otherwise."""
    settings = {"viewport": DESKTOP, "locale": "en-GB", "color_scheme": "light"} | options
    context: BrowserContext = browser.new_context(**settings)
    context.set_default_timeout(PATIENCE)
    seen = Watched(context.new_page(), server)
    host = urlsplit(server.url).netloc

    def said(message: ConsoleMessage) -> None:
        # A refusal that the page shows to people is logged by the browser, too: that is no fault.
        if message.type == "error" and "Failed to load resource" not in message.text:
            seen.faults.append(f"console: {message.text}")

    def asked(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != host:
            seen.faults.append(f"a request to another host: {url}")

    def answered(status: int, url: str) -> None:
        # 503 says that the disk of a photo is not there, of which no thumbnail was made while it was.
        if status >= 500 and not (status == 503 and "/thumbnail" in url):
            seen.faults.append(f"{status}: {url}")

    context.on("console", said)
    context.on("weberror", lambda error: seen.faults.append(f"error: {error.error}"))
    context.on("request", lambda request: asked(request.url))
    context.on("response", lambda answer: answered(answer.status, answer.url))
    try:
        yield seen
        seen.check()
    finally:
        context.close()
