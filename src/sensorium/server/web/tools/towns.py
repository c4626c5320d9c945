"""Makes vendor/basemap/towns.json: the names of towns that the map shows where it has room for them.

From the package's own table of places (GeoNames, CC-BY 4.0):
`python src/sensorium/server/web/tools/towns.py`.
Rows are [longitude, latitude, English name, Chinese name or null], most inhabitants first.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sensorium.photos.places.table import table

LARGEST = 2500
"""Towns taken for their size alone."""

CELL = 2.0
"""Degrees; so that no region stays nameless, the largest town of every cell of this size is taken as well."""

SMALLEST = 5000
"""Inhabitants a town must have."""

TARGET = Path(__file__).parents[1] / "vendor" / "basemap" / "towns.json"


def rows() -> list[tuple[float, float, str, str | None]]:
    """The towns to show, most inhabitants first: longitude, latitude in degrees, English and Chinese name."""
    places = table()
    first = places.countries + places.regions
    order = first + np.argsort(-places.population[first:].astype(np.int64), kind="stable")
    taken: list[tuple[float, float, str, str | None]] = []
    cells: set[tuple[int, int]] = set()
    for rank, row in enumerate(order.tolist()):
        if places.population[row] < SMALLEST:
            break
        latitude, longitude = places.positions[row].tolist()
        cell = (int(latitude // CELL), int(longitude // CELL))
        if rank >= LARGEST and cell in cells:
            continue
        cells.add(cell)
        taken.append(
            (round(longitude, 2), round(latitude, 2), places.names[row], places.chinese[row] or None)
        )
    return taken


def main() -> None:
    """Write the file."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows())
    TARGET.write_text(f"[{lines}]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
