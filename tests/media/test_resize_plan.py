"""Every way of showing a picture: published counts, known faults of others, and the way back."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.media.resizing.choosing import choose
from sensorium.media.resizing.plan import ResizePlan
from sensorium.media.resizing.planning import plan
from sensorium.media.resizing.policies import (
    LLAVA_NEXT_GRIDS,
    ONEVISION_GRIDS,
    AnyresTiles,
    CentreCrop,
    Crops,
    InternVlTiles,
    Letterbox,
    NaFlex,
    Native,
    Policy,
    SplitLongest,
    Squash,
    Strips,
    grids_from_pinpoints,
)

LLAVA = AnyresTiles(336, 14, LLAVA_NEXT_GRIDS, "original", None)
LLAVA_HF = replace(LLAVA, rounding="transformers")
ONEVISION = AnyresTiles(384, 14, ONEVISION_GRIDS, "original", 9)
INTERNVL = InternVlTiles(448, 28, 1, 12, True)
INTERNVL_6 = replace(INTERNVL, most_tiles=6)
QWEN = Native(28, 4 * 784, 16384 * 784, 200, "hard", "transformers")
QWEN_HF = replace(QWEN, most_pixels=1280 * 784)
NAFLEX = NaFlex(16, 256)
NANO = SplitLongest(512, 64, 2048, True)
NANO_KEPT = replace(NANO, enlarge=False)
BOX = Letterbox(336, 336, 14, "centre", True)
BOX_AFTER = replace(BOX, pad_first=False)
BOX_CORNER = Letterbox(320, 192, 16, "corner", False)
SQUASH = Squash(224, 160, 16)
STRIPS = Strips(336, 14, 1.0, 0.1, 12)
WHOLE = Crops(336, 14, ())
POLICIES: dict[str, Policy] = {
    "squash": SQUASH,
    "letterbox, padded first": BOX,
    "letterbox": BOX_AFTER,
    "letterbox in the corner": BOX_CORNER,
    "llava": LLAVA,
    "llava of transformers": LLAVA_HF,
    "onevision": ONEVISION,
    "internvl": INTERNVL,
    "qwen": QWEN,
    "qwen of 1280 tokens": QWEN_HF,
    "qwen of 60 tokens": Native(28, 4 * 784, 60 * 784, 200, "hard", "original"),
    "naflex": NAFLEX,
    "nanovlm": NANO,
    "nanovlm, not enlarged": NANO_KEPT,
    "strips": STRIPS,
    "crops": WHOLE,
}


def test_what_hides_a_part_is_taken_last() -> None:
    cut, all_of_it = CentreCrop(336, 14), BOX_AFTER
    assert choose(1000, 300, 600, [cut, all_of_it]).policy == all_of_it
    assert choose(300, 300, 600, [cut, all_of_it]).policy == cut  # of a square nothing is hidden
    assert choose(1000, 300, 600, [cut]).detail[0] == 0
    with pytest.raises(ValueError, match="at least one token"):
        plan(10, 10, CentreCrop(7, 14))


def share(width: int, height: int) -> Crops:
    """Two chosen crops that any picture has."""
    return replace(WHOLE, boxes=((0, 0, width / 2, height / 3), (-5, height / 4, width + 9, height)))


# The table of the notes. (width, height): policy, (columns, rows) of tiles or (height, width), tokens.
GOLDEN: list[tuple[tuple[int, int], Policy, tuple[int, int], int]] = [
    ((640, 480), LLAVA, (2, 2), 2340),
    ((480, 640), LLAVA, (2, 2), 2352),
    ((1920, 1080), LLAVA, (2, 2), 1948),
    ((2000, 200), LLAVA, (3, 1), 1160),
    ((200, 2000), LLAVA, (1, 3), 1224),
    ((5000, 100), LLAVA, (3, 1), 722),
    ((100, 100), LLAVA, (1, 2), 1176),
    ((640, 480), ONEVISION, (2, 2), 2929),
    ((1920, 1080), ONEVISION, (5, 3), 7269),
    ((2000, 200), ONEVISION, (6, 1), 3500),
    ((200, 2000), ONEVISION, (1, 6), 3645),
    ((5000, 100), ONEVISION, (6, 1), 1218),
    ((100, 100), ONEVISION, (1, 1), 1485),
    ((640, 480), INTERNVL, (4, 3), 3328),
    ((1920, 1080), INTERNVL, (4, 2), 2304),
    ((2000, 200), INTERNVL, (10, 1), 2816),
    ((200, 2000), INTERNVL, (1, 10), 2816),
    ((5000, 100), INTERNVL, (12, 1), 3328),
    ((100, 100), INTERNVL, (1, 1), 256),
    ((640, 480), INTERNVL_6, (3, 2), 1792),
    ((1920, 1080), INTERNVL_6, (2, 1), 768),
    ((2000, 200), INTERNVL_6, (6, 1), 1792),
    ((200, 2000), INTERNVL_6, (1, 6), 1792),
    ((5000, 100), INTERNVL_6, (6, 1), 1792),
    ((100, 100), INTERNVL_6, (1, 1), 256),
    ((640, 480), QWEN, (476, 644), 391),
    ((480, 640), QWEN, (644, 476), 391),
    ((1920, 1080), QWEN, (1092, 1932), 2691),
    ((2000, 200), QWEN, (196, 1988), 497),
    ((200, 2000), QWEN, (1988, 196), 497),
    ((5000, 100), QWEN, (112, 5012), 716),
    ((100, 100), QWEN, (112, 112), 16),
    ((10000, 100), QWEN, (112, 9996), 1428),
    ((640, 480), QWEN_HF, (476, 644), 391),
    ((480, 640), QWEN_HF, (644, 476), 391),
    ((1920, 1080), QWEN_HF, (728, 1316), 1222),
    ((2000, 200), QWEN_HF, (196, 1988), 497),
    ((200, 2000), QWEN_HF, (1988, 196), 497),
    ((100, 100), QWEN_HF, (112, 112), 16),
    ((10000, 100), QWEN_HF, (84, 9996), 1071),
    ((640, 480), NAFLEX, (224, 288), 252),
    ((1920, 1080), NAFLEX, (192, 336), 252),
    ((2000, 200), NAFLEX, (80, 800), 250),
    ((5000, 100), NAFLEX, (32, 1600), 200),
    ((100, 100), NAFLEX, (256, 256), 256),
    ((640, 480), NANO, (4, 3), 832),
    ((480, 640), NANO, (3, 4), 832),
    ((1920, 1080), NANO, (4, 3), 832),
    ((2000, 200), NANO, (4, 1), 320),
    ((200, 2000), NANO, (1, 4), 320),
    ((5000, 100), NANO, (4, 1), 320),
    ((100, 100), NANO, (4, 4), 1088),
]


@pytest.mark.parametrize(("size", "policy", "shape", "tokens"), GOLDEN)
def test_the_published_table(
    size: tuple[int, int], policy: Policy, shape: tuple[int, int], tokens: int
) -> None:
    shown = plan(*size, policy)
    assert shown.tokens == tokens
    if isinstance(policy, Native | NaFlex):
        assert [(view.height, view.width) for view in shown.views] == [shape]
    else:
        assert shown.grid == shape[::-1]


def test_the_table_s_maps_and_shares() -> None:
    block = plan(1920, 1080, ONEVISION).blocks[1]
    assert (block.height, block.width, block.newline) == (60, 108, True)
    assert plan(6720, 336, BOX).useful == pytest.approx(0.05)
    assert plan(5000, 100, INTERNVL).detail[1] == pytest.approx(4.48 / (5376 / 5000))  # of its tiles
    assert plan(5000, 100, LLAVA).distortion == pytest.approx(50)  # the squashed view of the whole
    assert plan(100, 50, SQUASH).distortion == pytest.approx(3.2 / 2.24)


@pytest.mark.parametrize(
    ("width", "height", "original", "transformers"),
    [(55, 176, 1296, 1392), (88, 99, 1226, 1276), (235, 1128, 1656, 1800)],
)
def test_sizes_at_which_the_two_llava_roundings_differ(
    width: int, height: int, original: int, transformers: int
) -> None:
    assert plan(width, height, LLAVA).tokens == original
    assert plan(width, height, LLAVA_HF).tokens == transformers


def native(tokens: int, cap: Any, rounding: Any) -> Native:
    return Native(28, min(4, tokens) * 784, tokens * 784, 200, cap, rounding)


@pytest.mark.parametrize("rounding", ["original", "transformers"])
def test_no_side_becomes_zero_and_the_cap_is_soft_or_hard(rounding: Any) -> None:
    def size(width: int, height: int, tokens: int, cap: str) -> tuple[int, int, int]:
        shown = plan(width, height, native(tokens, cap, rounding))
        return shown.views[0].height, shown.views[0].width, shown.tokens

    # (h 639, w 31) gave (560, 0), (h 28, w 5600) gave (0, 4480) in qwen-vl-utils.
    assert size(31, 639, 20, "soft") == size(31, 639, 20, "hard") == (560, 28, 20)
    assert size(5600, 28, 128, "soft") == (28, 4480, 160)
    assert size(5600, 28, 128, "hard") == (28, 3584, 128)


def test_a_side_below_half_a_token_is_rounded_as_named() -> None:
    original = plan(2600, 13, native(1280, "hard", "original")).views[0]
    transformers = plan(2600, 13, native(1280, "hard", "transformers")).views[0]
    assert (original.height, original.width) == (28, 2604)
    assert (transformers.height, transformers.width) == (28, 812)


@settings(deadline=None)
@given(st.integers(1, 12000), st.integers(1, 12000), st.integers(200, 2000))
def test_from_200_tokens_on_the_caps_agree(width: int, height: int, tokens: int) -> None:
    soft, hard = native(tokens, "soft", "transformers"), native(tokens, "hard", "transformers")
    assert plan(width, height, soft).views == plan(width, height, hard).views


def tokens_by_views(shown: ResizePlan, token_side: int) -> int:
    """What carrying the plan out yields: features of views in blocks, cut, shrunk and with newlines."""
    total = 0
    seen: list[int] = []
    for block in shown.blocks:
        numbers = range(block.first_view, block.first_view + block.rows * block.columns)
        seen += numbers
        for row in range(block.rows):  # views of a map are neighbours without a gap
            for column in range(block.columns):
                view = shown.views[numbers[row * block.columns + column]]
                first = shown.views[block.first_view]
                assert (view.left - first.left, view.top - first.top) == (
                    column * view.width,
                    row * view.height,
                )
        view = shown.views[block.first_view]
        assert (view.feature_rows, view.feature_columns) == (
            view.height // token_side,
            view.width // token_side,
        )
        rows = block.rows * (view.height // token_side) - 2 * block.cut_rows
        columns = block.columns * (view.width // token_side) - 2 * block.cut_columns
        policy = shown.policy
        if isinstance(policy, AnyresTiles) and policy.most_maps and block.newline:
            times = math.sqrt(rows * columns / policy.most_maps / (policy.tile // token_side) ** 2)
            if times > 1.1:
                rows, columns = int(rows // times), int(columns // times)
        assert (rows, columns) == (block.height, block.width)
        total += rows * columns + (rows if isinstance(policy, AnyresTiles) and block.first_view else 0)
    assert seen == list(range(len(shown.views)))
    for view in shown.views:
        sheet = shown.sheets[view.sheet]
        assert view.left >= 0
        assert view.top >= 0
        assert view.left + view.width <= sheet.width
        assert view.top + view.height <= sheet.height
        assert min(view.features, view.width, view.height) >= 1
    return total


def everything_is_seen(shown: ResizePlan) -> bool:
    """Whether a grid of points that includes all corners of the picture lies in some view's picture."""
    xs, ys = np.linspace(0.01, shown.width - 0.01, 41), np.linspace(0.01, shown.height - 0.01, 41)
    points = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    unseen = np.ones(len(points), bool)
    # The views of the whole come first or last; without them the finer ones must do it by themselves.
    numbers = range(len(shown.views))
    if len(numbers) > 1 and not isinstance(shown.policy, Crops):
        coarse = min(numbers, key=lambda n: shown.sheets[shown.views[n].sheet].picture.width)
        numbers = [n for n in numbers if shown.views[n].sheet != shown.views[coarse].sheet] or numbers
    for number in numbers:
        view = shown.views[number]
        inside = shown.from_original(points, number)
        unseen &= ~((inside >= 0) & (inside <= (view.width, view.height))).all(1)
    return not unseen.any()


def way_back_holds(shown: ResizePlan) -> None:
    for number in {0, len(shown.views) // 2, len(shown.views) - 1}:
        view = shown.views[number]
        boxes = np.array([[0, 0, view.width, view.height], [1, 2, 3.5, 0.25]])
        there = shown.from_original(shown.to_original(boxes, number), number)
        assert np.abs(there - boxes).max() < 1e-6 * max(view.width, view.height)
        corners = np.array([[0, 0], [shown.width, shown.height], [shown.width / 3, 0.5]])
        back = shown.to_original(shown.from_original(corners, number), number)
        assert np.abs(back - corners).max() < 1e-6 * max(shown.width, shown.height)
        source = shown.source_of(number)
        if source is not None:
            left, top, right, bottom = source
            assert -1e-6 <= left < right <= shown.width * (1 + 1e-9)
            assert -1e-6 <= top < bottom <= shown.height * (1 + 1e-9)


def token_side(policy: Policy) -> int:
    return policy.patch if isinstance(policy, NaFlex) else policy.token_side


def hard_cap(policy: Policy) -> float:
    if isinstance(policy, NaFlex):
        return policy.most_patches
    return policy.most_pixels / policy.token_side**2 if isinstance(policy, Native) else math.inf


def test_ten_thousand_sizes_under_every_policy() -> None:
    random = np.random.default_rng(6)
    logarithms = random.uniform(0, math.log(20000), (10_000, 2))
    for width, height in np.exp(logarithms).astype(int).tolist():
        for policy in POLICIES.values():
            if policy is WHOLE:
                policy = share(width, height)
            shown = plan(width, height, policy)
            assert shown.tokens == tokens_by_views(shown, token_side(policy)), (width, height, policy)
            assert shown.tokens <= hard_cap(policy), (width, height, policy)


SIDES = st.one_of(st.integers(1, 40), st.integers(1, 3000), st.sampled_from([1, 2, 200, 201, 10_000, 60_000]))


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES)
def test_way_back_and_nothing_unseen(width: int, height: int) -> None:
    for policy in [*POLICIES.values(), share(width, height)]:
        shown = plan(width, height, policy)
        way_back_holds(shown)
        assert everything_is_seen(shown), policy
        assert 0 < shown.useful <= 1 + 1e-9
        assert shown.distortion >= 1
        assert 0 < shown.detail[0] <= 1
        assert "\n" not in shown.describe()
        assert f"{shown.tokens} tokens" in shown.describe()


@pytest.mark.parametrize("name", list(POLICIES))
@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_the_smallest_and_the_longest(size: tuple[int, int], name: str) -> None:
    shown = plan(*size, POLICIES[name])
    assert shown.tokens == tokens_by_views(shown, token_side(POLICIES[name])) >= 1
    assert everything_is_seen(shown)
    way_back_holds(shown)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(201, 3000), st.integers(1, 3000), st.booleans())
def test_native_strips_keep_the_cap_and_the_proportions(
    short: int, ratio: int, tokens: int, wide: bool
) -> None:
    long = short * ratio
    shown = plan(*((long, short) if wide else (short, long)), native(tokens, "hard", "original"))
    assert shown.tokens <= tokens
    assert everything_is_seen(shown)
    for sheet in shown.sheets:
        assert max(sheet.scale_x, sheet.scale_y) <= max(1.0, 1.0 / short + 1e-9)
        # Proportions hold to the pixel: no side is off by more than rounding, or is the one pixel it needs.
        scale = sheet.scale_x if wide else sheet.scale_y
        across = sheet.picture.height if wide else sheet.picture.width
        assert abs(across - short * scale) <= 1.0


@settings(deadline=None)
@given(
    SIDES,
    SIDES,
    st.floats(1, 9, allow_nan=False),
    st.floats(0, 0.49, allow_nan=False),
    st.integers(1, 15),
)
def test_windows_cover_overlap_and_stay_few(
    width: int, height: int, ratio: float, overlap: float, most: int
) -> None:
    shown = plan(width, height, Strips(56, 14, ratio, overlap, most))
    sources = [sheet.source for sheet in shown.sheets]
    if len(sources) > 1:
        assert sources[0] == (0, 0, width, height)
        sources = sources[1:]
    axis = 0 if width >= height else 1
    assert len(sources) <= most
    assert sources[0][axis] == 0
    assert sources[-1][axis + 2] == max(width, height)
    for one, next_one in itertools.pairwise(sources):
        length = one[axis + 2] - one[axis]
        assert one[axis + 2] - next_one[axis] >= int(overlap * length) - 1
        assert one[axis + 2] >= next_one[axis]


def test_a_strip_is_read_at_a_size_that_a_letterbox_loses() -> None:
    letterbox, strips = plan(4000, 320, BOX), plan(4000, 320, STRIPS)
    assert letterbox.scale_y < 0.09
    assert min(sheet.scale_y for sheet in strips.sheets[1:]) > 0.8
    assert strips.detail[0] > 0.8
    assert letterbox.detail[0] < 0.09
    assert strips.grid == (1, 12)


def test_a_map_without_tokens_shows_nothing() -> None:
    shown = plan(10_000, 1, LLAVA)
    assert shown.tokens == 576
    assert shown.detail[0] == pytest.approx(336 / 10_000)


def test_crops_are_cut_to_the_picture_and_shown_after_the_whole() -> None:
    shown = plan(1000, 500, replace(WHOLE, boxes=((-10, 100, 200, 200), (900, 0, 2000, 500))))
    assert [tuple(np.round(shown.source_of(n) or (), 6)) for n in range(3)] == [
        (0, 0, 1000, 500),
        (0, 100, 200, 200),
        (900, 0, 1000, 500),
    ]
    assert shown.tokens == 3 * 576
    corners = shown.from_original([[900, 0, 1000, 500]], 2)
    assert corners[0].tolist() == pytest.approx([134, 0, 201, 336])


@pytest.mark.parametrize(
    "box", [(1000, 0, 1200, 10), (5, 5, 5, 9), (9, 0, 3, 10), (math.nan, 0, 3, 3), (0, 0, math.inf, 3)]
)
def test_a_crop_of_nothing_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="crop") as raised:
        plan(1000, 500, replace(WHOLE, boxes=(box,)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "size", [(0, 5), (5, 0), (-1, 5), (5, -3), (2.0, 5), (5, "7"), (None, 1), (True, 4), (math.nan, 2)]
)
@pytest.mark.parametrize("policy", [SQUASH, LLAVA, QWEN, NAFLEX, STRIPS])
def test_sizes_that_no_picture_has(size: tuple[Any, Any], policy: Policy) -> None:
    with pytest.raises(ValueError, match="whole sides of at least one pixel") as raised:
        plan(*size, policy)
    assert "\n" not in str(raised.value)


def test_sizes_may_be_of_numpy() -> None:
    assert plan(np.int64(640), np.int32(480), LLAVA).tokens == 2340  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy",
    [
        replace(SQUASH, width=3),
        replace(SQUASH, token_side=0),
        replace(BOX, height=224),
        replace(BOX, anchor="corner"),
        replace(LLAVA, grids=()),
        replace(LLAVA, grids=((0, 2),)),
        replace(LLAVA, tile=10),
        replace(LLAVA, most_maps=0),
        replace(INTERNVL, least_tiles=13),
        replace(QWEN, most_pixels=700, least_pixels=10),
        replace(QWEN, most_pixels=784, least_pixels=785),
        replace(QWEN, longest_ratio=0.5),
        replace(NAFLEX, most_patches=0),
        replace(NANO, longest=2000),
        replace(STRIPS, overlap=0.5),
        replace(STRIPS, overlap=-0.1),
        replace(STRIPS, window_ratio=0.9),
        replace(STRIPS, most_windows=0),
    ],
)
def test_policies_that_contradict_themselves(policy: Policy) -> None:
    with pytest.raises(ValueError, match=type(policy).__name__) as raised:
        plan(640, 480, policy)
    assert "\n" not in str(raised.value)


def test_coordinates_of_another_shape_or_view_are_refused() -> None:
    shown = plan(640, 480, SQUASH)
    with pytest.raises(ValueError, match="expected"):
        shown.to_original([1, 2])
    with pytest.raises(ValueError, match="view 1 of a plan with 1"):
        shown.from_original([[1, 2]], 1)


def test_pinpoints_are_read_in_the_order_of_their_code() -> None:
    pairs = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    assert grids_from_pinpoints(pairs, 336, "width_height") == LLAVA_NEXT_GRIDS
    assert grids_from_pinpoints(pairs, 336, "height_width")[0] == (2, 1)
    with pytest.raises(ValueError, match="multiples of the tile"):
        grids_from_pinpoints([[336, 500]], 336, "width_height")


def test_the_choice_follows_shape_and_budget() -> None:
    allowed = [BOX, LLAVA, STRIPS]
    small = choose(300, 300, 5000, allowed)
    assert small.policy == BOX  # nothing to gain from tiles
    assert choose(1000, 1000, 5000, allowed).policy == LLAVA
    assert choose(4000, 300, 8000, allowed).policy == STRIPS
    tight = choose(1000, 1000, 700, allowed)
    assert tight.policy == BOX
    assert "1 did not fit into 700 tokens" in tight.describe()
    assert "nearly as well" in small.reason


def test_the_choice_prefers_proportions() -> None:
    chosen = choose(5000, 100, 4000, [INTERNVL, STRIPS])
    assert isinstance(chosen.policy, Strips)
    assert "bend" in chosen.reason
    alone = choose(5000, 100, 4000, [INTERNVL])
    assert "every one that fits bends the picture, this one 4.2 to 1" in alone.reason


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(0, 4000))
def test_a_choice_never_exceeds_its_budget(width: int, height: int, budget: int) -> None:
    allowed = [LLAVA, INTERNVL, STRIPS, NANO, SQUASH, BOX]
    if budget >= 140:  # the squash of 224 x 160
        assert choose(width, height, budget, allowed).tokens <= budget
    else:
        with pytest.raises(SensoriumError, match=f"does not fit into {budget} tokens") as raised:
            choose(width, height, budget, [SQUASH, BOX, LLAVA])
        assert "\n" not in str(raised.value)
    if budget >= 1:
        assert choose(width, height, budget, [QWEN, NAFLEX]).tokens <= budget


def test_a_choice_needs_something_to_choose() -> None:
    with pytest.raises(ValueError, match="at least one policy"):
        choose(10, 10, 100, [])
