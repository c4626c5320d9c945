"""The server's speed as a page meets it: searches, cards, thumbnails, the start, and the memory.

    python benchmarks/server_speed.py [--photos N] [--folder DIR] [--requests N] [--parts]

A real `sensorium serve` in a process of its own, asked over loopback by this process with connections that
stay open; server and client share the machine's processors. The library holds small photos, crops of the
example photos, indexed with the embedded model; each is given a date and most of them a place, so that
answers carry what those of a real library do. Made once when `--folder` is given. With `--parts` the parts of
photos are known, too, as after `sensorium describe`.

- cold start: from starting the process to the first answered search; files are in the system's cache.
- search: sentences that differ from each other, so that no vector is remembered; 1 and 16 clients.
- cards: 100 photos of the grid, from anywhere. grid: the columns of all photos, as a page asks at its start.
- thumbnails: 240 high; made first (500 at once, with searches beside them), then sent from the cache.
- memory: resident, of the server and its decoding processes together, after all of that.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from library_speed import fill_parts, make_small
from peer import describe_machine

GOALS = {
    "cold start to the first answered search, s": 4.0,
    "search, 1 client, p95 ms": 60.0,
    "search, 16 clients, p95 ms": 250.0,
    "100 cards, p95 ms": 30.0,
    "thumbnails from the cache, requests/s": 400.0,
    "resident memory, MB": 1200.0,
}
AT_LEAST = ("requests/s",)
THINGS = (
    "dog",
    "cat",
    "mountain",
    "beach",
    "car",
    "child",
    "flower",
    "temple",
    "boat",
    "cup",
    "狗",
    "雪山",
    "花",
)
LOOKS = (
    "red",
    "old",
    "small",
    "two",
    "sleeping",
    "wooden",
    "bright",
    "broken",
    "blue",
    "wet",
    "白色的",
    "夜晚的",
)
PLACES = (
    "in the snow",
    "at night",
    "by the sea",
    "on a table",
    "in the park",
    "in spring 2019",
    "in Kyoto",
    "in May",
)
TOWNS = (
    ("JP", "JP.22", 1857910),
    ("FR", "FR.11", 2988507),
    ("CN", "CN.22", 1816670),
    ("US", "US.NY", 5128581),
)
API = "/api/v1"


def main() -> None:
    """Make the library, start the server, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=200, help="searches in a row; others in proportion")
    parser.add_argument("--folder", type=Path, help="where to make the library, or find the one made before")
    parser.add_argument("--parts", action="store_true", help="let the parts of photos be known")
    options = parser.parse_args()
    print(describe_machine())
    from sensorium.photos import Library

    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("SENSORIUM_HOME", str(Path(scratch, "home")))
        library = make_library(options.folder or Path(scratch), options.photos)
        if options.parts:
            with Library.open(library) as opened:
                fill_parts(opened)
        start_and_stop(library)  # brings the engine and the system's cache up
        figures = measure(library, options.requests)
    print(f"\n{options.photos} photos, sensorium/mini-clip{', parts known' if options.parts else ''}")
    for name, value in figures.items():
        print(f"{name:55s} {value:9.1f}   {verdict(name, value)}")
    if hasattr(os, "getloadavg"):
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


def verdict(name: str, value: float) -> str:
    """A figure beside its goal."""
    if name not in GOALS:
        return ""
    goal = GOALS[name]
    reached = value >= goal if name.endswith(AT_LEAST) else value <= goal
    bound = "at least" if name.endswith(AT_LEAST) else "at most"
    return f"goal {bound} {goal:g}: {'reached' if reached else 'NOT reached'}"


def make_library(folder: Path, count: int) -> Path:
    """A library of small photos with dates and places."""
    from sensorium.photos import Library
    from sensorium.server.preferences import Preferences

    where = folder / "library"
    if not (where / "library.sqlite3").is_file():
        small = make_small(folder / "small", count)
        with Library.open(where, create=True) as library:
            for _ in library.index([small]):
                pass
            dress(library)
    shutil.rmtree(where / "thumbnails", ignore_errors=True)  # they are to be new
    Preferences(where / "settings.json").change(watch=False)  # or it would begin to look for text in them
    return where


def dress(library: object) -> None:
    """Give each photo a date between 2005 and 2025, and three of four a place."""
    with library.store.writing(advance=True) as connection:
        ids = [row[0] for row in connection.exec_driver_sql("SELECT id FROM photos")]
        pick = random.Random(0)
        rows = []
        for photo in ids:
            town = pick.choice(TOWNS) if pick.random() < 0.75 else (None, None, None)
            rows.append((pick.randrange(1_104_537_600, 1_767_225_600) * 1_000_000, *town, photo))
        columns = "taken_at = ?, taken_offset = 0, country = ?, region = ?, city = ?"
        connection.exec_driver_sql(f"UPDATE photos SET {columns} WHERE id = ?", rows)


@contextmanager
def served(library: Path) -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """A server of its own: process, port, and when it was started."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "sensorium", "serve", "--library", str(library), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        found = None
        while found is None and (line := process.stdout.readline()):
            found = re.search(r"http://[^ ]*:(\d+)", line)
        if found is None:
            raise SystemExit("the server did not start")
        yield process, int(found[1]), started
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


class Client:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str, **headers: str) -> bytes:
        """The body of an answer, which must be a good one; connected anew when the server hung up before."""
        try:
            self.connection.request("GET", API + path, headers=headers)
            answer = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.connection.close()
            self.connection.request("GET", API + path, headers=headers)
            answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        return body

    def close(self) -> None:
        """Let go of it."""
        self.connection.close()


def start_and_stop(library: Path) -> None:
    """One search by a server that is ended again."""
    with served(library) as (_, port, _), closing(Client(port)) as client:
        client.get("/search?q=dog")


def measure(library: Path, requests: int) -> dict[str, float]:
    """All figures of one server's life."""
    figures: dict[str, float] = {}
    with served(library) as (process, port, started), closing(Client(port)) as client:
        client.get(f"/search?q={quote('a dog in the snow')}")
        figures["cold start to the first answered search, s"] = time.perf_counter() - started
        sentences = different_sentences()
        for _ in range(20):
            client.get(search_path(next(sentences)))
        alone = [clock(lambda: client.get(search_path(next(sentences)))) for _ in range(requests)]
        figures |= spread("search, 1 client", alone)
        crowd = at_once(16, port, requests // 4, lambda one: one.get(search_path(next(sentences))))
        figures |= spread("search, 16 clients", crowd.took)
        figures["search, 16 clients, requests/s"] = len(crowd.took) / crowd.seconds
        again = [clock(lambda: client.get(search_path("a dog in the snow"))) for _ in range(requests)]
        figures |= spread("search for the same again", again)
        ids = json.loads(client.get("/grid"))["ids"]
        figures |= spread(
            "grid of all photos, ready", [clock(lambda: client.get("/grid")) for _ in range(20)]
        )
        pick = random.Random(1)
        cards = [clock(lambda: client.get(cards_path(pick.sample(ids, 100)))) for _ in range(requests)]
        figures |= spread("100 cards", cards)
        figures |= measure_thumbnails(port, ids, requests)
        figures["resident memory, MB"] = resident(process.pid) / 1e6
    return figures


def measure_thumbnails(port: int, ids: list[int], requests: int) -> dict[str, float]:
    """A burst of new ones with searches beside it, then the same ones from the cache."""
    figures: dict[str, float] = {}
    burst = ids[:500]
    sentences = different_sentences(skip=3000)
    beside: list[float] = []
    done = threading.Event()

    def search_on() -> None:
        with closing(Client(port)) as client:
            while not done.is_set():
                beside.append(clock(lambda: client.get(search_path(next(sentences)))))

    searching = threading.Thread(target=search_on)
    searching.start()
    fresh = Shared(burst)
    made = at_once(16, port, len(burst) // 16, lambda one: one.get(thumbnail_path(next(fresh))))
    done.set()
    searching.join()
    figures["new thumbnails, requests/s"] = len(made.took) / made.seconds
    figures |= spread("search beside 500 new thumbnails", beside)
    known = Shared(itertools.cycle(burst[: len(made.took)]))
    sent = at_once(8, port, requests * 2, lambda one: one.get(thumbnail_path(next(known))))
    figures["thumbnails from the cache, requests/s"] = len(sent.took) / sent.seconds
    return figures | spread("thumbnail from the cache, 8 clients", sent.took)


class Crowd:
    """What several clients at once met: each request's seconds, and the seconds of all together."""

    def __init__(self, took: list[float], seconds: float) -> None:
        self.took, self.seconds = took, seconds


def at_once(clients: int, port: int, each: int, ask: Callable[[Client], object]) -> Crowd:
    """Let clients ask side by side, each so many times."""
    took: list[float] = []

    def work() -> None:
        with closing(Client(port)) as client:
            for _ in range(each):
                took.append(clock(lambda: ask(client)))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(took) < clients * each:
        raise SystemExit(f"{clients * each - len(took)} requests were not made: see above")
    return Crowd(took, time.perf_counter() - start)


class Shared:
    """An iterator that several threads may use."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = iter(values)
        self.lock = threading.Lock()

    def __next__(self) -> Any:
        with self.lock:
            return next(self.values)


def different_sentences(skip: int = 0) -> Shared:
    """Sentences that are never the same, in no order."""
    parts = [LOOKS, THINGS, PLACES, ("", "with people", "without cars", "seen from above")]
    chosen = [" ".join(filter(None, words)) for words in itertools.product(*parts)]
    random.Random(2).shuffle(chosen)
    return Shared(chosen[skip:])


def search_path(words: str) -> str:
    """A search for 60 photos."""
    return f"/search?q={quote(words)}&k=60"


def cards_path(ids: list[int]) -> str:
    """Cards of photos."""
    return "/photos?ids=" + ",".join(map(str, ids))


def thumbnail_path(photo: int) -> str:
    """The small thumbnail of a photo."""
    return f"/photos/{photo}/thumbnail?size=240"


def spread(name: str, took: list[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    ordered = sorted(took)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return {f"{name}, median ms": statistics.median(ordered) * 1000, f"{name}, p95 ms": p95 * 1000}


def resident(pid: int) -> int:
    """Bytes of a process and what it started."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))


def clock(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
