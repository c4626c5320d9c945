"""Measures whether a search knows when it has found nothing, and what "without" leaves out.

    python benchmarks/search_quality.py                         # the embedded model
    python benchmarks/search_quality.py NAME-OR-FOLDER ... --json results.json

The photographs and the queries with answers are those of ``mini_clip_eval``; ``search_quality.json`` holds
queries that none of them answers, and gibberish. The search's constants were set on other photos (those of
the cut-off on captioned training photos, each seen by a head that was trained without it), but the arithmetic
was chosen after a first look at the figures here, and so was the threshold for parts, so these are not blind.
Intervals: 95 %, percentile bootstrap over queries.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mini_clip_eval.photos import LIST, fetch
from mini_clip_quality import QUERIES, Interval, Query, bootstrap, embed_photos, load_queries
from sensorium import settings
from sensorium.errors import SensoriumError
from sensorium.media.image import read_image
from sensorium.photos.describe.regions import embedded, prepared
from sensorium.photos.search import calibration, parts
from sensorium.photos.search.calibration import Calibration
from sensorium.photos.search.ranking import Ranked, rank
from sensorium.photos.vectors.index import NumpyExact
from sensorium.photos.vectors.regions import Sample

NONE = LIST.parents[1] / "search_quality.json"
LANGUAGES = {"en": "English", "zh": "Chinese"}
PARTS = ", parts known"
WAYS = (("", True), (PARTS, False))  # before and after `describe` looked at the parts of photos
ALONE = "wanted alone"
TOP = 20  # photos of an arithmetic answer that are judged
COMPOSED = (
    ("beach", "people", "portrait of a man"),
    ("sunset", "people", "portrait of a man"),
    ("snow", "people", "portrait of a man"),
    ("canyon", "people", "portrait of a man"),
    ("bedroom", "a cat", "cat"),
    ("beach", "a rabbit", "rabbit"),
    ("potted plants", "a cat", "cat"),
    ("blue sky with white clouds", "a rabbit", "rabbit"),
)
"""Wanted query, unwanted words, and the query whose photos are set into half of the wanted ones."""
SIDE = 512  # of a composed picture


@dataclass(frozen=True)
class Library:
    """The photographs as a library would search them, ids are their positions; ``regions`` [n, 9, d]."""

    index: NumpyExact
    calibration: Calibration
    joint: parts.PartCalibration
    regions: NDArray[np.float32]

    def ask(
        self,
        vectors: Sequence[NDArray[np.float32]],
        weights: Sequence[float],
        *,
        everything: bool = False,
        whole: bool = False,
    ) -> Ranked:
        """What a search for these terms answers; ``whole``: as before `describe` looked at parts."""
        questions = [self.calibration.question(vector, len(self.index)) for vector in vectors]
        questions = self.calibration.related(questions, weights)
        if not whole:
            asked = parts.Asked(questions, vectors, weights, len(self.index))
            questions = parts.measured(self.index, self, self.calibration, self.joint, asked)
        return rank(self.index, questions, weights, everything=everything, parts=self)

    def sample(
        self, queries: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.int64], list[NDArray[np.float32]]]:
        """As in ``search.parts.Parts``."""
        return self.index.ids(), self.closest(queries, self.index.ids())

    def closest(
        self, queries: Sequence[NDArray[np.float32]], ids: NDArray[np.int64]
    ) -> list[NDArray[np.float32]]:
        """As in ``search.parts.Parts``."""
        return [(self.regions[ids] @ query).max(axis=1) for query in queries]


def open_library(vectors: NDArray[np.float32], regions: NDArray[np.float32], model: Any) -> Library:
    """A library of these photographs, calibrated for the model that made the vectors."""
    index = NumpyExact()
    index.rebuild(np.arange(len(vectors), dtype=np.int64), vectors.astype(np.float16))
    prompts = calibration.embed_background(model)
    whole = calibration.measure(prompts, vectors)
    sample = Sample(index.ids(), np.ones(regions.shape[:2], np.float32), regions)
    joint = parts.measure(prompts.astype(np.float32), vectors, sample, len(vectors))
    return Library(index, whole, joint, regions)


def embed_regions(model: Any, images: Iterable[Image.Image]) -> NDArray[np.float32]:
    """Vectors [n, 9, d] of the parts of pictures, as the pass makes them."""
    made = [embedded(model, prepared(image, model.image_spec)[None]) for image in images]
    return np.concatenate(made)


def present(
    library: Library, model: Any, queries: Sequence[Query], columns: dict[str, int], *, whole: bool
) -> dict[str, Any]:
    """Queries that have an answer: is a right photo among the first five, without and with the cut-off?

    ``kept`` counts only those of which the first five hold a right photo when nothing is cut off.
    """
    rows = []
    verdicts: list[str] = []
    for query, vector in zip(queries, model.embed_texts([query.text for query in queries]), strict=True):
        right = {columns[photo] for photo in query.relevant}
        without = library.ask([vector], [1.0], everything=True, whole=whole)
        answer = library.ask([vector], [1.0], whole=whole)
        shown = answer.ids.tolist()
        verdicts.append(answer.verdict)
        rows.append(
            {
                "without": bool(right & set(without.ids[:5].tolist())),
                "with": bool(right & set(shown[:5])),
                "shown": len(shown),
                "precision": len(right & set(shown)) / len(shown) if shown else None,
                "recall": len(right & set(shown)) / len(right),
            }
        )
    had = [row for row in rows if row["without"]]
    return {
        "count": len(rows),
        "hit@5 without cut-off": _share(rows, "without"),
        "hit@5 with cut-off": _share(rows, "with"),
        "kept of those": _share(had, "with"),
        "verdicts": _verdicts(verdicts),
        "photos shown, median": float(np.median([row["shown"] for row in rows])),
        "precision of those shown": float(
            np.mean([r["precision"] for r in rows if r["precision"] is not None])
        ),
        "recall": float(np.mean([row["recall"] for row in rows])),
    }


def absent(library: Library, model: Any, texts: Sequence[str], *, whole: bool) -> dict[str, Any]:
    """Queries without an answer: how many get none, or a weak one?"""
    vectors = model.embed_texts(list(texts))
    verdicts: list[str] = [library.ask([vector], [1.0], whole=whole).verdict for vector in vectors]
    refused = np.array([verdict != "found" for verdict in verdicts], np.float64)
    return {
        "count": len(texts),
        "nothing or weak": bootstrap(refused).__dict__,
        "verdicts": _verdicts(verdicts),
        "found": [text for text, verdict in zip(texts, verdicts, strict=True) if verdict == "found"],
    }


def pairs(queries: Sequence[Query]) -> list[tuple[Query, Query]]:
    """Wanted and unwanted: some photos of the first are the second's as well, and some are not."""
    return [
        (wanted, unwanted)
        for wanted in queries
        for unwanted in queries
        if wanted.language == unwanted.language
        and len(set(wanted.relevant) & set(unwanted.relevant)) >= 1
        and len(set(wanted.relevant) - set(unwanted.relevant)) >= 2
    ]


def answers(
    library: Library, first: NDArray[np.float32], second: NDArray[np.float32], wrong: NDArray[np.int64]
) -> dict[str, Any]:
    """Orders of all photos: without the unwanted term, with vectors subtracted, and as a search does it:
    before and after `describe` looked at the parts of photos.

    ``perfect`` knows which photos show the unwanted and moves them, no others, to the end.
    """
    orders = {"vectors": library.ask([first - second], [1.0], everything=True, whole=True).ids}
    for said, whole in WAYS:
        alone = library.ask([first], [1.0], everything=True, whole=whole).ids
        unwanted = np.isin(alone, wrong)
        orders |= {
            ALONE + said: alone,
            "search" + said: library.ask([first, second], [1.0, -1.0], everything=True, whole=whole).ids,
            "perfect" + said: np.concatenate((alone[~unwanted], alone[unwanted])),
        }
    return orders


def judged(orders: dict[str, Any], right: NDArray[np.int64], wrong: NDArray[np.int64]) -> dict[str, Any]:
    """Share of the unwanted in the first 20, precision of the wanted, and precision of what was asked for.

    Both precisions are over as many places as there are photos of the wanted without the unwanted, at most
    20: further down even a perfect answer would lose. The first counts photos that show the wanted, also
    those that show the unwanted with it; so it falls when these rightly go, and "perfect" says how far. The
    second counts those that show the wanted and not the unwanted.
    """
    asked = np.setdiff1d(right, wrong)
    places = min(TOP, len(asked))
    return {
        name: (
            float(np.isin(order[:TOP], wrong).mean()),
            float(np.isin(order[:places], right).mean()),
            float(np.isin(order[:places], asked).mean()),
        )
        for name, order in orders.items()
    }


def natural(
    library: Library, model: Any, queries: Sequence[Query], columns: dict[str, int]
) -> list[dict[str, Any]]:
    """All ``pairs`` of queries whose unwanted photos stand in the first 20 of the wanted."""
    rows = []
    for wanted, unwanted in pairs(queries):
        first, second = model.embed_texts([wanted.text, unwanted.text])
        right = np.array([columns[photo] for photo in wanted.relevant])
        wrong = np.array([columns[photo] for photo in unwanted.relevant])
        row = judged(answers(library, first, second, wrong), right, wrong)
        if row[ALONE][0]:
            rows.append(row)
    return rows


def composed(
    vectors: NDArray[np.float32],
    regions: NDArray[np.float32],
    model: Any,
    queries: Sequence[Query],
    photos: dict[str, Path],
) -> list[dict[str, Any]]:
    """``COMPOSED``: 20 crops of the wanted photos, and 20 into which an unwanted photo was set."""
    random = np.random.default_rng(0)
    of_text = {query.text: query for query in queries if query.language == "en"}
    columns = {photo: column for column, photo in enumerate(photos)}
    kept = {text: [read_image(photos[p], smallest=512) for p in of_text[text].relevant] for text in _texts()}
    rows = []
    for text, words, inset in COMPOSED:
        images = [_cropped(kept[text][place % len(kept[text])], SIDE, random) for place in range(2 * TOP)]
        for image in images[TOP:]:
            side = int(random.uniform(0.3, 0.4) * SIDE)
            corner = random.integers(0, SIDE - side, 2).tolist()
            image.paste(_cropped(kept[inset][random.integers(len(kept[inset]))], side, random), tuple(corner))
        made = model.embed_images(images)
        made_regions = np.concatenate([regions, embed_regions(model, images)])
        library = open_library(np.concatenate([vectors, made]), made_regions, model)
        first, second = model.embed_texts([text, words])
        count = len(vectors)
        right = [columns[photo] for photo in of_text[text].relevant] + list(range(count, count + 2 * TOP))
        wrong = [columns[photo] for photo in of_text[inset].relevant]
        wrong += list(range(count + TOP, count + 2 * TOP))
        judgement = judged(answers(library, first, second, np.array(wrong)), np.array(right), np.array(wrong))
        rows.append(judgement)
    return rows


def _texts() -> set[str]:
    return {text for wanted, _, inset in COMPOSED for text in (wanted, inset)}


def _cropped(image: Image.Image, side: int, random: np.random.Generator) -> Image.Image:
    """Most of a picture, at random, perhaps mirrored, as a square of this side."""
    share = random.uniform(0.75, 1)
    width, height = int(image.width * share), int(image.height * share)
    left, top = random.integers(0, [image.width - width + 1, image.height - height + 1]).tolist()
    part = image.crop((left, top, left + width, top + height)).resize((side, side))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


def subtraction(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over pairs, and how far each way of subtracting lies below the wanted term alone."""
    if not rows:
        return {"pairs": 0}
    means = {name: np.array([row[name] for row in rows]).mean(axis=0) for name in rows[0]}
    return {"pairs": len(rows), **{name: _compared(name, means) for name in means}}


def _compared(name: str, means: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """The means of one way, beside those of the wanted term alone in the same state of the library."""
    values, alone = means[name], means[ALONE + (PARTS if name.endswith(PARTS) else "")]
    return {
        "unwanted in the first 20": float(values[0]),
        "less by": float(1 - values[0] / alone[0]),
        "precision of the wanted": float(values[1]),
        "lower by": float(1 - values[1] / max(alone[1], 1e-9)),
        "precision of wanted without unwanted": float(values[2]),
        "that lower by": float(1 - values[2] / max(alone[2], 1e-9)),
    }


def _share(rows: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    return bootstrap(np.array([row[name] for row in rows], np.float64)).__dict__


def _verdicts(verdicts: Sequence[str]) -> dict[str, float]:
    return {name: verdicts.count(name) / len(verdicts) for name in ("found", "weak", "nothing")}


def _interval(value: dict[str, float]) -> str:
    interval = Interval(**value)
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def report(name: str, figures: dict[str, Any]) -> str:
    """What is printed for one model."""
    lines = ["", f"{name}: {figures['photos']} photos, calibrated in {figures['seconds']:.2f} s"]
    for kind, found in figures["present"].items():
        verdicts = ", ".join(f"{share:.0%} {verdict}" for verdict, share in found["verdicts"].items())
        lines += [
            f"  {kind}, {found['count']} queries with an answer: {verdicts}",
            f"    hit@5 without cut-off {_interval(found['hit@5 without cut-off'])}, "
            f"with {_interval(found['hit@5 with cut-off'])}; kept {_interval(found['kept of those'])}",
            f"    shown {found['photos shown, median']:.0f} (median), "
            f"precision {found['precision of those shown']:.2f}, recall {found['recall']:.2f}",
        ]
    for kind, found in figures["absent"].items():
        verdicts = ", ".join(f"{share:.0%} {verdict}" for verdict, share in found["verdicts"].items())
        lines.append(
            f"  {kind}, {found['count']}: nothing or weak {_interval(found['nothing or weak'])} ({verdicts})"
        )
    for kind in ("composed", "natural"):
        subtracted = figures[kind]
        lines.append(f"  wanted - unwanted, {subtracted['pairs']} {kind} pairs")
        for way, values in subtracted.items():
            if isinstance(values, dict):
                cells = "; ".join(f"{label} {value:.2f}" for label, value in values.items())
                lines.append(f"    {way}: {cells}")
    return "\n".join(lines)


def measure(model: Any, photos: dict[str, Path], queries: Sequence[Query]) -> dict[str, Any]:
    """All figures of one model."""
    vectors = embed_photos(model, list(photos.values()), model.image_spec.decode_side)
    columns = {photo: column for column, photo in enumerate(photos)}
    side = 2 * model.image_spec.decode_side
    regions = embed_regions(model, (read_image(path, smallest=side) for path in photos.values()))
    start = time.perf_counter()
    library = open_library(vectors, regions, model)
    seconds = time.perf_counter() - start
    none = json.loads(NONE.read_text(encoding="utf-8"))
    more = json.loads(QUERIES.read_text(encoding="utf-8"))["absent"]
    groups = {
        f"absent, {name}": [entry[language] for entry in none["absent"]]
        + [entry["text"] for entry in more if entry["language"] == language]
        for language, name in LANGUAGES.items()
    }
    groups["gibberish"] = none["gibberish"]
    return {
        "photos": len(photos),
        "seconds": seconds,
        "present": {
            name + said: present(
                library, model, [q for q in queries if q.language == language], columns, whole=whole
            )
            for language, name in LANGUAGES.items()
            for said, whole in WAYS
        },
        "absent": {
            name + said: absent(library, model, texts, whole=whole)
            for name, texts in groups.items()
            for said, whole in WAYS
        },
        "composed": subtraction(composed(vectors, regions, model, queries, photos)),
        "natural": subtraction(natural(library, model, queries, columns)),
    }


def main() -> int:
    """Entry point."""
    from sensorium.skills.embed import load

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=["sensorium/mini-clip"], help="model names or folders")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--cache", type=Path, default=settings.home() / "mini_clip_eval", help="where the photos are kept"
    )
    arguments = parser.parse_args()
    results = {}
    try:
        fetched = fetch(arguments.cache / "photos")
        photos = {photo: fetched.files[photo] for photo in sorted(fetched.files)}
        queries, lost = load_queries(QUERIES, set(photos))
        print(f"{len(photos)} photos, {len(fetched.missing)} missing; {len(lost)} queries left out")
        for name in arguments.models:
            results[name] = measure(load(name), photos, queries)
            print(report(name, results[name]))
    except SensoriumError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if arguments.json:
        arguments.json.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
