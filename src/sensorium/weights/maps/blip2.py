"""BLIP-2 with OPT or Llama, its matcher, and InstructBLIP.

Layouts: transformers' (the hub's and today's) and LAVIS', the authors' own, whose files have no language
model (it was not trained) but the head that writes captions, which the hub's lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sensorium.errors import CheckpointError
from sensorium.models.blip2 import Blip2Config, Blip2MatcherConfig
from sensorium.models.decoder import LearnedPositions
from sensorium.models.qformer import QFormerConfig
from sensorium.models.vit import VitConfig
from sensorium.weights.maps import decoder
from sensorium.weights.maps.clip import read_vision, write_vision
from sensorium.weights.maps.common import Fields, foreign_activation, projections, section
from sensorium.weights.rules import COMPUTED, Rule, drop, move, split, tied

if TYPE_CHECKING:
    from torch import Tensor


def _leaves(foreign: str, ours: str, names: Mapping[str, str]) -> list[Rule]:
    return [move(f"{foreign}.{a}.{{leaf}}", f"{ours}.{b}.{{leaf}}") for a, b in names.items()]


_VISION: list[Rule] = [
    move("vision_model.embeddings.class_embedding", "vision.class_token", leading=2),
    move("vision_model.embeddings.position_embedding", "vision.positions", leading=1),
    move("vision_model.embeddings.patch_embedding.{leaf}", "vision.patch_embedding.{leaf}"),
    split(
        "vision_model.encoder.layers.{i}.self_attn.qkv.{leaf}",
        projections("vision.blocks.{i}.attention", "qkv"),
    ),
    *_leaves(
        "vision_model.encoder.layers.{i}",
        "vision.blocks.{i}",
        {
            "self_attn.projection": "attention.out",
            "layer_norm1": "norm1",
            "layer_norm2": "norm2",
            "mlp.fc1": "mlp.up",
            "mlp.fc2": "mlp.down",
        },
    ),
    move("vision_model.post_layernorm.{leaf}", "vision.norm.{leaf}"),
]

_ATTENTION = {
    "attention.query": "q",
    "attention.key": "k",
    "attention.value": "v",
    "output.dense": "out",
}
_BLOCK = {
    **{f"attention.{a}": f"attention.{b}" for a, b in _ATTENTION.items()},
    "attention.output.LayerNorm": "norm1",
    **{f"crossattention.{a}": f"cross.{b}" for a, b in _ATTENTION.items()},
    "crossattention.output.LayerNorm": "cross_norm",
    "intermediate_query.dense": "mlp.up",
    "output_query.dense": "mlp.down",
    "output_query.LayerNorm": "norm2",
    "intermediate.dense": "text_mlp.up",
    "output.dense": "text_mlp.down",
    "output.LayerNorm": "text_norm",
}

_QFORMER: list[Rule] = [
    move("query_tokens", "qformer.queries", leading=1),
    *_leaves("qformer.encoder.layer.{i}", "qformer.blocks.{i}", _BLOCK),
]
_BARE_NORM = move("qformer.layernorm.{leaf}", "qformer.norm.{leaf}")


def _words(prefix: str) -> list[Rule]:
    return [
        move(f"{prefix}word_embeddings.weight", "qformer.embedding.weight"),
        move(f"{prefix}position_embeddings.weight", "qformer.positions"),
    ]


_LAVIS_ATTENTION = {"self.query": "q", "self.key": "k", "self.value": "v", "output.dense": "out"}
_LAVIS_BLOCK = {
    **{f"attention.{a}": f"attention.{b}" for a, b in _LAVIS_ATTENTION.items()},
    **{f"crossattention.{a}": f"cross.{b}" for a, b in _LAVIS_ATTENTION.items()},
    **{name: target for name, target in _BLOCK.items() if "attention.attention" not in name},
}
_LAVIS_TOWER = {"norm1": "norm1", "attn.proj": "attention.out", "norm2": "norm2"}
_LAVIS_TOWER |= {"mlp.fc1": "mlp.up", "mlp.fc2": "mlp.down"}
_LAVIS: list[Rule] = [
    move("visual_encoder.cls_token", "vision.class_token", leading=2),
    move("visual_encoder.pos_embed", "vision.positions", leading=1),
    move("visual_encoder.patch_embed.proj.{leaf}", "vision.patch_embedding.{leaf}"),
    split("visual_encoder.blocks.{i}.attn.qkv.{leaf}", projections("vision.blocks.{i}.attention", "qkv")),
    *_leaves("visual_encoder.blocks.{i}", "vision.blocks.{i}", _LAVIS_TOWER),
    move("ln_vision.{leaf}", "vision.norm.{leaf}"),
    move("Qformer.bert.embeddings.LayerNorm.{leaf}", "qformer.norm.{leaf}"),
    *_words("Qformer.bert.embeddings."),
    *_leaves("Qformer.bert.encoder.layer.{i}", "qformer.blocks.{i}", _LAVIS_BLOCK),
    move("opt_proj.{leaf}", "projection.{leaf}"),
    move("llm_proj.{leaf}", "projection.{leaf}"),
    move("vision_proj.{leaf}", "image_projection.{leaf}"),
    move("text_proj.{leaf}", "text_projection.{leaf}"),
    move("Qformer.cls.predictions.transform.dense.{leaf}", "caption_head.dense.{leaf}"),
    move("Qformer.cls.predictions.transform.LayerNorm.{leaf}", "caption_head.norm.{leaf}"),
    move("Qformer.cls.predictions.bias", "caption_head.bias"),
    tied("Qformer.cls.predictions.decoder.bias", "caption_head.bias"),
    tied("Qformer.cls.predictions.decoder.weight", "qformer.embedding.weight"),
]


def with_whole_biases(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """LAVIS' tensors with the three biases of each attention of the tower in one, as its rules expect.

    The files have those of queries and values; that of keys is always zero and left out. Raises
    CheckpointError where one of the two has no other.
    """
    import torch

    waiting: dict[str, Tensor] = {}
    for key, tensor in tensors:
        layer, _, letter = key.rpartition(".")
        if letter not in ("q_bias", "v_bias"):
            yield key, tensor
            continue
        other = waiting.pop(f"{layer}.{'v' if letter == 'q_bias' else 'q'}_bias", None)
        if other is None:
            waiting[key] = tensor
            continue
        queries, values = (tensor, other) if letter == "q_bias" else (other, tensor)
        yield f"{layer}.qkv.bias", torch.cat((queries, torch.zeros_like(queries), values))
    if waiting:
        raise CheckpointError(f"biases without their other half: {', '.join(sorted(waiting))}")


_PROJECTION = move("language_projection.{leaf}", "projection.{leaf}")
_INSTRUCT_ONLY: list[Rule] = [
    move("qformer.embeddings.layernorm.{leaf}", "qformer.norm.{leaf}"),
    *_words("qformer.embeddings."),
]


def rules_for(config: Blip2Config) -> list[Rule]:
    """The table of a BLIP-2 or an InstructBLIP with the language model that it has."""
    opt = isinstance(config.text.positions, LearnedPositions)
    language = (
        decoder.opt_rules("language_model.model.decoder.", "decoder.")
        if opt
        else decoder.llama_rules("language_model.model.", "decoder.")
    )
    norm = _INSTRUCT_ONLY if config.instructed else [_BARE_NORM]
    head = decoder.head_rule("language_model.lm_head.weight", "decoder.")
    return [*_VISION, *_QFORMER, *norm, _PROJECTION, *language, head, *_LAVIS, *COMPUTED]


MATCHER_RULES: list[Rule] = [
    *_VISION,
    *_QFORMER,
    _BARE_NORM,
    *_words("embeddings."),
    move("vision_projection.{leaf}", "image_projection.{leaf}"),
    move("text_projection.{leaf}", "text_projection.{leaf}"),
    move("itm_head.{leaf}", "matching_head.{leaf}"),
    *_LAVIS,
    drop("temp"),
    *COMPUTED,
]

_VISION_DEFAULTS: dict[str, Any] = {
    "num_channels": 3,
    "hidden_size": 1408,
    "intermediate_size": 6144,
    "num_hidden_layers": 39,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
}
_QFORMER_DEFAULTS: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "layer_norm_eps": 1e-12,
    "cross_attention_frequency": 2,
    "use_qformer_text_input": False,
}
_QFORMER_KINDS = {"blip-2": "blip_2_qformer", "instructblip": "instructblip_qformer"}
_VISION_KINDS = {"blip-2": "blip_2_vision_model", "instructblip": "instructblip_vision_model"}


def _read_vision(raw: Mapping[str, Any]) -> VitConfig:
    fields = section({"vision_config": {}, **raw}, "vision_config", _VISION_DEFAULTS)
    return replace(read_vision(fields), patch_bias=True, qkv_bias=fields["qkv_bias"], pre_norm=False)


def _read_qformer(raw: Mapping[str, Any], image_width: int, *, words: bool, text_mlp: bool) -> QFormerConfig:
    fields = section({"qformer_config": {}, **raw}, "qformer_config", _QFORMER_DEFAULTS)
    return QFormerConfig(
        queries=raw.get("num_query_tokens", 32),
        width=fields["hidden_size"],
        depth=fields["num_hidden_layers"],
        heads=fields["num_attention_heads"],
        mlp_width=fields["intermediate_size"],
        activation=fields.activation(),
        norm_eps=fields["layer_norm_eps"],
        cross_every=fields["cross_attention_frequency"],
        image_width=image_width,
        vocabulary=fields["vocab_size"] if words else None,
        context_length=fields["max_position_embeddings"] if words else 0,
        text_mlp=text_mlp,
    )


def read_config(raw: Mapping[str, Any]) -> Blip2Config:
    """The config of a BLIP-2 or an InstructBLIP that writes. Raises CheckpointError."""
    top = Fields(raw, "the file")
    top.expect("model_type", "blip-2", "instructblip")
    vision, instructed = _read_vision(raw), raw["model_type"] == "instructblip"
    qformer = section({"qformer_config": {}, **raw}, "qformer_config", _QFORMER_DEFAULTS)
    text_mlp = instructed or qformer["use_qformer_text_input"]
    return Blip2Config(
        vision=vision,
        qformer=_read_qformer(raw, vision.width, words=instructed, text_mlp=text_mlp),
        text=decoder.read_config({"model_type": "opt", **raw.get("text_config", {})}),
        instructed=instructed,
    )


def read_matcher_config(raw: Mapping[str, Any]) -> Blip2MatcherConfig:
    """The config of a BLIP-2 that compares pictures and words. Raises CheckpointError."""
    Fields(raw, "the file").expect("model_type", "blip-2")
    section({"qformer_config": {}, **raw}, "qformer_config", _QFORMER_DEFAULTS).expect(
        "use_qformer_text_input", True
    )
    vision = _read_vision(raw)
    return Blip2MatcherConfig(
        vision=vision,
        qformer=_read_qformer(raw, vision.width, words=True, text_mlp=True),
        shared=raw.get("image_text_hidden_size", 256),
        caption=False,
    )


def _written(kind: str, vision: VitConfig, qformer: QFormerConfig) -> dict[str, Any]:
    words = {"vocab_size": qformer.vocabulary, "max_position_embeddings": qformer.context_length}
    return {
        "model_type": kind,
        "num_query_tokens": qformer.queries,
        "vision_config": {
            "model_type": _VISION_KINDS[kind],
            **write_vision(vision),
            "qkv_bias": vision.qkv_bias,
        },
        "qformer_config": {
            "model_type": _QFORMER_KINDS[kind],
            "hidden_size": qformer.width,
            "num_hidden_layers": qformer.depth,
            "num_attention_heads": qformer.heads,
            "intermediate_size": qformer.mlp_width,
            "hidden_act": foreign_activation(qformer.activation),
            "layer_norm_eps": qformer.norm_eps,
            "cross_attention_frequency": qformer.cross_every,
            "encoder_hidden_size": qformer.image_width,
            "use_qformer_text_input": qformer.text_mlp,
            **(words if qformer.vocabulary else {}),
        },
    }


def write_config(config: Blip2Config) -> dict[str, Any]:
    """The inverse of ``read_config``."""
    learned = isinstance(config.text.positions, LearnedPositions)
    write_text = decoder.write_opt if learned else decoder.write_llama
    kind = "instructblip" if config.instructed else "blip-2"
    architecture = "InstructBlip" if config.instructed else "Blip2"
    written = _written(kind, config.vision, config.qformer)
    if config.instructed:
        del written["qformer_config"]["use_qformer_text_input"]
    return {
        "architectures": [f"{architecture}ForConditionalGeneration"],
        **written,
        "text_config": write_text(config.text),
    }


def write_matcher_config(config: Blip2MatcherConfig) -> dict[str, Any]:
    """The inverse of ``read_matcher_config``. Raises CheckpointError for a head that writes captions."""
    if config.caption:
        raise CheckpointError("the head that writes captions has no name in the hub's layout")
    return {
        "architectures": ["Blip2ForImageTextRetrieval"],
        **_written("blip-2", config.vision, config.qformer),
        "image_text_hidden_size": config.shared,
    }
