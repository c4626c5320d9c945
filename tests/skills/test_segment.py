"""Cutting: prompts in the original's pixels to masks of the original, as the reference draws them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.skills.segment.masks import from_rle, overlap, parents
from sensorium.skills.segment.prompts import Prompt
from sensorium.skills.segment.segmenter import Segmenter, load

SIZES = [
    (640, 427),
    (427, 640),
    (1000, 1000),
    (160, 160),
    (37, 300),
    (301, 33),
    (1, 1),
    (2000, 30),
    (97, 61),
    (5, 160),
]


def folder_of(tmp: Path) -> tuple[Path, Any]:
    """A tiny SAM as transformers writes it, with its preparation."""
    import sam_references as references

    reference = references.transformers_sam()
    reference.save_pretrained(tmp)
    preparation = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "SamImageProcessor",
        "image_std": [0.229, 0.224, 0.225],
        "mask_pad_size": {"height": 40, "width": 40},
        "mask_size": {"longest_edge": 40},
        "pad_size": {"height": 160, "width": 160},
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": 160},
    }
    (tmp / "preprocessor_config.json").write_text(json.dumps(preparation))
    return tmp, reference


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(home))
        patch.setenv("SENSORIUM_ENGINE", "openvino-f32")
        folder, reference = folder_of(tmp_path_factory.mktemp("sam"))
        yield load(str(folder)), reference, folder


def picture(width: int, height: int) -> Image.Image:
    """Colours that change from place to place."""
    rng = np.random.default_rng(width * 7919 + height)
    small = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@torch.no_grad()
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_masks_are_the_reference_s_pixel_for_pixel(model: Any, width: int, height: int) -> None:
    from transformers import SamImageProcessorPil

    segmenter, reference, folder = model
    image = picture(width, height)
    processor = SamImageProcessorPil.from_pretrained(folder)
    inputs = processor(image, return_tensors="pt")
    x, y = width * 0.4, height * 0.7
    reshaped = inputs["reshaped_input_sizes"][0].tolist()
    scale = reshaped[1] / width, reshaped[0] / height
    theirs = reference(
        pixel_values=inputs["pixel_values"], input_points=torch.tensor([[[[x * scale[0], y * scale[1]]]]])
    )
    drawn = processor.post_process_masks(
        theirs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )[0][0].numpy()
    cut = segmenter.cut(segmenter.embed(image), Prompt(points=((x, y, 1),)))
    assert len(cut.masks) == 3
    assert all(mask.bitmap.shape == (height, width) for mask in cut.masks)
    for expected in drawn:
        assert max(overlap(mask.bitmap, expected) for mask in cut.masks) == 1.0
    expected_qualities = sorted(theirs.iou_scores.flatten().tolist())
    assert sorted(mask.quality for mask in cut.masks) == pytest.approx(expected_qualities, abs=1e-4)
    assert cut.best.quality == max(mask.quality for mask in cut.masks)


def test_a_second_click_refines_and_a_box_is_not_ambiguous(model: Any) -> None:
    segmenter: Segmenter = model[0]
    embedding = segmenter.embed(picture(300, 200))
    prompt = Prompt(points=((50, 60, 1),))
    first = segmenter.cut(embedding, prompt)
    second = segmenter.cut(embedding, prompt.and_point(200, 150, on=False, memory=first.memory))
    assert len(second.masks) == 1
    assert overlap(second.best.bitmap, first.best.bitmap) < 1
    assert len(segmenter.cut(embedding, Prompt(box=(10, 10, 100, 90))).masks) == 1
    drawn = segmenter.cut(embedding, Prompt(mask=first.best.bitmap))
    assert len(drawn.masks) == 1


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt(), "nothing is pointed at"),
        (Prompt(points=((300, 20, 1),)), "the point 300,20 lies outside the picture, which is 300 x 200"),
        (Prompt(points=((-1, 20, 1),)), "outside"),
        (Prompt(points=((float("nan"), 20, 1),)), "outside"),
        (Prompt(points=((3, 20, 7),)), "not 7"),
        (Prompt(box=(50, 50, 50, 80)), "holds nothing"),
        (Prompt(box=(80, 50, 50, 80)), "left,top,right,bottom"),
        (Prompt(box=(400, 400, 500, 500)), "holds nothing"),
        (Prompt(mask=np.ones((20, 30), bool)), "the mask has 30 x 20 pixels, the picture 300 x 200"),
        (Prompt(mask=np.zeros((200, 300), bool)), "empty"),
    ],
)
def test_a_prompt_that_cannot_be_meant_is_told_in_one_line(model: Any, prompt: Prompt, said: str) -> None:
    segmenter: Segmenter = model[0]
    embedding = segmenter.embed(picture(300, 200))
    with pytest.raises(SensoriumError, match=said) as told:
        segmenter.cut(embedding, prompt)
    assert "\n" not in str(told.value)


def test_a_box_beyond_the_edge_is_cut_at_it(model: Any) -> None:
    segmenter: Segmenter = model[0]
    embedding = segmenter.embed(picture(300, 200))
    beyond = segmenter.cut(embedding, Prompt(box=(-50, 20, 900, 190)))
    inside = segmenter.cut(embedding, Prompt(box=(0, 20, 300, 190)))
    assert overlap(beyond.best.bitmap, inside.best.bitmap) == 1


def test_the_same_picture_is_looked_at_once_even_by_another_program(model: Any) -> None:
    segmenter, _, folder = model
    image = picture(321, 200)
    first = segmenter.embed(image)
    assert segmenter.embed(image) is first
    other = load(str(folder))
    again = other.embed(image)
    assert "encode" not in other.engines()
    assert np.abs(again.content - first.content).max() <= np.abs(first.content).max() * 2**-10


def test_a_cut_out_keeps_the_picture_and_the_alpha_it_had(model: Any) -> None:
    segmenter: Segmenter = model[0]
    image = picture(300, 200).convert("RGBA")
    image.putalpha(200)
    cut = segmenter.cut(segmenter.embed(image.convert("RGB")), Prompt(points=((50, 60, 1),)))
    whole = cut.best.cut_out(image, cropped=False)
    alpha = np.asarray(whole.getchannel("A"))
    assert whole.size == image.size
    assert np.array_equal(np.asarray(whole)[..., :3], np.asarray(image)[..., :3])
    assert alpha.max() <= 200
    assert ((alpha >= 100) == cut.best.bitmap).mean() > 0.98
    with pytest.raises(SensoriumError, match="the mask is 300 x 200 pixels, the picture 30 x 20"):
        cut.best.cut_out(image.resize((30, 20)))


def test_masks_survive_their_run_lengths(model: Any) -> None:
    segmenter: Segmenter = model[0]
    cut = segmenter.cut(segmenter.embed(picture(97, 61)), Prompt(points=((50, 30, 1),)))
    for mask in cut.masks:
        assert np.array_equal(from_rle(json.loads(json.dumps(mask.rle()))), mask.bitmap)
    for broken in (
        {},
        {"size": [3], "counts": "a"},
        {"size": [10**6, 10**6], "counts": "a"},
        {"size": [2, 2]},
    ):
        with pytest.raises(SensoriumError, match="run-length"):
            from_rle(broken)


def test_candidates_are_told_apart_by_what_holds_what() -> None:
    from sensorium.skills.segment.masks import levelled, mask_of

    def square(side: int, quality: float) -> Any:
        bitmap = np.zeros((100, 100), bool)
        bitmap[:side, :side] = True
        return mask_of(bitmap, quality, 1.0)

    def levels(*candidates: tuple[int, float]) -> list[str | None]:
        return [mask.level for mask in levelled([square(*candidate) for candidate in candidates])]

    assert levels((90, 0.9), (20, 0.8), (50, 0.7)) == ["part", "object", "whole"]
    assert levels((50, 0.9), (51, 0.8), (20, 0.7)) == ["part", "object", "object"]
    assert levels((50, 0.9), (51, 0.8), (90, 0.7)) == ["object", "object", "whole"]
    assert parents([square(90, 1), square(20, 1), square(50, 1), square(50, 1)]) == [None, 3, 0, 2]


def test_everything_finds_each_thing_once_within_the_picture(model: Any) -> None:
    from sensorium.skills.segment.everything import Settings, everything, parts

    segmenter: Segmenter = model[0]
    anything = Settings(side=3, quality=-1e9, stability=0.0, crops=1, smallest=9)
    masks = everything(segmenter, picture(300, 200), anything)
    assert masks
    assert all(mask.bitmap.shape == (200, 300) and mask.area for mask in masks)
    assert [mask.quality for mask in masks] == sorted((mask.quality for mask in masks), reverse=True)
    assert everything(segmenter, picture(300, 200), Settings(side=3, quality=1e9)) == []
    covered = np.zeros((200, 300), bool)
    for layer, (left, top, right, bottom) in parts(300, 200, anything):
        if layer:
            covered[top:bottom, left:right] = True
    assert covered.all()
    with pytest.raises(SensoriumError, match="1 to 128"):
        Settings(side=0)


def test_another_kind_of_model_cuts_nothing() -> None:
    with pytest.raises(SensoriumError, match="cuts nothing out"):
        load("sensorium/mini-clip")
