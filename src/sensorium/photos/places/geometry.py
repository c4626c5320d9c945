"""Positions on the globe: unit vectors, distances, and whether a point is inside a line."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH = 6371.0
"""Mean radius of the Earth, kilometres."""

SCALE = 100_000
"""Borders are kept as integers of 1 / SCALE degree: a metre."""

TOWN_SCALE = 1000
"""Towns are kept as integers of 1 / TOWN_SCALE degree: their middles are not known better than to 100 m."""

NEAR_LAND = 0.25
"""Side of a cell in the map of where land is near, degrees."""

Floats = NDArray[np.float64]


def unit_vectors(latitudes: ArrayLike, longitudes: ArrayLike) -> Floats:
    """Degrees to points on the unit sphere: latitudes [n], longitudes [n] -> [n, 3]."""
    latitude, longitude = np.radians(latitudes), np.radians(longitudes)
    across = np.cos(latitude)
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)], axis=-1)


def kilometres(cosines: Floats) -> Floats:
    """Great-circle distances of unit vectors from their scalar products, [n] -> [n]."""
    return EARTH * np.arccos(np.clip(cosines, -1.0, 1.0))


def within_ring(ring: Floats, spots: Floats) -> NDArray[np.bool_]:
    """Which spots are inside a closed line on the plane of longitude and latitude.

    Shapes: ring [n, 2] with the first point repeated at its end, spots [m, 2] -> [m]; (longitude, latitude).
    A ray to the east that crosses the line an odd number of times started inside. One pass for each side of
    the ring over the spots that are in its box.
    """
    low, high = ring.min(axis=0), ring.max(axis=0)
    boxed = np.flatnonzero(((spots >= low) & (spots <= high)).all(axis=1))
    inside = np.zeros(len(spots), dtype=bool)
    if len(boxed) == 0:
        return inside
    boxed = boxed[np.argsort(spots[boxed, 1], kind="stable")]
    heights = spots[boxed, 1]
    bottoms, tops = np.minimum(ring[:-1, 1], ring[1:, 1]), np.maximum(ring[:-1, 1], ring[1:, 1])
    firsts, lasts = np.searchsorted(heights, bottoms), np.searchsorted(heights, tops)
    for side in np.flatnonzero(firsts < lasts):
        crossed = boxed[firsts[side] : lasts[side]]
        (x0, y0), (x1, y1) = ring[side], ring[side + 1]
        at = x0 + (x1 - x0) * (spots[crossed, 1] - y0) / (y1 - y0)
        inside[crossed] ^= spots[crossed, 0] < at
    return inside
