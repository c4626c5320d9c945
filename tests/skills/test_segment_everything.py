"""Everything mode filters before it draws: the result is what drawing first would have given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

import tiny_sam
from sensorium.models.sam.tidy import tidied
from sensorium.skills.segment.everything import Settings, everything, grid
from sensorium.skills.segment.masks import Geometry, mask_of, overlap, stability_of
from sensorium.skills.segment.segmenter import TOGETHER, Segmenter, scattered

SIDE = 6


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("SENSORIUM_ENGINE", "openvino-f32")
        yield tiny_sam.segmenter(tmp_path_factory.mktemp("model") / "tiny")


def picture() -> Image.Image:
    small = np.random.default_rng(3).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((230, 140), Image.Resampling.BICUBIC)


def test_masks_are_those_of_each_click_that_are_good_enough(segmenter: Segmenter) -> None:
    assert segmenter.is_small, "specks are taken away"
    embedding = segmenter.embed(picture())
    geometry = embedding.geometry
    clicks = grid(SIDE, *geometry.scaled)
    assert len(clicks) > TOGETHER, "several batches are needed"
    logits, quality = segmenter.decode(embedding, *scattered(clicks))
    logits, quality = logits[:, 1:].reshape(-1, *logits.shape[2:]), quality[:, 1:].ravel()
    enough = float(np.quantile(quality, 0.5))
    stable = stability_of(logits)
    steady = float(np.quantile(stable[quality >= enough], 0.3))
    expected = [
        (float(quality[i]), bitmap)
        for i in np.flatnonzero((quality >= enough) & (stable >= steady))
        if (bitmap := geometry.spread(tidied(logits[i])) > 0).any()
    ]
    assert len(expected) > 5
    found = everything(segmenter, picture(), Settings(SIDE, enough, steady, same=1.0))
    assert len(found) == len(expected)
    for mask, (best, bitmap) in zip(found, sorted(expected, key=lambda one: -one[0]), strict=True):
        assert mask.quality == pytest.approx(best, abs=1e-5)
        assert overlap(mask.bitmap, bitmap) > 0.99


def test_of_boxes_that_overlap_the_better_mask_stays(segmenter: Segmenter) -> None:
    anything = Settings(SIDE, quality=-1e9, stability=0.0, same=1.0)
    found = everything(segmenter, picture(), anything)
    fewer = everything(segmenter, picture(), Settings(SIDE, -1e9, 0.0, same=0.5))
    assert 0 < len(fewer) < len(found)
    assert fewer[0].quality == found[0].quality
    for i, mask in enumerate(fewer):
        for other in fewer[:i]:
            assert overlap_of_boxes(mask.box, other.box) <= 0.5


def test_masks_do_not_keep_the_answers_to_other_clicks_in_memory(segmenter: Segmenter) -> None:
    for mask in everything(segmenter, picture(), Settings(2, -1e9, 0.0)):
        assert mask.softness is not None
        assert mask.softness[1].base is None


@pytest.mark.parametrize("size", [(230, 140), (140, 230), (33, 300), (1000, 7), (64, 64)])
def test_a_box_of_logits_holds_the_drawn_mask_to_a_cell(size: tuple[int, int]) -> None:
    scale = 64 / max(size)
    scaled = tuple(max(1, int(side * scale + 0.5)) for side in size)
    geometry = Geometry(size, (scaled[0], scaled[1]), 64, 32)
    for seed in range(4):
        rough = np.random.default_rng(seed).standard_normal((32, 32)).astype(np.float32)
        logits = np.asarray(Image.fromarray(rough).resize((32, 32), box=(8, 8, 14, 14)), np.float32).copy()
        drawn, box = mask_of(geometry.spread(logits) > 0, 1.0, 1.0), geometry.box_of(logits)
        if box is None:
            assert drawn.area == 0
            continue
        cells = [2 * side / inside for side, inside in zip(size, scaled, strict=True)] * 2
        for exact, rough_side, cell in zip(drawn.box, box, cells, strict=True):
            assert abs(exact - rough_side) <= 2 * cell + 1
    assert geometry.box_of(np.full((32, 32), -1, np.float32)) is None


def overlap_of_boxes(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    across = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return across * down / (sum(areas) - across * down)
