"""``sensorium serve`` as it is typed: what it says, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
import trustme

from sensorium.photos.library import Library

SECONDS = 60


@contextmanager
def serving(*arguments: str, lines: int = 1):
    """A started server and the first lines that it printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SENSORIUM_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sensorium", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield process, [process.stdout.readline() for _ in range(lines)]
    finally:
        process.kill()
        process.communicate()


def refused(*arguments: str) -> str:
    """The one line with which the command refuses."""
    done = subprocess.run(
        [sys.executable, "-m", "sensorium", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"SENSORIUM_OFFLINE": "1"},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def address_in(line: str) -> str:
    return re.search(r"https?://\S+", line)[0]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "library"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_makes_a_library_shows_it_and_ends(folder, ending):
    with serving("--library", str(folder), "--port", "0") as (process, [line]):
        url = address_in(line)
        assert str(folder) in line
        with urllib.request.urlopen(f"{url}api/v1/session", timeout=SECONDS) as answer:
            assert json.load(answer)["role"] == "admin"
        process.send_signal(ending)
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, out, err) == (0, "", "")
    with Library.open(folder) as library:
        assert library.status().photos == 0


def test_it_ends_with_a_page_open(folder):
    """A page listens to events without end."""
    with serving("--library", str(folder), "--port", "0") as (process, [line]):
        with urllib.request.urlopen(f"{address_in(line)}api/v1/events", timeout=SECONDS) as events:
            assert events.readline()
            begun = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        assert time.perf_counter() - begun < 10


def test_elsewhere_it_shows_a_token_once(folder):
    arguments = ("--library", str(folder), "--port", "0", "--host", "0.0.0.0", "--without-tls")
    with serving(*arguments, lines=2) as (process, [first, second]):
        token = re.search(r"sns_\S+", first)[0]
        port = re.search(r":(\d+)/", address_in(second))[1]
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/tokens")
        with pytest.raises(urllib.error.HTTPError) as unknown:
            urllib.request.urlopen(request, timeout=SECONDS)
        assert unknown.value.code == 401
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            assert [row["role"] for row in json.load(answer)["tokens"]] == ["admin"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    assert stat.S_IMODE((folder / "server.sqlite3").stat().st_mode) == 0o600
    with serving(*arguments) as (process, [line]):
        assert "sns_" not in line
    with serving(*arguments, "--new-token", lines=2) as (process, [line, _]):
        assert re.search(r"sns_\S+", line)[0] != token


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_it_speaks_tls_with_a_certificate(folder, tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    pem = tmp_path / "both.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    arguments = ("--library", str(folder), "--port", "0", "--certificate", str(pem))
    with serving(*arguments) as (process, [line]):
        url = address_in(line)
        assert url.startswith("https://")
        with urllib.request.urlopen(f"{url}api/v1/session", timeout=SECONDS, context=context) as answer:
            assert answer.headers["strict-transport-security"]
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(url.replace("https", "http"), timeout=SECONDS)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(url, timeout=SECONDS, context=old)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=SECONDS)[1] == ""


def test_a_port_that_is_taken_is_told(folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"port {port}" in refused("--library", str(folder), "--port", str(port))


def test_elsewhere_without_tls_is_refused(folder):
    assert "--certificate" in refused("--library", str(folder), "--host", "0.0.0.0")
    assert not folder.exists()


def test_a_host_that_is_none_is_told(folder):
    assert "neither an address nor a name" in refused(
        "--library", str(folder), "--host", "no.such.host.invalid"
    )


def test_a_library_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot make the library folder" in refused("--library", str(tmp_path / "file" / "library"))


def test_the_second_server_says_so(folder):
    with serving("--library", str(folder), "--port", "0") as (process, _):
        assert "another `sensorium serve` is at work" in refused("--library", str(folder), "--port", "0")
        assert process.poll() is None


def test_help_is_quick_and_says_what_matters():
    code = "import sys; import sensorium.cli.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"fastapi", "uvicorn", "sqlalchemy", "numpy"} & set(done.stdout.split())
