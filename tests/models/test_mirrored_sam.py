"""mini-sam looks twice where an answer is refined. Masks have no specks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sensorium.models.efficientnet import EfficientNetConfig, Stage
from sensorium.models.sam import mirrored
from sensorium.models.sam.agreement import expected_overlaps
from sensorium.models.sam.prompt_encoder import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, PADDING, TOP_LEFT
from sensorium.models.sam.sam import Sam
from sensorium.models.sam.tidy import tidied
from sensorium.train.recipes.mini_sam import ARCHITECTURE

SIDE = 64


@pytest.fixture(scope="module")
def network() -> Sam:
    torch.manual_seed(0)
    trunk = EfficientNetConfig(8, tuple(Stage(3, s, 1, 8, 1) for s in (1, 2, 2, 2, 1, 2, 1)), 16, 4)
    vision = replace(ARCHITECTURE.vision, image_size=SIDE, trunk=trunk)
    return Sam(replace(ARCHITECTURE, vision=vision)).eval()


PROMPTS = [
    ([[10.0, 20.0], [0.0, 0.0]], [FOREGROUND, PADDING]),
    ([[10.0, 20.0], [50.0, 7.0]], [FOREGROUND, BACKGROUND]),
    ([[5.0, 8.0], [40.0, 60.0]], [TOP_LEFT, BOTTOM_RIGHT]),
    ([[30.0, 30.0], [5.0, 8.0], [40.0, 60.0]], [FOREGROUND, TOP_LEFT, BOTTOM_RIGHT]),
]


@torch.no_grad()
@pytest.mark.parametrize(("places", "meaning"), PROMPTS)
def test_a_second_look_at_the_mirror_image_corrects_the_first(
    network: Sam, places: list[list[float]], meaning: list[int]
) -> None:
    points, labels = torch.tensor([places]), torch.tensor([meaning])
    pixels = torch.randn(1, 3, SIDE, SIDE)
    masks = torch.randn(1, 1, SIDE // 2, SIDE // 2)
    answer = mirrored.decode(network, mirrored.embed(network, pixels), points, labels, masks)
    first, _ = network.decode(network.look(network.embed(pixels), masks), points, labels)
    mirror_image = network.embed(torch.flip(pixels, [-1]))
    before = torch.flip(first[:, :1], [-1])
    across = points.clone()
    across[..., 0] = SIDE - 1 - points[..., 0]
    if BOTTOM_RIGHT in meaning:  # the corners of a box stay top left and bottom right
        across[0, -2:, 0] = across[0, -2:, 0].flip(0)
    second, quality = network.decode(network.look(mirror_image, before), across, labels)
    assert torch.allclose(answer[0], torch.flip(second, [-1]), atol=1e-4)
    assert torch.allclose(answer[1], quality, atol=1e-5)


@torch.no_grad()
def test_a_first_answer_takes_one_look(network: Sam) -> None:
    points, labels = torch.tensor([PROMPTS[0][0]]), torch.tensor([PROMPTS[0][1]])
    pixels = torch.randn(1, 3, SIDE, SIDE)
    answer = mirrored.decode(network, mirrored.embed(network, pixels), points, labels)
    once = network.decode(network.look(network.embed(pixels)), points, labels)
    assert torch.equal(answer[0], once[0])
    assert torch.equal(answer[1], once[1])


def test_a_box_stays_a_box_in_the_mirror() -> None:
    points = torch.tensor([[[5.0, 8.0], [40.0, 60.0]]])
    labels = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]])
    assert mirrored.mirror(points, labels, 64).tolist() == [[[23.0, 8.0], [58.0, 60.0]]]


def test_specks_go_unless_somebody_clicked_there() -> None:
    logits = np.full((40, 40), -2.0, np.float32)
    logits[5:25, 5:25] = 3.0
    logits[30, 30] = 1.0  # an island
    logits[10, 10] = -1.0  # a hole
    logits[18:21, 18:21] = -1.0
    logits[19, 19] = 1.0  # an island in a hole
    nowhere = np.zeros((1, 2), np.float32), np.array([PADDING])
    clean = tidied(logits, *nowhere)
    assert clean[30, 30] == -1.0
    assert clean[10, 10] == 1.0
    assert (clean > 0).sum() == 400
    clicks = np.array([[30.4, 30.2], [10.5, 10.5], [18.5, 18.5], [19.5, 19.5]], np.float32)
    kept = tidied(logits, clicks, np.array([FOREGROUND, BACKGROUND, BACKGROUND, FOREGROUND]))
    assert np.array_equal(kept, logits)
    assert np.array_equal(tidied(np.full((8, 8), -1.0, np.float32), *nowhere), np.full((8, 8), -1.0))


def test_where_candidates_differ_little_is_expected_of_each() -> None:
    whole = np.zeros((3, 20, 20), np.bool_)
    whole[:, 5:15, 5:15] = True
    sure = np.ones(3)
    assert expected_overlaps(whole, sure).tolist() == pytest.approx([1, 1, 1])
    assert expected_overlaps(whole, np.array([1.0, 0.5, 0.0])).tolist() == pytest.approx([1, 0.5, 0])
    part = whole.copy()
    part[2] = False
    part[2, 5:10, 5:10] = True  # a quarter of the others
    assert expected_overlaps(part, sure).tolist() == pytest.approx([0.75, 0.75, 0.5])
    assert expected_overlaps(np.zeros((3, 20, 20), np.bool_), sure).tolist() == pytest.approx([1, 1, 1])
