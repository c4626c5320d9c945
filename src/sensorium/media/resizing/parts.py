"""The pieces that several policies share: sheets that fill or fit, one block a view."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.media.resizing.plan import Block, Box, ResizePlan, Sheet, View
from sensorium.media.resizing.policies import Policy


def whole(width: int, height: int) -> Box:
    """All of a picture."""
    return Box(0.0, 0.0, float(width), float(height))


def stretched(source: Box, width: int, height: int) -> Sheet:
    """A sheet of ``width`` x ``height`` that the source fills."""
    return Sheet(source, whole(width, height), width, height, False)


def placed(source: Box, size: tuple[int, int], width: int, height: int) -> Sheet:
    """The source resized to ``size`` (width, height) in the middle; an odd pixel of padding goes after it."""
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    return Sheet(source, Box(left, top, left + size[0], top + size[1]), width, height, False)


def fitted(source: Box, width: int, height: int) -> Sheet:
    """The source as large as it fits into ``width`` x ``height`` with its proportions, in the middle."""
    scale = min(width / source.width, height / source.height)
    size = (nearest(source.width * scale, width), nearest(source.height * scale, height))
    return placed(source, size, width, height)


def nearest(side: float, most: int) -> int:
    """A side in whole pixels, half a pixel rounding up, within 1 and ``most``."""
    return max(1, min(most, int(side + 0.5)))


def all_of(number: int, sheet: Sheet, token_side: int) -> View:
    """A view of a whole sheet, which is the plan's sheet ``number``."""
    rows, columns = sheet.height // token_side, sheet.width // token_side
    return View(number, 0, 0, sheet.width, sheet.height, rows, columns)


def tiles_of(number: int, columns: int, rows: int, tile: int, token_side: int) -> list[View]:
    """A sheet cut into square tiles, row by row."""
    side = tile // token_side
    return [
        View(number, column * tile, row * tile, tile, tile, side, side)
        for row in range(rows)
        for column in range(columns)
    ]


def one_by_one(views: Sequence[View]) -> tuple[Block, ...]:
    """Each view's features in turn, nothing cut, nothing added."""
    return tuple(
        Block(number, 1, 1, 0, 0, view.feature_rows, view.feature_columns, False)
        for number, view in enumerate(views)
    )


def separate(
    width: int,
    height: int,
    policy: Policy,
    sheets: Sequence[Sheet],
    views: Sequence[View],
    grid: tuple[int, int],
) -> ResizePlan:
    """A plan whose views become tokens one after the other."""
    return ResizePlan(width, height, policy, tuple(sheets), tuple(views), one_by_one(views), grid)
