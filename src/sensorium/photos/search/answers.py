"""One search from a query to a page of results: terms, filters, the photos' own words, order and reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from sensorium.photos.database.schema import photo_words, photos, vectors
from sensorium.photos.database.store import Pipeline, Store
from sensorium.photos.describe.picture import local_time
from sensorium.photos.files.names import printable
from sensorium.photos.query.model import Query, Term, Times
from sensorium.photos.search import filters, paging
from sensorium.photos.search.calibration import Calibration, Question
from sensorium.photos.search.paging import Cursor, Rule
from sensorium.photos.search.ranking import Hit, Ranked, Results, hits, likelihood, likelihoods, rank
from sensorium.photos.vectors.index import VectorIndex
from sensorium.photos.vectors.sieve import Ids

Sort = Literal["relevance", "date"]

_UNDATED = -(2**62)  # sorts photos without a date behind all others
_CLOSEST = 5
_WORDS = {"people": 0.95, "words": 0.9, "places": 0.85, "name": 0.7, "folders": 0.6}
"""How likely a photo shows what its own words say, by where they stand, the surest first."""

_SCATTERED = 0.6  # ... when each word stands somewhere else
_LONGEST_QUOTE = 60


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
) -> Results:
    """A page of the photos that a query finds.

    ``terms`` are those of ``looks`` with their vectors [d]; ``calibration`` may be absent when there are
    none. Raises SensoriumError for a cursor of another search, LibraryError.
    """
    asked = {**query.document(), "sort": page.sort, "everything": page.everything, "pipeline": pipeline.id}
    question = paging.digest(asked)
    cursor = Cursor.read(page.after, question, len(terms)) if page.after is not None else None
    snapshot = _snapshot(store, pipeline, cursor)
    filtered = filters.apply(store, query)
    if terms and calibration is not None:
        words = _matches(store, query, filtered.ids)
        rules = [] if cursor is None else list(cursor.rules)
        size = len(index) if filtered.ids is None else len(filtered.ids)
        questions = [
            _question(calibration, term, vector, size, rules[place] if rules else None)
            for place, (term, vector) in enumerate(terms)
        ]
        if not rules:
            questions = calibration.related(questions, [term.weight for term, _ in terms])
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
        )
    else:
        words, questions, ranked = {}, [], _listed(filtered.ids, snapshot)
    by_date = page.sort == "date" or all(term.weight < 0 for term, _ in terms)
    scores = dict(zip(ranked.ids.tolist(), likelihoods(ranked.keys).tolist(), strict=True))
    ids, keys = _by_date(store, ranked.ids) if by_date else (ranked.ids, ranked.keys)
    shown, shown_keys = _behind(cursor, ids, keys)
    last = min(page.k, len(shown)) - 1
    verdict = ranked.verdict if cursor is None else cursor.verdict
    following = None
    if len(shown) > page.k:
        following = Cursor(
            question,
            pipeline.id,
            snapshot.generation,
            snapshot.newest,
            tuple((q.offset, q.spread, q.ordinary, q.shared) for q in questions),
            ranked.best,
            verdict,
            int(shown_keys[last]),
            int(shown[last]),
        ).text()
    alike = "looks a little like" if verdict == "weak" else "looks like"
    reasons = _reasons(query, [term for term, _ in terms], words, alike)
    found = [(int(photo), scores[int(photo)] if terms else 1.0) for photo in shown[: page.k]]
    closest: list[Hit] = []
    if not len(ids) and terms:
        pairs = zip(ranked.closest.tolist(), ranked.closest_keys.tolist(), strict=True)
        nearest = _reasons(query, [term for term, _ in terms], words, "came closest to looking like")
        closest = hits(store, [(photo, likelihood(key)) for photo, key in pairs], nearest)
    return Results(
        hits=tuple(hits(store, found, reasons)),
        query=query,
        total=len(ids),
        verdict=verdict if len(ids) else "nothing",  # type: ignore[arg-type]
        closest=tuple(closest),
        cursor=following,
        note=filtered.note,
    )


def _question(
    calibration: Calibration,
    term: Term,
    vector: NDArray[np.float32],
    among: int,
    rule: Rule | None,
) -> Question:
    make = calibration.question if term.image is None else calibration.picture_question
    question = make(vector, among)
    return question if rule is None else Question(question.vector, *rule)


def _snapshot(store: Store, pipeline: Pipeline, cursor: Cursor | None) -> _Snapshot:
    with store.reading() as connection:
        if cursor is None:
            newest = connection.execute(sa.select(sa.func.max(photos.c.id))).scalar_one() or 0
            generation = store.vectors_generation()
            return _Snapshot(generation, newest, np.empty(0, np.int64))
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


@dataclass(frozen=True, slots=True)
class _Match:
    """A photo whose own words match: how likely it shows that, and where they stand (None: scattered)."""

    likelihood: float
    column: str | None


def _matches(store: Store, query: Query, among: Ids | None) -> dict[int, _Match]:
    """The photos whose name, folders, captions, keywords, places or people say the query's text."""
    from sensorium.photos.search import words

    expression = words.match(query.text) if query.text and not query.terms else None
    if expression is None:
        return {}
    allowed = None if among is None else set(among.tolist())
    there = sa.select(photos.c.id).where(photos.c.missing_since.is_(None))
    statement = sa.select(photo_words.c.rowid).where(
        # The plus keeps SQLite from asking the full-text index about each photo by itself.
        sa.text("photo_words MATCH :expression"),
        sa.literal_column("+photo_words.rowid").in_(there),
    )
    found: dict[int, _Match] = {}
    with store.reading() as connection:
        everywhere = set(connection.scalars(statement, {"expression": expression}))
        if not everywhere:
            return {}
        for column, likely in _WORDS.items():
            limited = {"expression": f"{{{column}}} : ({expression})"}
            for photo in connection.scalars(statement, limited):
                found.setdefault(photo, _Match(likely, column))
    for photo in everywhere:
        found.setdefault(photo, _Match(_SCATTERED, None))
    return {photo: match for photo, match in found.items() if allowed is None or photo in allowed}


def _reasons(
    query: Query, terms: Sequence[Term], words: dict[int, _Match], alike: str
) -> Callable[[Any], str]:
    """What explains a photo from its row."""
    looked = _looks_like(terms, alike)

    def why(row: Any) -> str:
        match = words.get(row.id)
        parts = [_said(row, match.column, query.text)] if match else []
        parts += [looked] if looked else []
        return ", ".join([*parts, *_facts(query, row)]) or "fits all that was asked for"

    return why


def _looks_like(terms: Sequence[Term], alike: str) -> str:
    names = [
        (
            f"“{printable(term.words)}”" if term.words else printable((term.image or "").rpartition("/")[2]),
            term,
        )
        for term in terms
    ]
    wanted = " and ".join(name for name, term in names if term.weight > 0)
    unwanted = " or ".join(name for name, term in names if term.weight < 0)
    parts = [f"{alike} {wanted}"] if wanted else []
    parts += [f"not like {unwanted}" if wanted else f"does not look like {unwanted}"] if unwanted else []
    return ", ".join(parts)


def _said(row: Any, column: str | None, text: str) -> str:
    """Which words of a photo match."""
    if column == "words":
        told = {"caption": row.caption, "title": row.title, "keywords": row.keywords}
        wanted = [word.casefold() for word in text.split()]
        for name, value in told.items():
            if value and any(word in value.casefold() for word in wanted):
                return (
                    f"its {name} say “{_keywords(value)}”"
                    if name == "keywords"
                    else f"its {name} says “{_short(value)}”"
                )
        return "its caption or keywords say so"
    if column == "name":
        return f"its name is {printable(row.path.rpartition('/')[2])}"
    return {
        "folders": f"it lies in {printable(row.path.rpartition('/')[0] or row.root)}",
        "places": "the name of its place says so",
        "people": "it names who is on it",
    }.get(column or "", "its own words say so")


def _keywords(value: str) -> str:
    import json

    return _short(", ".join(json.loads(value)))


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1].rstrip() + "…"


def _facts(query: Query, row: Any) -> list[str]:
    """The slots that the photo fits, with its own facts."""
    parts = []
    if query.places:
        from sensorium.photos import places

        own = places.label(places.Located(row.country, row.region, row.city))
        parts.append(f"taken in {own or query.places[0]}")
    taken = local_time(row.taken_at, row.taken_offset)
    if taken is not None and Times(query.after, query.before, query.months):
        one_day = query.after and query.before and query.before - query.after <= timedelta(days=1)
        parts.append(f"on {taken:%Y-%m-%d}" if one_day else f"in {taken:%B %Y}")
    if query.people:
        parts.append(f"with {' and '.join(query.people)}")
    if query.camera:
        parts.append(f"by {filters.camera_name(row.camera_make, row.camera_model)}")
    if query.media:
        parts.append(f"is a {query.media}" if query.media != "raw" else "is a raw file")
    if query.excluded and not parts:
        parts.append(f"without {' or '.join(query.exclude)}")
    return parts
