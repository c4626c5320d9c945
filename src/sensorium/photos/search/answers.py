"""One search from a query to a page of results: terms, filters, the photos' own words, order and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from sensorium.photos.database.schema import photo_words, photos, vectors
from sensorium.photos.database.store import Pipeline, Store
from sensorium.photos.query.model import Query, Term, Times
from sensorium.photos.search import filters, paging, parts, seen
from sensorium.photos.search.calibration import Calibration, Question
from sensorium.photos.search.paging import Cursor
from sensorium.photos.search.ranking import Hit, Ranked, Results, hits, likelihood, likelihoods, rank
from sensorium.photos.search.reasons import Match, reasons
from sensorium.photos.vectors.index import VectorIndex
from sensorium.photos.vectors.moments import Moments
from sensorium.photos.vectors.regions import Regions
from sensorium.photos.vectors.sieve import Ids

Sort = Literal["relevance", "date"]

_UNDATED = -(2**62)  # sorts photos without a date behind all others
_CLOSEST = 5
_WORDS = {"people": 0.95, "text": 0.92, "words": 0.9, "places": 0.85, "name": 0.7, "folders": 0.6}
"""How likely a photo shows what its own words say, by where they stand, the surest first."""

_SCATTERED = 0.6  # ... when each word stands somewhere else


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of an answer is wanted, in which order, and whether the cut-off is off."""

    k: int
    sort: Sort = "relevance"
    after: str | None = None
    everything: bool = False


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The state that an answer is made from; what is newer stays hidden on later pages."""

    generation: int
    newest: int
    hidden: Ids


def looks(query: Query) -> list[Term]:
    """What the photos are compared with: summands, or the text, and what is unwanted."""
    terms = list(query.terms) or ([Term(query.text, None, 1.0)] if query.text else [])
    there = {term.words for term in terms if term.weight < 0}
    return terms + [Term(words, None, -1.0) for words in query.unwanted if words not in there]


def has_filters(query: Query) -> bool:
    """Whether any slot but the look is filled."""
    times = Times(query.after, query.before, query.months)
    slots = (times, query.places, query.people, query.media, query.camera, query.excluded)
    return any(slots)


def answer(
    store: Store,
    query: Query,
    page: Page,
    *,
    pipeline: Pipeline,
    index: VectorIndex,
    calibration: Calibration | None,
    terms: Sequence[tuple[Term, NDArray[np.float32]]],
    regions: Regions,
) -> Results:
    """A page of the photos that a query finds.

    ``terms`` are those of ``looks`` with their vectors [d]; ``calibration`` may be absent when there are
    none; ``regions`` are the parts of photos. Raises SensoriumError for a cursor of another search,
    LibraryError.
    """
    asked = {**query.document(), "sort": page.sort, "everything": page.everything, "pipeline": pipeline.id}
    name = paging.digest(asked)
    cursor = Cursor.read(page.after, name, len(terms)) if page.after is not None else None
    snapshot = _snapshot(store, pipeline, cursor)
    filtered = filters.apply(store, query)
    words: dict[int, Match] = {}
    questions: list[Question] = []
    if terms and calibration is not None:
        words = _matches(store, query, filtered.ids)
        size = len(index) if filtered.ids is None else len(filtered.ids)
        seen_parts = regions.until(snapshot.generation)
        questions = _questions(calibration, terms, size, cursor)
        if cursor is None:
            joint = parts.PartCalibration.read(pipeline.parts)
            asked_of = _asked_of_parts(questions, terms, size)
            questions = parts.measured(index, seen_parts, calibration, joint, asked_of)
        ranked = rank(
            index,
            questions,
            [term.weight for term, _ in terms],
            among=filtered.ids,
            words={photo: match.likelihood for photo, match in words.items()},
            hidden=snapshot.hidden,
            everything=page.everything,
            best=None if cursor is None else cursor.best,
            closest=_CLOSEST,
            parts=seen_parts,
        )
    else:
        ranked = _listed(filtered.ids, snapshot)
    by_date = page.sort == "date" or all(term.weight < 0 for term, _ in terms)
    ids, keys = _by_date(store, ranked.ids) if by_date else (ranked.ids, ranked.keys)
    shown, shown_keys = _behind(cursor, ids, keys)
    verdict = ranked.verdict if cursor is None else cursor.verdict
    following = None
    if len(shown) > page.k:
        following = Cursor(
            name,
            pipeline.id,
            snapshot.generation,
            snapshot.newest,
            tuple(question.rule for question in questions),
            ranked.best,
            verdict,
            int(shown_keys[page.k - 1]),
            int(shown[page.k - 1]),
        ).text()
    found, closest = _hits(store, query, index, terms, words, ranked, shown[: page.k], verdict)
    return Results(
        hits=tuple(found),
        query=query,
        total=len(ids),
        verdict=verdict if len(ids) else "nothing",  # type: ignore[arg-type]
        closest=tuple(closest),
        cursor=following,
        note=filtered.note,
        note_zh=filtered.note_zh,
    )


def _questions(
    calibration: Calibration,
    terms: Sequence[tuple[Term, NDArray[np.float32]]],
    among: int,
    cursor: Cursor | None,
) -> list[Question]:
    """The terms ready to be compared among so many photos; on later pages as the first one measured them."""
    questions = [
        (calibration.question if term.image is None else calibration.picture_question)(vector, among)
        for term, vector in terms
    ]
    if cursor is None:
        return calibration.related(questions, [term.weight for term, _ in terms])
    return [Question(question.vector, *rule) for question, rule in zip(questions, cursor.rules, strict=True)]


def _asked_of_parts(
    questions: Sequence[Question], terms: Sequence[tuple[Term, NDArray[np.float32]]], among: int
) -> parts.Asked:
    queries = [vector if term.image is None else None for term, vector in terms]
    return parts.Asked(questions, queries, [term.weight for term, _ in terms], among)


def _hits(
    store: Store,
    query: Query,
    index: VectorIndex,
    terms: Sequence[tuple[Term, NDArray[np.float32]]],
    words: dict[int, Match],
    ranked: Ranked,
    shown: Ids,
    verdict: str,
) -> tuple[list[Hit], list[Hit]]:
    """The hits of a page, and what comes closest where there are none on any."""
    said = [term for term, _ in terms]
    here = np.isin(ranked.ids, shown)
    scores = dict(zip(ranked.ids[here].tolist(), likelihoods(ranked.keys[here]).tolist(), strict=True))
    why = reasons(
        query,
        said,
        words,
        verdict="weak" if verdict == "weak" else "found",
        line_of=lambda photo: seen.quote(store, photo, query.text),
    )
    found = [(photo, scores[photo] if terms else 1.0) for photo in shown.tolist()]
    hits_found = hits(store, found, why, _moments(index, terms, [photo for photo, _ in found]))
    if len(ranked.ids) or not terms:
        return hits_found, []
    pairs = zip(ranked.closest.tolist(), ranked.closest_keys.tolist(), strict=True)
    nearest = reasons(query, said, words, verdict="closest")
    return hits_found, hits(store, [(photo, likelihood(key)) for photo, key in pairs], nearest)


def _moments(
    index: VectorIndex, terms: Sequence[tuple[Term, NDArray[np.float32]]], ids: Sequence[int]
) -> dict[int, float]:
    """When in the videos among ``ids`` is what the terms are about."""
    if not isinstance(index, Moments):
        return {}
    return index.moments([vector for _, vector in terms], [term.weight for term, _ in terms], ids)


def _snapshot(store: Store, pipeline: Pipeline, cursor: Cursor | None) -> _Snapshot:
    if cursor is None:
        return _Snapshot(store.vectors_generation(), store.newest(), np.empty(0, np.int64))
    with store.reading() as connection:
        written = sa.select(vectors.c.photo_id).where(
            vectors.c.pipeline_id == pipeline.id, vectors.c.written > cursor.generation
        )
        came = sa.select(photos.c.id).where(photos.c.id > cursor.newest)
        hidden = [*connection.scalars(written), *connection.scalars(came)]
    return _Snapshot(cursor.generation, cursor.newest, np.unique(np.array(hidden, np.int64)))


def _listed(ids: Ids | None, snapshot: _Snapshot) -> Ranked:
    """All photos that fit the slots, where nothing is said about their look."""
    there = np.empty(0, np.int64) if ids is None else ids
    there = there[~np.isin(there, snapshot.hidden)]
    keys = np.zeros(len(there), np.int64)
    return Ranked(there, keys, there[:0], keys[:0], None, "found" if len(there) else "nothing")


def _by_date(store: Store, ids: Ids) -> tuple[Ids, NDArray[np.int64]]:
    """Newest first, photos without a date last; equal ones by rising id."""
    taken = filters.moments(store, ids)
    keys = np.array([taken.get(photo, _UNDATED) for photo in ids.tolist()], np.int64)
    order = np.lexsort((ids, -keys))
    return ids[order], keys[order]


def _behind(cursor: Cursor | None, ids: Ids, keys: NDArray[np.int64]) -> tuple[Ids, NDArray[np.int64]]:
    if cursor is None:
        return ids, keys
    later = (keys < cursor.key) | ((keys == cursor.key) & (ids > cursor.photo))
    return ids[later], keys[later]


def _matches(store: Store, query: Query, among: Ids | None) -> dict[int, Match]:
    """The photos whose name, folders, captions, keywords, places or people say the query's text."""
    from sensorium.photos.search import words

    expression = words.match(query.text) if query.text and not query.terms else None
    if expression is None:
        return {}
    asked = seen.asked(query.text)
    allowed = None if among is None else set(among.tolist())
    there = sa.select(photos.c.id).where(filters.SHOWN)
    statement = sa.select(photo_words.c.rowid).where(
        # The plus keeps SQLite from asking the full-text index about each photo by itself.
        sa.text("photo_words MATCH :expression"),
        sa.literal_column("+photo_words.rowid").in_(there),
    )
    found: dict[int, Match] = {}
    with store.reading() as connection:
        everywhere = set(connection.scalars(statement, {"expression": expression}))
        for column, likely in _WORDS.items() if everywhere else ():
            limited = {"expression": f"{{{column}}} : ({expression})"}
            for photo in connection.scalars(statement, limited):
                found.setdefault(photo, Match(likely, column))
        if asked is not None:
            limited = {"expression": f"{{text}} : ({asked.expression})"}
            for photo in connection.scalars(statement, limited):
                found.setdefault(photo, Match(_WORDS["text"], "text"))
    for photo in everywhere:
        found.setdefault(photo, Match(_SCATTERED, None))
    return {photo: match for photo, match in found.items() if allowed is None or photo in allowed}
