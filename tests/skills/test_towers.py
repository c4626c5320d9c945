"""Every kind of CLIP can be exported: graphs give what the network gives, at any batch and length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.media.image import ImageSpec, normalize
from sensorium.models.bert import BertConfig
from sensorium.models.clip import Clip, ClipConfig, ClipTextConfig
from sensorium.models.vit import VitConfig
from sensorium.runtime.graph import accelerate
from sensorium.skills.towers import ImageTower, TextTower

SPEC = ImageSpec(24, 16, "squash", 24, "bicubic", (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
END = 59


def openai() -> ClipConfig:
    vision = VitConfig(
        image_size=(24, 16),
        patch=8,
        channels=3,
        width=32,
        depth=2,
        heads=2,
        mlp_width=48,
        activation="quick_gelu",
        norm_eps=1e-5,
        class_token=True,
        class_position=True,
        registers=0,
        patch_bias=False,
        qkv_bias=True,
        pre_norm=True,
        pool="class",
        position_antialias=False,
    )
    text = ClipTextConfig(
        vocabulary=60,
        context_length=16,
        width=24,
        depth=2,
        heads=2,
        mlp_width=40,
        activation="quick_gelu",
        norm_eps=1e-5,
        causal=True,
        pool="eos",
        eos_id=END,
    )
    return ClipConfig(vision, text, 20, image_projection=True, text_projection_bias=False, logit_bias=False)


def siglip() -> ClipConfig:
    base = openai()
    assert isinstance(base.text, ClipTextConfig)
    vision = replace(
        base.vision, class_token=False, class_position=False, patch_bias=True, pre_norm=False, pool="map"
    )
    text = replace(base.text, activation="gelu_tanh", causal=False, pool="last")
    return ClipConfig(vision, text, 32, image_projection=False, text_projection_bias=True, logit_bias=True)


def chinese() -> ClipConfig:
    base = openai()
    text = BertConfig(
        vocabulary=60,
        context_length=16,
        types=2,
        width=24,
        depth=2,
        heads=2,
        mlp_width=40,
        activation="gelu",
        norm_eps=1e-12,
    )
    return ClipConfig(
        base.vision, text, 20, image_projection=True, text_projection_bias=False, logit_bias=False
    )


KINDS = {"openai": openai, "siglip": siglip, "chinese": chinese}


@pytest.fixture(autouse=True)
def _float32_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    monkeypatch.setenv("SENSORIUM_ENGINE", "openvino-f32")
    monkeypatch.setenv("SENSORIUM_THREADS", "1")
    torch.manual_seed(0)


def network(kind: str) -> Clip:
    made = Clip(KINDS[kind]()).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    return made


def tokens(rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Sentences of falling length, padded with zeros."""
    ids = np.random.default_rng(length).integers(3, END, (rows, length))
    mask = np.ones_like(ids)
    for row in range(rows):
        end = max(1, length - 1 - row)
        ids[row, end], ids[row, end + 1 :], mask[row, end + 1 :] = END, 0, 0
    return ids, mask


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_tower(kind: str) -> None:
    clip = network(kind)
    fixed = kind == "siglip"
    samples = [tokens(1, 16 if fixed else 3 + i % 8) for i in range(12)]
    axes = (0,) if fixed else (0, 1)
    found = accelerate(TextTower(clip).eval(), samples, key=kind, dynamic=(axes, axes))
    for rows, length in ((1, 16),) if fixed else ((1, 2), (3, 7), (2, 16)):
        ids, mask = tokens(rows, length)
        with torch.inference_mode():
            expected = clip.encode_text(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        np.testing.assert_allclose(found(ids, mask), expected, atol=2e-5 * np.abs(expected).max() + 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_tower(kind: str) -> None:
    clip = network(kind)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 24, 16, 3), dtype=np.uint8)
    samples = [(pixels[i : i + 1],) for i in range(12)]
    found = accelerate(ImageTower(clip, SPEC).eval(), samples, key=kind, dynamic=((0,),))
    for rows in (1, 5, 12):
        with torch.inference_mode():
            prepared = torch.from_numpy(normalize(pixels[:rows], SPEC))
            expected = clip.encode_image(prepared).numpy()
        np.testing.assert_allclose(found(pixels[:rows]), expected, atol=2e-5 * np.abs(expected).max() + 1e-5)
