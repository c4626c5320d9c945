"""Bad input and faults: whatever is sent or happens to the server, it answers in one line or refuses."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sqlite3
import struct
import time
import zlib
from contextlib import closing

import psutil
import pytest
import sqlalchemy as sa
from live import SECONDS, Live, photo_named, received, status_of
from PIL import Image
from serving import application, client, index, local_client, make_library, problem

from sensorium.errors import LibraryError
from sensorium.server.access.accounts import FILE_NAME, Accounts
from sensorium.server.api.problems import of_error

QUICK = {"head": 1.0, "body": 1.0, "answer": 1.0}


@pytest.fixture(scope="module")
def live(made):
    """One server for all tests that leave it as it was, which each of them has to prove by going on."""
    with Live(made, patience=QUICK) as server:
        yield server
    assert "Traceback" not in server.ended[1], server.ended[1]


@pytest.fixture
def own(tmp_path):
    return make_library(tmp_path / "library")


# Malformed bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b'{"name": "\xff", "role": "view"}',
        b'{"name": "\\ud800", "role": "view"}',
        b'{"name": NaN, "role": "view"}',
        b'{"name": 1e999, "role": "view"}',
        b'{"name": "x", "role": "owner"}',
        b'{"name": {}, "role": "view"}',
        b'{"name": "", "role": "view"}',
        b'{"name": "a\\u0000b", "role": "view"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"name": ' + b"9" * 10_000 + b', "role": "view"}',
    ],
)
def test_a_malformed_body_is_a_problem(live, body):
    status, headers, content = live.ask("POST", "/api/v1/tokens", body)
    assert status in (400, 422), content
    assert headers["content-type"] == "application/problem+json"
    assert len(content) < 10_000
    assert live.document("GET", "/api/v1/tokens") == (200, {"tokens": []})


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("text/plain", None),
        ("application/xml", None),
        ("multipart/form-data", None),
        ("application/json", "gzip"),
    ],
)
def test_a_body_of_another_kind_is_a_problem(live, kind, encoding):
    headers = {"Content-Type": kind} | ({"Content-Encoding": encoding} if encoding else {})
    status, headers, _ = live.ask("POST", "/api/v1/tokens", b"\x1f\x8b" + b"x" * 50, headers)
    assert status in (400, 415, 422)
    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "wire",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a server that speaks none
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(live, wire):
    with closing(live.connect()) as connection:
        connection.sendall(wire)
        answer = received(connection)
    assert not answer or status_of(answer) in (400, 404, 421, 431, 505)
    assert live.ask("GET", "/api/v1/session")[0] == 200


def test_a_request_smuggled_behind_another_is_none(live):
    """Both lengths at once: whoever believes the other one would see a second request."""
    hidden = live.head("GET", "/api/v1/tokens")
    chunked = b"0\r\n\r\n" + hidden
    lines = (
        "Transfer-Encoding: chunked",
        f"Content-Length: {len(chunked)}",
        "Content-Type: application/json",
    )
    with closing(live.connect()) as connection:
        connection.sendall(live.head("POST", "/api/v1/session", *lines) + chunked)
        connection.shutdown(socket.SHUT_WR)
        answer = received(connection)
    assert b'"tokens"' not in answer.partition(b"HTTP/1.1 ")[2].partition(b"HTTP/1.1 ")[0]


# Oversized bodies


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(live):
    lines = (
        "Content-Type: application/json",
        "Content-Length: 100000000000",
        f"X-Sensorium-CSRF: {live.csrf}",
    )
    with closing(live.connect()) as connection:
        connection.sendall(live.head("POST", "/api/v1/tokens", *lines))
        answer = received(connection)
    assert status_of(answer) == 413
    assert b'"body_too_large"' in answer


def test_a_body_without_an_end_is_cut_off(live):
    lines = (
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
        f"X-Sensorium-CSRF: {live.csrf}",
    )
    sent = 0
    with closing(live.connect()) as connection:
        connection.sendall(live.head("POST", "/api/v1/tokens", *lines))
        try:
            while sent < 200_000_000:
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                sent += 65_536
        except OSError:
            pass
    assert sent < 50_000_000
    assert live.seconds_to_answer() < 5


def test_a_page_of_ids_without_end_is_refused(live):
    status, _, _ = live.ask("GET", "/api/v1/photos?ids=" + ",".join(["1"] * 5_000))
    assert status in (200, 400, 413, 422)
    assert live.ask("GET", "/api/v1/session")[0] == 200


# Traversal in every spelling, as it goes over the wire (clients tidy addresses up)


@pytest.mark.parametrize(
    "spelling",
    [
        "/web/../../../../../../etc/passwd",
        "/web/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/web/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/web/..\\..\\..\\etc\\passwd",
        "/web/..%5c..%5cetc%5cpasswd",
        "/web//etc/passwd",
        "/web/%2fetc%2fpasswd",
        "/web/lib/..%00/../../etc/passwd",
        "/web/%252e%252e%252fetc%252fpasswd",
        "/web/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
        "/web/.%2e/.%2e/app.py",
        "/web/~0123456789abcdef/../../app.py",
        "/api/v1/photos/../../../../etc/passwd",
        "/api/v1/photos/..%2f..%2fetc%2fpasswd/media",
        "/api/v1/photos/1%2f..%2f2/media",
        "/api/v1/shared/../tokens",
        "/api/v1/shared/%2e%2e/tokens",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "http://127.0.0.1/web/../app.py",
        "file:///etc/passwd",
        "/photo/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    ],
)
def test_no_spelling_leads_to_a_file_of_the_machine(live, spelling):
    with closing(live.connect()) as connection:
        connection.sendall(live.head("GET", spelling, "Connection: close"))
        answer = received(connection)
    assert b"root:" not in answer
    assert b"create_app" not in answer
    assert status_of(answer) in (400, 404, 422) or (spelling.startswith("/photo") and b"<!doctype" in answer)


# 30,000 x 30,000 uploads


def enormous_png(side: int) -> bytes:
    """A picture of one colour, whose file is small and whose pixels are not."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    packer = zlib.compressobj(9)
    row = b"\0" * (1 + side * 3)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_an_upload_of_30000_by_30000_pixels_is_refused_before_it_is_decoded(live):
    small, said = struct.pack(">II", 64, 64), struct.pack(">II", 30_000, 30_000)
    claims = enormous_png(64).replace(small, said)
    claims = claims[:29] + struct.pack(">I", zlib.crc32(claims[12:29])) + claims[33:]
    begun = time.perf_counter()
    status, document = live.document("POST", "/api/v1/search/image", claims)
    assert (status, document["code"]) == (422, "bad_image"), document
    assert time.perf_counter() - begun < 10
    family = [psutil.Process(live.process.pid), *psutil.Process(live.process.pid).children(recursive=True)]
    assert sum(process.memory_info().rss for process in family) < 1_500_000_000


@pytest.mark.slow
def test_an_upload_with_all_of_its_30000_by_30000_pixels_is_refused_as_well(live):
    status, document = live.document("POST", "/api/v1/search/image", enormous_png(30_000))
    assert (status, document["code"]) == (422, "bad_image"), document
    assert live.seconds_to_answer() < 5


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", b"\xff\xd8\xff\xe0" + b"x" * 1000, b"<svg xmlns='x'/>", b"%PDF-1.7", b"PK\x03\x04"],
)
def test_an_upload_that_is_no_picture_is_refused(live, content):
    status, document = live.document("POST", "/api/v1/search/image", content)
    assert status in (400, 415, 422), document
    assert live.ask("GET", "/api/v1/session")[0] == 200


# SIGKILL during a write


def test_a_server_that_is_killed_while_it_writes_loses_nothing_that_it_answered(own):
    answered = []
    for round_ in range(2):
        with Live(own) as server:  # which a lock of the killed one does not stop
            names = [row["name"] for row in server.document("GET", "/api/v1/tokens")[1]["tokens"]]
            assert set(answered) <= set(names)
            begun = time.perf_counter()
            while time.perf_counter() - begun < 0.5 + round_ * 0.3:
                name = f"token {round_} {len(answered)}"
                assert server.document("POST", "/api/v1/tokens", {"name": name, "role": "view"})[0] == 201
                answered.append(name)
                photo = {"ids": [1, 2, 3], "favourite": len(answered) % 2 == 0}
                assert server.ask("POST", "/api/v1/photos/marks", photo)[0] in (200, 204)
            with closing(server.connect()) as connection:
                body = json.dumps({"name": "perhaps", "role": "view"}).encode()
                lines = (f"X-Sensorium-CSRF: {server.csrf}", f"Content-Length: {len(body)}")
                connection.sendall(
                    server.head("POST", "/api/v1/tokens", "Content-Type: application/json", *lines) + body
                )
                server.process.send_signal(signal.SIGKILL)
                server.process.wait(SECONDS)
    for name in ("library.sqlite3", FILE_NAME):
        with closing(sqlite3.connect(own / name)) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(Accounts.open(own)) as accounts:
        assert set(answered) <= {token.name for token in accounts.tokens()}


# A full disk


def test_a_full_disk_is_told_and_nothing_is_lost(own):
    with local_client(app := application(own)) as asking:
        engine = app.state.accounts._engine
        with engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        engine.dispose()
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count = {pages + 1}"))
        made = []
        for number in range(500):
            answer = asking.post("/api/v1/tokens", json={"name": f"{number} {'x' * 80}", "role": "view"})
            if answer.status_code != 201:
                break
            made.append(answer.json())
        problem(answer, 507, "disk_full")
        assert made
        listed = asking.get("/api/v1/tokens").json()["tokens"]
        assert [row["id"] for row in listed] == [
            row["id"] for row in sorted(made, key=lambda row: (row["created_at"], row["id"]))
        ]
    with closing(Accounts.open(own)) as accounts:
        assert {token.id for token in accounts.tokens()} == {row["id"] for row in made}


def test_a_disk_that_fills_up_while_a_copy_is_made_is_told(own):
    noise = Image.frombytes("RGB", (1200, 1000), os.urandom(3_600_000))
    noise.save(own.parent / "pictures" / "noise.png")
    index(own)
    with Live(own, largest_file=2_000_000) as server:
        # Files may be as large as those of the library, not as large as the copy.
        photo = photo_named(server, "noise.png")
        status, share = server.document("POST", "/api/v1/shares", {"photo_ids": [photo]})
        assert status == 201, share
        status, document = server.document("GET", f"/api/v1/shared/{share['key']}/photos/{photo}/media")
        assert (status, document["code"]) == (507, "disk_full")
        assert server.ask("GET", f"/api/v1/photos/{photo}/media")[0] == 200
    assert not [file for file in (own / "thumbnails").rglob("*") if file.name.startswith(".")]


def test_a_full_disk_anywhere_among_the_causes_has_its_word():
    full = OSError(errno.ENOSPC, "No space left on device")
    told = LibraryError("cannot write the settings")
    told.__cause__ = full
    for error in (full, told):
        problem_ = of_error(error, to_admin=False)
        assert (problem_.status, problem_.code) == (507, "disk_full")
    assert of_error(OSError(errno.EPERM, "not permitted"), to_admin=False) is None


# A library deleted under it


def test_a_library_that_is_deleted_is_missed_and_found_again(own):
    with local_client(app := application(own)) as asking:
        ids = asking.get("/api/v1/grid").json()["ids"]
        assert len(ids) == 3
        own.rename(own.with_name("moved"))
        for path in ("/api/v1/grid", "/api/v1/session", "/api/v1/tokens", "/api/v1/shared/x"):
            problem(asking.get(path), 503, "library_gone")
        problem(asking.post("/api/v1/tokens", json={"name": "x", "role": "view"}), 503, "library_gone")
        assert asking.get("/").status_code == 200  # the page itself, which says so
        own.with_name("moved").rename(own)
        assert asking.get("/api/v1/grid").json()["ids"] == ids
        assert app.state.services.library.folder == own


def test_a_library_that_is_replaced_is_opened_anew(own, tmp_path):
    (tmp_path / "other").mkdir()
    other = make_library(tmp_path / "other" / "library", ("red",))
    with local_client(application(own)) as asking:
        assert len(asking.get("/api/v1/grid").json()["ids"]) == 3
        for file in own.glob("library.sqlite3*"):
            file.unlink()
        with closing(sqlite3.connect(other / "library.sqlite3")) as source:
            source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (other / "library.sqlite3").rename(own / "library.sqlite3")
        assert len(asking.get("/api/v1/grid").json()["ids"]) == 1


def test_a_library_that_is_deleted_for_good_ends_quietly(own):
    import shutil

    with Live(own) as server:
        shutil.rmtree(own)
        status, document = server.document("GET", "/api/v1/grid")
        assert (status, document["code"]) == (503, "library_gone")
    assert server.process.returncode == 0
    assert "Traceback" not in server.ended[1], server.ended[1]
    assert not (own / "library.sqlite3").exists()


# Two servers on one library


def test_the_second_server_says_so_and_stops(own):
    with Live(own) as first:
        second = Live(own)
        _, said = second.process.communicate(timeout=SECONDS)
        assert second.process.returncode != 0
        assert said.strip().splitlines()[-1].endswith("open its page in a browser, or end it first")
        assert first.ask("GET", "/api/v1/session")[0] == 200


def test_two_applications_in_one_process_are_two_servers(own):
    with (
        local_client(application(own)),
        pytest.raises(LibraryError, match="another `sensorium serve`"),
        client(application(own)),
    ):
        pass
