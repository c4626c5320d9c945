"""The photo library's speed: indexing on one core and on two, the re-scan, and the whole query.

    python benchmarks/library_speed.py [--photos N] [--unchanged N] [--rounds N] [--model NAME]

Indexing. Photos of 12 megapixels as `clip_index.py` makes them; each serves several times over with other
bytes behind its end, which no decoder reads, so that every file is a content of its own. The same folder is
indexed into a new library by a process that may use one core, then by one that may use two, in turns. The
clock runs from the start of the scan to the last commit: reading processes are started within it, the model
is opened and measured before. The goal is 1.8 times the photos/s on two cores.

Re-scan. Small photos, crops of the example photos, all indexed, none changed; beside it what a walk costs
that only asks for size and time. The goal is 3 seconds for 10,000.

Query. Words to hits in the same library, the process and its index warm, each sentence asked in turn. Words
without a place or a time, words with both, and sentences that say what is not wanted are told apart, each
before and after the parts of photos are known. The goal is 50 ms at the 95th percentile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SOURCES = Path(__file__).parent.parent / "examples" / "photos"
LOOKS = (
    "sunset at the beach",
    "a photo of a dog",
    "snow covered mountains behind a lake",
    "birthday cake with candles",
    "street at night in the rain",
    "雪山",
    "一只在沙发上睡觉的猫",
    "海边的日落",
)
SENTENCES = (
    "beach in Japan last summer",
    "dogs without people, May 2021",
    "2019年在北京的雪",
    "children playing in the park between 2018 and 2020",
)
WITHOUT = (
    "sunset at the beach without people",
    "street - cars",
    "没有人的雪山",
    "without dogs",
)


def main() -> None:
    """Measure all three, or, as a process of its own, one run of the indexer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=480, help="of 12 megapixels, for the indexing")
    parser.add_argument("--unchanged", type=int, default=10_000, help="small ones, for re-scan and query")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="sensorium/mini-clip")
    parser.add_argument("--folder", type=Path, help="where to make the photos, or find those made before")
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "LIBRARY"), help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run_index(Path(options.run[0]), Path(options.run[1]), options.model, options.cores)))
        return
    from peer import describe_machine

    print(describe_machine())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("SENSORIUM_HOME", str(Path(scratch, "home")))
        folder = options.folder or Path(scratch, "photos")
        if options.photos:
            compare_cores(folder / "large", Path(scratch), options.photos, options.rounds, options.model)
        if options.unchanged:
            small = make_small(folder / "small", options.unchanged)
            measure_library(small, Path(scratch, "library"), options.model, options.rounds)
    if hasattr(os, "getloadavg"):
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


def make_large(folder: Path, count: int) -> Path:
    """``count`` files of 12 megapixels from at most 48 pictures."""
    from clip_index import make_photos

    pictures = make_photos(folder.with_name("pictures"), min(48, count), 1)[0]
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        path = folder / f"{i:05d}.jpg"
        if not path.exists():
            path.write_bytes(pictures[i % len(pictures)].read_bytes() + i.to_bytes(4, "big"))
    return folder


def make_small(folder: Path, count: int) -> Path:
    """``count`` crops of the example photos, 160 x 120 pixels each, a hundred in a folder."""
    from sensorium.media.image import read_image

    sources = [read_image(path) for path in sorted(SOURCES.glob("IMG_*"))]
    for source in sources:
        source.thumbnail((1024, 1024))
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"{i // 100:04d}" / f"IMG_{i:06d}.jpg"
        source = sources[i % len(sources)]
        side = min(source.width / 4, source.height / 3) * rng.uniform(0.3, 1.0)
        left, top = rng.uniform(0, source.width - 4 * side), rng.uniform(0, source.height - 3 * side)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            box = (left, top, left + 4 * side, top + 3 * side)
            source.resize((160, 120), Image.Resampling.BICUBIC, box=box).save(path, quality=85)
    return folder


def compare_cores(folder: Path, scratch: Path, count: int, rounds: int, model: str) -> None:
    """Index the same files on one core and on two, in turns."""
    make_large(folder, count)
    few = make_large(folder.with_name("few"), 8)
    for cores in (1, 2):  # measures and builds the engine for each, once
        start_index(few, scratch / f"warm{cores}", model, cores)
    told: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for i in range(rounds):
        for cores in (1, 2):
            told[cores].append(start_index(folder, scratch / f"round{i}-{cores}", model, cores))
    print(f"\nindexing {count} photos of 12 megapixels with {model}, {rounds} rounds in turns")
    print(f"{'cores':>5s} {'photos/s':>9s} {'busy':>6s} {'read s':>8s} {'encode s':>9s} {'write s':>8s} "
          f"{'wait s':>7s}   photos/s of each round")  # fmt: skip
    speeds = {}
    for cores, runs in told.items():
        middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        speeds[cores] = middle["speed"]
        each = ", ".join(f"{run['speed']:.1f}" for run in runs)
        times = f"{middle['reading']:8.1f} {middle['encoding']:9.1f} {middle['keeping']:8.1f}"
        print(f"{cores:5d} {middle['speed']:9.1f} {middle['utilisation']:6.0%} {times} "
              f"{middle['waiting']:7.1f}   {each}")  # fmt: skip
    ratio = speeds[2] / speeds[1]
    print(f"two cores to one: {ratio:.2f} (goal 1.8: {'reached' if ratio >= 1.8 else 'NOT reached'})")


def start_index(folder: Path, library: Path, model: str, cores: int) -> dict[str, float]:
    """One run in a process of its own, bound to so many cores.

    Bound from its first instruction: a process that binds itself later has threads which are not bound
    (NumPy's BLAS starts one a core when it is imported), and OpenVINO lets its own threads, the caller's
    included, run wherever any of them may. A run on "one core" then encodes on the second one while it
    decodes on the first.
    """
    command = [sys.executable, __file__, "--model", model, "--cores", str(cores)]
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(mine)[:cores])  # a child inherits it
    try:
        done = subprocess.run([*command, "--run", folder, library], stdout=subprocess.PIPE, check=True)
    finally:
        os.sched_setaffinity(0, mine)
    return json.loads(done.stdout)


def run_index(folder: Path, library: Path, model: str, cores: int) -> dict[str, float]:
    """Index a folder into a new library with ``cores`` reading processes; photos/s, and times in seconds."""
    import sensorium
    from sensorium.photos.database.store import Store
    from sensorium.photos.intake import indexing

    encoder = sensorium.load(model)
    spec = encoder.image_spec
    sample = np.random.default_rng(0).integers(0, 256, (48, spec.height, spec.width, 3), dtype=np.uint8)
    encoder.prepare_images(sample)
    for size in (indexing.BATCH, 8):
        encoder.embed_pixels(sample[:size])
    with contextlib.closing(Store(library, create=True)) as store:
        *_, finished = indexing.index(store, [folder], encoder, model=model, workers=cores)
    report = finished.report
    assert not report.failed, report.failed
    return {
        "speed": report.encoded / report.seconds,
        "utilisation": report.utilisation,
        "reading": report.reading_seconds,
        "encoding": report.encoding_seconds,
        "keeping": report.keeping_seconds,
        "waiting": report.waiting_seconds,
    }


def measure_library(folder: Path, where: Path, model: str, rounds: int) -> None:
    """Fill a library, scan it again, ask it."""
    from sensorium.photos import Library

    with Library.open(where, create=True) as library:
        *_, finished = library.index([folder], model=model)
        report = finished.report
        count = report.encoded
        print(f"\n{count} small photos indexed in {report.seconds:.1f} s ({count / report.seconds:.0f}/s), "
              f"processors {report.utilisation:.0%} busy: encode {report.encoding_seconds:.1f} s, "
              f"write {report.keeping_seconds:.1f} s, wait {report.waiting_seconds:.1f} s")  # fmt: skip
        scans, walks = [], []
        for _ in range(rounds):
            walks.append(clock(lambda: walk_only(folder)))
            scans.append(clock(lambda: rescan(library, count)))
        took = statistics.median(scans)
        verdict = "reached" if took <= 3.0 * count / 10_000 else "NOT reached"
        print(f"re-scan of {count} unchanged photos: {took:.2f} s (goal 3 s for 10,000: {verdict}); "
              f"a walk that only asks for size and time: {statistics.median(walks):.2f} s")  # fmt: skip
        groups = {"looks": LOOKS, "looks, times and places": SENTENCES, "something unwanted": WITHOUT}
        for name, sentences in groups.items():
            ask(library, name, sentences, count)
        fill_parts(library)
        for name, sentences in groups.items():
            ask(library, f"{name}, parts known", sentences, count)


def fill_parts(library: object) -> None:
    """Parts of each photo, as long to read as those that `describe regions` makes: nine times its vector."""
    import sqlalchemy as sa

    from sensorium.photos.database.schema import regions
    from sensorium.photos.describe.regions import RegionPass
    from sensorium.photos.vectors.regions import REGIONS, packed

    pipeline = library.store.active_pipeline()
    ids, rows = library.store.vectors(pipeline)
    written = library.store.vectors_generation() + 1
    mine = {"pipeline_id": pipeline.id, "written": written}
    with library.store.writing(advance=True) as connection:
        for photo, row in zip(ids.tolist(), rows.astype(np.float32), strict=True):
            parts = packed(np.tile(row, (REGIONS, 1)))
            connection.execute(
                sa.insert(regions)
                .prefix_with("OR REPLACE")
                .values(mine | {"photo_id": photo, "vectors": parts})
            )
    looking = RegionPass(pipeline, library.answering)
    assert looking.absent() is None
    print(f"what scores with parts mean was measured in {clock(lambda: looking.finish(library.store)):.1f} s")


def rescan(library: object, count: int) -> None:
    """Index everything again; nothing may have changed."""
    *_, finished = library.index()
    assert finished.report.unchanged == count, finished.report


def walk_only(folder: Path) -> None:
    """What no re-scan can do without, as Python's own ``rglob`` does it."""
    for path in folder.rglob("*.jpg"):
        path.stat()


def ask(library: object, name: str, sentences: tuple[str, ...], count: int, times: int = 25) -> None:
    """The distribution of whole queries, warm."""
    for words in sentences:
        library.search(words)
    took = sorted(
        clock(lambda w=words: library.search(w)) * 1000 for _ in range(times) for words in sentences
    )
    p95 = took[int(len(took) * 0.95)]
    print(f"query in {count} photos, {name}: median {statistics.median(took):.1f} ms, p95 {p95:.1f} ms "
          f"(goal 50: {'reached' if p95 <= 50 else 'NOT reached'})")  # fmt: skip


def clock(run: object) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
