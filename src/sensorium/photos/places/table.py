"""The table of places: 250 countries, 3,900 regions, 235,000 towns and every key that finds them.

It is one compressed file of arrays, made by `sensorium.photos.places.build`; nothing of it is read at import,
and each part only when it is asked for. Rows are numbered through: countries, then regions, then towns.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.places.geometry import TOWN_SCALE

PLACES_VERSION = 1
"""Raised with every table that files photos differently; photos filed by an older one are located again."""

ALIAS = 1
"""Flag of a key's row: a name in another language, which only hints at the place."""

COMMON = 1
"""Flag of a key: likelier an ordinary word (turkey, nice, 日照) than a place, were nothing else said."""

ONLY_CAPITALS = 2
"""Flag of a key: a place only when written in capitals (US, LA)."""

WELL_KNOWN_HAN = 100_000
"""Inhabitants from which a name of two Chinese characters, as thousands of villages have, is its place."""

Kind = Literal["country", "region", "city"]
_KINDS: tuple[Kind, ...] = ("country", "region", "city")
_ALIAS_WEIGHT = 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """One country, region or town.

    `key` is the ISO 3166-1 code of a country ("JP"), GeoNames' code of a region ("JP.22") or its number of a
    town ("1857910"). `country` and `region` are keys, too. Countries and regions stand where their biggest
    town does; a region's population is that of its towns, 0 is unknown.
    """

    kind: Kind
    key: str
    name: str
    name_zh: str | None
    country: str
    region: str | None
    latitude: float
    longitude: float
    population: int


class _Texts:
    """Many short texts in one block: decoded one at a time, when asked for."""

    def __init__(self, block: NDArray[np.uint8], lengths: NDArray[np.uint8]) -> None:
        self._block = block.tobytes()
        ends = np.zeros(len(lengths) + 1, dtype=np.uint32)
        np.cumsum(lengths, dtype=np.uint32, out=ends[1:])
        self._ends = memoryview(ends.data)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def raw(self, index: int) -> bytes:
        return self._block[self._ends[index] : self._ends[index + 1]]

    def __getitem__(self, index: int) -> str:
        return self.raw(index).decode()

    def find(self, text: str) -> int | None:
        """The index of a text in a block that is sorted by its bytes."""
        wanted = text.encode("utf-8", "surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.raw(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self.raw(low) == wanted else None


class Table:
    """The arrays of the table, each group read at its first use.

    Args:
        arrays: what `numpy.load` gives for the file: arrays by name.
    """

    def __init__(self, arrays: Any) -> None:
        self._arrays = arrays
        self.countries, self.regions, self.cities = (int(count) for count in arrays["counts"])

    def texts(self, name: str) -> _Texts:
        """A block of texts by its name in the file."""
        return _Texts(self._arrays[name], self._arrays[f"{name}_lengths"])

    def array(self, name: str) -> NDArray[Any]:
        """An array by its name in the file, as it is kept."""
        kept: NDArray[Any] = self._arrays[name]
        return kept

    @functools.cached_property
    def keys(self) -> _Texts:
        """Every folded name, sorted."""
        return self.texts("keys")

    @functools.cached_property
    def key_flags(self) -> NDArray[np.uint8]:
        """COMMON and ONLY_CAPITALS of each key."""
        return self.array("key_flags")

    @functools.cached_property
    def _postings(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Where each key's rows end, the rows of all keys, and a flag each."""
        rows = np.cumsum(self.array("posting_steps"), dtype=np.int64)
        return np.cumsum(self.array("key_counts"), dtype=np.int64), rows, self.array("posting_flags")

    @functools.cached_property
    def names(self) -> _Texts:
        """English names by row."""
        return self.texts("names")

    @functools.cached_property
    def chinese(self) -> _Texts:
        """Chinese names by row, empty for none."""
        return self.texts("chinese")

    @functools.cached_property
    def codes(self) -> _Texts:
        """Keys of countries and regions by row."""
        return self.texts("codes")

    @functools.cached_property
    def city_ids(self) -> NDArray[np.uint32]:
        """GeoNames' numbers of towns, by row less the countries and regions."""
        return self.array("city_ids")

    @functools.cached_property
    def population(self) -> NDArray[np.uint32]:
        """Inhabitants by row."""
        return self.array("population")

    @functools.cached_property
    def country(self) -> NDArray[np.uint16]:
        """The row of the country, by row."""
        return self.array("country")

    @functools.cached_property
    def region(self) -> NDArray[np.uint16]:
        """The row of the region by row; 0 for none, since row 0 is a country."""
        return self.array("region")

    @functools.cached_property
    def positions(self) -> NDArray[np.float64]:
        """Latitude and longitude by row, [rows, 2], degrees."""
        return np.stack([self.array("latitude"), self.array("longitude")], axis=-1) / TOWN_SCALE

    @functools.cached_property
    def simplified(self) -> dict[int, int]:
        """The map of traditional and Japanese characters to simplified ones."""
        return dict(zip(self.array("han_from").tolist(), self.array("han_to").tolist(), strict=True))

    @functools.cached_property
    def blockers(self) -> frozenset[str]:
        """Ordinary Chinese words that hold or overlap the names of places."""
        return frozenset(self.array("blockers").tobytes().decode().split("\n"))

    @functools.cached_property
    def rows_of_codes(self) -> dict[str, int]:
        """The row of each country and region by its key."""
        return {self.codes[row]: row for row in range(len(self.codes))}

    @functools.cached_property
    def _city_order(self) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        """Towns in the order of their numbers, and those numbers."""
        order = np.argsort(self.city_ids)
        return order, self.city_ids[order]

    def row(self, key: str) -> int | None:
        """The row of a place by its key."""
        if not key.isascii() or not key.isdigit():
            return self.rows_of_codes.get(key)
        order, numbers = self._city_order
        if len(key) > 10:
            return None
        at = int(np.searchsorted(numbers, int(key)))
        if at == len(numbers) or int(numbers[at]) != int(key):
            return None
        return self.countries + self.regions + int(order[at])

    def kind(self, row: int) -> Kind:
        """What a row is."""
        return _KINDS[(row >= self.countries) + (row >= self.countries + self.regions)]

    def place(self, row: int) -> Place:
        """A row as a place."""
        kind, region = self.kind(row), int(self.region[row])
        latitude, longitude = self.positions[row].tolist()
        first_city = self.countries + self.regions
        return Place(
            kind=kind,
            key=str(self.city_ids[row - first_city]) if kind == "city" else self.codes[row],
            name=self.names[row],
            name_zh=self.chinese[row] or None,
            country=self.codes[int(self.country[row])],
            region=self.codes[region] if region else None,
            latitude=latitude,
            longitude=longitude,
            population=int(self.population[row]),
        )

    def called(self, index: int) -> list[int]:
        """The rows of the key at `index`, likeliest first: by inhabitants, foreign names behind."""
        ends, rows, flags = self._postings
        part = slice(int(ends[index - 1]) if index else 0, int(ends[index]))
        here = rows[part]
        weight = (self.population[here] + 1.0) * np.where(flags[part] & ALIAS, _ALIAS_WEIGHT, 1.0)
        order: Sequence[int] = np.lexsort((here, -weight)).tolist()
        return [int(here[at]) for at in order]


@functools.cache
def table() -> Table:
    """The table that the package carries, opened once a process."""
    with as_file(files("sensorium.photos.places") / "data" / "places.npz") as path:
        return Table(np.load(path, allow_pickle=False))
