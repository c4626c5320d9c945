"""Segment Anything against transformers, the original code and MobileSAM: the same numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import sam_references as r
from sensorium.errors import CheckpointError
from sensorium.models.sam.config import SamConfig, TinyVitConfig
from sensorium.models.sam.prompt_encoder import (
    BACKGROUND,
    BOTTOM_RIGHT,
    FOREGROUND,
    PADDING,
    TOP_LEFT,
)
from sensorium.models.sam.sam import Sam
from sensorium.weights.load import FAMILIES, Family, empty, fill
from sensorium.weights.maps import sam as maps
from sensorium.weights.rules import original, renamed

BOUND = 1e-5
POINTS = torch.tensor(
    [[[30.0, 40.0], [12.0, 8.0]], [[101.0, 83.0], [90.0, 20.5]], [[3.0, 150.0], [0.0, 0.0]]]
)
LABELS = torch.tensor([[FOREGROUND, BACKGROUND], [FOREGROUND, FOREGROUND], [BACKGROUND, FOREGROUND]])
BOXES = torch.tensor([[10.0, 12.0, 90.0, 140.0], [0.0, 0.0, 159.0, 159.0], [50.0, 60.0, 70.5, 61.0]])


def relative(ours: Tensor, theirs: Tensor) -> float:
    assert theirs.std() > 1e-3, "the reference says nothing"
    return float((ours - theirs).abs().max() / theirs.abs().max())


def loaded(family: Family, config: SamConfig, state: dict[str, Tensor]) -> Sam:
    network = empty(family, config)
    fill(network, state.items(), family.rules)
    assert isinstance(network, Sam)
    return network.eval()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Sam, dict[str, Tensor]]:
    """transformers' network, ours from the folder that it writes, and the content of that folder."""
    folder = tmp_path_factory.mktemp("sam")
    reference = r.transformers_sam()
    reference.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    raw = json.loads((folder / "config.json").read_text())
    return reference, loaded(FAMILIES["sam"], maps.read_config(raw), state), state


@pytest.fixture(scope="module")
def first() -> tuple[Any, Sam]:
    """The original code's network, and ours from its state."""
    reference = r.original_sam()
    state = reference.state_dict()
    config = maps.config_of({key: tuple(tensor.shape) for key, tensor in state.items()})
    return reference, loaded(FAMILIES["sam_original"], config, state)


def padded(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    count = points.shape[0]
    end = torch.zeros(count, 1, 2), torch.full((count, 1), PADDING)
    return torch.cat((points, end[0]), 1), torch.cat((labels, end[1]), 1)


def with_boxes(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    corners = torch.tensor([TOP_LEFT, BOTTOM_RIGHT]).expand(points.shape[0], -1)
    return torch.cat((points, BOXES.reshape(-1, 2, 2)), 1), torch.cat((labels, corners), 1)


@torch.no_grad()
def test_the_embedding_is_that_of_transformers(hub: Any) -> None:
    reference, ours, _ = hub
    assert relative(ours.embed(r.pixels()), reference.get_image_embeddings(r.pixels())) < BOUND


@torch.no_grad()
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_masks_are_those_of_transformers(hub: Any, single: bool, box: bool, mask: bool) -> None:
    reference, ours, _ = hub
    earlier = torch.randn(1, 1, 4 * r.GRID, 4 * r.GRID) if mask else None
    theirs = reference(
        pixel_values=r.pixels(),
        input_points=POINTS[None],
        input_labels=LABELS[None],
        input_boxes=BOXES[None] if box else None,
        input_masks=earlier,
        multimask_output=not single,
    )
    prompt = (with_boxes if box else padded)(POINTS, LABELS)
    logits, quality = ours(r.pixels(), *prompt, earlier, single=single)
    assert logits.shape == (3, 1 if single else 3, 4 * r.GRID, 4 * r.GRID)
    assert relative(logits, theirs.pred_masks[0]) < BOUND
    assert relative(quality, theirs.iou_scores[0]) < BOUND


@torch.no_grad()
@pytest.mark.parametrize("box", [False, True])
def test_masks_are_those_of_the_original(first: Any, box: bool) -> None:
    reference, ours = first
    embedding = reference.image_encoder(r.pixels())
    assert relative(ours.embed(r.pixels()), embedding) < BOUND
    earlier = torch.randn(3, 1, 4 * r.GRID, 4 * r.GRID)
    sparse, dense = reference.prompt_encoder((POINTS, LABELS), BOXES if box else None, earlier)
    masks, quality = reference.mask_decoder(
        embedding, reference.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=True
    )
    prompt = (with_boxes if box else padded)(POINTS, LABELS)
    logits, predicted = ours(r.pixels(), *prompt, earlier)
    assert relative(logits, masks) < BOUND
    assert relative(predicted, quality) < BOUND


@torch.no_grad()
def test_one_prompt_does_not_change_another(hub: Any) -> None:
    ours = hub[1]
    side = ours.look(ours.embed(r.pixels()))
    together = ours.answer(side, *padded(POINTS, LABELS))[0]
    for place in range(3):
        alone = ours.answer(side, *padded(POINTS[place : place + 1], LABELS[place : place + 1]))[0]
        assert relative(alone[0], together[place]) < BOUND


@torch.no_grad()
def test_attention_by_blocks_is_attention_at_once(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = hub[1]
    whole = ours.embed(r.pixels())
    monkeypatch.setattr("sensorium.models.sam.image_encoder._QUERIES", 3 * r.GRID)
    assert relative(ours.embed(r.pixels()), whole) < BOUND


@torch.no_grad()
def test_mobile_sam(first: Any) -> None:
    reference = r.mobile_sam()
    state = reference.state_dict()
    config = maps.config_of({key: tuple(tensor.shape) for key, tensor in state.items()})
    assert isinstance(config.vision, TinyVitConfig)
    ours = loaded(FAMILIES["sam_original"], config, state)
    assert relative(ours.embed(r.pixels(1024)), reference.image_encoder(r.pixels(1024))) < BOUND
    written = original(ours.state_dict(), maps.ORIGINAL_RULES)
    left_out = {key for key in state if "norm_head" in key or ".head." in key or "pixel_" in key}
    assert written.keys() == state.keys() - left_out
    assert all(torch.equal(written[key], state[key]) for key in written)
    raw = json.loads(json.dumps(maps.write_original_config(config)))
    assert maps.read_original_config(raw) == config


def test_what_is_written_is_what_transformers_writes(hub: Any) -> None:
    _, ours, state = hub
    written = original(ours.state_dict(), maps.RULES)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], state[key]) for key in state)
    assert maps.read_config(maps.write_config(ours.config)) == ours.config


@pytest.mark.parametrize("order", ["own name first", "second name first", "second name alone"])
def test_the_shared_positions_may_stand_under_either_name(hub: Any, order: str) -> None:
    _, ours, state = hub
    own, second = (
        "shared_image_embedding.positional_embedding",
        "prompt_encoder.shared_embedding.positional_embedding",
    )
    rest = {key: tensor for key, tensor in state.items() if key != own}
    files = {
        "own name first": {own: state[own], second: state[own], **rest},
        "second name first": {second: state[own], own: state[own], **rest},
        "second name alone": {second: state[own], **rest},
    }
    again = loaded(FAMILIES["sam"], ours.config, files[order])
    assert torch.equal(again.prompt_encoder.positions.frequencies, state[own])


@pytest.mark.parametrize(
    ("width", "depth", "heads", "blocks"),
    [
        (768, 12, 12, [2, 5, 8, 11]),
        (1024, 24, 16, [5, 11, 17, 23]),
        (1280, 32, 16, [7, 15, 23, 31]),
    ],
)
def test_published_sizes_fit_in_both_layouts(width: int, depth: int, heads: int, blocks: list[int]) -> None:
    from transformers import SamConfig as TheirConfig
    from transformers import SamModel

    vision = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "global_attn_indexes": blocks,
    }
    config = maps.read_config({"model_type": "sam", "vision_config": vision})
    expected = {key: tensor.shape for key, tensor in empty(FAMILIES["sam"], config).state_dict().items()}
    with torch.device("meta"):
        theirs = SamModel(TheirConfig(vision_config=vision)).state_dict()
    renamed(theirs.items(), maps.RULES, expected)

    r.import_originals()
    from segment_anything.build_sam import _build_sam

    with torch.device("meta"):
        state = _build_sam(width, depth, heads, blocks).state_dict()
    published = {key: tensor for key, tensor in state.items() if not key.startswith("pixel_")}
    renamed(published.items(), maps.ORIGINAL_RULES, expected)
    shapes = {key: tuple(tensor.shape) for key, tensor in published.items()}
    assert maps.config_of(shapes) == config


def test_a_foreign_file_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match="not a checkpoint of Segment Anything"):
        maps.config_of({"conv1.weight": (64, 3, 7, 7)})
    with pytest.raises(CheckpointError, match="160x80"):
        maps.read_config({"model_type": "sam", "vision_config": {"image_size": [80, 160]}})
