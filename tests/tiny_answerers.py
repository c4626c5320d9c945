"""Folders of tiny models with eyes and random weights, as they lie on disk and are named by --model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from sensorium.weights.load import FAMILIES
from sensorium.weights.rules import original

SPECIAL = ("<s>", "</s>", "<image>", "<|video|>", "<|see|>", "<|seen|>", "<|user|>", "<|bot|>")
BEGIN, END, IMAGE, VIDEO = 256, 257, 258, 259
ROWS = 256 + len(SPECIAL)

_TEXT: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": ROWS,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
}
_CLIP: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": 28,
    "patch_size": 7,
    "projection_dim": 16,
}
_QWEN_TEXT: dict[str, Any] = {
    **{key: value for key, value in _TEXT.items() if key != "model_type"},
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rope_theta": 1e4,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 4, 4]},
}
_BLIP: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 28,
        "patch_size": 14,
    },
    "qformer_config": {
        "vocab_size": ROWS,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "encoder_hidden_size": 24,
    },
    "text_config": _TEXT,
    "num_query_tokens": 5,
}
_STAGES = [
    {"kernel": 3, "stride": stride, "expand": 1, "width": 8, "depth": 1} for stride in (1, 2, 2, 2, 1, 2, 1)
]
CONFIGS: dict[str, dict[str, Any]] = {
    "llava": {
        "model_type": "llava",
        "vision_config": _CLIP,
        "text_config": _TEXT,
        "image_token_index": IMAGE,
    },
    "next": {
        "model_type": "llava_next",
        "vision_config": _CLIP,
        "text_config": _TEXT,
        "image_token_index": IMAGE,
    },
    "qwen": {
        "model_type": "qwen2_5_vl",
        **_QWEN_TEXT,
        "vision_config": {
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 44,
            "num_heads": 2,
            "patch_size": 4,
            "window_size": 16,
            "out_hidden_size": 40,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
    },
    "blip2": {"model_type": "blip-2", **_BLIP},
    "instruct": {"model_type": "instructblip", **_BLIP},
    "mini": {
        "model_type": "sensorium_mini_vlm",
        "side": 64,
        "image_token": IMAGE,
        "most_pictures": 2,
        "vision_config": {"stem_width": 8, "stages": _STAGES, "head_width": 16, "classes": 4},
        "connector_config": {"layers": 2, "activation": "gelu", "bias": True},
        "text_config": _TEXT,
    },
}
_FAMILY = {"next": "llava", "qwen": "qwen_vl", "instruct": "blip2", "mini": "mini_vlm"}

_STEPS: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
}
_SQUARE = {"crop_size": {"height": 28, "width": 28}, "do_center_crop": True, "size": {"shortest_edge": 28}}
_PICTURES: dict[str, dict[str, Any]] = {
    "llava": _STEPS | _SQUARE | {"image_processor_type": "LlavaImageProcessor", "do_pad": True},
    "next": _STEPS
    | _SQUARE
    | {
        "image_processor_type": "LlavaNextImageProcessor",
        "do_pad": True,
        "aspect_ratio_setting": "anyres",
        "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]],
    },
    "qwen": {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 256,
        "max_pixels": 64 * 64,
        "patch_size": 4,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
    "blip2": _STEPS | {"image_processor_type": "BlipImageProcessor", "size": {"height": 28, "width": 28}},
}

_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|user|>' if message.role == 'user' else '<|bot|>' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE{% elif part.type == 'video' %}VIDEO"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "{% if message.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|bot|>{% endif %}"
)


def folder_of(kind: str, root: Path, *, card: str = "", seed: int = 0) -> Path:
    """A model's folder: ``kind`` is a key of `CONFIGS`, ``card`` the front matter of its README."""
    folder = root / f"tiny-{kind}"
    folder.mkdir(parents=True)
    raw = CONFIGS[kind]
    family = FAMILIES[_FAMILY.get(kind, kind)]
    config = family.read_config(raw)
    network = family.network(config)
    _randomise(network, seed)
    state = original(network.state_dict(), family.rules_for(config))
    save_file(
        {key: tensor.clone().contiguous() for key, tensor in state.items()}, folder / "model.safetensors"
    )
    _write(folder / "config.json", raw)
    _write(folder / "preprocessor_config.json", _pictures(kind, config))
    _write(folder / "generation_config.json", {"eos_token_id": END})
    _write(folder / "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"})
    vocabulary = _vocabulary(encloses="blip" in kind or kind == "instruct")
    vocabulary.save(str(folder / "tokenizer.json"))
    if kind == "instruct":
        (folder / "qformer_tokenizer").mkdir()
        vocabulary.save(str(folder / "qformer_tokenizer" / "tokenizer.json"))
    if kind not in ("blip2", "instruct"):
        image = "<|see|><image><|seen|>" if kind == "qwen" else "<image>"
        shown = _TEMPLATE.replace("IMAGE", image).replace("VIDEO", "<|see|><|video|><|seen|>")
        (folder / "chat_template.jinja").write_text(shown, "utf-8")
    if card:
        (folder / "README.md").write_text(f"---\n{card}\n---\n\n# A card\n", "utf-8")
    return folder


def _pictures(kind: str, config: Any) -> dict[str, Any]:
    if kind == "mini":
        from sensorium.weights.maps.mini_vlm import picture_spec
        from sensorium.weights.pictures import picture_fields

        return picture_fields(picture_spec(config))
    return _PICTURES["blip2" if kind == "instruct" else kind]


def _randomise(network: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.2
        parameter.data = noise + 1.0 if "norm" in name and name.endswith("weight") else noise


def _vocabulary(*, encloses: bool) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(word, normalized=False) for word in SPECIAL])
    if encloses:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BEGIN)])
    return core


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), "utf-8")


def gradient(width: int, height: int, shift: int = 0) -> Image.Image:
    """A picture whose colours say where a pixel lies."""
    image = Image.new("RGB", (width, height))
    image.putdata(
        [
            ((255 * x // max(1, width - 1) + shift) % 256, 255 * y // max(1, height - 1), (7 * shift) % 256)
            for y in range(height)
            for x in range(width)
        ]
    )
    return image


def film(path: Path, seconds: float, rate: int = 2, size: tuple[int, int] = (64, 48)) -> Path:
    """A film of so many seconds, each frame of another colour."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 12
        for number in range(max(1, round(seconds * rate))):
            frame = av.VideoFrame.from_image(gradient(*size, shift=37 * number))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
