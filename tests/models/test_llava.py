"""LLaVA-1.5 and LLaVA-NeXT against transformers: random weights, the same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from sensorium.media.resizing.plan import ResizePlan
from sensorium.media.resizing.planning import plan
from sensorium.media.resizing.policies import AnyresTiles, CentreCrop, grids_from_pinpoints
from sensorium.models.llava import Llava, Run
from sensorium.weights.maps import llava as maps
from sensorium.weights.rules import original, renamed
from tiny_decoders import randomized, relative

SIDE, PATCH = 28, 7
IMAGE = 98
CLIP: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": SIDE,
    "patch_size": PATCH,
    "projection_dim": 16,
}
TEXT: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
ANYRES = AnyresTiles(
    SIDE, PATCH, grids_from_pinpoints(PINPOINTS, SIDE, "height_width"), "transformers", most_maps=None
)
WHOLE = plan(50, 40, CentreCrop(SIDE, PATCH))


def llava(**change: Any) -> Any:
    config = transformers.LlavaConfig(
        **{
            "vision_config": dict(CLIP),
            "text_config": {"model_type": "llama", **TEXT},
            "image_token_index": IMAGE,
            "image_seq_length": 16,
            **change,
        }
    )
    return randomized(transformers.LlavaForConditionalGeneration(config))


def llava_next() -> Any:
    config = transformers.LlavaNextConfig(
        vision_config=dict(CLIP),
        text_config={"model_type": "llama", **TEXT},
        image_token_index=IMAGE,
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=16,
    )
    return randomized(transformers.LlavaNextForConditionalGeneration(config))


MAKERS = {
    "1.5": llava,
    "two layers, class token": lambda: llava(
        vision_feature_layer=[-2, -1],
        vision_feature_select_strategy="full",
        image_seq_length=17,
        multimodal_projector_bias=False,
    ),
    "siglip and qwen2": lambda: llava(
        vision_config={
            **{key: value for key, value in CLIP.items() if key != "projection_dim"},
            "model_type": "siglip_vision_model",
            "vision_use_head": False,
        },
        text_config={"model_type": "qwen2", **TEXT, "tie_word_embeddings": True},
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    ),
    "next": llava_next,
}


def raw(reference: Any) -> dict[str, Any]:
    return dict(json.loads(reference.config.to_json_string(use_diff=False)))


def filled(reference: Any, state: dict[str, Tensor] | None = None) -> Llava:
    network = Llava(maps.read_config(raw(reference)))
    given = {key: value.clone() for key, value in (state or reference.state_dict()).items()}
    expected = {key: value.shape for key, value in network.state_dict().items()}
    network.load_state_dict(renamed(given.items(), maps.RULES, expected))
    return network.eval()


def runs(shown: ResizePlan) -> list[Run]:
    """What a plan says of the order of tokens, as tensors."""
    return [
        Run(torch.from_numpy(shown.feature_index(number)), block.height, block.width, block.newline)
        for number, block in enumerate(shown.blocks)
    ]


def views(count: int) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", ["1.5", "two layers, class token", "siglip and qwen2"])
@torch.no_grad()
def test_pictures_among_words_are_read_as_the_reference_reads_them(kind: str) -> None:
    theirs = MAKERS[kind]()
    ours = filled(theirs)
    count = ours.config.tokens
    words = torch.randint(3, 90, (2, 6), generator=torch.Generator().manual_seed(1))
    ids = torch.cat((words[:, :2], torch.full((2, count), IMAGE), words[:, 2:]), dim=1)
    mask = torch.ones_like(ids)
    mask[0, :2] = 0  # padding on the left
    expected = theirs(pixel_values=views(2), input_ids=ids, attention_mask=mask).logits
    seen = ours.see(views(2))
    pictures = [ours.joined(seen[i : i + 1], runs(WHOLE)) for i in range(2)]
    hidden, _ = ours.decoder(ours.prompt(ids, pictures), mask=mask != 0)
    real = mask != 0
    assert relative(ours.decoder.logits(hidden)[real], expected[real]) < 1e-5


@pytest.mark.parametrize(
    ("size", "tokens"),
    [  # width, height; the tokens, worked out by hand: 16 of the whole, and rows * (columns + newline)
        ((56, 56), 16 + 8 * 9),
        ((80, 40), 16 + 4 * 9),
        ((30, 90), 16 + 12 * 5),
        ((100, 20), 16 + 2 * 13),
        ((21, 52), 16 + 8 * 5),
        ((300, 3), 16),
    ],
)
@torch.no_grad()
def test_tiles_are_put_together_as_the_reference_does(size: tuple[int, int], tokens: int) -> None:
    theirs = llava_next()
    ours = filled(theirs)
    shown = plan(*size, ANYRES)
    count = len(shown.views)
    found = theirs.model.get_image_features(
        pixel_values=views(count)[None], image_sizes=torch.tensor([size[::-1]])
    )
    got = ours.joined(ours.see(views(count)), runs(shown))
    assert len(got) == shown.tokens == tokens
    assert got.shape == found.pooler_output[0].shape
    assert relative(got, found.pooler_output[0]) < 1e-5


@torch.no_grad()
def test_pictures_of_all_shapes_have_the_reference_s_tokens_in_its_order() -> None:
    theirs = llava_next()
    ours = filled(theirs)
    sizes = np.exp(np.random.default_rng(7).uniform(0, np.log(4000), (150, 2))).astype(int).tolist()
    for width, height in sizes:
        shown = plan(width, height, ANYRES)
        features = torch.randn(len(shown.views), 16, 40)
        packed, [length] = theirs.model.pack_image_features(
            [features], torch.tensor([[height, width]]), "default", theirs.model.image_newline
        )
        got = ours.joined(features, runs(shown))
        assert len(got) == int(length) == shown.tokens
        assert torch.equal(got, packed[0]), (width, height)


@torch.no_grad()
def test_large_maps_are_shrunk_as_onevision_does() -> None:
    ours = filled(llava_next())
    shell = SimpleNamespace(
        config=SimpleNamespace(
            vision_config=SimpleNamespace(image_size=SIDE, patch_size=PATCH), image_grid_pinpoints=PINPOINTS
        )
    )
    shrunk = 0
    for width, height in ((56, 56), (80, 40), (100, 20), (59, 52), (90, 31)):
        shown = plan(width, height, replace(ANYRES, most_maps=2))
        features = torch.randn(len(shown.views), 16, 40)
        packed, _ = LlavaOnevisionModel.pack_image_features(
            shell, [features], torch.tensor([[height, width]]), ours.newline, "anyres_max_2"
        )
        got = ours.joined(features, runs(shown))
        assert len(got) == shown.tokens == len(packed[0])
        assert relative(got, packed[0]) < 1e-6
        shrunk += shown.feature_index(1).shape != (shown.blocks[1].height, shown.blocks[1].width)
    assert shrunk >= 2


@torch.no_grad()
def test_class_tokens_come_first() -> None:
    ours = filled(MAKERS["two layers, class token"]())
    features = torch.randn(1, 17, 40)
    assert torch.equal(ours.joined(features, runs(WHOLE)), features[0])
    two = torch.randn(2, 17, 40)
    one_by_one = [Run(torch.arange(start, start + 16).view(4, 4), 4, 4, False) for start in (0, 16)]
    assert torch.equal(ours.joined(two, one_by_one), torch.cat((two[:, 0], two[0, 1:], two[1, 1:])))


@torch.no_grad()
def test_it_writes_the_same_32_tokens() -> None:
    theirs = llava()
    ours = filled(theirs)
    ids = torch.tensor([[1, *[IMAGE] * 16, 7, 12]])
    told = theirs.generate(
        pixel_values=views(1), input_ids=ids, max_new_tokens=32, min_new_tokens=32, do_sample=False
    )[0, -32:]
    embeds = ours.prompt(ids, [ours.joined(ours.see(views(1)), runs(WHOLE))])
    eos, cache, written = theirs.generation_config.eos_token_id, None, []
    for _ in range(32):
        hidden, cache = ours.decoder(embeds, cache=cache, last=1)
        scores = ours.decoder.logits(hidden)[0, -1]
        if eos is not None:
            scores[eos] = float("-inf")
        written.append(int(scores.argmax()))
        embeds = ours.decoder.embed(torch.tensor([[written[-1]]]))
    assert written == told.tolist()


def test_counts_that_do_not_agree_are_refused() -> None:
    ours = filled(llava())
    seen = ours.see(views(2))
    with pytest.raises(ValueError, match="15 places for pictures, 16 tokens"):
        ours.prompt(torch.tensor([[1, *[IMAGE] * 15, 7]]), [ours.joined(seen[:1], runs(WHOLE))])
    with pytest.raises(ValueError, match="feature 79 is to be read, the views have 32"):
        ours.joined(seen, [Run(torch.arange(80).view(8, 10), 8, 10, False)])
    with pytest.raises(ValueError, match="the network has none"):
        ours.joined(ours.see(views(3)), runs(plan(50, 20, ANYRES)))


@pytest.mark.parametrize("kind", list(MAKERS))
def test_every_layout_gives_the_same_network(kind: str, tmp_path: Path) -> None:
    theirs = MAKERS[kind]()
    ours = filled(theirs)
    theirs.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    hub = original(ours.state_dict(), maps.RULES)
    assert any(key.startswith("vision_tower.vision_model.") for key in hub)
    authors = {_authors(key): value for key, value in hub.items()}
    for state in (saved, hub, authors):
        again = filled(theirs, state).state_dict()
        for key, value in ours.state_dict().items():
            assert torch.equal(again[key], value), key
    config = maps.read_config(raw(theirs))
    assert maps.read_config(maps.write_config(config)) == config


def _authors(key: str) -> str:
    """A key of the hub as the authors' files have it."""
    for hub, theirs in (
        ("vision_tower.vision_model.", "model.vision_tower.vision_tower.vision_model."),
        ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
        ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
        ("language_model.model.", "model."),
        ("language_model.lm_head.", "lm_head."),
        ("image_newline", "model.image_newline"),
    ):
        if key.startswith(hub):
            return theirs + key.removeprefix(hub)
    raise AssertionError(key)
