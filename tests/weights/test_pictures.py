"""A checkpoint's own files give transformers' pixels and as many tokens; nothing in them is guessed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from sensorium.errors import CheckpointError
from sensorium.media.resized import PictureSpec, carry_out, normalise, patchify_qwen
from sensorium.media.resizing.plan import ResizePlan
from sensorium.media.resizing.planning import plan
from sensorium.media.resizing.policies import AnyresTiles, CentreCrop, Letterbox, Native, Squash
from sensorium.weights.files import read_folder
from sensorium.weights.pictures import picture_fields, read_film_spec, read_picture_spec

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
STEPS: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
}
SQUARE = {"crop_size": {"height": 336, "width": 336}, "do_center_crop": True, "size": {"shortest_edge": 336}}
GRIDS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
# As the repositories on the hub have them.
LLAVA = STEPS | SQUARE | {"image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor"}
PADDED = STEPS | SQUARE | {"image_processor_type": "LlavaImageProcessor", "do_pad": True}
NEXT = (
    STEPS
    | SQUARE
    | {
        "aspect_ratio_setting": "anyres",
        "do_pad": True,
        "image_grid_pinpoints": GRIDS,
        "image_processor_type": "LlavaNextImageProcessor",
        "processor_class": "LlavaNextProcessor",
    }
)
SIGLIP = STEPS | {"image_processor_type": "SiglipImageProcessor", "size": {"height": 384, "width": 384}}
BLIP = STEPS | {"image_processor_type": "BlipImageProcessor", "size": {"height": 224, "width": 224}}
QWEN: dict[str, Any] = {  # without a filter, and sizes under their first names
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": MEAN,
    "image_std": STD,
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
SIZES = [
    (1, 1),
    (1, 90),
    (337, 335),
    (336, 336),
    (640, 481),
    (97, 211),
    (55, 176),
    (88, 99),
    (901, 77),
    (41, 639),
]


def tower(side: int, patch: int = 14) -> SimpleNamespace:
    return SimpleNamespace(vision=SimpleNamespace(image_size=(side, side), patch=patch), newline=False)


NEXT_CONFIG = SimpleNamespace(vision=tower(336).vision, newline=True)
QWEN_CONFIG = SimpleNamespace(vision=SimpleNamespace(patch=14, merge=2, frames=2))
OURS_CONFIG = SimpleNamespace(side=224, rows=14, tokens=196)


def written(folder: Path, raw: dict[str, Any], name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(raw), "utf-8")
    return folder


def noise(width: int, height: int) -> Image.Image:
    """A picture whose every pixel differs from its neighbours."""
    pixels = np.random.default_rng(width * 10_007 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def shown(image: Image.Image, spec: PictureSpec) -> tuple[ResizePlan, np.ndarray]:
    """The plan and what the network takes: [views, 3, h, w]."""
    made = plan(*image.size, spec.policy)
    return made, np.stack([normalise(v, spec) for v in carry_out(image, made, spec.resample, spec.fill)])


def theirs(processor: type, raw: dict[str, Any]) -> Any:
    """transformers' processor made from the same file."""
    return processor.from_dict({key: value for key, value in raw.items() if not key.endswith("_class")})


@pytest.mark.parametrize(
    ("raw", "processor", "family", "config", "tokens"),
    [
        (LLAVA, CLIPImageProcessorPil, "llava", tower(336), 576),
        (PADDED, LlavaImageProcessorPil, "llava", tower(336), 576),
        (PADDED | {"do_pad": False}, LlavaImageProcessorPil, "llava", tower(336), 576),
        (SIGLIP, SiglipImageProcessorPil, "llava", tower(384), 729),
        (BLIP, BlipImageProcessorPil, "blip2", tower(224), 256),
    ],
    ids=["llava 1.5", "padded", "not padded", "siglip", "blip"],
)
def test_pictures_of_one_view(
    raw: dict[str, Any], processor: type, family: str, config: Any, tokens: int, tmp_path: Path
) -> None:
    spec = read_picture_spec(written(tmp_path, raw), family, config)
    reference = theirs(processor, raw)
    for size in SIZES:
        image = noise(*size)
        made, pixels = shown(image, spec)
        assert made.tokens == tokens
        assert np.array_equal(pixels, reference(image, return_tensors="np")["pixel_values"]), size


def places(images: Any, size: tuple[int, int]) -> int:
    """How many places transformers' processor of LLaVA-NeXT writes, without a tokenizer."""
    shell = object.__new__(LlavaNextProcessor)
    shell.image_processor, shell.patch_size, shell.num_additional_image_tokens = images, 14, 0
    return int(shell._get_number_of_features(size[1], size[0], 336, 336))


def test_tiles(tmp_path: Path) -> None:
    spec = read_picture_spec(written(tmp_path, NEXT), "llava", NEXT_CONFIG)
    # The hub's list read as (height, width): the first grid is one row of two tiles.
    grids = ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))
    assert spec.policy == AnyresTiles(336, 14, grids, "transformers", None)
    reference = theirs(LlavaNextImageProcessorPil, NEXT)
    for size in [*SIZES, (20, 639)]:
        image = noise(*size)
        made, pixels = shown(image, spec)
        assert np.array_equal(pixels, reference(image, return_tensors="np")["pixel_values"][0]), size
        assert made.tokens == places(reference, size)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {
            "size": {"shortest_edge": 4 * 784, "longest_edge": 90 * 784},
            "min_pixels": None,
            "max_pixels": None,
        },
    ],
    ids=["first names", "today's"],
)
def test_native(change: dict[str, Any], tmp_path: Path) -> None:
    raw = QWEN | change
    spec = read_picture_spec(written(tmp_path, raw), "qwen_vl", QWEN_CONFIG)
    reference = theirs(Qwen2VLImageProcessorPil, raw)
    for size in [*SIZES, (20, 639)]:
        image = noise(*size)
        made, pixels = shown(image, spec)
        patches, grid = patchify_qwen(pixels, 14, 2, 2)
        expected = reference(image, return_tensors="np")
        assert [grid] == [tuple(one) for one in expected["image_grid_thw"]]
        assert made.tokens == reference.get_number_of_image_patches(size[1], size[0]) // 4
        assert np.array_equal(patches, expected["pixel_values"]), size


@pytest.mark.parametrize(
    ("processor", "raw", "family", "config"),
    [
        (CLIPImageProcessorPil, LLAVA, "llava", tower(336)),
        (LlavaImageProcessorPil, PADDED, "llava", tower(336)),
        (LlavaNextImageProcessorPil, NEXT, "llava", NEXT_CONFIG),
        (BlipImageProcessorPil, BLIP, "blip2", tower(224)),
        (Qwen2VLImageProcessorPil, QWEN, "qwen_vl", QWEN_CONFIG),
    ],
)
def test_what_the_reference_writes_today(
    processor: type, raw: dict[str, Any], family: str, config: Any, tmp_path: Path
) -> None:
    spec = read_picture_spec(written(tmp_path, raw), family, config)
    theirs(processor, raw).save_pretrained(tmp_path)
    assert read_picture_spec(tmp_path, family, config) == spec
    nested = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    written(tmp_path, {"processor_class": "X", "image_processor": nested}, "processor_config.json")
    assert read_picture_spec(tmp_path, family, config) == spec


def test_the_names_of_the_first_years_and_of_fast_processors(tmp_path: Path) -> None:
    spec = read_picture_spec(written(tmp_path, LLAVA), "llava", tower(336))
    assert spec.policy == CentreCrop(336, 14)
    old = {key: value for key, value in LLAVA.items() if key != "image_processor_type"}
    old |= {"feature_extractor_type": "CLIPFeatureExtractor", "size": 336, "crop_size": 336}
    assert read_picture_spec(written(tmp_path, old), "llava", tower(336)) == spec
    fast = BLIP | {"image_processor_type": "BlipImageProcessorFast"}
    assert read_picture_spec(written(tmp_path, fast), "blip2", tower(224)).policy == Squash(224, 224, 14)


@pytest.mark.parametrize("pad_first", [False, True])
def test_ours_is_read_back_identically(pad_first: bool, tmp_path: Path) -> None:
    policy = Letterbox(224, 224, 16, "centre", pad_first)
    spec = PictureSpec(policy, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (124, 116, 104))
    folder = written(tmp_path, picture_fields(spec))
    assert read_picture_spec(folder, "mini_vlm", OURS_CONFIG) == spec
    for field in ("size", "token_side", "anchor", "pad_first", "fill", "resample", "image_mean", "image_std"):
        less = {key: value for key, value in picture_fields(spec).items() if key != field}
        with pytest.raises(CheckpointError, match=f"the field {field} is missing"):
            read_picture_spec(written(tmp_path, less), "mini_vlm", OURS_CONFIG)
    for change in ({"token_side": 8}, {"size": {"height": 256, "width": 256}}, {"fill": [0, 300, 0]}):
        with pytest.raises(CheckpointError):
            read_picture_spec(written(tmp_path, picture_fields(spec) | change), "mini_vlm", OURS_CONFIG)
    with pytest.raises(ValueError, match="only a letterbox is written"):
        picture_fields(replace(spec, policy=Squash(8, 8, 4)))


FAMILIES = {
    "llava": (LLAVA, "llava", tower(336)),
    "padded": (PADDED, "llava", tower(336)),
    "next": (NEXT, "llava", NEXT_CONFIG),
    "blip": (BLIP, "blip2", tower(224)),
    "qwen": (QWEN, "qwen_vl", QWEN_CONFIG),
}


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        *(
            (kind, field)
            for kind in FAMILIES
            for field in ("image_mean", "image_std", "image_processor_type")
        ),
        *((kind, field) for kind in ("llava", "padded", "next", "blip") for field in ("size", "resample")),
        ("padded", "do_pad"),
        ("next", "image_grid_pinpoints"),
        *(
            ("qwen", f)
            for f in ("patch_size", "merge_size", "temporal_patch_size", "min_pixels", "max_pixels")
        ),
    ],
)
def test_a_missing_field_is_named(kind: str, field: str, tmp_path: Path) -> None:
    raw, family, config = FAMILIES[kind]
    read_picture_spec(written(tmp_path, raw), family, config)
    less = {key: value for key, value in raw.items() if key != field}
    with pytest.raises(CheckpointError, match=f"the field {field}") as caught:
        read_picture_spec(written(tmp_path, less), family, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("llava", {"image_processor_type": "PixtralImageProcessor"}, "PixtralImageProcessor, where"),
        ("llava", {"do_rescale": False}, "must be true"),
        ("qwen", {"do_normalize": False}, "must be true"),
        ("llava", SQUARE | {"crop_size": 224}, "declared, the network takes 336 x 336"),
        ("llava", {"size": {"shortest_edge": 350}}, "only the middle square"),
        ("blip", {"size": {"height": 384, "width": 384}}, "384 x 384 pixels are declared"),
        ("next", LLAVA, "where this network needs LlavaNextImageProcessor"),
        ("next", {"image_grid_pinpoints": [[336, 500]]}, "multiples of the tile"),
        ("next", {"image_grid_pinpoints": [336]}, "pairs of sides"),
        ("next", {"image_grid_pinpoints": []}, "at least one pair"),
        ("qwen", {"patch_size": 16}, "patch_size is 16, the network has 14"),
        ("qwen", {"min_pixels": "few"}, "a number of pixels"),
        ("qwen", {"max_pixels": 100}, "most_pixels must hold"),
    ],
)
def test_contradictions_are_refused(kind: str, change: dict[str, Any], words: str, tmp_path: Path) -> None:
    raw, family, config = FAMILIES[kind]
    with pytest.raises(CheckpointError, match=words) as caught:
        read_picture_spec(written(tmp_path, raw | change), family, config)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_processor_and_a_family_that_sees_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"put preprocessor_config\.json there"):
        read_picture_spec(tmp_path, "llava", tower(336))
    with pytest.raises(CheckpointError, match="'qwen2' is shown no pictures"):
        read_picture_spec(written(tmp_path, LLAVA), "qwen2", None)


def test_a_model_is_another_one_when_its_pictures_are_prepared_otherwise(tmp_path: Path) -> None:
    written(tmp_path, {"model_type": "llava"}, "config.json")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    found = [
        read_folder(written(tmp_path, raw), "x").fingerprint
        for raw in (LLAVA, LLAVA, LLAVA | {"resample": 2})
    ]
    assert found[0] == found[1] != found[2]


def test_films_of_a_checkpoint_that_says_nothing_of_them(tmp_path: Path) -> None:
    spec = read_film_spec(written(tmp_path, QWEN), QWEN_CONFIG)
    policy = spec.frame.policy
    assert isinstance(policy, Native)
    assert (policy.least_pixels, policy.most_pixels) == (128 * 784, 768 * 784)
    assert (spec.per_second, spec.least_frames, spec.most_frames, spec.frames_in_patch) == (2, 4, 768, 2)
    told = [(4, 30.0), (25, 25.0), (300, 24.0), (5000, 30.0), (90_000, 12.5)]
    assert [spec.count(frames / rate, frames) for frames, rate in told] == [4, 4, 24, 332, 768]
    assert [spec.count(seconds, frames) for seconds, frames in ((0.04, 1), (0.1, 3), (1, 30))] == [1, 2, 4]


def test_frames_of_a_long_film_share_the_pixels(tmp_path: Path) -> None:
    spec = read_film_spec(written(tmp_path, QWEN), QWEN_CONFIG)
    assert spec.most_pixels == 90_316_800  # 90 % of 128,000 tokens of 28 x 28
    most = {frames: spec.shown(frames).policy.most_pixels for frames in (4, 24, 300, 332, 768, 100_000)}
    assert most == {4: 602_112, 24: 602_112, 300: 602_112, 332: 544_077, 768: 235_200, 100_000: 105_369}
    assert plan(1920, 1080, spec.shown(768).policy).tokens <= 300
    assert replace(spec.shown(4), policy=None) == replace(spec.frame, policy=None)


def test_films_of_a_checkpoint_that_does(tmp_path: Path) -> None:
    written(tmp_path, QWEN)
    own = {key: value for key, value in QWEN.items() if not key.endswith("_pixels")}
    own |= {"size": {"shortest_edge": 4 * 784, "longest_edge": 300 * 784}, "fps": 1, "max_frames": 64}
    nested = {"video_processor": own, "image_processor": QWEN}
    for raw, name in ((nested, "processor_config.json"), (own, "video_preprocessor_config.json")):
        spec = read_film_spec(written(tmp_path, raw, name), QWEN_CONFIG)
        assert (spec.per_second, spec.least_frames, spec.most_frames) == (1, 4, 64)
        assert spec.frame.policy == Native(28, 4 * 784, 300 * 784, 200.0, "soft", "transformers")
        (tmp_path / name).unlink()
    written(tmp_path, QWEN | {"fps": "two"}, "video_preprocessor_config.json")
    with pytest.raises(CheckpointError, match="fps is 'two'"):
        read_film_spec(tmp_path, QWEN_CONFIG)
