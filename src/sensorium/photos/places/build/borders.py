"""Borders of countries as rings of points, and where land is near: what the sea is told by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.places.build.rows import Row, read
from sensorium.photos.places.geometry import NEAR_LAND, SCALE, within_ring

Ring = NDArray[np.float64]
"""Closed line of points, [n, 2]: longitude, latitude in degrees."""


@dataclass(frozen=True, slots=True)
class Borders:
    """All rings in one array, [points, 2] as integers of 1 / SCALE degree; where each starts; whose it is."""

    points: NDArray[np.int32]
    starts: NDArray[np.int32]
    owners: NDArray[np.uint16]


def borders(package: Path, towns: Sequence[Row], countries: Sequence[Row]) -> Borders:
    """Gives each polygon of the source to the country that most of GeoNames' towns in it belong to.

    The source splits countries (England, Alaska) and follows who is in control; GeoNames' codes are what
    photos are filed under. Polygons without a town belong to the country or territory that the source says.
    """
    order = {row.key: index for index, row in enumerate(countries)}
    spots = np.array([(row.longitude, row.latitude) for row in towns])
    owners_of = np.array([order[row.country] for row in towns])
    rings: list[Ring] = []
    owners: list[int] = []
    for feature in read(package / "package/src/data/borders.json")["features"]:
        shape = list(_rings(feature))
        inside = np.zeros(len(towns), dtype=bool)
        for ring in shape:
            inside ^= within_ring(ring, spots)
        majority = Counter(owners_of[inside].tolist()).most_common(1)
        owner = majority[0][0] if majority else _said(feature["properties"], order)
        if owner is not None:
            rings += shape
            owners += [owner] * len(shape)
    lengths = np.array([len(ring) for ring in rings])
    return Borders(
        np.rint(np.concatenate(rings) * SCALE).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        np.array(owners, dtype=np.uint16),
    )


def _rings(feature: dict[str, Any]) -> Iterator[Ring]:
    """Outer lines and holes alike: a point is inside when it is inside an odd number of them."""
    for polygon in (feature["geometry"] or {"coordinates": []})["coordinates"]:
        for ring in polygon:
            yield np.array(ring, dtype=np.float64)


def _said(properties: dict[str, Any], order: dict[str, int]) -> int | None:
    """The country or territory of a polygon by its own words; none for no man's land."""
    for code in (properties.get("iso1A2"), *properties.get("groups", ()), properties.get("country")):
        if code in order:
            return order[code]
    return None


def territories(package: Path, countries: Sequence[Row]) -> dict[str, str]:
    """Codes of places with a code of their own that belong to another country: "PR" -> "US", "HK" -> "CN"."""
    known = {row.key for row in countries}
    found = {}
    for feature in read(package / "package/src/data/borders.json")["features"]:
        properties = feature["properties"]
        code, owner = properties.get("iso1A2"), properties.get("country")
        if code in known and owner in known:
            found[code] = owner
    return found


def near_land(package: Path) -> NDArray[np.uint8]:
    """A map of the world in cells of NEAR_LAND degrees: where land is within about 50 km, as packed bits."""
    rings = [_unrolled(ring) for ring in _land(read(package / "package/land-10m.json"))]
    rows, columns = round(180 / NEAR_LAND), round(360 / NEAR_LAND)
    latitudes = 90 - (np.arange(rows) + 0.5) * NEAR_LAND
    longitudes = (np.arange(columns) + 0.5) * NEAR_LAND - 180
    grid = np.stack(np.meshgrid(longitudes, latitudes), axis=-1).reshape(-1, 2)  # [cells, 2]
    land = np.zeros(len(grid), dtype=bool)
    for ring in rings:
        top, bottom = ((90 - ring[:, 1].max()) / NEAR_LAND, (90 - ring[:, 1].min()) / NEAR_LAND)
        band = slice(int(top) * columns, (int(bottom) + 1) * columns)  # the cells between its parallels
        for turn in (-360.0, 0.0, 360.0):
            if ring[:, 0].min() + turn < 180 and ring[:, 0].max() + turn > -180:
                land[band] ^= within_ring(ring + np.array([turn, 0.0]), grid[band])
    coast = np.concatenate(rings)
    shore = land.reshape(rows, columns)
    row = np.clip((90 - coast[:, 1]) / NEAR_LAND, 0, rows - 1).astype(int)
    shore[row, ((coast[:, 0] + 180) / NEAR_LAND).astype(int) % columns] = True
    return np.packbits(_wider(shore, np.cos(np.radians(latitudes))))


def _unrolled(ring: Ring) -> Ring:
    """A ring without the jump where it passes the antimeridian: its longitudes go on beyond 180.

    One that goes around the world is Antarctica's: it is closed along the pole.
    """
    unrolled = np.column_stack([np.unwrap(ring[:, 0], period=360), ring[:, 1]])
    if abs(unrolled[-1, 0] - unrolled[0, 0]) > 180:
        pole = np.array([[unrolled[-1, 0], -90.0], [unrolled[0, 0], -90.0]])
        unrolled = np.concatenate([unrolled, pole, unrolled[:1]])
    return unrolled


def _wider(land: NDArray[np.bool_], shrink: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A map of land grown by two cells of a meridian, 55 km; cells are narrower where parallels are short."""
    columns = land.shape[1]
    grown = land.copy()
    for row, width in enumerate(shrink):
        strip: NDArray[np.bool_] = np.logical_or.reduce(land[max(0, row - 2) : row + 3])
        reach = min(int(np.ceil(2 / width)), columns // 2)
        around = np.concatenate([strip[-reach:], strip, strip[:reach]])
        sums = np.concatenate([[0], np.cumsum(around)])
        grown[row] = sums[2 * reach + 1 :] > sums[: -2 * reach - 1]
    return grown


def _land(topology: dict[str, Any]) -> Iterator[Ring]:
    """The rings of a TopoJSON file's land: its lines are shared, and written as differences of integers."""
    scale, shift = (np.array(topology["transform"][name]) for name in ("scale", "translate"))
    lines = [np.cumsum(np.array(line), axis=0) * scale + shift for line in topology["arcs"]]
    for geometry in topology["objects"]["land"]["geometries"]:
        for polygon in geometry["arcs"]:
            for ring in polygon:
                parts = [lines[index] if index >= 0 else lines[~index][::-1] for index in ring]
                yield np.concatenate([parts[0], *(part[1:] for part in parts[1:])])
