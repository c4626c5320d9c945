"""Every key layout of a family gives the same network, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import references as r
import torch
from torch import Tensor

from sensorium.errors import CheckpointError
from sensorium.weights.load import FAMILIES, build

State = dict[str, Tensor]


def hub(state: State) -> State:
    """What a file on the hub holds besides: buffers of old transformers."""
    extra = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
    extra["vision_model.embeddings.position_ids"] = torch.arange(10)[None]
    return state | extra


def openai(state: State) -> State:
    sizes = {"input_resolution": 24, "context_length": 16, "vocab_size": 99}
    return r.openai_layout(state) | {name: torch.tensor(size) for name, size in sizes.items()}


def wrapped(layout: Callable[[State], State], prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + key: tensor for key, tensor in layout(state).items()}


def chinese_hub(state: State) -> State:
    pooler = {
        "text_model.pooler.dense.weight": torch.ones(24, 24),
        "text_model.pooler.dense.bias": torch.ones(24),
    }
    return state | pooler


def vit_bare(state: State) -> State:
    """``ViTModel`` with a head beside it, as fine-tuning scripts write."""
    return {key.removeprefix("vit."): tensor for key, tensor in state.items()}


LAYOUTS: list[tuple[str, str, Callable[[State], State]]] = [
    ("openai", "hub", hub),
    ("openai", "original", openai),
    ("laion", "open_clip", r.openai_layout),
    ("laion", "open_clip custom text", lambda s: r.openai_layout(s, "text.")),
    ("laion", "data parallel", wrapped(r.openai_layout, "module.")),
    ("laion", "compiled", wrapped(hub, "_orig_mod.")),
    ("laion", "both", wrapped(hub, "module._orig_mod.")),
    ("siglip2", "open_clip", r.open_clip_siglip_layout),
    ("chinese_clip", "hub with pooler", chinese_hub),
    ("chinese_clip", "cn_clip", wrapped(r.cn_clip_layout, "module.")),
    ("vit", "timm", r.timm_layout),
    ("vit", "bare", vit_bare),
]


@pytest.mark.parametrize(("kind", "name", "layout"), LAYOUTS, ids=[f"{k} {n}" for k, n, _ in LAYOUTS])
def test_layout_gives_the_same_network(
    kind: str, name: str, layout: Callable[[State], State], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    ref = r.reference(kind)
    today = r.saved(ref, tmp_path / "today")
    state = layout(load_file(today.weights[0]))
    expected = build(today).state_dict()
    found = build(r.written(ref, tmp_path / "other", state, "model.safetensors")).state_dict()
    assert list(found) == list(expected)
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


def test_what_transformers_keeps_in_memory_is_a_layout_too(tmp_path: Path) -> None:
    ref = r.reference("vit")
    expected = build(r.saved(ref, tmp_path / "today")).state_dict()
    state = ref.network.state_dict()
    assert "vit.layers.0.attention.q_proj.weight" in state
    found = build(r.written(ref, tmp_path / "other", state, "model.safetensors")).state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


def test_nested_pickle_of_cn_clip(tmp_path: Path) -> None:
    ref = r.reference("chinese_clip")
    today = r.saved(ref, tmp_path / "today")
    state = {"module." + key: tensor for key, tensor in r.cn_clip_layout(ref.network.state_dict()).items()}
    files = r.written(ref, tmp_path / "other", state, "pytorch_model.bin")
    torch.save({"epoch": 3, "step": 100, "name": "x", "state_dict": state}, files.weights[0])
    expected, found = build(today).state_dict(), build(files).state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


def test_open_clip_config_describes_the_same_clip(tmp_path: Path) -> None:
    """transformers' config and open_clip's, of LAION's B/32 and H/14 and OpenAI's own B/16."""
    for width, head, layers, patch, text, heads, depth, embed, quick in (
        (768, 64, 12, 32, 512, 8, 12, 512, False),
        (1280, 80, 32, 14, 1024, 16, 24, 1024, False),
        (768, 64, 12, 16, 512, 8, 12, 512, True),
    ):
        act = "quick_gelu" if quick else "gelu"
        raw = {
            "model_type": "clip",
            "projection_dim": embed,
            "vision_config": {
                "hidden_size": width,
                "intermediate_size": 4 * width,
                "num_hidden_layers": layers,
                "num_attention_heads": width // head,
                "patch_size": patch,
                "hidden_act": act,
            },
            "text_config": {
                "hidden_size": text,
                "intermediate_size": 4 * text,
                "num_hidden_layers": depth,
                "num_attention_heads": heads,
                "hidden_act": act,
                "eos_token_id": 2,
            },
        }
        vision = {"image_size": 224, "layers": layers, "width": width, "patch_size": patch}
        if head != 64:
            vision["head_width"] = head
        words = {"context_length": 77, "vocab_size": 49408, "width": text, "heads": heads, "layers": depth}
        other: dict[str, object] = {"embed_dim": embed, "vision_cfg": vision, "text_cfg": words}
        if quick:
            other["quick_gelu"] = True
        read = FAMILIES["clip"].read_config
        from dataclasses import replace

        ours, theirs = read(raw), read({"model_cfg": other, "preprocess_cfg": {}})
        # open_clip resamples positions with antialiasing, transformers without: the one difference
        assert replace(ours, vision=replace(ours.vision, position_antialias=True)) == theirs


def test_open_clip_fields_that_change_the_function_are_refused() -> None:
    raw = {
        "model_cfg": {
            "embed_dim": 512,
            "vision_cfg": {
                "image_size": 224,
                "layers": 12,
                "width": 768,
                "patch_size": 32,
                "ls_init_value": 1,
            },
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
        }
    }
    with pytest.raises(CheckpointError, match="ls_init_value"):
        FAMILIES["clip"].read_config(raw)


def test_timm_config_is_read() -> None:
    raw = {
        "architecture": "vit_base_patch16_224",
        "num_classes": 1000,
        "num_features": 768,
        "global_pool": "token",
        "pretrained_cfg": {"input_size": [3, 224, 224]},
    }
    config = FAMILIES["vit"].read_config(json.loads(json.dumps(raw)))
    assert (config.vit.width, config.vit.depth, config.vit.heads, config.vit.patch) == (768, 12, 12, 16)
    assert (config.vit.norm_eps, config.vit.position_antialias, config.classes) == (1e-6, True, 1000)
    with_registers = FAMILIES["vit"].read_config(
        {**raw, "architecture": "vit_base_patch16_reg4_gap_256", "global_pool": "avg"}
    )
    assert with_registers.vit.registers == 4
    assert with_registers.vit.pool == "mean"
    with pytest.raises(CheckpointError, match="vit_base_patch16_clip_224"):
        FAMILIES["vit"].read_config({**raw, "architecture": "vit_base_patch16_clip_224"})
