"""LLaVA-1.5 and LLaVA-NeXT against transformers: random weights, the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from sensorium.models.llava import Llava, Tiling, tokens_of
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


def views(count: int) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", ["1.5", "two layers, class token", "siglip and qwen2"])
@torch.no_grad()
def test_pictures_among_words_are_read_as_the_reference_reads_them(kind: str) -> None:
    theirs = MAKERS[kind]()
    ours = filled(theirs)
    count = tokens_of(ours.config, None)
    words = torch.randint(3, 90, (2, 6), generator=torch.Generator().manual_seed(1))
    ids = torch.cat((words[:, :2], torch.full((2, count), IMAGE), words[:, 2:]), dim=1)
    mask = torch.ones_like(ids)
    mask[0, :2] = 0  # padding on the left
    expected = theirs(pixel_values=views(2), input_ids=ids, attention_mask=mask).logits
    seen = ours.see(views(2))
    pictures = [ours.joined(seen[i : i + 1], None) for i in range(2)]
    hidden, _ = ours.decoder(ours.prompt(ids, pictures), mask=mask != 0)
    real = mask != 0
    assert relative(ours.decoder.logits(hidden)[real], expected[real]) < 1e-5


@pytest.mark.parametrize(
    ("size", "tiling"),
    [  # height, width; rows, columns, and the tokens that are picture, worked out by hand
        ((56, 56), Tiling(2, 2, 0, 8, 0, 8)),
        ((40, 80), Tiling(1, 2, 0, 4, 0, 8)),
        ((90, 30), Tiling(3, 1, 0, 12, 0, 4)),
        ((20, 100), Tiling(1, 3, 1, 3, 0, 12)),
    ],
)
@torch.no_grad()
def test_tiles_are_put_together_as_the_reference_does(size: tuple[int, int], tiling: Tiling) -> None:
    theirs = llava_next()
    ours = filled(theirs)
    count = 1 + tiling.rows * tiling.columns
    found = theirs.model.get_image_features(pixel_values=views(count)[None], image_sizes=torch.tensor([size]))
    expected = found.pooler_output[0]
    got = ours.joined(ours.see(views(count)), tiling)
    assert got.shape == expected.shape == (tokens_of(ours.config, tiling), 40)
    assert relative(got, expected) < 1e-5


@torch.no_grad()
def test_it_writes_the_same_32_tokens() -> None:
    theirs = llava()
    ours = filled(theirs)
    ids = torch.tensor([[1, *[IMAGE] * 16, 7, 12]])
    told = theirs.generate(
        pixel_values=views(1), input_ids=ids, max_new_tokens=32, min_new_tokens=32, do_sample=False
    )[0, -32:]
    embeds = ours.prompt(ids, [ours.joined(ours.see(views(1)), None)])
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
        ours.prompt(torch.tensor([[1, *[IMAGE] * 15, 7]]), [ours.joined(seen[:1], None)])
    with pytest.raises(ValueError, match="2 views, where the plan of the picture has 5"):
        ours.joined(seen, Tiling(2, 2, 0, 8, 0, 8))


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
