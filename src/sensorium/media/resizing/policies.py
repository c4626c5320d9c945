"""What can be asked for: the ways of showing a picture, with the numbers that a checkpoint fixes.

Every ``token_side`` is the side, in pixels of the network's input, of the square that becomes one token of
the language model: the patch, times the pooling after it (LLaVA 14, Qwen2.5-VL 14 * 2, InternVL 14 * 2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Rounding = Literal["original", "transformers"]
"""Whose arithmetic, where the authors' code and transformers' differ in single rows of tokens."""


@dataclass(frozen=True)
class Squash:
    """Both sides brought to ``width`` x ``height``, whatever that does to proportions (BLIP-2, SigLIP)."""

    width: int
    height: int
    token_side: int


@dataclass(frozen=True)
class Letterbox:
    """The whole picture in ``width`` x ``height``, proportions kept, the rest filled (LLaVA-1.5)."""

    width: int
    height: int
    token_side: int
    anchor: Literal["centre", "corner"]
    """The middle, or the top left corner."""
    pad_first: bool
    """Fill the picture up to a square, then resize that, as LLaVA-1.5 does: its edge blends into the fill.
    Needs a square and the centre."""


@dataclass(frozen=True)
class CentreCrop:
    """The shorter side brought to ``side``, the middle square cut out: CLIP's, and transformers' LLaVA-1.5.

    What lies beside the square is not shown, so `choose` takes this only where nothing else fits.
    """

    side: int
    token_side: int


@dataclass(frozen=True)
class AnyresTiles:
    """LLaVA-NeXT's and OneVision's tiles: one of some grids, padded, after a squashed view of the whole.

    The features of the tiles become one map, lose the rows or columns that are padding, and get one newline
    token a row (LLaVA-NeXT, "Improved reasoning, OCR, and world knowledge").
    """

    tile: int
    token_side: int
    grids: tuple[tuple[int, int], ...]
    """(columns, rows) in the order tried: of equally good ones the first wins."""
    rounding: Rounding
    most_maps: int | None
    """OneVision's ``anyres_max_9``: a map larger than this many tiles' features is shrunk. None: never."""


@dataclass(frozen=True)
class InternVlTiles:
    """InternVL's tiles: stretched onto the grid nearest in shape; the whole picture comes last, if at all."""

    tile: int
    token_side: int
    least_tiles: int
    most_tiles: int
    thumbnail: bool


@dataclass(frozen=True)
class Native:
    """The picture's own size and shape, in multiples of ``token_side`` (Qwen2-VL's smart resize).

    The cap: a picture longer than ``most_pixels`` / token_side^2 to one cannot keep its shape, one token
    high, below the cap. ``soft`` lets such a picture exceed it, as transformers does; ``hard`` shortens the
    long side until it fits. From 200 tokens on both are the same, since longer pictures become strips.
    """

    token_side: int
    least_pixels: int
    most_pixels: int
    longest_ratio: float
    """Pictures longer than this to one are shown as strips; Qwen's own code refuses beyond 200."""
    cap: Literal["soft", "hard"]
    rounding: Rounding
    """``transformers`` rounds a side below half a token to nothing and then shrinks the other one with it:
    13 x 2600 becomes 28 x 812. ``original`` (qwen-vl-utils) gives such a side one token: 28 x 2604."""


@dataclass(frozen=True)
class NaFlex:
    """SigLIP 2's: the largest size, in whole patches, of at most ``most_patches``; small pictures grow."""

    patch: int
    most_patches: int


@dataclass(frozen=True)
class SplitLongest:
    """nanoVLM's: the long side to ``longest``, the short one up to whole tiles; the whole picture first."""

    tile: int
    token_side: int
    longest: int
    enlarge: bool
    """Whether smaller pictures grow to ``longest`` too; otherwise to the next whole tile."""


@dataclass(frozen=True)
class Crops:
    """The whole picture, letterboxed, then chosen parts of it, each letterboxed, in square tiles."""

    tile: int
    token_side: int
    boxes: tuple[tuple[float, float, float, float], ...]
    """(left, top, right, bottom) in pixels of the picture; parts outside of it are cut off."""


@dataclass(frozen=True)
class Strips:
    """For extreme shapes: the whole picture, letterboxed, then overlapping windows along its long side."""

    tile: int
    token_side: int
    window_ratio: float
    """Long side to short side of a window, as long as ``most_windows`` reach."""
    overlap: float
    """Share of a window that the next one repeats, below a half."""
    most_windows: int


Policy = (
    Squash
    | Letterbox
    | CentreCrop
    | AnyresTiles
    | InternVlTiles
    | Native
    | NaFlex
    | SplitLongest
    | Crops
    | Strips
)


LLAVA_NEXT_GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
"""(columns, rows) of LLaVA-1.6, in the order of its authors' code."""

ONEVISION_GRIDS = tuple((columns, rows) for columns in range(1, 7) for rows in range(1, 7))
"""(columns, rows) of OneVision: all up to 6 x 6."""


def grids_from_pinpoints(
    pinpoints: list[list[int]], tile: int, order: Literal["width_height", "height_width"]
) -> tuple[tuple[int, int], ...]:
    """A checkpoint's ``image_grid_pinpoints`` (pixels) as `AnyresTiles.grids`.

    Args:
        pinpoints: Pairs of sides in pixels.
        tile: Side of a tile, in pixels.
        order: LLaVA's own code reads the pairs as (width, height), transformers as (height, width).

    Raises:
        ValueError: A side is not a whole number of tiles.
    """
    if any(side < 1 or side % tile for pair in pinpoints for side in pair):
        raise ValueError(f"image_grid_pinpoints must be multiples of the tile of {tile} pixels: {pinpoints}")
    pairs = [(first // tile, second // tile) for first, second in pinpoints]
    return tuple(pairs if order == "width_height" else [(columns, rows) for rows, columns in pairs])


def check(policy: Policy) -> None:
    """Refuse numbers that no picture could be planned with.

    Raises:
        ValueError: Names the policy and what is wrong, in one line.
    """
    for field in fields(policy):
        value = getattr(policy, field.name)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and field.name != "overlap"
            and value <= 0
        ):
            raise ValueError(f"{field.name} must be above zero: {policy}")
    wrong = _wrong(policy)
    if wrong:
        raise ValueError(f"{wrong}: {policy}")


def _wrong(policy: Policy) -> str:
    match policy:
        case Squash() | Letterbox() if min(policy.width, policy.height) < policy.token_side:
            return "width and height must hold at least one token"
        case CentreCrop() if policy.side < policy.token_side:
            return "side must hold at least one token"
        case Letterbox(pad_first=True) if policy.width != policy.height or policy.anchor != "centre":
            return "pad_first needs a square and the centre"
        case AnyresTiles() if not policy.grids or min(map(min, policy.grids)) < 1:
            return "grids must hold at least one pair of positive numbers"
        case InternVlTiles() if policy.least_tiles > policy.most_tiles:
            return "least_tiles must not exceed most_tiles"
        case Native() if not policy.token_side**2 <= policy.most_pixels >= policy.least_pixels:
            return "most_pixels must hold one token and least_pixels"
        case Native() if policy.longest_ratio < 1:
            return "longest_ratio must be at least one"
        case SplitLongest() if policy.longest % policy.tile:
            return "longest must be a multiple of tile"
        case Strips() if not 0 <= policy.overlap < 0.5 or policy.window_ratio < 1:
            return "overlap must lie in [0, 0.5) and window_ratio must be at least one"
        case AnyresTiles() | InternVlTiles() | SplitLongest() | Crops() | Strips() if (
            policy.tile < policy.token_side
        ):
            return "tile must hold at least one token"
        case _:
            return ""
