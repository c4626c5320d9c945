"""A tiny CLIP checkpoint in the hub's layout, written by the reference library with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers

SIDE = 32


def write_tiny_clip(folder: Path) -> Path:
    """Config, weights, preparation and a vocabulary of single letters."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    start, end = len(tokens) - 2, len(tokens) - 1
    text = {
        "vocab_size": len(tokens),
        "max_position_embeddings": 40,
        "bos_token_id": start,
        "eos_token_id": end,
    }
    torch.manual_seed(0)
    network = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config=tower | text,
            vision_config=tower | {"image_size": SIDE, "patch_size": 8},
            projection_dim=24,
        )
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=1.0 / parameter.shape[1] ** 0.5)
    network.save_pretrained(folder)
    preparation = {
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def photos(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures uint8 [count, SIDE, SIDE, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3))
    fine = rng.integers(-20, 20, (count, SIDE, SIDE, 3))
    return np.clip(coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2) + fine, 0, 255).astype(np.uint8)
