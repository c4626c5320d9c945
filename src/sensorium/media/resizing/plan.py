"""What a network is shown of a picture, how many tokens that gives, and the way back to the picture.

A plan is made of sheets (one resize each, with its padding), views (the rectangles of sheets that enter the
network) and blocks (the order in which the features of views become tokens). Coordinates are continuous:
pixel i covers [i, i + 1), x before y.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sensorium.media.resizing.policies import Policy


class Box(NamedTuple):
    """A rectangle; right and bottom are where it ends."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Extent along x."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Extent along y."""
        return self.bottom - self.top


class Padding(NamedTuple):
    """Pixels of a sheet around its picture; fractions occur only where padding comes before the resize."""

    left: float
    top: float
    right: float
    bottom: float


class Sheet(NamedTuple):
    """One resize: the part ``source`` of the picture at ``picture`` in a canvas of ``width`` x ``height``."""

    source: Box
    picture: Box
    width: int
    height: int
    pad_first: bool
    """The source is filled up to a square before the resize, not the result after it."""

    @property
    def scale_x(self) -> float:
        """Pixels of the sheet for one of the picture, along x."""
        return self.picture.width / self.source.width

    @property
    def scale_y(self) -> float:
        """Pixels of the sheet for one of the picture, along y."""
        return self.picture.height / self.source.height

    @property
    def padding(self) -> Padding:
        """What is around the picture."""
        left, top, right, bottom = self.picture
        return Padding(left, top, self.width - right, self.height - bottom)

    @property
    def distortion(self) -> float:
        """How many times one side is stretched more than the other; 1 keeps proportions."""
        ratio = self.scale_x / self.scale_y
        return max(ratio, 1 / ratio)


class View(NamedTuple):
    """What enters the network at once: a rectangle of a sheet, and the features that come out of it."""

    sheet: int
    left: int
    top: int
    width: int
    height: int
    feature_rows: int
    """Rows of features after the tower's patching and pooling."""
    feature_columns: int

    @property
    def features(self) -> int:
        """Number of features, special tokens of the tower not among them."""
        return self.feature_rows * self.feature_columns


class Block(NamedTuple):
    """A run of tokens: the features of ``rows`` x ``columns`` views as one map, cut, shrunk, row by row."""

    first_view: int
    """Its views follow one another from here, row by row."""
    rows: int
    columns: int
    cut_rows: int
    """Rows of features dropped at the top, and as many at the bottom."""
    cut_columns: int
    """Columns of features dropped at the left, and as many at the right."""
    height: int
    """Rows of the map that becomes tokens. Smaller than what the cut leaves: bilinearly shrunk to this."""
    width: int
    newline: bool
    """One more token after each row."""

    @property
    def tokens(self) -> int:
        """Tokens of this run, newlines among them."""
        return self.height * (self.width + self.newline)


@dataclass(frozen=True)
class ResizePlan:
    """What a network is shown of a picture of ``width`` x ``height`` pixels.

    ``grid`` is (rows, columns) of the tiles or windows, (1, 1) where there are none. ``reason`` says why this
    policy was taken.
    """

    width: int
    height: int
    policy: Policy
    sheets: tuple[Sheet, ...]
    views: tuple[View, ...]
    blocks: tuple[Block, ...]
    grid: tuple[int, int]
    reason: str = "asked for"

    @cached_property
    def tokens(self) -> int:
        """Tokens of the language model that the picture takes: features and newlines, nothing else."""
        return sum(block.tokens for block in self.blocks)

    @cached_property
    def finest(self) -> Sheet:
        """The sheet that shows most detail; of equals the first."""
        return max(self.sheets, key=lambda sheet: sheet.scale_x * sheet.scale_y)

    @property
    def scale_x(self) -> float:
        """Pixels of the finest sheet for one of the picture, along x."""
        return self.finest.scale_x

    @property
    def scale_y(self) -> float:
        """Pixels of the finest sheet for one of the picture, along y."""
        return self.finest.scale_y

    @property
    def padding(self) -> Padding:
        """Padding of the finest sheet, in its pixels."""
        return self.finest.padding

    @cached_property
    def useful(self) -> float:
        """Share of all pixels given to the network that are picture and not padding."""
        shown = sum(_area(self.picture_in(number)) for number in range(len(self.views)))
        return shown / sum(view.width * view.height for view in self.views)

    @cached_property
    def distortion(self) -> float:
        """The larger of scale_x / scale_y and its inverse, in the worst view."""
        return max(sheet.distortion for sheet in self.sheets)

    @cached_property
    def detail(self) -> tuple[float, float]:
        """At which scale the whole picture is seen (at most 1), and the distortion of the views that do so.

        The scale is the smaller of a view's two, at its least over the picture; 0 where something is not
        shown at all. Views of which no token remains do not count.
        """
        seen = {self.views[block.first_view].sheet for block in self.blocks if block.tokens}
        order = sorted(
            (self.sheets[number] for number in seen), key=lambda sheet: -min(sheet.scale_x, sheet.scale_y)
        )
        count = next((n for n in range(1, len(order) + 1) if self._covered(order[:n])), 0)
        if not count:
            return 0.0, self.distortion
        last = order[count - 1]
        worst = max(sheet.distortion for sheet in order[:count])
        return min(1.0, last.scale_x, last.scale_y), worst

    def _covered(self, sheets: list[Sheet]) -> bool:
        """Whether the sheets show every point of the picture."""
        xs = sorted({x for sheet in sheets for x in (sheet.source.left, sheet.source.right)})
        ys = sorted({y for sheet in sheets for y in (sheet.source.top, sheet.source.bottom)})
        if (xs[0], ys[0], xs[-1], ys[-1]) != (0, 0, self.width, self.height):
            return False
        return all(
            any(s.source.left <= x < s.source.right and s.source.top <= y < s.source.bottom for s in sheets)
            for x in xs[:-1]
            for y in ys[:-1]
        )

    def picture_in(self, view: int) -> Box | None:
        """The part of a view that is picture, in the view's pixels; None: all of it is padding."""
        part = self.views[view]
        picture = self.sheets[part.sheet].picture
        box = Box(
            max(0.0, picture.left - part.left),
            max(0.0, picture.top - part.top),
            min(float(part.width), picture.right - part.left),
            min(float(part.height), picture.bottom - part.top),
        )
        return box if box.width > 0 and box.height > 0 else None

    def source_of(self, view: int) -> Box | None:
        """The part of the picture that a view shows, in the picture's pixels; None: nothing of it."""
        box = self.picture_in(view)
        return None if box is None else Box(*self.to_original([box], view)[0].tolist())

    def to_original(self, coordinates: ArrayLike, view: int = 0) -> NDArray[np.float64]:
        """Pixels of a view to pixels of the picture.

        Args:
            coordinates: Points [n, 2] as (x, y) or boxes [n, 4] as (x0, y0, x1, y1). What lies on padding
                comes back from outside of the picture.
            view: The number of the view that they were found in.

        Raises:
            ValueError: Another shape, or no such view.
        """
        values, scale, offset = self._way(coordinates, view)
        original: NDArray[np.float64] = (values + offset) / scale
        return original

    def from_original(self, coordinates: ArrayLike, view: int = 0) -> NDArray[np.float64]:
        """The inverse of `to_original`: pixels of the picture to pixels of a view.

        Raises:
            ValueError: Coordinates of another shape, or no such view.
        """
        values, scale, offset = self._way(coordinates, view)
        shown: NDArray[np.float64] = values * scale - offset
        return shown

    def _way(
        self, coordinates: ArrayLike, view: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        values = np.asarray(coordinates, np.float64)
        if values.ndim != 2 or values.shape[1] not in (2, 4):
            raise ValueError(f"points [n, 2] or boxes [n, 4] expected, got {values.shape}")
        if not 0 <= view < len(self.views):
            raise ValueError(f"view {view} of a plan with {len(self.views)} views")
        part = self.views[view]
        sheet = self.sheets[part.sheet]
        scale = np.array([sheet.scale_x, sheet.scale_y])
        corner = np.array([part.left - sheet.picture.left, part.top - sheet.picture.top])
        offset = corner + scale * np.array([sheet.source.left, sheet.source.top])
        return values, np.tile(scale, values.shape[1] // 2), np.tile(offset, values.shape[1] // 2)

    def feature_index(self, block: int) -> NDArray[np.int64]:
        """Where the features of a block's map lie: int64 [rows, columns] after the cut, before any shrinking.

        The numbers count through all features of all views, view after view, each row by row; a network
        therefore arranges tokens with one lookup. Where the result is not `Block.height` x `Block.width`,
        the map is then shrunk to that bilinearly.
        """
        run = self.blocks[block]
        start = sum(view.features for view in self.views[: run.first_view])
        view = self.views[run.first_view]
        rows, columns = view.feature_rows, view.feature_columns
        count = run.rows * run.columns * rows * columns
        flat = np.arange(start, start + count, dtype=np.int64)
        tiled = flat.reshape(run.rows, run.columns, rows, columns).transpose(0, 2, 1, 3)
        return tiled.reshape(run.rows * rows, run.columns * columns)[
            run.cut_rows : run.rows * rows - run.cut_rows,
            run.cut_columns : run.columns * columns - run.cut_columns,
        ]

    def describe(self) -> str:
        """One line for people: what is shown how, at which price, and why."""
        rows, columns = self.grid
        sizes = list(dict.fromkeys(f"{view.width} x {view.height}" for view in self.views))
        shown = f"{len(self.views)} views" if len(self.views) > 1 else "one view"
        grid = f" ({columns} x {rows} and the whole)" if 1 < rows * columns < len(self.views) else ""
        size = sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        return (
            f"{self.width} x {self.height} by {name(self.policy)}: {shown}{grid} of {size} pixels, "
            f"{self.tokens} tokens, {self.useful:.0%} of the pixels are picture, "
            f"stretched up to {self.distortion:.2f} to 1; {self.reason}"
        )


def name(policy: Policy) -> str:
    """A policy's name for people."""
    return {
        "Squash": "squash",
        "Letterbox": "letterbox",
        "CentreCrop": "the middle square",
        "AnyresTiles": "anyres tiles",
        "InternVlTiles": "InternVL tiles",
        "Native": "native resolution",
        "NaFlex": "NaFlex",
        "SplitLongest": "tiles of the longest side",
        "Crops": "the whole and chosen crops",
        "Strips": "strips",
    }[type(policy).__name__]


def _area(box: Box | None) -> float:
    return 0.0 if box is None else box.width * box.height
