"""Which tiles, where? The published tilings: LLaVA-NeXT, LLaVA-OneVision, InternVL, nanoVLM."""

from __future__ import annotations

import math
from functools import lru_cache

from sensorium.media.resizing.parts import all_of, placed, separate, stretched, tiles_of, whole
from sensorium.media.resizing.plan import Block, ResizePlan
from sensorium.media.resizing.policies import AnyresTiles, InternVlTiles, SplitLongest


def plan_anyres(width: int, height: int, policy: AnyresTiles) -> ResizePlan:
    """A squashed view of the whole, then the tiles of the best grid as one map with newlines.

    Of a picture far longer than every grid no whole row of features may remain after the cut: the map is
    then empty and the whole view is all that the language model gets, as in both references.
    """
    columns, rows = best_grid(width, height, policy)
    sheet_width, sheet_height = columns * policy.tile, rows * policy.tile
    across, down = sheet_width / width, sheet_height / height
    if across < down:
        size = (sheet_width, min(math.ceil(height * across), sheet_height))
    else:
        size = (min(math.ceil(width * down), sheet_width), sheet_height)
    source = whole(width, height)
    sheets = (
        stretched(source, policy.tile, policy.tile),
        placed(source, size, sheet_width, sheet_height),
    )
    views = (
        all_of(0, sheets[0], policy.token_side),
        *tiles_of(1, columns, rows, policy.tile, policy.token_side),
    )
    side = policy.tile // policy.token_side
    blocks = (
        Block(0, 1, 1, 0, 0, side, side, False),
        _cut_map(width, height, columns, rows, side, policy),
    )
    return ResizePlan(width, height, policy, sheets, views, blocks, (rows, columns))


def best_grid(width: int, height: int, policy: AnyresTiles) -> tuple[int, int]:
    """(columns, rows) that keep most of the picture's pixels, of these the one with least padding."""
    best, most, least = policy.grids[0], -1, 0
    for columns, rows in policy.grids:
        grid_width, grid_height = columns * policy.tile, rows * policy.tile
        scale = min(grid_width / width, grid_height / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        wasted = grid_width * grid_height - kept
        if kept > most or (kept == most and wasted < least):
            best, most, least = (columns, rows), kept, wasted
    return best


def _cut_map(width: int, height: int, columns: int, rows: int, side: int, policy: AnyresTiles) -> Block:
    """The tiles' map without its padding, and shrunk where OneVision's cap wants it."""
    map_height, map_width = rows * side, columns * side
    cut_rows = cut_columns = 0
    if width / height > map_width / map_height:
        cut_rows = (map_height - _whole(height * (map_width / width), policy)) // 2
    else:
        cut_columns = (map_width - _whole(width * (map_height / height), policy)) // 2
    map_height, map_width = map_height - 2 * cut_rows, map_width - 2 * cut_columns
    if policy.most_maps is not None:
        ratio = math.sqrt(map_height * map_width / (policy.most_maps * side**2))
        if ratio > 1.1:
            map_height, map_width = int(map_height // ratio), int(map_width // ratio)
    return Block(1, rows, columns, cut_rows, cut_columns, map_height, map_width, True)


def _whole(value: float, policy: AnyresTiles) -> int:
    """Rounded down; transformers first rounds to seven places, so that 47.99999999 stays 48."""
    return int(round(value, 7) if policy.rounding == "transformers" else value)


def plan_internvl(width: int, height: int, policy: InternVlTiles) -> ResizePlan:
    """Stretched tiles row by row, then the whole picture squashed if there is more than one tile."""
    columns, rows = _nearest_grid(width, height, policy)
    source = whole(width, height)
    sheets = [stretched(source, columns * policy.tile, rows * policy.tile)]
    views = tiles_of(0, columns, rows, policy.tile, policy.token_side)
    if policy.thumbnail and len(views) > 1:
        sheets.append(stretched(source, policy.tile, policy.tile))
        views.append(all_of(1, sheets[1], policy.token_side))
    return separate(width, height, policy, sheets, views, (rows, columns))


def _nearest_grid(width: int, height: int, policy: InternVlTiles) -> tuple[int, int]:
    shape, area = width / height, width * height
    best, least = (1, 1), math.inf
    for columns, rows in _grids(policy.least_tiles, policy.most_tiles):
        away = abs(shape - columns / rows)
        # Of equally near grids the larger, unless its tiles would hold more than twice the picture.
        if away < least or (away == least and area > 0.5 * policy.tile**2 * columns * rows):
            best, least = (columns, rows), away
    return best


@lru_cache(maxsize=64)
def _grids(least: int, most: int) -> tuple[tuple[int, int], ...]:
    """(columns, rows) of ``least`` to ``most`` tiles, fewest tiles first, then fewest columns."""
    sides = range(1, most + 1)
    grids = [(c, r) for c in sides for r in sides if least <= c * r <= most]
    return tuple(sorted(grids, key=lambda grid: grid[0] * grid[1]))


def plan_longest(width: int, height: int, policy: SplitLongest) -> ResizePlan:
    """The whole picture squashed into a tile, then the tiles; a single tile stands alone.

    nanoVLM makes the whole view from the enlarged picture, here it comes from the picture itself.
    """
    tile, longer = policy.tile, max(width, height)
    long = policy.longest if policy.enlarge else min(policy.longest, math.ceil(longer / tile) * tile)
    short = max(tile, math.ceil(min(width, height) * (long / longer) / tile) * tile)
    sheet_width, sheet_height = (long, short) if width >= height else (short, long)
    source = whole(width, height)
    columns, rows = sheet_width // tile, sheet_height // tile
    tiled = stretched(source, sheet_width, sheet_height)
    if columns * rows == 1:
        views = tiles_of(0, 1, 1, tile, policy.token_side)
        return separate(width, height, policy, [tiled], views, (1, 1))
    small = stretched(source, tile, tile)
    views = [all_of(0, small, policy.token_side), *tiles_of(1, columns, rows, tile, policy.token_side)]
    return separate(width, height, policy, [small, tiled], views, (rows, columns))
