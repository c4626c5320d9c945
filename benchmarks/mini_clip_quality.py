"""Measures how well a model finds photographs by words, in English and in Chinese.

    python benchmarks/mini_clip_quality.py                              # the embedded model
    python benchmarks/mini_clip_quality.py sensorium/mini-clip --peer A --peer AB --json results.json

The photographs and the queries are those of ``mini_clip_eval`` (see its README). The first model is
compared with each of the others by a paired bootstrap over the queries. ``--peer A`` adds search without
training, ``--peer AB`` the best system that was tried before mini-clip (ten minutes); they need packages that
are fetched once and otherwise unused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mini_clip_eval.photos import LIST, Fetched, fetch
from sensorium import settings
from sensorium.errors import SensoriumError

QUERIES = LIST.with_name("queries.json")
METRICS = ("hit@1", "hit@5", "hit@10", "mAP")
LANGUAGES = {"en": "English", "zh": "Chinese"}
BATCH = 16


class Encoder(Protocol):
    """What a model must offer to be measured."""

    def embed_images(self, images: list[Image.Image]) -> NDArray[np.float32]:
        """Pictures to unit rows."""

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """Sentences to unit rows."""

    def engines(self) -> dict[str, str]:
        """What runs each tower."""


@dataclass(frozen=True)
class Query:
    """What somebody types, and the ids of all photographs that answer it."""

    id: str
    language: str
    kind: str
    text: str
    relevant: list[str]


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies with 95 % confidence."""

    mean: float
    low: float
    high: float


def ranks(scores: NDArray[np.floating[Any]], relevant: Sequence[int]) -> list[int]:
    """Ranks (from 1, ascending) of the relevant columns of one row of scores.

    Equal scores do not flatter: a relevant photograph comes after every other one of the same score.
    """
    of_relevant = np.zeros(len(scores), bool)
    of_relevant[list(relevant)] = True
    order = np.lexsort((of_relevant, -scores))
    return [int(rank) + 1 for rank in np.flatnonzero(of_relevant[order])]


def score(found: Sequence[int]) -> dict[str, float]:
    """The metrics of one query from the ranks of its relevant photographs.

    ``hit@k`` is 1 when at least one is among the first k. ``mAP`` of one query is its average precision:
    the mean, over the relevant photographs, of the share of relevant ones among all down to that rank.
    """
    values = {f"hit@{k}": float(min(found) <= k) for k in (1, 5, 10)}
    values["mAP"] = sum(n / rank for n, rank in enumerate(sorted(found), 1)) / len(found)
    return values


def bootstrap(values: NDArray[np.float64], draws: int = 5000, seed: int = 0) -> Interval:
    """Mean of one metric over queries, with the percentile interval of resampled queries."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def load_queries(path: Path, present: set[str]) -> tuple[list[Query], list[str]]:
    """The queries, their relevant photographs cut to those present, and the ids of queries left with none."""
    raw = json.loads(path.read_text(encoding="utf-8"))["queries"]
    kept, lost = [], []
    for entry in raw:
        relevant = [photo for photo in entry["relevant"] if photo in present]
        if relevant:
            kept.append(Query(**{**entry, "relevant": relevant}))
        else:
            lost.append(entry["id"])
    return kept, lost


def embed_photos(model: Encoder, files: list[Path], smallest: int) -> NDArray[np.float32]:
    """All photographs as unit rows, decoded as the photo library decodes them."""
    from sensorium.media.image import read_image

    rows = []
    for start in range(0, len(files), BATCH):
        images = [read_image(file, smallest=smallest) for file in files[start : start + BATCH]]
        rows.append(model.embed_images(images))
    return np.concatenate(rows)


def measure(model: Encoder, photos: dict[str, Path], queries: list[Query], smallest: int) -> dict[str, Any]:
    """Ranks and metrics of every query with one model, and how long embedding took."""
    start = time.perf_counter()
    images = embed_photos(model, list(photos.values()), smallest)
    middle = time.perf_counter()
    texts = model.embed_texts([query.text for query in queries])
    end = time.perf_counter()
    columns = {photo: column for column, photo in enumerate(photos)}
    per_query = {}
    for query, row in zip(queries, texts @ images.T, strict=True):
        found = ranks(row, [columns[photo] for photo in query.relevant])
        per_query[query.id] = {"ranks": found, **score(found)}
    return {
        "queries": per_query,
        "engines": model.engines(),
        "seconds": {"photos": round(middle - start, 2), "queries": round(end - middle, 2)},
    }


def column(result: dict[str, Any], queries: Sequence[Query], metric: str) -> NDArray[np.float64]:
    """One metric of chosen queries, in their order."""
    return np.array([result["queries"][query.id][metric] for query in queries], np.float64)


def summarize(result: dict[str, Any], queries: Sequence[Query]) -> dict[str, Any]:
    """Metrics with intervals per language, and plain means per kind of query."""
    summary: dict[str, Any] = {}
    for language in LANGUAGES:
        chosen = [query for query in queries if query.language == language]
        if not chosen:
            continue
        kinds = sorted({query.kind for query in chosen})
        summary[language] = {
            "count": len(chosen),
            **{metric: asdict(bootstrap(column(result, chosen, metric))) for metric in METRICS},
            "kinds": {kind: _means(result, [q for q in chosen if q.kind == kind]) for kind in kinds},
        }
    return summary


def _means(result: dict[str, Any], queries: Sequence[Query]) -> dict[str, float]:
    means = {metric: float(column(result, queries, metric).mean()) for metric in METRICS}
    return {"count": len(queries), **means}


def compare(first: dict[str, Any], second: dict[str, Any], queries: Sequence[Query]) -> dict[str, Any]:
    """First minus second per language: the same resampled queries for both (paired bootstrap)."""
    differences: dict[str, Any] = {}
    for language in LANGUAGES:
        chosen = [query for query in queries if query.language == language]
        if chosen:
            differences[language] = {
                metric: asdict(bootstrap(column(first, chosen, metric) - column(second, chosen, metric)))
                for metric in METRICS
            }
    return differences


def report(results: dict[str, Any], comparisons: dict[str, Any]) -> str:
    """What is printed: a row a model and language, its kinds, and the differences."""
    lines = ["", _row("model", "queries", METRICS)]
    for name, result in results.items():
        for language, part in result["summary"].items():
            cells = [_interval(part[metric]) for metric in METRICS]
            lines.append(_row(name, f"{LANGUAGES[language]} {part['count']}", cells))
    for name, result in results.items():
        lines += ["", f"{name}, by kind"]
        for language, part in result["summary"].items():
            for kind, means in part["kinds"].items():
                cells = [f"{means[metric]:.2f}" for metric in METRICS]
                lines.append(_row(f"  {LANGUAGES[language]}", f"{kind} {means['count']}", cells))
    for names, differences in comparisons.items():
        lines += ["", f"{names} (difference, 95 % interval of the paired bootstrap)"]
        for language, part in differences.items():
            cells = [_interval(part[metric], signed=True) for metric in METRICS]
            lines.append(_row("  " + LANGUAGES[language], "", cells))
    return "\n".join(lines)


def _row(first: str, second: str, cells: Sequence[str]) -> str:
    return f"{first:<28}{second:<14}" + "".join(f"{cell:<20}" for cell in cells)


def _interval(value: dict[str, float], *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{value['mean']:{sign}.2f} [{value['low']:{sign}.2f}, {value['high']:{sign}.2f}]"


def _models(names: Sequence[str], peers: Sequence[str], cache: Path) -> dict[str, Callable[[], Any]]:
    """Name -> what opens it, so that one model at a time is in memory."""
    from sensorium.skills.embed import load

    openers: dict[str, Callable[[], Any]] = {name: lambda name=name: load(name) for name in names}  # type: ignore[misc]
    if "A" in peers:
        from mini_clip_eval.untrained import Untrained

        openers[Untrained.name] = lambda: Untrained(cache)
    if "AB" in peers:
        from mini_clip_eval.trained import AddedTraining

        openers[AddedTraining.name] = lambda: AddedTraining(cache)
    return openers


def _tell_missing(fetched: Fetched, lost: list[str]) -> None:
    total = len(fetched.files) + len(fetched.missing)
    if fetched.missing:
        print(f"{len(fetched.missing)} of {total} photos are missing; figures are not comparable:")
        for photo, reason in fetched.missing.items():
            print(f"  {photo}: {reason}")
    if lost:
        print(f"{len(lost)} queries left out, none of their photos is here: {', '.join(lost)}")
    print(f"{len(fetched.files)} photos")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fetch, measure every model, print, and return all that is worth keeping."""
    fetched = fetch(arguments.cache / "photos")
    photos = {photo: fetched.files[photo] for photo in sorted(fetched.files)}
    if not photos:
        reasons = sorted(set(fetched.missing.values()))
        raise SensoriumError(f"no evaluation photo could be fetched: {'; '.join(reasons[:3])}")
    queries, lost = load_queries(QUERIES, set(photos))
    _tell_missing(fetched, lost)
    results: dict[str, Any] = {}
    for name, opened in _models(arguments.models, arguments.peer, arguments.cache).items():
        model = opened()
        spec = getattr(model, "image_spec", None)
        result = measure(model, photos, queries, 256 if spec is None else spec.decode_side)
        results[name] = {"summary": summarize(result, queries), **result}
    first, *others = results
    comparisons = {
        f"{first} minus {other}": compare(results[first], results[other], queries) for other in others
    }
    print(report(results, comparisons))
    return {
        "photos": len(photos),
        "missing": fetched.missing,
        "queries_left_out": lost,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (LIST, QUERIES)},
        "models": results,
        "differences": comparisons,
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Quality of photo search by words, English and Chinese.")
    parser.add_argument("models", nargs="*", default=["sensorium/mini-clip"], help="model names or folders")
    parser.add_argument(
        "--peer", action="append", choices=["A", "AB"], default=[], help="A: no training; AB: A and a head"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--cache", type=Path, default=settings.home() / "mini_clip_eval", help="where the photos are kept"
    )
    arguments = parser.parse_args()
    try:
        figures = run(arguments)
    except SensoriumError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
