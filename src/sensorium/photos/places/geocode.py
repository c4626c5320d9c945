"""Where a photo was taken: coordinates to country, region and town, without asking anyone.

The country is the one whose border is around the point. Region and town are those of that country's towns: a
town reaches as far as its inhabitants make it, so the middle of a suburb is the suburb, that of a big city's
quarter the big city. Out at sea, further than about 50 km from any land or town, there is no place.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.places.geometry import EARTH, NEAR_LAND, SCALE, Floats, kilometres, unit_vectors
from sensorium.photos.places.table import Place, table

Language = Literal["en", "zh"]

REACH = 0.005
"""Kilometres that a town reaches from its middle: this times the square root of its inhabitants.

Paris 7, London 15, Kyoto 6, a town of 10,000 half a kilometre: about their real built-up size.
"""

TOWN_WITHIN = 50.0
"""Kilometres from a town's edge within which a point is filed under it; further off it has a region alone."""

COAST = 50.0
"""Kilometres from a town within which a point outside every border still belongs to that town's country."""


@dataclass(frozen=True, slots=True)
class Located:
    """What a photo is filed under: ISO 3166-1 code, key of the region, GeoNames' number of the town."""

    country: str | None
    region: str | None
    city: int | None


class _Rings:
    """The borders, ready to be asked about one point."""

    def __init__(
        self, points: NDArray[np.int32], starts: NDArray[np.int32], owners: NDArray[np.uint16]
    ) -> None:
        self._points, self._starts, self._owners = points / SCALE, starts, owners
        self._low = np.minimum.reduceat(self._points, starts[:-1])  # [rings, 2]
        self._high = np.maximum.reduceat(self._points, starts[:-1])

    def country(self, latitude: float, longitude: float) -> int | None:
        """The row of the country around a point: the one whose rings it is inside an odd number of."""
        spot = np.array([longitude, latitude])
        inside: dict[int, bool] = {}
        for ring in np.flatnonzero(((self._low <= spot) & (spot <= self._high)).all(axis=1)).tolist():
            line = self._points[self._starts[ring] : self._starts[ring + 1]]
            above = line[:, 1] > latitude
            sides = np.flatnonzero(above[:-1] != above[1:])
            start, end = line[sides], line[sides + 1]
            at = start[:, 0] + (end[:, 0] - start[:, 0]) * (latitude - start[:, 1]) / (
                end[:, 1] - start[:, 1]
            )
            if np.count_nonzero(longitude < at) % 2:
                owner = int(self._owners[ring])
                inside[owner] = not inside.get(owner, False)
        return next((owner for owner, odd in inside.items() if odd), None)


class _Towns:
    """All towns as points on the unit sphere, those of a country side by side."""

    def __init__(self) -> None:
        places = table()
        first = places.countries + places.regions
        owners = places.country[first:]
        order = np.argsort(owners, kind="stable")
        positions = places.positions[first:][order]
        self.vectors = unit_vectors(positions[:, 0], positions[:, 1])
        self.rows = order + first
        self.reach = REACH * np.sqrt(places.population[self.rows])
        self._ends = np.searchsorted(owners[order], np.arange(places.countries + 1))

    def of(self, country: int) -> slice:
        """Where the towns of a country are."""
        return slice(int(self._ends[country]), int(self._ends[country + 1]))


@functools.cache
def _rings() -> _Rings:
    places = table()
    return _Rings(*(places.array(f"border_{part}") for part in ("points", "starts", "owners")))


@functools.cache
def _towns() -> _Towns:
    return _Towns()


@functools.cache
def _near_land() -> NDArray[np.uint8]:
    return np.unpackbits(table().array("near_land"))


def locate(latitude: float, longitude: float) -> Located | None:
    """The country, region and town of a point; None far out at sea and for numbers that are no position.

    Args:
        latitude: degrees north, -90 to 90.
        longitude: degrees east, -180 to 180 (up to 360 is understood, too).
    """
    if not (math.isfinite(latitude) and abs(latitude) <= 90 and -180 <= longitude <= 360):
        return None
    if longitude > 180:
        longitude -= 360
    # The border map ends some metres before the antimeridian and begins on it; its lowest line is the pole.
    latitude, longitude = max(latitude, -90 + 1e-6), -180.0 if longitude > 180 - 1e-4 else longitude
    towns = _towns()
    spot: Floats = unit_vectors([latitude], [longitude])[0]
    country = _rings().country(latitude, longitude)
    if country is None:
        return _by_the_coast(spot)
    part = towns.of(country)
    cosines = towns.vectors[part] @ spot
    if not _is_near_land(latitude, longitude) and (
        len(cosines) == 0 or EARTH * math.acos(min(1.0, float(cosines.max()))) > COAST
    ):
        return None
    if len(cosines) == 0:
        return Located(table().codes[country], None, None)
    return _described(country, part, cosines)


def _is_near_land(latitude: float, longitude: float) -> bool:
    """Whether the map of coasts has land within about 50 km."""
    rows, columns = round(180 / NEAR_LAND), round(360 / NEAR_LAND)
    row = min(int((90 - latitude) / NEAR_LAND), rows - 1)
    column = min(int((longitude + 180) / NEAR_LAND), columns - 1)
    return bool(_near_land()[row * columns + column])


def _by_the_coast(spot: Floats) -> Located | None:
    """A point outside every border: the place of the nearest town, when there is one near."""
    towns = _towns()
    cosines = towns.vectors @ spot
    nearest = int(np.argmax(cosines))
    if EARTH * math.acos(min(1.0, float(cosines[nearest]))) > COAST:
        return None
    country = int(table().country[towns.rows[nearest]])
    part = towns.of(country)
    return _described(country, part, cosines[part])


def _described(country: int, part: slice, cosines: Floats) -> Located:
    """Region and town of a point in a country, from its cosines with that country's towns."""
    towns, places = _towns(), table()
    region = int(places.region[towns.rows[part.start + int(np.argmax(cosines))]])
    code = places.codes[region] if region else None
    # No town reaches further than 30 km from its middle.
    near = np.flatnonzero(cosines >= math.cos(min(math.pi, (TOWN_WITHIN + 30) / EARTH)))
    if len(near) == 0:
        return Located(places.codes[country], code, None)
    beyond = kilometres(cosines[near]) - towns.reach[part][near]
    best = int(np.argmin(beyond))
    if beyond[best] > TOWN_WITHIN:
        return Located(places.codes[country], code, None)
    row = int(towns.rows[part.start + near[best]])
    region = int(places.region[row])
    return Located(
        places.codes[country],
        places.codes[region] if region else code,
        int(places.city_ids[row - places.countries - places.regions]),
    )


@functools.lru_cache(maxsize=16_384)
def place(key: str | int) -> Place | None:
    """The place of a key as `Located` and `Place` have them ("JP", "JP.22", 1857910); None when unknown."""
    row = table().row(str(key))
    return None if row is None else table().place(row)


def _name(key: str | int | None, language: Language) -> str | None:
    """What a place is called; a Chinese name that is missing gives way to the English one."""
    found = None if key is None else place(key)
    if found is None:
        return None
    return found.name_zh or found.name if language == "zh" else found.name


def label(located: Located, language: Language = "en") -> str:
    """Where a photo was taken, to be read: "Kyoto, Japan", "日本京都"; "" when nothing is known.

    Without a town it is the region; a city that is its own country stands alone ("Singapore").
    """
    country, inner = _name(located.country, language), _name(located.city or located.region, language)
    if country is None or inner is None:
        return inner or country or ""
    if _name(located.city or located.region, "en") == _name(located.country, "en"):
        return country
    if language == "en":
        return f"{inner}, {country}"
    return f"{country} {inner}" if inner.isascii() else f"{country}{inner}"
