"""A Segment Anything of mini-sam's form, tiny and with random weights, as a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from sensorium.media.image import ImageSpec
from sensorium.models.efficientnet import EfficientNetConfig, Stage
from sensorium.models.sam.config import PyramidConfig, SamConfig
from sensorium.models.sam.sam import Sam
from sensorium.skills.segment.segmenter import Segmenter, load
from sensorium.weights.maps import sam as layout
from sensorium.weights.preprocess import image_fields
from sensorium.weights.rules import original

SIDE = 64
_STAGES = tuple(
    Stage(3, stride, expand, width, 1)
    for stride, expand, width in (
        (1, 1, 8),
        (2, 2, 8),
        (2, 2, 8),
        (2, 2, 12),
        (1, 2, 12),
        (2, 2, 16),
        (1, 2, 16),
    )
)
CONFIG = SamConfig(
    vision=PyramidConfig(SIDE, EfficientNetConfig(8, _STAGES, 16, 4), out_channels=32),
    mask_channels=8,
    decoder_depth=2,
    decoder_heads=4,
    decoder_mlp_width=32,
    decoder_norm_eps=1e-5,
    downsample=2,
    candidates=3,
    quality_width=16,
    quality_depth=3,
)


def write(folder: Path, *, side: int = SIDE, seed: int = 0) -> Path:
    """The folder of a network for squares of ``side`` pixels."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    assert isinstance(CONFIG.vision, PyramidConfig)
    config = replace(CONFIG, vision=replace(CONFIG.vision, image_size=side))
    state = original(Sam(config).state_dict(), layout.ORIGINAL_RULES)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(layout.write_original_config(config)), "utf-8")
    spec = ImageSpec(side, side, "longest", side, "bilinear", (127 / 255,) * 3, (128 / 255,) * 3)
    prepared = image_fields(spec, "SamImageProcessor")
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared), "utf-8")
    return folder


def segmenter(folder: Path) -> Segmenter:
    """That network ready to use."""
    return load(str(write(folder)))


def network() -> Sam:
    """That network itself, in evaluation mode."""
    torch.manual_seed(0)
    return Sam(CONFIG).eval()
