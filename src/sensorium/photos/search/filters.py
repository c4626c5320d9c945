"""From the slots of a query to the photos that they leave: SQL over the library's tables.

Days are days on the spot: a photo taken in Tokyo at 00:30 on 1 June is one of June, wherever it is looked at.
A photo that does not tell what is asked for (no date, no place) neither matches the wish nor its opposite:
"in Japan" and "not in Japan" differ in that only the second keeps photos from nobody knows where.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from sensorium.photos.database.schema import companions, people, photo_people, photos
from sensorium.photos.database.store import Store
from sensorium.photos.query.model import Exclusion, Query, Times

Condition = sa.ColumnElement[bool]

_NAMESAKES = 20  # places of one name that are meant, the likeliest ones
_DAY = 86_400_000_000  # microseconds
_PHOTOGRAPHS = ("photo", "raw", "panorama")  # what people call a photo, unlike a screenshot or an animation

WALL_CLOCK = photos.c.taken_at + sa.func.coalesce(photos.c.taken_offset, 0) * 60_000_000
"""When a photo was taken by the clock on the spot, in microseconds since 1970."""

SHOWN = sa.and_(photos.c.missing_since.is_(None), sa.not_(photos.c.hidden))
"""What a photo must be to appear in any list or answer: neither gone nor hidden."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """What the slots of a query leave.

    ``ids`` is sorted; None when no slot is filled, which leaves everything. ``note`` says in one line why
    nothing is left, when there is something to say about it, ``note_zh`` the same in Chinese.
    """

    ids: NDArray[np.int64] | None
    note: str | None = None
    note_zh: str | None = None


def apply(store: Store, query: Query) -> Filtered:
    """The photos, neither gone nor hidden, that fit all of a query but its look. Raises LibraryError."""
    conditions, unknown = _conditions(query)
    if unknown:
        names = ", ".join(f"“{name}”" for name in unknown)
        nobody = np.empty(0, np.int64)
        return Filtered(nobody, f"no place is called {names}", f"没有叫作{names}的地方")
    if not conditions:
        return Filtered(None)
    with store.reading() as connection:
        statement = sa.select(photos.c.id).where(SHOWN, *conditions)
        ids = np.fromiter(connection.scalars(statement.order_by(photos.c.id)), np.int64)
        note, note_zh = (None, None) if len(ids) else _why_nothing(connection, query)
    return Filtered(ids, note, note_zh)


def names_of_people(store: Store) -> list[str]:
    """Everybody that the library knows by name, in alphabetical order."""
    with store.reading() as connection:
        named = sa.select(people.c.name).where(people.c.name.is_not(None))
        return list(connection.scalars(named.order_by(people.c.name)))


def cameras(store: Store) -> list[str]:
    """Make and model of every camera that took a photo of the library, the busiest first."""
    statement = (
        sa.select(photos.c.camera_make, photos.c.camera_model)
        .where(photos.c.camera_make.is_not(None) | photos.c.camera_model.is_not(None))
        .group_by(photos.c.camera_make, photos.c.camera_model)
        .order_by(sa.func.count().desc())
    )
    with store.reading() as connection:
        rows = connection.execute(statement).all()
    return list(dict.fromkeys(camera_name(make, model) for make, model in rows))


def camera_name(make: str | None, model: str | None) -> str:
    """Make and model in one: "Apple iPhone 13"; most makers repeat themselves in the model."""
    make, model = (make or "").strip(), (model or "").strip()
    if model.casefold().startswith(make.casefold()):
        return model
    return f"{make} {model}".strip()


def moments(store: Store, ids: NDArray[np.int64]) -> dict[int, int]:
    """When photos were taken, by the clock on the spot, in microseconds; those without a date left out."""
    wanted = set(ids.tolist())
    statement = sa.select(photos.c.id, WALL_CLOCK).where(photos.c.taken_at.is_not(None))
    if len(wanted) <= 500:
        statement = statement.where(photos.c.id.in_(wanted))
    with store.reading() as connection:
        return {photo: moment for photo, moment in connection.execute(statement) if photo in wanted}


def _conditions(query: Query) -> tuple[list[Condition], list[str]]:
    """What a photo must fulfil, and names of places that nobody knows."""
    conditions: list[Condition] = []
    unknown: list[str] = []
    times = Times(query.after, query.before, query.months)
    if times:
        conditions.append(_taken(times))
    if query.places:
        alternatives = [_in_place(name) for name in query.places]
        known = [condition for condition in alternatives if condition is not None]
        if known:
            conditions.append(sa.or_(*known))
        else:
            unknown += query.places
    conditions += [_shows_person(name) for name in query.people]
    if query.camera:
        conditions.append(_by_camera(query.camera))
    if query.media:
        conditions.append(_of_kind(query.media))
    for exclusion in query.excluded:
        unwanted = _unwanted(exclusion)
        if unwanted is not None:
            conditions.append(_not(unwanted))
    return conditions, unknown


def _unwanted(exclusion: Exclusion) -> Condition | None:
    """What an exclusion describes; None when it names a place that nobody knows."""
    if exclusion.place is not None:
        return _in_place(exclusion.place)
    if exclusion.person is not None:
        return _shows_person(exclusion.person)
    if exclusion.media is not None:
        return _of_kind(exclusion.media)
    if exclusion.camera is not None:
        return _by_camera(exclusion.camera)
    return _taken(exclusion.times) if exclusion.times else None


def _not(condition: Condition) -> Condition:
    """The opposite, which also holds where the photo does not tell."""
    return sa.not_(sa.func.coalesce(condition, sa.false()))


def _taken(times: Times) -> Condition:
    conditions: list[Condition] = [photos.c.taken_at.is_not(None)]
    if times.after is not None:
        start = _microseconds(times.after)
        # The plain column lets SQLite use its index; clocks differ from UTC by less than a day.
        conditions += [photos.c.taken_at >= start - _DAY, start <= WALL_CLOCK]
    if times.before is not None:
        end = _microseconds(times.before)
        conditions += [photos.c.taken_at < end + _DAY, end > WALL_CLOCK]
    if times.months:
        # Whole seconds, rounded down, also before 1970: strftime rounds fractions up into the next month.
        within = ((WALL_CLOCK % 1_000_000) + 1_000_000) % 1_000_000
        seconds = (WALL_CLOCK - within) // 1_000_000
        month = sa.cast(sa.func.strftime("%m", seconds, "unixepoch"), sa.Integer)
        conditions.append(month.in_(times.months))
    return sa.and_(*conditions)


def _microseconds(day: date) -> int:
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000


def _in_place(name: str) -> Condition | None:
    """Whether a photo was taken in a place of this name or in what belongs to it; None: no such place."""
    from sensorium.photos import places

    found = places.named(name)
    if not found:
        return None
    held = [places.area(place) for place in found[:_NAMESAKES]]
    countries = sorted({code for area in held for code in area.countries})
    regions = sorted({key for area in held for key in area.regions})
    cities = sorted({city for area in held for city in area.cities})
    return sa.or_(photos.c.country.in_(countries), photos.c.region.in_(regions), photos.c.city.in_(cities))


def _shows_person(name: str) -> Condition:
    shown = sa.select(photo_people.c.photo_id).join_from(photo_people, people)
    # SQLite's lower() leaves letters outside ASCII alone; names come spelled as the library has them.
    same = (people.c.name == name) | (sa.func.lower(people.c.name) == name.lower())
    return photos.c.id.in_(shown.where(same))


def _by_camera(name: str) -> Condition:
    """Every word stands in make or model, so that "Apple iPhone" finds the make Apple, model iPhone 13."""
    maker = sa.func.coalesce(photos.c.camera_make, "") + " " + sa.func.coalesce(photos.c.camera_model, "")
    told = photos.c.camera_make.is_not(None) | photos.c.camera_model.is_not(None)
    return sa.and_(told, *(maker.icontains(word, autoescape=True) for word in name.split()))


def _of_kind(media: str) -> Condition:
    if media == "live":
        return photos.c.id.in_(sa.select(companions.c.photo_id).where(companions.c.kind == "live"))
    if media == "photo":
        return photos.c.kind.in_(_PHOTOGRAPHS)
    if media == "raw":
        beside = sa.select(companions.c.photo_id).where(companions.c.kind == "raw")
        return (photos.c.kind == "raw") | photos.c.id.in_(beside)
    return photos.c.kind == media


def _why_nothing(connection: Connection, query: Query) -> tuple[str | None, str | None]:
    """What is worth saying when no photo is left, in English and Chinese."""
    there = sa.select(sa.func.count()).select_from(photos).where(SHOWN)
    if Times(query.after, query.before, query.months):
        undated = connection.execute(there.where(photos.c.taken_at.is_(None))).scalar_one()
        if undated:
            match = "match" if undated > 1 else "matches"
            return (
                f"{_count(undated)} no date and {match} no time",
                f"{undated} 张照片没有日期，不符合任何时间",
            )
    if query.places:
        unplaced = connection.execute(there.where(photos.c.country.is_(None))).scalar_one()
        if unplaced:
            return f"{_count(unplaced)} no place", f"{unplaced} 张照片没有地点"
    return None, None


def _count(photos_without: int) -> str:
    return "1 photo tells" if photos_without == 1 else f"{photos_without} photos tell"
