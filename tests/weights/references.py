"""Tiny reference models with random weights, their folders, and the other layouts of the same tensors.

Nothing here uses the package's tables: the original layouts are built from the published key names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from sensorium.media.image import ImageSpec
from sensorium.weights.files import Family, ModelFiles, weight_files
from tiny_decoders import randomized

DEPTH = 3
# epsilons are large and unlike, so that one in the wrong place shows
VISION = {
    "layer_norm_eps": 1e-3,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "image_size": 24,
    "patch_size": 8,
}
TEXT = {
    "layer_norm_eps": 3e-3,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 3,
    "vocab_size": 99,
    "max_position_embeddings": 16,
}
EOS = 98


@dataclass(frozen=True)
class Reference:
    """One kind of checkpoint: its family and the reference network."""

    family: Family
    network: Any


def reference(kind: str) -> Reference:
    """The reference network of a kind, tiny, eager, float32."""
    t = transformers
    eager: dict[str, Any] = {"attn_implementation": "eager"}
    if kind in ("openai", "openai_legacy", "laion"):
        act = "gelu" if kind == "laion" else "quick_gelu"
        eos = 2 if kind == "openai_legacy" else EOS
        config = t.CLIPConfig(
            text_config={**TEXT, "hidden_act": act, "eos_token_id": eos, "bos_token_id": 97},
            vision_config={**VISION, "hidden_act": act},
            projection_dim=20,
            **eager,
        )
        return Reference("clip", randomized(t.CLIPModel(config)))
    if kind == "siglip2":
        text = {**TEXT, "projection_size": 32, "bos_token_id": 2, "eos_token_id": 1}
        config = t.SiglipConfig(text_config=text, vision_config=VISION, **eager)
        return Reference("siglip", randomized(t.SiglipModel(config)))
    if kind == "chinese_clip":
        config = t.ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=20, **eager)
        return Reference("chinese_clip", randomized(t.ChineseCLIPModel(config)))
    assert kind == "vit", kind
    config = t.ViTConfig(**VISION, num_labels=5, **eager)
    return Reference("vit", randomized(t.ViTForImageClassification(config)))


CLIPS = ("openai", "openai_legacy", "laion", "siglip2", "chinese_clip")
KINDS = (*CLIPS, "vit")


def model_files(folder: Path, family: Family) -> ModelFiles:
    """What ``find`` would say of a folder that holds only a config and weights."""
    config = json.loads((folder / "config.json").read_text())
    half = (0.5, 0.5, 0.5)
    image = ImageSpec(24, 24, "squash", 24, "bicubic", half, half)
    return ModelFiles(folder.name, folder, family, config, image, None, "", weight_files(folder))


def saved(ref: Reference, folder: Path) -> ModelFiles:
    """What transformers of today writes."""
    ref.network.save_pretrained(folder)
    return model_files(folder, ref.family)


def written(ref: Reference, folder: Path, state: Mapping[str, Tensor], name: str) -> ModelFiles:
    """The same config with other weights under another file name."""
    from safetensors.torch import save_file

    folder.mkdir()
    ref.network.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [type(ref.network).__name__]
    (folder / "config.json").write_text(json.dumps(config))
    if name.endswith(".safetensors"):
        save_file({key: tensor.clone() for key, tensor in state.items()}, folder / name)
    else:
        torch.save(dict(state), folder / name)
    return model_files(folder, ref.family)


def tokens(kind: str) -> tuple[Tensor, Tensor]:
    """Ids and mask: two sentences of 5 and 9 tokens, padded to 9 (SigLIP: to its full length)."""
    generator = torch.Generator().manual_seed(1)
    length = 16 if kind == "siglip2" else 9
    ids = torch.randint(3, 90, (2, length), generator=generator)
    mask = torch.ones(2, length, dtype=torch.long)
    ids[0, 4], ids[1, 8] = EOS, EOS
    ids[0, 5:] = EOS if kind in ("openai", "openai_legacy", "laion") else 0
    mask[0, 5:] = 0
    if kind == "siglip2":
        ids[1, 9:] = 0
    return ids, mask


def pixels(height: int = 24, width: int = 24) -> Tensor:
    """Two random images."""
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))


def image_features(ref: Reference, images: Tensor, **options: Any) -> Tensor:
    """The reference's image embedding, or logits of a classifier."""
    with torch.no_grad():
        if ref.family == "vit":
            return ref.network(images, **options).logits
        return ref.network.get_image_features(pixel_values=images, **options).pooler_output


def text_features(ref: Reference, ids: Tensor, mask: Tensor) -> Tensor:
    """The reference's text embedding. SigLIP was trained, and is run, without a padding mask."""
    with torch.no_grad():
        given = {} if ref.family == "siglip" else {"attention_mask": mask}
        return ref.network.get_text_features(input_ids=ids, **given).pooler_output


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the scale of ``b``."""
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


# --- the original layouts, from their published key names ---------------------------------------------


def _fused(state: Mapping[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([state[name] for name in names])


def _openai_blocks(hub: Mapping[str, Tensor], foreign: str, openai: str, depth: int) -> dict[str, Tensor]:
    out = {}
    for i in range(depth):
        a, b = f"{foreign}.{i}", f"{openai}.{i}"
        for leaf in ("weight", "bias"):
            qkv = [f"{a}.self_attn.{x}_proj.{leaf}" for x in "qkv"]
            out[f"{b}.attn.in_proj_{leaf}"] = _fused(hub, qkv)
            out[f"{b}.attn.out_proj.{leaf}"] = hub[f"{a}.self_attn.out_proj.{leaf}"]
            out[f"{b}.ln_1.{leaf}"] = hub[f"{a}.layer_norm1.{leaf}"]
            out[f"{b}.ln_2.{leaf}"] = hub[f"{a}.layer_norm2.{leaf}"]
            out[f"{b}.mlp.c_fc.{leaf}"] = hub[f"{a}.mlp.fc1.{leaf}"]
            out[f"{b}.mlp.c_proj.{leaf}"] = hub[f"{a}.mlp.fc2.{leaf}"]
    return out


def _timm_blocks(
    hub: Mapping[str, Tensor], foreign: str, timm: str, names: dict[str, str]
) -> dict[str, Tensor]:
    out = {}
    for i in range(DEPTH):
        a, b = f"{foreign}.{i}", f"{timm}.{i}"
        for leaf in ("weight", "bias"):
            qkv = [f"{a}.{names[x]}.{leaf}" for x in "qkv"]
            out[f"{b}.attn.qkv.{leaf}"] = _fused(hub, qkv)
            for theirs, ours in (
                ("attn.proj", "out"),
                ("norm1", "norm1"),
                ("norm2", "norm2"),
                ("mlp.fc1", "fc1"),
                ("mlp.fc2", "fc2"),
            ):
                out[f"{b}.{theirs}.{leaf}"] = hub[f"{a}.{names[ours]}.{leaf}"]
    return out


def openai_vision(hub: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower of OpenAI, open_clip and cn_clip."""
    v = "vision_model"
    out = {
        "visual.class_embedding": hub[f"{v}.embeddings.class_embedding"],
        "visual.conv1.weight": hub[f"{v}.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": hub[f"{v}.embeddings.position_embedding.weight"],
        "visual.proj": hub["visual_projection.weight"].T.contiguous(),
    }
    for leaf in ("weight", "bias"):
        out[f"visual.ln_pre.{leaf}"] = hub[f"{v}.pre_layrnorm.{leaf}"]
        out[f"visual.ln_post.{leaf}"] = hub[f"{v}.post_layernorm.{leaf}"]
    return out | _openai_blocks(hub, f"{v}.encoder.layers", "visual.transformer.resblocks", 3)


def openai_text(hub: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The text tower of OpenAI and open_clip, without its projection."""
    t = "text_model"
    out = {
        f"{prefix}token_embedding.weight": hub[f"{t}.embeddings.token_embedding.weight"],
        f"{prefix}positional_embedding": hub[f"{t}.embeddings.position_embedding.weight"],
    }
    for leaf in ("weight", "bias"):
        out[f"{prefix}ln_final.{leaf}"] = hub[f"{t}.final_layer_norm.{leaf}"]
    return out | _openai_blocks(hub, f"{t}.encoder.layers", f"{prefix}transformer.resblocks", 3)


def openai_layout(hub: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """OpenAI's and open_clip's whole model; ``prefix`` is ``text.`` for open_clip's newer class."""
    out = openai_vision(hub) | openai_text(hub, prefix)
    out[f"{prefix}text_projection"] = hub["text_projection.weight"].T.contiguous()
    out["logit_scale"] = hub["logit_scale"]
    return out


def cn_clip_layout(hub: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """cn_clip's model: OpenAI's image tower, BERT under ``bert.``."""
    out = openai_vision(hub)
    for key, tensor in hub.items():
        if key.startswith("text_model."):
            out["bert." + key.removeprefix("text_model.")] = tensor
    out["text_projection"] = hub["text_projection.weight"].T.contiguous()
    out["logit_scale"] = hub["logit_scale"]
    return out


def open_clip_siglip_layout(hub: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's SigLIP: timm's image tower, its own text tower, scalars without a dimension."""
    v, trunk, pool = "vision_model", "visual.trunk", "visual.trunk.attn_pool"
    names = {x: f"self_attn.{x}_proj" for x in "qkv"} | {
        "out": "self_attn.out_proj",
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
    }
    out = openai_text(hub, "text.") | _timm_blocks(hub, f"{v}.encoder.layers", f"{trunk}.blocks", names)
    out[f"{trunk}.pos_embed"] = hub[f"{v}.embeddings.position_embedding.weight"][None]
    out[f"{pool}.latent"] = hub[f"{v}.head.probe"]
    out["logit_scale"] = hub["logit_scale"].squeeze()
    out["logit_bias"] = hub["logit_bias"].squeeze()
    for leaf in ("weight", "bias"):
        q, k, v_ = hub[f"{v}.head.attention.in_proj_{leaf}"].chunk(3)
        out[f"{pool}.q.{leaf}"], out[f"{pool}.kv.{leaf}"] = q.clone(), torch.cat((k, v_))
        out[f"{pool}.proj.{leaf}"] = hub[f"{v}.head.attention.out_proj.{leaf}"]
        out[f"{pool}.norm.{leaf}"] = hub[f"{v}.head.layernorm.{leaf}"]
        out[f"{pool}.mlp.fc1.{leaf}"] = hub[f"{v}.head.mlp.fc1.{leaf}"]
        out[f"{pool}.mlp.fc2.{leaf}"] = hub[f"{v}.head.mlp.fc2.{leaf}"]
        out[f"{trunk}.patch_embed.proj.{leaf}"] = hub[f"{v}.embeddings.patch_embedding.{leaf}"]
        out[f"{trunk}.norm.{leaf}"] = hub[f"{v}.post_layernorm.{leaf}"]
        out[f"text.text_projection.{leaf}"] = hub[f"text_model.head.{leaf}"]
    return out


def timm_layout(hub: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's ViT classifier, out of transformers' hub names."""
    names = {
        "q": "attention.attention.query",
        "k": "attention.attention.key",
        "v": "attention.attention.value",
        "out": "attention.output.dense",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
    }
    out = _timm_blocks(hub, "vit.encoder.layer", "blocks", names)
    out["cls_token"] = hub["vit.embeddings.cls_token"]
    out["pos_embed"] = hub["vit.embeddings.position_embeddings"]
    for leaf in ("weight", "bias"):
        out[f"patch_embed.proj.{leaf}"] = hub[f"vit.embeddings.patch_embeddings.projection.{leaf}"]
        out[f"norm.{leaf}"] = hub[f"vit.layernorm.{leaf}"]
        out[f"head.{leaf}"] = hub[f"classifier.{leaf}"]
    return out
