"""Write a network back in the hub layout, so that other libraries read what was trained here."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sensorium.errors import CheckpointError
from sensorium.weights.files import COMPANIONS
from sensorium.weights.load import FAMILIES, Family
from sensorium.weights.preprocess import image_fields
from sensorium.weights.rules import original

if TYPE_CHECKING:
    from sensorium.weights.files import ModelFiles

_PROCESSORS = {
    "clip": "CLIPImageProcessor",
    "siglip": "SiglipImageProcessor",
    "chinese_clip": "ChineseCLIPImageProcessor",
    "mini_clip": "CLIPImageProcessor",
    "vit": "ViTImageProcessor",
}


def export(network: nn.Module, files: ModelFiles, folder: Path) -> None:
    """A model as a hub folder: config.json, model.safetensors, and the preprocessing and tokenizer files.

    ``folder`` appears complete or not at all. Raises CheckpointError when it exists and is not empty.
    """
    from safetensors.torch import save_file

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists and is not empty; name a new folder")
    kind = FAMILIES[files.family]
    rules = kind.rules_for(network.config)
    state = {key: tensor.contiguous() for key, tensor in original(network.state_dict(), rules).items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        made = Path(temporary) / "model"
        made.mkdir()
        for name in (*COMPANIONS, "tokenizer.model", "README.md", "LICENSE"):
            if (files.folder / name).is_file():
                (made / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(files.folder / name, made / name)
        if files.pictures is not None and not (made / "preprocessor_config.json").is_file():
            _write_json(
                made / "preprocessor_config.json", image_fields(files.image, _PROCESSORS[files.family])
            )
        _write_json(made / "config.json", hub_config(kind, network, files.config))
        save_file(state, made / "model.safetensors", metadata={"format": "pt"})
        made.replace(folder)  # an empty folder in its place is replaced, as rename(2) allows


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def hub_config(family: Family, network: nn.Module, raw: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json`` of a network: the one it came with while that still describes it, else a new one.

    The old one is kept for what is no concern of ours: labels, token ids, the writer's version.
    """
    config = network.config
    written = family.write_config(config)
    same = raw.get("model_type") == written["model_type"] and family.read_config(raw) == config
    return dict(raw) if same else written
