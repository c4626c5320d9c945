"""Full-size networks without memory: the list of keys and shapes is the reference's, so a real file fits.

The configs are those of the hub's ``config.json`` files, reduced to what decides about shapes or numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from sensorium.weights.load import FAMILIES, empty
from sensorium.weights.rules import original, renamed

Raw = dict[str, Any]


def section(width: int, depth: int, heads: int, **other: Any) -> Raw:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth}
    return {**sizes, "num_attention_heads": heads, **other}


def clip(act: str, embed: int, vision: Raw, text: Raw) -> Raw:
    words = {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 2, "layer_norm_eps": 1e-5}
    return {
        "model_type": "clip",
        "projection_dim": embed,
        "text_config": {**words, **text, "hidden_act": act},
        "vision_config": {"layer_norm_eps": 1e-5, **vision, "hidden_act": act},
    }


def base_vision(patch: int) -> Raw:
    return section(768, 12, 12, image_size=224, patch_size=patch)


def large_vision(size: int) -> Raw:
    return section(1024, 24, 16, image_size=size, patch_size=14)


BASE_TEXT = section(512, 12, 8)
LARGE_TEXT = section(768, 12, 12)
HUGE_VISION = section(1280, 32, 16, image_size=224, patch_size=14)

CHINESE: Raw = {
    "model_type": "chinese_clip",
    "projection_dim": 512,
    "text_config": section(
        768,
        12,
        12,
        vocab_size=21128,
        max_position_embeddings=512,
        type_vocab_size=2,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
    ),
    "vision_config": {**base_vision(16), "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}
SIGLIP2: Raw = {
    "model_type": "siglip",
    "text_config": {"model_type": "siglip_text_model", "vocab_size": 256000},
    "vision_config": {"model_type": "siglip_vision_model"},
}
VIT: Raw = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    **section(768, 12, 12, image_size=224, patch_size=16, num_channels=3, qkv_bias=True),
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "id2label": {str(i): f"LABEL_{i}" for i in range(1000)},
}

CHECKPOINTS: dict[str, tuple[str, Raw, int]] = {
    "openai/clip-vit-base-patch32": (
        "clip",
        clip("quick_gelu", 512, base_vision(32), BASE_TEXT),
        151_277_313,
    ),
    "openai/clip-vit-base-patch16": (
        "clip",
        clip("quick_gelu", 512, base_vision(16), BASE_TEXT),
        149_620_737,
    ),
    "openai/clip-vit-large-patch14": (
        "clip",
        clip("quick_gelu", 768, large_vision(224), LARGE_TEXT),
        427_616_513,
    ),
    "openai/clip-vit-large-patch14-336": (
        "clip",
        clip("quick_gelu", 768, large_vision(336), LARGE_TEXT),
        427_944_193,
    ),
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": (
        "clip",
        clip("gelu", 512, base_vision(32), BASE_TEXT),
        151_277_313,
    ),
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": (
        "clip",
        clip("gelu", 1024, HUGE_VISION, section(1024, 24, 16)),
        986_109_441,
    ),
    "google/siglip2-base-patch16-224": ("siglip", SIGLIP2, 375_187_970),
    "OFA-Sys/chinese-clip-vit-base-patch16": ("chinese_clip", CHINESE, 188_262_913),
    "google/vit-base-patch16-224": ("vit", VIT, 86_567_656),
}

REFERENCES: dict[str, Callable[[Raw], nn.Module]] = {
    "clip": lambda raw: transformers.CLIPModel(transformers.CLIPConfig.from_dict(raw)),
    "siglip": lambda raw: transformers.SiglipModel(transformers.SiglipConfig.from_dict(raw)),
    "chinese_clip": lambda raw: transformers.ChineseCLIPModel(transformers.ChineseCLIPConfig.from_dict(raw)),
    "vit": lambda raw: transformers.ViTForImageClassification(transformers.ViTConfig.from_dict(raw)),
}


def shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in state.items()}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_keys_and_shapes_are_the_references(name: str) -> None:
    kind, raw, parameters = CHECKPOINTS[name]
    family = FAMILIES[kind]
    ours = empty(family, family.read_config(raw))
    with torch.device("meta"):
        theirs = REFERENCES[kind](raw).state_dict()
    expected = shapes(ours.state_dict())
    assert shapes(renamed(iter(theirs.items()), family.rules, expected)) == expected
    assert sum(p.numel() for p in ours.parameters()) == parameters
    assert sum(tensor.numel() for tensor in theirs.values()) == parameters
    written = shapes(original(ours.state_dict(), family.rules))
    assert written == (vit_hub_shapes() if kind == "vit" else shapes(theirs))


def vit_hub_shapes() -> dict[str, torch.Size]:
    """The keys of google/vit-base-patch16-224 on the hub, which differ from those in memory."""
    linear = {
        "attention.attention.query": (768, 768),
        "attention.attention.key": (768, 768),
        "attention.attention.value": (768, 768),
        "attention.output.dense": (768, 768),
        "intermediate.dense": (3072, 768),
        "output.dense": (768, 3072),
    }
    out: dict[str, tuple[int, ...]] = {
        "vit.embeddings.cls_token": (1, 1, 768),
        "vit.embeddings.position_embeddings": (1, 197, 768),
        "vit.embeddings.patch_embeddings.projection.weight": (768, 3, 16, 16),
        "vit.embeddings.patch_embeddings.projection.bias": (768,),
        "vit.layernorm.weight": (768,),
        "vit.layernorm.bias": (768,),
        "classifier.weight": (1000, 768),
        "classifier.bias": (1000,),
    }
    for i in range(12):
        layer = f"vit.encoder.layer.{i}"
        for name, shape in linear.items():
            out[f"{layer}.{name}.weight"] = shape
            out[f"{layer}.{name}.bias"] = shape[:1]
        for name in ("layernorm_before", "layernorm_after"):
            out[f"{layer}.{name}.weight"] = out[f"{layer}.{name}.bias"] = (768,)
    return {key: torch.Size(shape) for key, shape in out.items()}


def test_what_varies_is_read_from_the_config() -> None:
    """The traps: activations, epsilons, pooling, each from the file and none from the name."""
    read = {name: FAMILIES[kind].read_config(raw) for name, (kind, raw, _) in CHECKPOINTS.items()}
    openai, laion = read["openai/clip-vit-base-patch32"], read["laion/CLIP-ViT-B-32-laion2B-s34B-b79K"]
    assert (openai.vision.activation, openai.text.activation) == ("quick_gelu", "quick_gelu")
    assert (laion.vision.activation, laion.text.activation) == ("gelu", "gelu")
    assert openai.text.pool == laion.text.pool == "highest"
    assert openai.vision.norm_eps == 1e-5
    siglip = read["google/siglip2-base-patch16-224"]
    assert (siglip.vision.activation, siglip.vision.norm_eps) == ("gelu_tanh", 1e-6)
    assert (siglip.vision.pool, siglip.text.pool, siglip.text.causal) == ("map", "last", False)
    assert (siglip.text.context_length, siglip.logit_bias) == (64, True)
    chinese = read["OFA-Sys/chinese-clip-vit-base-patch16"]
    assert (chinese.text.activation, chinese.text.norm_eps) == ("gelu", 1e-12)
    assert chinese.vision.activation == "quick_gelu"
    vit = read["google/vit-base-patch16-224"]
    assert (vit.vit.norm_eps, vit.classes) == (1e-12, 1000)
