"""The plan's arithmetic and order of tokens equal those of transformers, over thousands of sizes."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel, unpad_image
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

from sensorium.media.resizing.plan import ResizePlan
from sensorium.media.resizing.planning import plan
from sensorium.media.resizing.policies import (
    AnyresTiles,
    InternVlTiles,
    NaFlex,
    Native,
    SplitLongest,
    grids_from_pinpoints,
)

NEXT_PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
ONE_PINPOINTS = [[384 * first, 384 * second] for first in range(1, 7) for second in range(1, 7)]
NEXT = AnyresTiles(336, 14, grids_from_pinpoints(NEXT_PINPOINTS, 336, "height_width"), "transformers", None)
ONE = AnyresTiles(384, 14, grids_from_pinpoints(ONE_PINPOINTS, 384, "height_width"), "transformers", 9)


def sizes(count: int, longest: int, seed: int) -> list[tuple[int, int]]:
    """Pictures of all shapes, with the troublesome ones first."""
    known = [(1, 1), (1, 10_000), (10_000, 1), (55, 176), (88, 99), (235, 1128), (31, 639), (5600, 28)]
    random = np.exp(np.random.default_rng(seed).uniform(0, math.log(longest), (count, 2)))
    return known + [(width, height) for width, height in random.astype(int).tolist()]


def count(processor: type, policy: AnyresTiles, pinpoints: list[list[int]], size: tuple[int, int]) -> int:
    """What transformers' processor writes as placeholders, without a tokenizer."""
    side = policy.tile // policy.token_side
    shell = object.__new__(processor)
    shell.image_processor = SimpleNamespace(image_grid_pinpoints=pinpoints)
    shell.patch_size = policy.token_side
    shell.num_additional_image_tokens = 0
    shell.num_image_tokens = side**2
    shell.vision_aspect_ratio = f"anyres_max_{policy.most_maps}"
    return shell._get_number_of_features(size[1], size[0], policy.tile, policy.tile)


@pytest.mark.parametrize(
    ("processor", "policy", "pinpoints"),
    [(LlavaNextProcessor, NEXT, NEXT_PINPOINTS), (LlavaOnevisionProcessor, ONE, ONE_PINPOINTS)],
)
def test_anyres_counts(processor: type, policy: AnyresTiles, pinpoints: list[list[int]]) -> None:
    for width, height in sizes(1500, 8000, 1):
        shown = plan(width, height, policy)
        assert shown.tokens == count(processor, policy, pinpoints, (width, height)), (width, height)
        best = select_best_resolution((height, width), pinpoints)
        assert (shown.sheets[1].height, shown.sheets[1].width) == tuple(best)


def test_anyres_pictures_lie_where_the_reference_puts_them() -> None:
    for width, height in sizes(300, 2000, 2):
        sheet = plan(width, height, NEXT).sheets[1]
        new_height, new_width = get_patch_output_size(
            np.broadcast_to(np.uint8(0), (3, height, width)), (sheet.height, sheet.width), "channels_first"
        )
        assert (sheet.picture.height, sheet.picture.width) == (new_height, new_width)
        assert sheet.padding == (
            (sheet.width - new_width) // 2,
            (sheet.height - new_height) // 2,
            -(-(sheet.width - new_width) // 2),
            -(-(sheet.height - new_height) // 2),
        )


def test_the_original_rounding_is_that_of_the_authors_formula() -> None:
    policy = AnyresTiles(336, 14, ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3)), "original", None)
    different = 0
    for width in range(40, 260):
        for height in (55, 99, 176, 131, 1128):
            shown = plan(width, height, policy)
            rows, columns = shown.grid[0] * 24, shown.grid[1] * 24
            if width / height > columns / rows:
                rows -= (rows - int(height * (columns / width))) // 2 * 2
            else:
                columns -= (columns - int(width * (rows / height))) // 2 * 2
            assert shown.tokens == 576 + rows * (columns + 1)
            other = unpad_image(torch.empty(1, shown.grid[0] * 24, shown.grid[1] * 24), (height, width))
            different += shown.tokens != 576 + other.shape[1] * (other.shape[2] + 1)
    assert different >= 2  # the sizes at which the roundings are known to differ


def arranged(shown: ResizePlan) -> list[int]:
    """The plan's order of tokens: number of the feature, -1 for a newline. Only of maps not shrunk."""
    tokens: list[int] = []
    for number, block in enumerate(shown.blocks):
        for row in shown.feature_index(number).tolist():
            tokens += [*row, -1] if block.newline else row
    return tokens


def packed(model: type, policy: AnyresTiles, pinpoints: list[list[int]], shown: ResizePlan) -> torch.Tensor:
    """Tokens of transformers' network when every feature is its own number, newlines -1: [tokens]."""
    side = policy.tile // policy.token_side
    vision = SimpleNamespace(image_size=policy.tile, patch_size=policy.token_side)
    shell = SimpleNamespace(config=SimpleNamespace(vision_config=vision, image_grid_pinpoints=pinpoints))
    numbers = torch.arange(len(shown.views) * side**2, dtype=torch.float64).view(len(shown.views), side**2, 1)
    size = torch.tensor([[shown.height, shown.width]])
    newline = torch.tensor([-1.0], dtype=torch.float64)
    if model is LlavaNextModel:
        features, _ = model.pack_image_features(shell, [numbers], size, "full", image_newline=newline)
    else:
        features, _ = model.pack_image_features(
            shell,
            [numbers],
            size,
            image_newline=newline,
            vision_aspect_ratio=f"anyres_max_{policy.most_maps}",
        )
    return features[0][:, 0]


@pytest.mark.parametrize(
    ("model", "policy", "pinpoints"),
    [(LlavaNextModel, NEXT, NEXT_PINPOINTS), (LlavaOnevisionModel, ONE, ONE_PINPOINTS)],
)
def test_the_network_of_the_reference_yields_these_tokens(
    model: type, policy: AnyresTiles, pinpoints: list[list[int]]
) -> None:
    shrunk = 0
    for width, height in [*sizes(40, 3000, 3), (1920, 1080), (2300, 2100), (700, 2300)]:
        shown = plan(width, height, policy)
        reference = packed(model, policy, pinpoints, shown)
        assert len(reference) == shown.tokens, (width, height)
        block = shown.blocks[1]
        if shown.feature_index(1).shape == (block.height, block.width):
            assert reference.tolist() == arranged(shown), (width, height)
        else:
            shrunk += 1
            grid = torch.as_tensor(shown.feature_index(1), dtype=torch.float64)[None, None]
            small = torch.nn.functional.interpolate(grid, (block.height, block.width), mode="bilinear")[0, 0]
            rows = reference[shown.blocks[0].tokens :].view(block.height, block.width + 1)
            torch.testing.assert_close(rows[:, :-1], small)
            assert (rows[:, -1] == -1).all()
    assert shrunk or policy.most_maps is None


@pytest.mark.parametrize(("least", "most"), [(1, 12), (1, 6), (2, 9), (4, 4)])
def test_internvl_grids(least: int, most: int) -> None:
    for width, height in sizes(800, 6000, 4):
        shown = plan(width, height, InternVlTiles(448, 28, least, most, True))
        columns, rows = get_optimal_tiled_canvas((height, width), (448, 448), least, most)
        assert shown.grid == (rows, columns)
        tiles = columns * rows
        assert shown.tokens == 256 * (tiles + (tiles > 1))


@pytest.mark.parametrize(
    ("side", "least", "most"), [(28, 4, 1280), (28, 4, 16384), (32, 64, 300), (28, 4, 20)]
)
def test_smart_resize(side: int, least: int, most: int) -> None:
    policy = Native(side, least * side**2, most * side**2, 200, "soft", "transformers")
    compared = 0
    for width, height in sizes(2500, 12_000, 5):
        shown = plan(width, height, policy)
        if max(width, height) > 200 * min(width, height):
            assert len(shown.views) > 1 or max(width, height) <= side * most
            continue
        size = smart_resize(height, width, side, least * side**2, most * side**2)
        assert (shown.views[0].height, shown.views[0].width) == size
        assert shown.tokens == size[0] * size[1] // side**2
        compared += 1
    assert compared > 1500


@pytest.mark.parametrize(("patch", "most"), [(16, 256), (16, 1024), (14, 100), (16, 1)])
def test_naflex(patch: int, most: int) -> None:
    for width, height in sizes(500, 9000, 6):
        view = plan(width, height, NaFlex(patch, most)).views[0]
        size = get_image_size_for_max_num_patches(height, width, patch, most)
        assert (view.height, view.width) == size
        assert view.features <= most


@pytest.mark.parametrize("enlarge", [True, False])
def test_nanovlm_formula(enlarge: bool) -> None:
    for width, height in sizes(500, 5000, 7):
        long, short = max(width, height), min(width, height)
        target = 2048 if enlarge else min(2048, math.ceil(long / 512) * 512)
        other = max(512, math.ceil(short * (target / long) / 512) * 512)
        tiles = target // 512 * (other // 512)
        shown = plan(width, height, SplitLongest(512, 64, 2048, enlarge))
        assert shown.tokens == 64 * (tiles + (tiles > 1))
        assert shown.grid == (
            (other // 512, target // 512) if width >= height else (target // 512, other // 512)
        )
