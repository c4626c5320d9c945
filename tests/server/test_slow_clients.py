"""Clients that are slow, silent, many or gone: the others are served, and nothing is left behind."""

from __future__ import annotations

import json
import socket
import struct
import time
from contextlib import ExitStack, closing, suppress

import psutil
import pytest
from live import SECONDS, Live, photo_named, received, status_of, until
from PIL import Image
from serving import index, make_library

QUICK = {"head": 1.0, "body": 1.0, "answer": 1.0}
SLOW_CLIENTS = 200


@pytest.fixture(scope="module")
def live(made):
    with Live(made, patience=QUICK) as server:
        yield server
    assert "Traceback" not in server.ended[1], server.ended[1]


@pytest.fixture
def own(tmp_path):
    return make_library(tmp_path / "library")


# Slow clients


def test_200_clients_that_never_finish_asking_do_not_stop_it(live):
    with ExitStack() as held:
        slow = [held.enter_context(closing(live.connect())) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        waits = sorted(live.seconds_to_answer() for _ in range(20))
        assert waits[-2] < 2, waits
        begun = time.perf_counter()
        for connection in slow:
            assert received(connection) == b""  # each was given up
        assert time.perf_counter() - begun < 20


def test_200_clients_that_say_nothing_at_all_are_given_up(live):
    with ExitStack() as held:
        silent = [held.enter_context(closing(live.connect())) for _ in range(SLOW_CLIENTS)]
        assert live.seconds_to_answer() < 2
        assert all(received(connection) == b"" for connection in silent)


def test_a_client_that_sends_a_header_a_second_is_given_up(live):
    with closing(live.connect()) as connection:
        begun = time.perf_counter()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with suppress(OSError):  # a broken pipe or a reset, as it happens
            while time.perf_counter() - begun < 20:
                connection.sendall(b"X: x\r\n")
                time.sleep(0.2)
        assert time.perf_counter() - begun < 10


def test_a_second_request_must_come_in_time_as_well(live):
    with closing(live.connect()) as connection:
        connection.sendall(live.head("GET", "/api/v1/session"))
        assert status_of(connection.recv(65_536)) == 200
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        begun = time.perf_counter()
        received(connection)
        assert time.perf_counter() - begun < 10


def test_200_bodies_that_come_too_slowly_do_not_stop_it(live):
    lines = ("Content-Type: application/json", "Content-Length: 500", f"X-Sensorium-CSRF: {live.csrf}")
    with ExitStack() as held:
        slow = [held.enter_context(closing(live.connect())) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.sendall(live.head("POST", "/api/v1/tokens", *lines) + b"{")
        waits = sorted(live.seconds_to_answer() for _ in range(10))
        assert waits[-2] < 3, waits
        answers = [received(connection) for connection in slow]
    assert {status_of(answer) for answer in answers} == {408}
    assert all(b'"body_timeout"' in answer for answer in answers)


def test_clients_that_do_not_read_their_answers_are_given_up(own):
    large = own.parent / "pictures" / "large.bmp"
    Image.new("RGB", (3000, 2000), (220, 20, 20)).save(large)  # 18 MB: more than buffers take
    index(own)
    with Live(own, patience=QUICK) as server, ExitStack() as held:
        photo = photo_named(server, "large.bmp")
        slow = []
        for _ in range(50):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(SECONDS)
            connection.connect(server.address)
            connection.sendall(server.head("GET", f"/api/v1/photos/{photo}/media"))
            slow.append(held.enter_context(closing(connection)))
        assert server.seconds_to_answer() < 5
        process = psutil.Process(server.process.pid)
        assert until(lambda: len(process.net_connections()) < 10), len(process.net_connections())


def test_more_connections_than_there_is_room_for_cost_the_idle_ones(own):
    with Live(own, patience={"head": 30.0, "connections": 50}) as server, ExitStack() as held:
        idle = [held.enter_context(closing(server.connect())) for _ in range(50)]
        time.sleep(0.2)
        assert server.seconds_to_answer() < 2
        assert received(idle[0]) == b""
        idle[-1].sendall(server.head("GET", "/api/v1/session", "Connection: close"))
        assert status_of(received(idle[-1])) == 200


# A client that disconnects mid-stream


def test_clients_that_leave_in_the_middle_leave_nothing_behind(own):
    large = own.parent / "pictures" / "large.bmp"
    Image.new("RGB", (3000, 2000), (220, 20, 20)).save(large)
    index(own)
    with Live(own) as server:
        process = psutil.Process(server.process.pid)
        photo = photo_named(server, "large.bmp")
        csrf, kind = f"X-Sensorium-CSRF: {server.csrf}", "Content-Type: application/json"
        export = json.dumps({"ids": [photo]}).encode()
        leave(server, server.head("GET", f"/api/v1/photos/{photo}/media"))
        before = process.num_fds()
        for _ in range(20):
            leave(server, server.head("GET", f"/api/v1/photos/{photo}/media"))
            leave(server, server.head("GET", "/api/v1/events"))
            length = f"Content-Length: {len(export)}"
            leave(server, server.head("POST", "/api/v1/export", csrf, kind, length) + export)
            leave(
                server,
                server.head("POST", "/api/v1/search/image", csrf, "Content-Length: 40000000"),
                read=False,
            )
        assert until(lambda: process.num_fds() <= before + 5), (before, process.num_fds())
        assert server.seconds_to_answer() < 2
        assert server.ask("GET", f"/api/v1/photos/{photo}/media")[0] == 200
    assert "Traceback" not in server.ended[1], server.ended[1]


def leave(server: Live, wire: bytes, *, read: bool = True) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(wire)
        if read:
            assert status_of(connection.recv(4096)) == 200
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
