"""What a score means: how far above chance a photo lies, for this model, this library and this query.

The cosine of a photo and a query says little by itself: models differ in their range, some photos are near
everything, some queries too, and of many photos one always comes out on top. So several hundred background
texts (``background_prompts.txt``) are embedded once a model and compared with the library's photos:

1. The mean background vector is taken off the query, which takes off each photo's mean score over the
   background. What is left, ``r = photo . (query - centre)``, orders the photos.
2. The query's own middle over the photos is taken off, as far as there are enough photos to tell it.
3. What remains is compared with what texts reach by chance: the best among as many photos (measured for 1, 2,
   4, ... photos), half way between texts that no photo can show and texts that name things to see. That is 0,
   one spread of the background's scores is 1: the *evidence* for a photo. Meaningless texts alone would not
   do: the more photos there are, the further a sensible text gets beyond them, also when no photo shows it.
4. A query that lies among the meaningless background texts rather than among things to see loses evidence.

Nothing here knows a model: all quantities are measured, evidence has no unit. The constants below were set
on photos and queries that no published figure is measured on; ``benchmarks/search_quality.py`` measures.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from importlib import resources
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from sensorium import settings
from sensorium.photos.database.schema import calibrations, vectors
from sensorium.photos.database.store import Pipeline, Store

Floats = NDArray[np.float32]

FOUND = 2.1
"""Evidence of the best photo from which a search has found something."""

WEAK = -1.5
"""Evidence of the best photo below which nothing was found."""

BELOW_BEST = 3.0
"""A photo is left out when its evidence is that far below the best one's ..."""

LEAST = -1.9
"""... or below this."""

_LIKELY = 2.7
"""Evidence at which every second photo shows what was asked for; the slope there is one."""

_SENSIBLE = 0.35
"""Sense (0: like meaningless texts, 1: like things to see) below which a query loses evidence ..."""

_SENSELESS = 10.0
"""... by this much for each unit."""

_NEIGHBOURS = 4  # background texts of each kind that tell whether a query makes sense
_SHRINK = 8  # photos from which a query's middle over the photos counts for half
_SAMPLE = 1024  # photos that tell a query's middle
_MEASURED = 20_000  # photos that are measured; what more of them do is extrapolated
_VECTORS = ("prompts", "sample")
_RULES = b"2 "  # changes with what is measured: an older library is measured again
_IN = 500  # ids in one IN (...)
_TEXTS = 64  # background texts that are compared with all measured photos at a time
_DRAWS = 4  # random orders of the photos that the chance curve is measured over
_GROWTH = 1.25  # a library that grew or shrank by this is measured again


class TextEncoder(Protocol):
    """The part of an encoder that background texts need."""

    def embed_texts(self, texts: list[str]) -> Floats:
        """Unit rows [b, d]."""


@dataclass(frozen=True, slots=True)
class Background:
    """The background texts. ``shown`` [m] tells those that name something to see from meaningless ones."""

    texts: tuple[str, ...]
    shown: NDArray[np.bool_]
    digest: str


@cache
def background() -> Background:
    """The texts of ``background_prompts.txt``, English and Chinese alternating."""
    content = resources.files("sensorium.photos.search").joinpath("background_prompts.txt").read_text("utf-8")
    texts: list[str] = []
    shown: list[bool] = []
    section = ""
    for line in content.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            pair = line.split("|")
            texts += pair
            shown += [section == "shown"] * len(pair)
    digest = hashlib.sha256(_RULES + content.encode("utf-8")).hexdigest()[:16]
    return Background(tuple(texts), np.array(shown), digest)


Rule = tuple[float, float, float, float, tuple[float, float] | None, tuple[float, float, float] | None]
"""The fields of a ``Question`` behind its vector."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query, ready to be compared: ``vector`` [d] is centred; ``e = (r - offset) / spread``.

    ``ordinary`` is the evidence of a photo that has nothing to do with it. ``shared`` is, for something
    unwanted, how much evidence a photo has for it with each unit of evidence for what is wanted. ``of_parts``
    are the same two numbers for the nearest part of a photo. For something wanted ``with_parts`` are offset,
    spread and ordinary evidence of the mean of both scores, the picture's and its nearest part's. They are
    None where parts tell nothing.
    """

    vector: Floats
    offset: float
    spread: float
    ordinary: float
    shared: float = 0.0
    of_parts: tuple[float, float] | None = None
    with_parts: tuple[float, float, float] | None = None

    @property
    def rule(self) -> Rule:
        """All but the vector."""
        return self.offset, self.spread, self.ordinary, self.shared, self.of_parts, self.with_parts

    @property
    def in_parts(self) -> bool:
        """Whether the parts of photos tell something about it."""
        return self.of_parts is not None or self.with_parts is not None

    def evidence(self, scores: Floats) -> Floats:
        """Evidence [n] for photos from their scores ``r`` [n] with ``vector``."""
        return (scores - np.float32(self.offset)) / np.float32(self.spread)

    def joint(self, scores: Floats, closest: Floats) -> Floats:
        """Evidence [n] from the scores of pictures [n] and their nearest parts [n]; needs ``with_parts``."""
        if self.with_parts is None:
            raise ValueError("nothing was measured with parts")
        offset, spread, _ = self.with_parts
        return (mean(scores, closest) - np.float32(offset)) / np.float32(spread)

    def score(self, evidence: float) -> float:
        """The score ``r`` that a photo of this evidence has."""
        return self.offset + evidence * self.spread


@dataclass(frozen=True, slots=True)
class Reached:
    """The best score [k] that a text reaches by chance among as many photos [k].

    ``photos`` is how many the library, or the part of it that was looked at, had when it was measured.
    """

    photos: int
    sizes: NDArray[np.int64]
    chance: Floats

    def among(self, photos: int) -> float:
        """The best score of a text by chance among so many photos; beyond those measured it grows on."""
        at = np.log2(self.sizes)
        wanted = float(np.log2(max(photos, 1)))
        if wanted <= at[-1] or len(at) < 2:
            return float(np.interp(wanted, at, self.chance))
        before = max(len(at) - 4, 0)
        slope = float(self.chance[-1] - self.chance[before]) / float(at[-1] - at[before])
        return float(self.chance[-1]) + max(slope, 0.0) * (wanted - float(at[-1]))


@dataclass(frozen=True)
class Calibration:
    """What was measured for one model over one library.

    Attributes:
        digest: Of the background texts.
        prompts: Their vectors [m, d]; those and ``sample`` are kept as float16.
        photos: Photos in the library when it was measured.
        spread: Standard deviation of centred scores of photos and things to see.
        sizes, chance: The best score [k] that a text reaches by chance among as many photos [k].
        sample: Vectors of some photos [s, d].
        senseless, sensible: What ``_sense`` gives for meaningless background texts, and for the others.
    """

    digest: str
    prompts: Floats
    photos: int
    spread: float
    sizes: NDArray[np.int64]
    chance: Floats
    sample: Floats
    senseless: float
    sensible: float

    def fits(self, photos: int) -> bool:
        """Whether it still serves a library of so many photos, with today's background texts."""
        grown = max(photos, 1) / max(self.photos, 1)
        return 1 / _GROWTH <= grown <= _GROWTH and self.digest == background().digest

    def question(self, query: Floats, among: int) -> Question:
        """Prepare a query vector [d], of unit length, for a search among so many photos."""
        centred = query - self._centre
        centred = centred / np.float32(float(np.linalg.norm(centred)) or 1.0)
        return Question(centred, *self.rule(query, among, self.sample @ centred, self.reached, self.spread))

    def rule(
        self, query: Floats, among: int, sample: Floats, reached: Reached, spread: float
    ) -> tuple[float, float, float]:
        """Offset, spread and ordinary evidence of a query [d].

        ``sample`` are its scores [s] with some photos, ``reached`` and ``spread`` what texts' scores reach
        and how far they lie apart.
        """
        length = float(np.linalg.norm(query - self._centre)) or 1.0
        middle = float(np.median(sample))
        spread = spread / length
        offset = _trust(reached.photos) * middle + reached.among(among) / length
        offset += spread * self._penalty(query)
        return offset, spread, (middle - offset) / spread

    def picture_question(self, query: Floats, among: int) -> Question:
        """Prepare the vector [d] of a picture for a search among so many photos.

        Pictures are nearer to each other than to any text, so the background texts say nothing about them:
        the photos of the library are the background, and chance is the best of so many normal draws.
        """
        scores = self.sample @ query
        spread = max(float(scores.std()), 1e-3)
        best_of = float(np.sqrt(2 * np.log(max(among, 2))))
        return Question(query, float(np.median(scores)) + best_of * spread, spread, -best_of)

    def related(self, questions: Sequence[Question], weights: Sequence[float]) -> list[Question]:
        """The questions with their ``shared``: a weight below 0 is unwanted."""
        if min(weights) > 0:
            return list(questions)
        above = [
            question.evidence(self.sample @ question.vector) - question.ordinary for question in questions
        ]
        wanted = [(rows, weight) for rows, weight in zip(above, weights, strict=True) if weight > 0]
        if not wanted:
            return list(questions)
        mean = np.average([rows for rows, _ in wanted], axis=0, weights=[weight for _, weight in wanted])
        return [
            replace(question, shared=shared(rows, mean)) if weight < 0 else question
            for question, rows, weight in zip(questions, above, weights, strict=True)
        ]

    @property
    def reached(self) -> Reached:
        """What scores of whole pictures reach by chance."""
        return Reached(self.photos, self.sizes, self.chance)

    @cached_property
    def _centre(self) -> Floats:
        return centre(self.prompts)

    @cached_property
    def _directions(self) -> tuple[Floats, Floats]:
        return _directions(self.prompts, background().shown)

    def _penalty(self, query: Floats) -> float:
        """Evidence that a query loses because it says nothing; 0 where the model cannot tell."""
        if self.sensible <= self.senseless:
            return 0.0
        found = _nearness(query[None], *self._directions, background().shown)[0]
        sense = (float(found) - self.senseless) / (self.sensible - self.senseless)
        return _SENSELESS * max(_SENSIBLE - sense, 0.0)


def mean(scores: Floats, closest: Floats) -> Floats:
    """The mean score [n] of pictures [n] and their nearest parts [n]."""
    return (scores + closest) * np.float32(0.5)


def shared(rows: Floats, wanted: Floats) -> float:
    """Evidence above what is ordinary [n] with each unit of the same for what is wanted [n]; at least 0."""
    return max(float((rows * wanted).mean()) / (float((wanted * wanted).mean()) or 1.0), 0.0)


def probability(evidence: Floats) -> Floats:
    """How likely a photo of this evidence shows what was asked for, about: [n], 0 to 1."""
    likely: Floats = 1 / (1 + np.exp(_LIKELY - np.clip(evidence, -50, 50)))
    return likely


def evidence_of(likelihood: float) -> float:
    """The evidence at which ``probability`` is this."""
    return _LIKELY + float(np.log(likelihood / (1 - likelihood)))


def cut_off(best: float) -> float:
    """Evidence that a photo needs to be shown, given that of the best one."""
    return max(LEAST, best - BELOW_BEST)


def embed_background(encoder: TextEncoder) -> NDArray[np.float16]:
    """Vectors [m, d] of the background texts."""
    return np.asarray(encoder.embed_texts(list(background().texts)), np.float16)


def sampled(store: Store, pipeline: Pipeline, ids: NDArray[np.int64]) -> NDArray[np.float16]:
    """Vectors [n, d] of photos, or of as many of them as are measured, in the order of their ids."""
    if len(ids) > _MEASURED:
        ids = np.sort(np.random.default_rng(0).choice(ids, _MEASURED, replace=False))
    statement = sa.select(vectors.c.vector).where(vectors.c.pipeline_id == pipeline.id)
    found: list[bytes] = []
    with store.reading() as connection:
        for start in range(0, len(ids), _IN):
            chosen = vectors.c.photo_id.in_(ids[start : start + _IN].tolist())
            found += connection.scalars(statement.where(chosen).order_by(vectors.c.photo_id))
    return np.frombuffer(b"".join(found), "<f2").reshape(len(found), pipeline.dim).astype(np.float16)


def measure(
    prompts: NDArray[np.floating[Any]], photos: NDArray[np.floating[Any]], count: int | None = None
) -> Calibration:
    """Compare the background texts with a library.

    Args:
        prompts: Vectors [m, d] of the background texts.
        photos: Vectors [n, d] of the library's photos, or of a random part of them; n >= 1.
        count: Photos in the library when these are a part.
    """
    texts = prompts.astype(np.float32)
    shown = background().shown
    count = len(photos) if count is None else count
    random = np.random.default_rng(0)
    photos = np.asarray(photos, np.float32)
    sample = photos
    if len(photos) > _SAMPLE:
        sample = photos[np.sort(random.choice(len(photos), _SAMPLE, replace=False))]
    centred = texts - centre(texts)
    spread = float((sample @ centred[shown].T).std())
    senseless, sensible = _measure_sense(texts, shown)

    def whole(some: Floats) -> Floats:
        return np.asarray(photos @ some.T, np.float32)

    reached = reach(whole, len(photos), centred, count, random)
    return Calibration(
        digest=background().digest,
        prompts=texts,
        photos=count,
        spread=spread if spread > 1e-6 else 1.0,
        sizes=reached.sizes,
        chance=reached.chance,
        sample=sample.astype(np.float16).astype(np.float32),  # what a stored one gives as well
        senseless=senseless,
        sensible=sensible,
    )


def centre(prompts: Floats) -> Floats:
    """The mean [d] of the background texts [m, d] that name things to see."""
    middle: Floats = prompts[background().shown].mean(axis=0)
    return middle


def _trust(photos: int) -> float:
    """How far a median over so many photos is believed, 0 to 1."""
    return photos / (photos + _SHRINK)


def reach(
    score: Callable[[Floats], Floats],
    count: int,
    texts: Floats,
    photos: int,
    random: np.random.Generator,
) -> Reached:
    """The best of 1, 2, 4, ... photos for a typical text: the mean of both kinds' medians.

    Args:
        score: The scores [n, t] of photos for some of the texts [t, d].
        count: How many photos it scores: n.
        texts: The background texts [m, d], centred.
        photos: Of how many photos these are a part.
        random: Decides in which orders photos are drawn.
    """
    shown, trust = background().shown, _trust(photos)
    sizes = np.unique(np.append(2 ** np.arange(int(np.log2(count)) + 1), count))
    orders = [random.permutation(count) for _ in range(_DRAWS)]
    best = np.zeros((len(sizes), len(texts)), np.float32)
    for start in range(0, len(texts), _TEXTS):
        scores = score(texts[start : start + _TEXTS])
        scores = scores - np.float32(trust) * np.median(scores, axis=0)
        for order in orders:
            parts = np.maximum.reduceat(scores[order], np.append(0, sizes[:-1]), axis=0)
            best[:, start : start + _TEXTS] += np.maximum.accumulate(parts, axis=0) / _DRAWS
    medians = [np.median(best[:, kind], axis=1) for kind in (shown, ~shown)]
    return Reached(photos, sizes.astype(np.int64), np.mean(medians, axis=0).astype(np.float32))


def _sense(queries: Floats, prompts: Floats, shown: NDArray[np.bool_], own: bool = False) -> Floats:
    """How much nearer [q] queries [q, d] lie to things to see than to meaningless texts.

    ``own``: the queries are the background texts; a text and its translation are no neighbours.
    """
    return _nearness(queries, *_directions(prompts, shown), shown, own)


def _directions(prompts: Floats, shown: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The middle [d] between things to see and meaningless texts, and where each text [m, d] lies from it."""
    middle = (prompts[shown].mean(axis=0) + prompts[~shown].mean(axis=0)) / 2
    return middle, _unit(prompts - middle)


def _nearness(
    queries: Floats, middle: Floats, directions: Floats, shown: NDArray[np.bool_], own: bool = False
) -> Floats:
    alike = _unit(queries - middle) @ directions.T
    if own:
        places = np.arange(len(directions))
        alike[places, places] = -1
        alike[places, places ^ 1] = -1
    nearest = [np.sort(alike[:, chosen], axis=1)[:, -_NEIGHBOURS:].mean(axis=1) for chosen in (shown, ~shown)]
    difference: Floats = nearest[0] - nearest[1]
    return difference


def _measure_sense(prompts: Floats, shown: NDArray[np.bool_]) -> tuple[float, float]:
    """``_sense`` of meaningless and of other background texts; the same twice when they are hard to tell."""
    sense = _sense(prompts, prompts, shown, own=True)
    low, high = float(np.median(sense[~shown])), float(np.median(sense[shown]))
    scatter = float(np.sqrt((sense[shown].var() + sense[~shown].var()) / 2))
    return (low, high) if high - low > 2 * scatter else (low, low)


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    result: Floats = rows / np.maximum(lengths, np.float32(1e-12))
    return result


def packed(calibration: Calibration) -> bytes:
    """A calibration as the bytes of a library's row."""
    buffer = io.BytesIO()
    values = {field.name: np.asarray(getattr(calibration, field.name)) for field in fields(calibration)}
    values |= {name: values[name].astype(np.float16) for name in _VECTORS}
    np.savez(buffer, allow_pickle=False, **values)
    return buffer.getvalue()


def unpacked(content: bytes) -> Calibration | None:
    """The calibration of a row; None when it is not one that this version wrote."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as values:
            read = {field.name: values[field.name] for field in fields(Calibration)}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        return None
    for name, kind in (("digest", str), ("photos", int), ("spread", float), ("senseless", float)):
        read[name] = kind(read[name])
    read["sensible"] = float(read["sensible"])
    for name in _VECTORS:
        read[name] = read[name].astype(np.float32)
    return Calibration(**read)


def stored(store: Store, pipeline_id: int) -> Calibration | None:
    """The calibration that a library keeps for a pipeline, or None."""
    statement = sa.select(calibrations.c.content).where(calibrations.c.pipeline_id == pipeline_id)
    with store.reading() as connection:
        content = connection.execute(statement).scalar_one_or_none()
    return None if content is None else unpacked(content)


def keep(store: Store, pipeline_id: int, calibration: Calibration) -> None:
    """Write a calibration into the library. It is a disposable copy: no answer's generation changes."""
    values = {
        "pipeline_id": pipeline_id,
        "made_at": int(settings.now().timestamp() * 1_000_000),
        "photos": calibration.photos,
        "content": packed(calibration),
    }
    with store.writing() as connection:
        connection.execute(sa.delete(calibrations).where(calibrations.c.pipeline_id == pipeline_id))
        connection.execute(sa.insert(calibrations).values(**values))
