"""Every config that a family can hold survives being written as config.json and read again."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.models.bert import BertConfig
from sensorium.models.clip import ClipConfig, ClipTextConfig
from sensorium.models.vit import VitClassifierConfig, VitConfig
from sensorium.nn.mlp import Activation
from sensorium.weights.load import FAMILIES

activations: st.SearchStrategy[Activation] = st.sampled_from(["gelu", "gelu_tanh", "quick_gelu"])
small = st.integers(1, 64)
epsilons = st.sampled_from([1e-12, 1e-6, 1e-5])


@st.composite
def towers(draw: st.DrawFn, kind: str) -> VitConfig:
    patch = draw(st.integers(1, 16))
    siglip, vit = kind == "siglip", kind == "vit"
    return VitConfig(
        image_size=(patch * draw(st.integers(1, 9)), patch * draw(st.integers(1, 9))),
        patch=patch,
        channels=draw(st.integers(1, 4)),
        width=draw(small),
        depth=draw(small),
        heads=draw(small),
        mlp_width=draw(small),
        activation=draw(activations),
        norm_eps=draw(epsilons),
        class_token=not siglip,
        class_position=not siglip,
        registers=0,
        patch_bias=siglip or vit,
        qkv_bias=draw(st.booleans()) if vit else True,
        pre_norm=not siglip and not vit,
        pool="map" if siglip else "class",
        position_antialias=False,
    )


@st.composite
def texts(draw: st.DrawFn, kind: str) -> ClipTextConfig | BertConfig:
    vocabulary, length, width, depth, heads, mlp = (draw(small) for _ in range(6))
    activation, eps = draw(activations), draw(epsilons)
    if kind == "chinese_clip":
        return BertConfig(vocabulary, length, draw(small), width, depth, heads, mlp, activation, eps)
    clip = kind == "clip"
    eos = draw(st.integers(0, 60))
    pool = ("highest" if eos == 2 else "eos") if clip else "last"
    return ClipTextConfig(
        vocabulary,
        length,
        width,
        depth,
        heads,
        mlp,
        activation,
        eps,
        clip,
        pool,
        eos,  # type: ignore[arg-type]
    )


@st.composite
def clips(draw: st.DrawFn, kind: str) -> ClipConfig:
    vision, siglip = draw(towers(kind)), kind == "siglip"
    return ClipConfig(
        vision=vision,
        text=draw(texts(kind)),
        embed_dim=vision.width if siglip else draw(small),
        image_projection=not siglip,
        text_projection_bias=siglip,
        logit_bias=siglip,
    )


def assert_survives(family: str, config: object) -> None:
    raw = json.loads(json.dumps(FAMILIES[family].write_config(config)))
    assert FAMILIES[family].read_config(raw) == config


@settings(max_examples=50, deadline=None)
@given(clips("clip"), clips("siglip"), clips("chinese_clip"))
def test_clip_configs_survive(clip: ClipConfig, siglip: ClipConfig, chinese: ClipConfig) -> None:
    assert_survives("clip", clip)
    assert_survives("siglip", siglip)
    assert_survives("chinese_clip", chinese)


@settings(max_examples=50, deadline=None)
@given(towers("vit"), st.integers(0, 20))
def test_vit_configs_survive(vit: VitConfig, classes: int) -> None:
    assert_survives("vit", VitClassifierConfig(vit, classes))
