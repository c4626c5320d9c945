"""A tiny CLIP with random weights as a folder in the hub's layout, and a dozen captioned pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tokenizers
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import models, pre_tokenizers

from sensorium.media.image import ImageSpec
from sensorium.models.clip import Clip, ClipConfig, ClipTextConfig
from sensorium.models.vit import VitConfig
from sensorium.weights.load import FAMILIES
from sensorium.weights.preprocess import image_fields
from sensorium.weights.rules import original

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 40),
    "blue": (30, 50, 220),
    "yellow": (240, 220, 40),
    "orange": (250, 140, 20),
    "purple": (130, 40, 160),
    "pink": (250, 150, 190),
    "brown": (110, 70, 30),
    "black": (15, 15, 15),
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "cyan": (40, 210, 220),
}
WORDS = ["<|startoftext|>", "<|endoftext|>", "a", "picture", "of", "something", *COLOURS]


def write_tiny_clip(folder: Path, *, sigmoid: bool = False) -> Path:
    """A network of two layers a tower on 16 x 16 pixels; with ``sigmoid``, of the SigLIP kind."""
    vision = VitConfig(
        image_size=(16, 16),
        patch=8,
        channels=3,
        width=32,
        depth=2,
        heads=2,
        mlp_width=64,
        activation="gelu_tanh" if sigmoid else "gelu",
        norm_eps=1e-6 if sigmoid else 1e-5,
        class_token=not sigmoid,
        class_position=not sigmoid,
        registers=0,
        patch_bias=sigmoid,
        qkv_bias=True,
        pre_norm=not sigmoid,
        pool="map" if sigmoid else "class",
        position_antialias=True,
    )
    text = ClipTextConfig(
        vocabulary=len(WORDS) + 1,
        context_length=8,
        width=32,
        depth=2,
        heads=2,
        mlp_width=64,
        activation=vision.activation,
        norm_eps=vision.norm_eps,
        causal=not sigmoid,
        pool="last" if sigmoid else "eos",
        eos_id=1,
    )
    torch.manual_seed(0)
    network = Clip(
        ClipConfig(
            vision,
            text,
            embed_dim=32,
            image_projection=not sigmoid,
            text_projection_bias=sigmoid,
            logit_bias=sigmoid,
        )
    )
    family = FAMILIES["siglip" if sigmoid else "clip"]
    folder.mkdir(parents=True)
    state = original(network.state_dict(), family.rules)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "model.safetensors")
    half = (0.5, 0.5, 0.5)
    spec = ImageSpec(16, 16, "squash", 16, "bicubic", half, half)
    for name, fields in {
        "config.json": family.write_config(network.config),
        "preprocessor_config.json": image_fields(spec),
        "tokenizer_config.json": {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    }.items():
        (folder / name).write_text(json.dumps(fields))
    words = tokenizers.Tokenizer(
        models.WordLevel({word: number for number, word in enumerate([*WORDS, "[UNK]"])}, unk_token="[UNK]")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    words.save(str(folder / "tokenizer.json"))
    return folder


def write_colour_pictures(folder: Path) -> Path:
    """Twelve noisy pictures of one colour each, and the list of their captions, two for each."""
    folder.mkdir(parents=True)
    source = np.random.default_rng(0)
    rows = []
    for name, colour in COLOURS.items():
        pixels = np.clip(np.array(colour) + source.normal(0, 8, (40, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        rows.append({"image": f"{name}.png", "text": [f"a picture of something {name}", f"{name}"]})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "pairs.jsonl"
