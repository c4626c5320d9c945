"""Queries to begin with: looks, people, places and years that find something in this very library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sensorium.photos.database.schema import people, photo_people, photos
from sensorium.photos.database.store import Store
from sensorium.photos.search.filters import SHOWN

Kind = Literal["look", "person", "place", "year"]

LOOKS = (
    ("sunset at the beach", "海边的日落"),
    ("a dog playing outside", "在户外玩的狗"),
    ("a cat asleep", "睡着的猫"),
    ("snowy mountains", "雪山"),
    ("a cup of coffee", "一杯咖啡"),
    ("food on a table", "桌上的饭菜"),
    ("flowers close up", "花的特写"),
    ("city lights at night", "夜晚的城市灯光"),
    ("children playing", "玩耍的孩子"),
    ("a birthday cake with candles", "插着蜡烛的生日蛋糕"),
    ("boats on the water", "水上的船"),
    ("an old temple", "古老的寺庙"),
    ("a forest in autumn", "秋天的树林"),
    ("fireworks", "烟花"),
    ("a bicycle in the street", "街上的自行车"),
    ("birds", "鸟"),
    ("a lake", "湖"),
    ("a bridge", "桥"),
    ("a receipt", "收据"),
    ("a map", "地图"),
)
"""What people photograph everywhere, in English and Chinese; those that find something are suggested."""

_LOOKS, _PEOPLE, _PLACES, _YEARS = 6, 4, 4, 2


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A sentence to search for, in both languages."""

    kind: Kind
    en: str
    zh: str


def suggest(store: Store, finds: Callable[[str], bool]) -> list[Suggestion]:
    """What finds something: the busiest people, places and years, and looks for which ``finds`` says so.

    Raises LibraryError.
    """
    looks: list[Suggestion] = []
    for en, zh in LOOKS:
        if len(looks) == _LOOKS:
            break
        if finds(en):
            looks.append(Suggestion("look", en, zh))
    with store.reading() as connection:
        return [*looks, *_people(connection), *_places(connection), *_years(connection)]


def _people(connection: Connection) -> list[Suggestion]:
    shown = sa.func.count().label("shown")
    statement = (
        sa.select(people.c.name, shown)
        .join_from(photo_people, people)
        .join(photos, photos.c.id == photo_people.c.photo_id)
        .where(SHOWN, people.c.name.is_not(None), ~people.c.hidden)
        .group_by(people.c.id)
        .order_by(shown.desc())
        .limit(_PEOPLE)
    )
    return [Suggestion("person", row.name, row.name) for row in connection.execute(statement)]


def _places(connection: Connection) -> list[Suggestion]:
    from sensorium.photos import places

    shown = sa.func.count().label("shown")
    statement = (
        sa.select(photos.c.country, photos.c.region, photos.c.city, shown)
        .where(SHOWN, photos.c.country.is_not(None))
        .group_by(photos.c.country, photos.c.region, photos.c.city)
        .order_by(shown.desc())
        .limit(_PLACES)
    )
    found = []
    for country, region, city, _ in connection.execute(statement):
        place = places.place(city or region or country)
        if place is not None:
            found.append(Suggestion("place", place.name, place.name_zh or place.name))
    return list(dict.fromkeys(found))


def _years(connection: Connection) -> list[Suggestion]:
    year = sa.func.strftime("%Y", photos.c.taken_at / 1_000_000, "unixepoch")
    statement = (
        sa.select(year, sa.func.count().label("shown"))
        .where(SHOWN, photos.c.taken_at.is_not(None))
        .group_by(year)
        .order_by(sa.desc("shown"))
        .limit(_YEARS)
    )
    rows = connection.execute(statement).all()
    return [Suggestion("year", f"{row[0]}", f"{row[0]}年") for row in rows if row[0]]
