"""Full-size networks that read pictures, without memory: keys and shapes are the reference's, so files fit.

The configs are those of the hub's ``config.json`` files, reduced to what decides about shapes or numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from sensorium.models.blip2 import Blip2, Blip2Matcher
from sensorium.models.llava import Llava
from sensorium.models.qwen_vl.qwen_vl import QwenVl
from sensorium.weights.maps import blip2, llava, qwen_vl
from sensorium.weights.rules import Rule, original, renamed

Raw = dict[str, Any]
CLIP_LARGE: Raw = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
LLAVA: Raw = {
    "model_type": "llava",
    "image_token_index": 32000,
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "text_config": {
        "model_type": "llama",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "vocab_size": 32064,
    },
    "vision_config": CLIP_LARGE,
}
MISTRAL: Raw = {
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
    "sliding_window": None,
    "vocab_size": 32064,
}
OPT_27: Raw = {
    "model_type": "opt",
    "hidden_size": 2560,
    "ffn_dim": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "word_embed_proj_dim": 2560,
    "vocab_size": 50304,
}
QWEN_3B: Raw = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128000,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "tie_word_embeddings": True,
    "vocab_size": 151936,
    "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 2048},
}
QWEN_7B: Raw = {
    **QWEN_3B,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "vocab_size": 152064,
    "vision_config": {**QWEN_3B["vision_config"], "out_hidden_size": 3584},
}


@dataclass(frozen=True)
class Known:
    """A public checkpoint: its config, the reference's class, and how ours is made."""

    raw: Raw
    config: Any
    reference: Callable[[Any], nn.Module]
    read: Callable[[Mapping[str, Any]], Any]
    network: Callable[[Any], nn.Module]
    rules: Callable[[Any], Sequence[Rule]]


def _llava(raw: Raw, config: Any, reference: Callable[[Any], nn.Module]) -> Known:
    return Known(raw, config, reference, llava.read_config, Llava, lambda _: llava.RULES)


def _qwen(raw: Raw) -> Known:
    kind = transformers.Qwen2_5_VLConfig
    make = transformers.Qwen2_5_VLForConditionalGeneration
    return Known(raw, kind, make, qwen_vl.read_config, QwenVl, lambda _: qwen_vl.RULES)


BLIP: Raw = {"model_type": "blip-2", "num_query_tokens": 32, "text_config": OPT_27}
ITM: Raw = {
    "model_type": "blip-2",
    "qformer_config": {"vocab_size": 30523, "use_qformer_text_input": True},
    "image_text_hidden_size": 256,
}
VICUNA: Raw = {"model_type": "llama", "vocab_size": 32001, "max_position_embeddings": 2048}
INSTRUCT: Raw = {"model_type": "instructblip", "qformer_config": {"vocab_size": 30523}, "text_config": VICUNA}

CHECKPOINTS: dict[str, Known] = {
    "llava-hf/llava-1.5-7b-hf": _llava(
        LLAVA, transformers.LlavaConfig, transformers.LlavaForConditionalGeneration
    ),
    "llava-hf/llava-v1.6-mistral-7b-hf": _llava(
        {**LLAVA, "model_type": "llava_next", "text_config": MISTRAL},
        transformers.LlavaNextConfig,
        transformers.LlavaNextForConditionalGeneration,
    ),
    "Salesforce/blip2-opt-2.7b": Known(
        BLIP,
        transformers.Blip2Config,
        transformers.Blip2ForConditionalGeneration,
        blip2.read_config,
        Blip2,
        blip2.rules_for,
    ),
    "Salesforce/blip2-itm-vit-g": Known(
        ITM,
        transformers.Blip2Config,
        transformers.Blip2ForImageTextRetrieval,
        blip2.read_matcher_config,
        Blip2Matcher,
        lambda _: blip2.MATCHER_RULES,
    ),
    "Salesforce/instructblip-vicuna-7b": Known(
        INSTRUCT,
        transformers.InstructBlipConfig,
        transformers.InstructBlipForConditionalGeneration,
        blip2.read_config,
        Blip2,
        blip2.rules_for,
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen(QWEN_3B),
    "Qwen/Qwen2.5-VL-7B-Instruct": _qwen(QWEN_7B),
}
PARAMETERS = {
    "llava-hf/llava-1.5-7b-hf": 7_063_427_072,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
}
"""What the hub's cards state, in full."""


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_keys_and_shapes_are_the_references(name: str) -> None:
    known = CHECKPOINTS[name]
    config = known.read(known.raw)
    with torch.device("meta"):
        ours = known.network(config)
        theirs = known.reference(known.config.from_dict(known.raw)).state_dict()
    if config.text.tied if hasattr(config, "text") else False:
        theirs.pop("lm_head.weight", None)
        theirs.pop("language_model.lm_head.weight", None)
    expected = {key: tensor.shape for key, tensor in ours.state_dict().items()}
    rules = known.rules(config)
    found = renamed(iter(theirs.items()), rules, expected)
    assert {key: tensor.shape for key, tensor in found.items()} == expected
    assert sum(map(torch.Tensor.numel, theirs.values())) == sum(p.numel() for p in ours.parameters())
    if name in PARAMETERS:
        assert sum(p.numel() for p in ours.parameters()) == PARAMETERS[name]
    written = original(ours.state_dict(), rules)
    assert set(renamed(iter(written.items()), rules, expected)) == set(expected)
