"""The one worker of networks, the decoding processes, the log of events, and jobs as processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from photo_fakes import ColourEncoder

from sensorium.errors import BadImageError, ModelNotFoundError
from sensorium.server.api.problems import Problem
from sensorium.server.memory import Memory
from sensorium.server.pictures import decoders
from sensorium.server.pictures.decoders import CrowdedError, Decoders
from sensorium.server.preferences import Preferences
from sensorium.server.tasks import events, jobs
from sensorium.server.tasks.encoding import Encoding
from sensorium.server.tasks.events import BusyError, Event, Events
from sensorium.server.tasks.jobs import Jobs


class SlowEncoder(ColourEncoder):
    """Counts its calls, and waits in them until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.threads: set[int] = set()
        self.go = threading.Event()
        self.began = threading.Event()

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        self.calls.append(list(texts))
        self.threads.add(threading.get_ident())
        self.began.set()
        assert self.go.wait(10)
        if "fault" in texts:
            raise ModelNotFoundError("no such model")
        return super().embed_texts(texts)


def side_by_side(*works) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def test_sentences_that_come_together_are_one_batch() -> None:
    slow = SlowEncoder()
    encoder = Encoding(lambda _: slow).load("any")
    answers: dict[str, np.ndarray] = {}

    def ask(*texts: str) -> None:
        answers[" ".join(texts)] = encoder.embed_texts(list(texts))

    first = side_by_side(lambda: ask("red"))
    assert slow.began.wait(10)
    rest = side_by_side(lambda: ask("green"), lambda: ask("blue", "red"), lambda: ask("green", "a dog"))
    while encoder._open is None or len(encoder._open.texts) < 4:
        time.sleep(0.001)
    slow.go.set()
    for thread in first + rest:
        thread.join(10)
    assert slow.calls[0] == ["red"]
    assert sorted(slow.calls[1]) == ["a dog", "blue", "green", "red"]
    assert len(slow.calls) == 2
    assert len(slow.threads) == 1
    np.testing.assert_array_equal(answers["blue red"], ColourEncoder().embed_texts(["blue", "red"]))
    before = len(slow.calls)
    ask("red", "blue")
    assert len(slow.calls) == before  # remembered


def test_a_fault_reaches_those_who_asked_and_no_later_one() -> None:
    slow = SlowEncoder()
    slow.go.set()
    encoder = Encoding(lambda _: slow).load("any")
    with pytest.raises(ModelNotFoundError):
        encoder.embed_texts(["fault"])
    assert encoder.embed_texts(["red"]).shape == (1, slow.dim)
    assert encoder.embed_texts([]).shape == (0, slow.dim)


def test_the_oldest_sentence_is_forgotten(monkeypatch) -> None:
    monkeypatch.setattr("sensorium.server.tasks.encoding.REMEMBERED", 2)
    slow = SlowEncoder()
    slow.go.set()
    encoder = Encoding(lambda _: slow).load("any")
    for text in ("red", "green", "red", "blue", "red", "green"):
        encoder.embed_texts([text])
    assert slow.calls == [["red"], ["green"], ["blue"], ["green"]]


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def dawdle() -> None:
    time.sleep(60)


def refuse() -> None:
    raise BadImageError("not a picture")


def whoami(pause: float = 0.0) -> int:
    time.sleep(pause)
    return os.getpid()


@pytest.fixture
def here(monkeypatch):
    """Decoding processes find this file's functions."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_a_crash_harms_nobody_else(here) -> None:
    async def run() -> None:
        pool = Decoders(2)
        try:
            others = [asyncio.create_task(pool.run(whoami, 0.02)) for _ in range(6)]
            with pytest.raises(BadImageError, match="crashed"):
                await pool.run(crash)
            assert len(set(await asyncio.gather(*others))) <= 2
            with pytest.raises(BadImageError, match="not a picture"):
                await pool.run(refuse)
            assert await pool.run(whoami) != os.getpid()
        finally:
            pool.close()

    asyncio.run(run())


def test_who_takes_too_long_is_ended(here) -> None:
    async def run() -> None:
        pool = Decoders(1, seconds=0.3)
        try:
            with pytest.raises(BadImageError, match="more than"):
                await pool.run(dawdle)
        finally:
            pool.close()

    asyncio.run(run())


def test_a_crowd_is_refused(here, monkeypatch) -> None:
    monkeypatch.setattr(decoders, "MOST_WAITING", 2)

    async def run() -> None:
        pool = Decoders(1)
        try:
            waiting = [asyncio.create_task(pool.run(whoami, 0.05)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(CrowdedError):
                await pool.run(whoami)
            await asyncio.gather(*waiting)
            assert pool.waiting == 0
        finally:
            pool.close()

    asyncio.run(run())


HELLO = Event(None, "hello", {})


async def collect(log: Events, last: str | None, count: int) -> list[Event]:
    found = []
    async with contextlib.aclosing(log.listen(HELLO, last)) as stream:
        async for event in stream:
            found.append(event)
            if len(found) == count:
                break
    return found


def test_events_are_caught_up_with() -> None:
    async def run() -> None:
        log = Events()
        for number in range(3):
            log.publish("library", {"generation": number})
        first = log.since(None)
        assert first == []
        ids = [event.id for event in log._log]
        hello, *missed = await collect(log, ids[0], 3)
        assert hello == HELLO
        assert [event.data["generation"] for event in missed] == [1, 2]
        assert [event.kind for event in await collect(log, "another-7", 1)] == ["hello"]
        assert log.listening == 0

    asyncio.run(run())


def test_who_does_not_listen_is_let_go(monkeypatch) -> None:
    monkeypatch.setattr(events, "_BACKLOG", 5)

    async def run() -> None:
        log = Events()
        stream = log.listen(HELLO)
        assert await anext(stream) == HELLO
        for number in range(10):
            log.publish("job", {"number": number})
        assert log.listening == 0
        assert [event async for event in stream] == []

    asyncio.run(run())


def test_listeners_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(events, "MOST_LISTENERS", 1)

    async def run() -> None:
        log = Events()
        stream = log.listen(HELLO)
        await anext(stream)
        with pytest.raises(BusyError):
            await anext(log.listen(HELLO))
        log.close()
        assert [event async for event in stream] == []

    asyncio.run(run())


PROGRAM = """
import json, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
request = json.loads(sys.stdin.readline())
def tell(**told):
    print(json.dumps(told), flush=True)
try:
    how = request.get("how")
    tell(progress={"phase": "working", "done": 1, "total": 4, "failed": 2})
    print("a library says something of its own", flush=True)
    if how == "wait":
        time.sleep(60)
    if how == "die":
        print("the last words", file=sys.stderr)
        sys.exit(3)
    if how == "refuse":
        tell(error={"code": "bad_request", "detail": "no such folder: /home/anna/photos"})
        sys.exit(1)
    if how == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tell(progress={"phase": "deaf", "done": 2, "total": 4})
        time.sleep(60)
    tell(result={"request": request})
except KeyboardInterrupt:
    tell(cancelled=True)
    sys.exit(130)
"""


def with_jobs(work, tmp_path, *, replaced: list[int] | None = None) -> None:
    async def on_replaced() -> None:
        (replaced if replaced is not None else []).append(1)

    async def run() -> None:
        log = Events()
        command = (sys.executable, "-c", PROGRAM)
        running = Jobs(tmp_path, log, on_replaced=on_replaced, command=command)
        try:
            await work(running, log)
        finally:
            await running.stop()

    asyncio.run(run())


async def until(job, phase: str) -> None:
    while job.phase != phase:
        await asyncio.sleep(0.01)


def test_a_job_tells_how_far_it_is(tmp_path) -> None:
    async def work(running: Jobs, log: Events) -> None:
        job = await running.wait(await running.start("check", content=True))
        assert (job.state, job.phase, job.done, job.total) == ("done", "working", 1, 4)
        assert job.progress == {"failed": 2}
        assert job.result == {"request": {"kind": "check", "library": str(tmp_path), "content": True}}
        states = [event.data["state"] for event in log._log]
        assert (states[0], states[-1]) == ("running", "done")
        json.dumps(job.document())
        assert running.get(job.id) is job
        with pytest.raises(Problem):
            running.get("none")

    with_jobs(work, tmp_path)


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [("die", "job_died", "code 3: the last words"), ("refuse", "bad_request", "no such folder: photos")],
)
def test_a_job_fails_with_a_line(tmp_path, how: str, code: str, said: str) -> None:
    async def work(running: Jobs, _: Events) -> None:
        job = await running.wait(await running.start("index", how=how))
        assert job.state == "failed"
        assert job.error["code"] == code
        assert said in job.error["detail"]

    with_jobs(work, tmp_path)


def test_one_of_a_kind_and_nothing_beside_a_restore(tmp_path) -> None:
    async def work(running: Jobs, _: Events) -> None:
        index = await running.start("index", how="wait")
        for kind in ("index", "retry", "restore", "repair"):
            with pytest.raises(Problem) as refused:
                await running.start(kind)
            assert refused.value.code == "job_running"
            assert refused.value.members["job"] == index.id
        check = await running.start("check")
        await running.wait(check)
        await until(index, "working")
        assert (await running.cancel(index.id)).cancelling
        assert (await running.wait(index)).state == "cancelled"
        assert (await running.wait(await running.start("restore"))).state == "done"

    replaced: list[int] = []
    with_jobs(work, tmp_path, replaced=replaced)
    assert replaced == [1]


def test_who_does_not_stop_is_stopped(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "_GRACE", 0.2)

    async def work(running: Jobs, _: Events) -> None:
        job = await running.start("index", how="deaf")
        await until(job, "deaf")
        await running.cancel(job.id)
        assert (await running.wait(job)).state == "cancelled"

    with_jobs(work, tmp_path)


def test_the_end_of_the_server_ends_jobs(tmp_path) -> None:
    started = []

    async def work(running: Jobs, _: Events) -> None:
        started.append(await running.start("index", how="wait"))
        await until(started[0], "working")

    with_jobs(work, tmp_path)
    assert started[0].state == "cancelled"


def test_only_the_last_jobs_are_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "_KEPT", 2)

    async def work(running: Jobs, _: Events) -> None:
        ids = [(await running.wait(await running.start("check"))).id for _ in range(4)]
        assert [job.id for job in running.all()] == ids[:0:-1]

    with_jobs(work, tmp_path)


def test_memory_asks_again_in_another_state() -> None:
    asked: list[int] = []
    memory = Memory(2)

    def ask(question: str, state: int) -> int:
        return memory.get(question, state, lambda: asked.append(state) or state)

    assert [ask("a", 1), ask("a", 1), ask("a", 2), ask("b", 1), ask("c", 1), ask("a", 2)] == [
        1,
        1,
        2,
        1,
        1,
        2,
    ]
    assert asked == [1, 2, 1, 1, 2]  # the last: "a" was the one to go


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"watch": "maybe"}', b"\xff" * 100])
def test_broken_preferences_count_as_none(tmp_path, content: bytes) -> None:
    file = tmp_path / "settings.json"
    file.write_bytes(content)
    preferences = Preferences(file)
    assert preferences.read().watch is True
    assert preferences.change(language="zh", watch=False).language == "zh"
    assert Preferences(file).read().model_dump() == {"language": "zh", "model": None, "watch": False}
    assert list(tmp_path.iterdir()) == [file]
