"""Finding the nearest vectors: ours against Faiss and NumPy over the same library, in one process.

    python benchmarks/vector_search.py [--sizes 100000 1000000] [--queries 60] [--folder KEEP_LIBRARIES]

Ours is ``open_matrix`` over a library file that holds the vectors, as a search uses it. The peers are Faiss'
flat index, its 8-bit flat index and NumPy's product over float32 rows, and at 100,000 also Faiss' HNSW.
Two kinds of unit vectors of 512 dimensions: ``clusters`` (2,000 centres with noise; queries are rows with
noise) and ``photos`` (crops of the photos in ``examples`` through the embedded model, mixed and blurred until
they are enough; queries are sentences). Brute force, against which recall is measured, is the inner product
of the stored float16 rows in float32. Memory is measured in a process of its own that only searches.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import sqlalchemy as sa

from peer import QUERIES, describe_machine, interleaved
from sensorium.photos.database import schema
from sensorium.photos.database.store import Pipeline, Store
from sensorium.photos.vectors.matrix import Matrix, open_matrix

DIM = 512
K = 20
BATCH = 20_000
SOURCES = Path(__file__).parent.parent / "examples" / "photos"
GOALS = {100_000: {"all": 12.0}, 1_000_000: {"all": 80.0, "1 %": 20.0}}
MEMORY_GOAL = 1.6e9


def main() -> None:
    """Make the libraries, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["clusters", "photos"])
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where to make the libraries, or find those made before")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(measure_memory(options.memory))
        return
    print(describe_machine())
    print(f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads")
    with tempfile.TemporaryDirectory() as scratch:
        for size in options.sizes:
            for kind in options.kinds:
                folder = (options.folder or Path(scratch)) / f"{kind}-{size}"
                compare(folder, kind, size, options.queries)
    if hasattr(os, "getloadavg"):
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


def normalised(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Clusters:
    """Vectors around 2,000 centres; a query is one of them with as much noise again."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.centres = normalised(self.rng.standard_normal((2000, DIM)))

    def rows(self, count: int) -> np.ndarray:
        """Unit vectors [n, d]."""
        noise = self.rng.standard_normal((count, DIM), np.float32)
        return normalised(self.centres[self.rng.integers(len(self.centres), size=count)] + 0.03 * noise)

    def queries(self, count: int) -> np.ndarray:
        """Unit vectors [n, d]."""
        return normalised(self.rows(count) + 0.03 * self.rng.standard_normal((count, DIM), np.float32))


class Photos:
    """What the embedded model makes of photos and sentences.

    From 27 photos come 1,000 crops; a vector is a crop's, moved towards another one's and blurred by a tenth.
    """

    def __init__(self) -> None:
        import sensorium
        from sensorium.media.image import fit_image, read_image

        self.rng = np.random.default_rng(0)
        self.encoder = sensorium.load("sensorium/mini-clip")
        pixels = []
        for path in sorted(SOURCES.glob("IMG_*")):
            photo = read_image(path)
            for _ in range(40):
                side = min(photo.size) * self.rng.uniform(0.3, 1)
                left, top = (self.rng.uniform(0, length - side) for length in photo.size)
                crop = photo.crop((int(left), int(top), int(left + side), int(top + side)))
                pixels.append(fit_image(crop, self.encoder.image_spec))
        crops = np.stack(pixels)
        self.crops = np.concatenate(
            [self.encoder.embed_pixels(crops[i : i + 8]) for i in range(0, len(crops), 8)]
        ).astype(np.float32)

    def rows(self, count: int) -> np.ndarray:
        """Unit vectors [n, d]."""
        one, other = (self.crops[self.rng.integers(len(self.crops), size=count)] for _ in range(2))
        share = self.rng.uniform(0, 0.5, (count, 1)).astype(np.float32)
        blur = self.rng.standard_normal((count, self.crops.shape[1]), np.float32) * 0.1 / DIM**0.5
        return normalised((1 - share) * one + share * other + blur)

    def queries(self, count: int) -> np.ndarray:
        """Unit vectors [n, d]: sentences of two of ours joined, none twice."""
        pairs = [f"{one}, {other}" for one in QUERIES for other in QUERIES]
        return normalised(np.asarray(self.encoder.embed_texts(pairs[:count]), np.float32))


def make_library(folder: Path, source: Clusters | Photos, size: int) -> None:
    """A library file with vectors, as indexing writes them, in batches of 20,000."""
    store = Store(folder, create=True)
    dim = source.rows(1).shape[1]
    pipeline, root = store.add_pipeline("benchmark", "benchmark", dim), store.add_root("/nowhere")
    fixed = {
        "root_id": root.id, "size": 1, "mtime_ns": 1, "kind": "photo", "format": "JPEG", "width": 1,
        "height": 1, "orientation": 1, "facts_version": 1, "first_seen": 0, "last_seen": 0,
    }  # fmt: skip
    for start in range(0, size, BATCH):
        rows = source.rows(min(BATCH, size - start)).astype("<f2")
        ids = range(start + 1, start + 1 + len(rows))
        photos = [fixed | {"id": i, "path": f"{i}.jpg", "sha256": i.to_bytes(32, "big")} for i in ids]
        with store.writing(advance=True) as connection:
            written = connection.scalar(sa.select(schema.library.c.vectors_generation)) + 1
            connection.execute(sa.insert(schema.photos), photos)
            named = {"pipeline_id": pipeline.id, "written": written}
            vectors = [
                named | {"photo_id": i, "vector": row.tobytes()} for i, row in zip(ids, rows, strict=True)
            ]
            connection.execute(sa.insert(schema.vectors), vectors)
    store.close()


def opened(folder: Path) -> tuple[Store, Pipeline, Matrix]:
    """A library with its matrix; building and opening are timed."""
    store = Store(folder, create=False)
    pipeline = store.active_pipeline()
    assert pipeline is not None
    before = time.perf_counter()
    open_matrix(store, pipeline)
    middle = time.perf_counter()
    matrix = open_matrix(store, pipeline)
    print(f"first opening, copy built when absent: {middle - before:.1f} s; "
          f"again: {time.perf_counter() - middle:.2f} s")  # fmt: skip
    return store, pipeline, matrix


def compare(folder: Path, kind: str, size: int, count: int) -> None:
    """Everything about one library."""
    print(f"\n{kind}, {size:,} vectors")
    source = Clusters() if kind == "clusters" else Photos()
    if not (folder / schema.FILE_NAME).exists():
        make_library(folder, source, size)
    queries = source.queries(count)
    store, pipeline, matrix = opened(folder)
    ids, halves = store.vectors(pipeline)
    rows = halves.astype(np.float32)
    unfiltered(matrix, ids, rows, queries, size)
    filtered(matrix, ids, rows, queries, size)
    by_date(matrix, ids, rows, queries)
    grown(store, matrix, source)
    del rows, halves, matrix
    store.close()
    command = [sys.executable, __file__, "--memory", str(folder)]
    peak = int(re.findall(r"\d+", subprocess.check_output(command, text=True))[-1])
    print(f"resident memory of a process that searches, at most: {peak / 1e9:.2f} GB "
          f"(goal {MEMORY_GOAL / 1e9}: {'reached' if peak <= MEMORY_GOAL else 'NOT reached'})")  # fmt: skip


def brute(rows: np.ndarray, ids: np.ndarray, query: np.ndarray, k: int = K) -> np.ndarray:
    """The right answer: by falling score, then by rising id."""
    scores = np.vecdot(rows, query)
    return ids[np.lexsort((ids, -scores))[:k]]


def recall(found: list[np.ndarray], true: list[np.ndarray]) -> float:
    """The share of the right ones that were found."""
    hits = sum(len(np.intersect1d(one, other)) for one, other in zip(found, true, strict=True))
    return hits / sum(map(len, true))


Searches = dict[str, Callable[[np.ndarray], np.ndarray]]


def measure(
    searches: Searches, queries: np.ndarray, true: list[np.ndarray], goal: float | None = None
) -> None:
    """Time each search for each query in turns, the first query first; print percentiles and recall."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in searches}
    turn = dict.fromkeys(searches, 0)

    def asking(name: str) -> Callable[[], None]:
        def ask() -> None:
            answer = searches[name](queries[turn[name] % len(queries)])
            turn[name] += 1
            found[name].append(answer)

        return ask

    seconds = interleaved({name: asking(name) for name in searches}, len(queries) - 2, warmup=2)
    print(f"{'search':40s} {'p50 ms':>8s} {'p95 ms':>8s} {'recall':>8s} {'same order':>11s} {'ratio':>7s}")
    ours = statistics.median(seconds["sensorium"])
    for name, times in seconds.items():
        same = statistics.mean(np.array_equal(*pair) for pair in zip(found[name], true, strict=True))
        order = f"{same:11.0%}" if "newest" not in name else f"{'by date':>11s}"
        p50, p95 = (1000 * float(np.quantile(times, share)) for share in (0.5, 0.95))
        print(f"{name:40s} {p50:8.2f} {p95:8.2f} {recall(found[name], true):8.4f} {order} "
              f"{p50 / 1000 / ours:7.2f}", end="")  # fmt: skip
        if name == "sensorium" and goal:
            print(f"  goal p95 {goal} ms: {'reached' if p95 <= goal else 'NOT reached'}", end="")
        print(flush=True)


def unfiltered(matrix: Matrix, ids: np.ndarray, rows: np.ndarray, queries: np.ndarray, size: int) -> None:
    """Among all vectors, against every peer."""
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    eight = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    eight.train(rows[:50_000])
    eight.add(rows)

    def by_numpy(query: np.ndarray) -> np.ndarray:
        scores = rows @ query
        best = np.argpartition(scores, -K)[-K:]
        return ids[best[np.argsort(-scores[best])]]

    searches: Searches = {
        "sensorium": lambda query: matrix.search(query, K)[0],
        "faiss IndexFlatIP": lambda query: ids[flat.search(query[None], K)[1][0]],
        "faiss 8-bit flat": lambda query: ids[eight.search(query[None], K)[1][0]],
        "numpy product": by_numpy,
    }
    if size <= 100_000:
        graph = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efSearch = 64
        start = time.perf_counter()
        graph.add(rows)
        print(f"building faiss HNSW: {time.perf_counter() - start:.0f} s")
        searches["faiss HNSW, 32 links, ef 64"] = lambda query: ids[graph.search(query[None], K)[1][0]]
    measure(searches, queries, [brute(rows, ids, query) for query in queries], GOALS.get(size, {}).get("all"))


def filtered(matrix: Matrix, ids: np.ndarray, rows: np.ndarray, queries: np.ndarray, size: int) -> None:
    """Among a random share of the photos, against NumPy over the same rows."""
    rng = np.random.default_rng(1)
    for share, name in ((0.5, "50 %"), (0.01, "1 %"), (0.0001, "0.01 %")):
        chosen = np.sort(rng.choice(len(ids), max(1, int(share * len(ids))), replace=False))
        among = ids[chosen]
        flat = faiss.IndexFlatIP(rows.shape[1])
        flat.add(rows[chosen])

        def by_numpy(query: np.ndarray, chosen: np.ndarray = chosen, among: np.ndarray = among) -> np.ndarray:
            scores = rows[chosen] @ query
            return among[np.argsort(-scores)[:K]]

        print(f"among {name}, {len(chosen):,} photos")
        searches: Searches = {"sensorium": lambda query, among=among: matrix.search(query, K, among)[0]}
        if share < 0.5:
            searches["numpy product of the chosen rows"] = by_numpy
        searches["faiss IndexFlatIP of only these rows"] = lambda query, flat=flat, among=among: among[
            flat.search(query[None], K)[1][0]
        ][: len(among)]
        few = queries[:20]
        true = [brute(rows[chosen], among, query) for query in few]
        measure(searches, few, true, GOALS.get(size, {}).get(name))


def by_date(matrix: Matrix, ids: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> None:
    """Everything above a score, its first page by relevance and by date. Dates lie in memory, as ids do."""
    rng = np.random.default_rng(2)
    taken = rng.integers(0, 10**9, len(ids))
    for matches in (100, 1000):
        least = [float(np.partition(np.vecdot(rows, query), -matches)[-matches]) for query in queries[:20]]
        floors = {query.tobytes(): floor for query, floor in zip(queries[:20], least, strict=True)}

        def relevant(query: np.ndarray, floors: dict[bytes, float] = floors) -> np.ndarray:
            return matrix.above(query, floors[query.tobytes()], k=K)[0]

        def newest(query: np.ndarray) -> np.ndarray:
            found = relevant(query)
            return found[np.lexsort((found, -taken[np.searchsorted(ids, found)]))]

        print(f"all that score enough, {matches:,} photos, first page by relevance and by date")
        true = [brute(rows, ids, query, matches) for query in queries[:20]]
        measure({"sensorium": relevant, "sensorium, newest first": newest}, queries[:20], true)


def grown(store: Store, matrix: Matrix, source: Clusters | Photos) -> None:
    """What a search pays when indexing has just written a batch of 32; the batch is taken back."""
    pipeline = matrix.pipeline
    changed = matrix.ids()[:32].tolist()
    seconds = []
    for _ in range(3):
        rows = source.rows(32).astype("<f2")
        with store.writing(advance=True) as connection:
            written = connection.scalar(sa.select(schema.library.c.vectors_generation)) + 1
            for i, row in zip(changed, rows, strict=True):
                chosen = (schema.vectors.c.photo_id == i) & (schema.vectors.c.pipeline_id == pipeline.id)
                statement = sa.update(schema.vectors).where(chosen)
                connection.execute(statement.values(vector=row.tobytes(), written=written))
        start = time.perf_counter()
        matrix.refresh()
        seconds.append(time.perf_counter() - start)
    print(f"taking up 32 changed photos: {1000 * statistics.median(seconds):.0f} ms")


def measure_memory(folder: Path) -> int:
    """Greatest resident memory of this process, in bytes, over opening a library and 200 searches."""
    import resource

    store = Store(folder, create=False)
    pipeline = store.active_pipeline()
    assert pipeline is not None
    matrix = open_matrix(store, pipeline)
    rng = np.random.default_rng(3)
    ids = matrix.ids()
    for i in range(200):
        query = normalised(rng.standard_normal((1, pipeline.dim)))[0]
        matrix.search(
            query, K, None if i % 2 else rng.choice(ids, len(ids) // (100, 2)[i % 4 // 2], replace=False)
        )
        matrix.above(query, 0.15, k=K)
    status = Path("/proc/self/status")
    if status.exists():  # the other number counts the process that started this one
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
