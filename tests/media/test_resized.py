"""Plans on real pixels: equal to transformers' Pillow processors, as many tokens as announced."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from sensorium.media.image import read_image
from sensorium.media.resized import PictureSpec, carry_out, normalise, patchify_naflex, patchify_qwen
from sensorium.media.resizing.planning import plan
from sensorium.media.resizing.policies import (
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

GRIDS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
ANYRES = AnyresTiles(28, 7, grids_from_pinpoints(GRIDS, 28, "height_width"), "transformers", None)
SMALL: list[Policy] = [
    Squash(24, 16, 8),
    Letterbox(32, 32, 8, "centre", True),
    Letterbox(32, 24, 8, "centre", False),
    Letterbox(32, 24, 8, "corner", False),
    ANYRES,
    InternVlTiles(16, 4, 1, 6, True),
    Native(8, 4 * 64, 40 * 64, 20, "hard", "original"),
    Native(8, 4 * 64, 40 * 64, 20, "hard", "transformers"),
    NaFlex(4, 30),
    SplitLongest(16, 4, 64, True),
    SplitLongest(16, 4, 64, False),
    Crops(16, 4, ((0, 0, 1, 1), (0.25, 0, 90, 70.5))),
    Strips(16, 4, 1.5, 0.2, 5),
]
SIZES = [(1, 1), (1, 300), (300, 1), (97, 61), (40, 90), (333, 57), (28, 28), (64, 64)]


def noise(width: int, height: int) -> Image.Image:
    """A picture whose every pixel differs from its neighbours."""
    pixels = np.random.default_rng(width * 10_007 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def raw(processor: type, **options: object) -> object:
    """The reference without its normalisation: bytes as floats."""
    return processor(do_rescale=False, do_normalize=False, **options)


def test_carrying_out_yields_the_tokens_of_the_plan() -> None:
    random = np.random.default_rng(1)
    sizes = np.exp(random.uniform(0, math.log(400), (40, 2))).astype(int).tolist()
    for width, height in [*SIZES, *map(tuple, sizes)]:
        image = noise(width, height)
        for policy in SMALL:
            shown = plan(width, height, policy)
            views = carry_out(image, shown, "bilinear")
            side = policy.patch if isinstance(policy, NaFlex) else policy.token_side
            assert all(view.dtype == np.uint8 and view.shape[2] == 3 for view in views)
            # The network: one feature a square, all in a row, looked up by the plan, newlines between rows.
            maps = [
                view[: view.shape[0] // side * side : side, : view.shape[1] // side * side : side]
                for view in views
            ]
            features = np.concatenate([item.reshape(-1, 3) for item in maps])
            tokens = 0
            for number, block in enumerate(shown.blocks):
                part = features[shown.feature_index(number)]
                assert part.shape == (block.height, block.width, 3)  # nothing is shrunk at these sizes
                tokens += part.shape[0] * part.shape[1] + (part.shape[0] if block.newline else 0)
            assert tokens == shown.tokens, (width, height, policy)


@pytest.mark.parametrize("size", [(97, 61), (61, 97), (30, 30), (200, 31), (33, 250), (1000, 400)])
def test_the_middle_square_has_clips_pixels(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    asked = {"do_rescale": False, "do_normalize": False, "do_convert_rgb": False}
    square = {"height": 28, "width": 28}
    processor = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=square, **asked)
    theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
    shown = plan(*size, CentreCrop(28, 7))
    [ours] = carry_out(image, shown, "bicubic")
    assert np.array_equal(ours, theirs)
    assert shown.tokens == 16
    middle = shown.to_original([[14, 14]])[0]
    assert np.abs(middle - np.array(size) / 2).max() < max(1, min(size) / 28)


def test_what_is_picture_and_what_is_padding() -> None:
    for width, height in SIZES:
        white = Image.new("RGB", (width, height), (255, 255, 255))
        for policy in SMALL:
            shown = plan(width, height, policy)
            pixels = carry_out(white, shown, "nearest", fill=(9, 20, 30))
            for number, view in enumerate(pixels):
                box = shown.picture_in(number)
                area = 0.0 if box is None else box.width * box.height
                painted = int((view == 255).all(2).sum())
                padded = int((view == (9, 20, 30)).all(2).sum())
                assert painted + padded == view.shape[0] * view.shape[1]
                # Whole pixels everywhere but where the padding comes first, whose edges have fractions.
                slack = (
                    1.01 * max(view.shape[:2]) if isinstance(policy, Letterbox) and policy.pad_first else 0
                )
                assert abs(painted - area) <= slack + 1e-6, (width, height, policy)


def test_a_dot_is_found_where_it_was() -> None:
    width, height = 90, 70
    for policy in [*SMALL, Native(8, 256, 400 * 64, 20, "hard", "original"), Strips(48, 4, 1.5, 0.2, 5)]:
        shown, found = plan(width, height, policy), 0
        for x, y in [(20, 30), (70, 12), (44, 60)]:
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[y - 4 : y + 4, x - 4 : x + 4] = 255
            for number, view in enumerate(carry_out(Image.fromarray(pixels), shown, "box")):
                expected = shown.from_original([[x - 4, y - 4, x + 4, y + 4]], number)[0]
                if (expected < 2).any() or (expected > np.tile(view.shape[1::-1], 2) - 2).any():
                    continue  # cut by the view's edge
                weights = view[..., 0].astype(float)
                rows, columns = np.indices(weights.shape) + 0.5
                centre = [(columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()]
                back = shown.to_original([centre], number)[0]
                scale = shown.sheets[shown.views[number].sheet]
                assert abs(back[0] - x) <= 0.5 / min(1, scale.scale_x) + 1e-6, (policy, number)
                assert abs(back[1] - y) <= 0.5 / min(1, scale.scale_y) + 1e-6, (policy, number)
                found += 1
        assert found, policy


@pytest.mark.parametrize("size", SIZES)
def test_llava_next_pixels(size: tuple[int, int]) -> None:
    reference = raw(
        LlavaNextImageProcessorPil,
        size={"shortest_edge": 28},
        crop_size={"height": 28, "width": 28},
        image_grid_pinpoints=GRIDS,
    )
    image = noise(*size)
    expected = np.asarray(reference(image)["pixel_values"][0])
    ours = np.stack(carry_out(image, plan(*size, ANYRES), "bicubic"))
    np.testing.assert_array_equal(ours.transpose(0, 3, 1, 2), expected)


@pytest.mark.parametrize("size", [*SIZES, (700, 300), (150, 3000)])
def test_llava_pads_first(size: tuple[int, int]) -> None:
    reference = raw(
        LlavaImageProcessorPil,
        do_pad=True,
        size={"height": 30, "width": 30},
        crop_size={"height": 30, "width": 30},
    )
    image = noise(*size)
    expected = np.asarray(reference(image)["pixel_values"][0])
    shown = plan(*size, Letterbox(30, 30, 5, "centre", True))
    (ours,) = carry_out(image, shown, "bicubic", fill=(122, 116, 104))
    np.testing.assert_array_equal(ours.transpose(2, 0, 1), expected)


@pytest.mark.parametrize("size", SIZES)
def test_internvl_pixels(size: tuple[int, int]) -> None:
    reference = raw(
        GotOcr2ImageProcessorPil, size={"height": 16, "width": 16}, crop_to_patches=True, max_patches=6
    )
    image = noise(*size)
    expected = np.asarray(reference(image)["pixel_values"])
    ours = np.stack(carry_out(image, plan(*size, InternVlTiles(16, 4, 1, 6, True)), "bicubic"))
    np.testing.assert_array_equal(ours.transpose(0, 3, 1, 2), expected)


@pytest.mark.parametrize("size", [(97, 61), (40, 90), (333, 57), (28, 28), (1, 1), (13, 600)])
def test_qwen_patches_and_grid(size: tuple[int, int]) -> None:
    reference = raw(Qwen2VLImageProcessorPil, min_pixels=4 * 784, max_pixels=30 * 784)
    image = noise(*size)
    expected = reference(image)
    shown = plan(*size, Native(28, 4 * 784, 30 * 784, 200, "soft", "transformers"))
    (pixels,) = carry_out(image, shown, "bicubic")
    patches, grid = patchify_qwen(pixels.transpose(2, 0, 1)[None], 14, 2, 2)
    np.testing.assert_array_equal(patches, np.asarray(expected["pixel_values"]))
    assert [list(grid)] == np.asarray(expected["image_grid_thw"]).tolist()
    assert len(patches) == 4 * shown.tokens
    assert patches.dtype == np.uint8


def test_qwen_frames() -> None:
    frames = np.random.default_rng(0).random((3, 3, 16, 24), np.float32)
    patches, grid = patchify_qwen(frames, 4, 2, 2)
    assert grid == (2, 4, 6)
    # Second time step, merged unit (1, 2), its patch (1, 0): rows 12-15, columns 16-19 of the third frame.
    chosen = patches[24 + (1 * 3 + 2) * 4 + 2].reshape(3, 2, 4, 4)
    np.testing.assert_array_equal(chosen[:, 0], frames[2, :, 12:16, 16:20])
    np.testing.assert_array_equal(chosen[:, 1], frames[2, :, 12:16, 16:20])  # the last frame, repeated
    first = patches[0].reshape(3, 2, 4, 4)
    np.testing.assert_array_equal(first[:, 1], frames[1, :, :4, :4])


@pytest.mark.parametrize("size", SIZES)
def test_naflex_patches_mask_and_shape(size: tuple[int, int]) -> None:
    reference = raw(Siglip2ImageProcessorPil, patch_size=4, max_num_patches=30)
    image = noise(*size)
    expected = reference(image)
    (pixels,) = carry_out(image, plan(*size, NaFlex(4, 30)), "bilinear")
    ours = patchify_naflex(pixels.transpose(2, 0, 1), 4, 30)
    np.testing.assert_array_equal(ours.patches, np.asarray(expected["pixel_values"][0]))
    np.testing.assert_array_equal(ours.mask, np.asarray(expected["pixel_attention_mask"][0]))
    assert ours.shape == tuple(expected["spatial_shapes"][0])


def test_pixels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 28"):
        patchify_qwen(np.zeros((1, 3, 28, 30)), 14, 2, 2)
    with pytest.raises(ValueError, match="t, c, h, w"):
        patchify_qwen(np.zeros((0, 3, 28, 28)), 14, 2, 2)
    with pytest.raises(ValueError, match="multiples of 4"):
        patchify_naflex(np.zeros((3, 4, 5)), 4, 30)
    with pytest.raises(ValueError, match="exceed the sequence of 3"):
        patchify_naflex(np.zeros((3, 8, 8)), 4, 3)
    with pytest.raises(ValueError, match="the plan is for 80 x 60"):
        carry_out(noise(60, 80), plan(80, 60, SMALL[0]), "bicubic")


def test_a_picture_decoded_at_reduced_size_follows_the_plan_of_the_file(tmp_path: Path) -> None:
    columns, rows = np.meshgrid(np.arange(1001), np.arange(603))
    picture = np.stack([columns % 256, rows % 256, (columns // 4 + rows // 4) % 256], -1) // 2 + 60
    smooth = Image.fromarray(picture.astype(np.uint8)).resize((250, 151)).resize((1001, 603))
    buffer = io.BytesIO()
    smooth.save(buffer, "jpeg", quality=95)
    path = tmp_path / "smooth.jpg"
    path.write_bytes(buffer.getvalue())
    full, reduced = read_image(path), read_image(path, smallest=100)
    assert reduced.width < 300
    for policy in (ANYRES, SMALL[6], SMALL[12], Letterbox(32, 32, 8, "centre", True)):
        shown = plan(1001, 603, policy)
        full_views, reduced_views = carry_out(full, shown, "bicubic"), carry_out(reduced, shown, "bicubic")
        for number, (one, other) in enumerate(zip(full_views, reduced_views, strict=True)):
            box = shown.picture_in(number)
            assert box is not None
            rows = slice(math.ceil(box.top) + 1, math.floor(box.bottom) - 1)
            columns = slice(math.ceil(box.left) + 1, math.floor(box.right) - 1)
            away = np.abs(one.astype(int) - other)[rows, columns]
            assert away.size
            assert away.mean() < 3


def test_grey_and_transparent_pictures_are_shown_in_colour() -> None:
    shown = plan(12, 9, SMALL[0])
    (grey,) = carry_out(Image.new("L", (12, 9), 77), shown, "bicubic")
    assert np.unique(grey).tolist() == [77]
    (clear,) = carry_out(Image.new("RGBA", (12, 9), (0, 0, 0, 0)), shown, "bicubic")
    assert np.unique(clear).tolist() == [255]


def test_normalised_views_equal_the_reference_in_every_byte() -> None:
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    spec = PictureSpec(Squash(192, 128, 16), "bicubic", mean, std, (0, 0, 0))
    image = noise(480, 320).resize((96, 64), Image.Resampling.NEAREST)
    view = carry_out(image, plan(*image.size, spec.policy), spec.resample)[0]
    assert len(np.unique(view)) == 256  # so that each value of a byte is compared
    reference = SiglipImageProcessorPil(
        size={"height": 128, "width": 192}, resample=3, image_mean=list(mean), image_std=list(std)
    )
    pixels = normalise(view, spec)
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels, reference(image, return_tensors="np")["pixel_values"][0])


@pytest.mark.parametrize("shape", [(4, 4), (3, 4, 4), (1, 4, 4, 3)])
def test_what_is_no_view_is_not_normalised(shape: tuple[int, ...]) -> None:
    spec = PictureSpec(Squash(4, 4, 4), "bicubic", (0.5,) * 3, (0.5,) * 3, (0, 0, 0))
    with pytest.raises(ValueError, match="a view must be uint8"):
        normalise(np.zeros(shape, np.uint8), spec)
    with pytest.raises(ValueError, match="a view must be uint8"):
        normalise(np.zeros((4, 4, 3), np.float32), spec)  # type: ignore[arg-type]
