"""The preparation that a checkpoint's own files declare, as `ImageSpec` and `TextSpec`, and back to files.

Three styles exist side by side: ``preprocessor_config.json`` of the first years (sizes are bare numbers),
that of today (sizes are named; a whole processor may nest it in ``processor_config.json``), and the
``preprocess_cfg`` of ``open_clip_config.json``. A field that is missing is an error that names it: a
guessed mean or a guessed crop gives plausible and wrong embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sensorium.errors import CheckpointError
from sensorium.media.image import ImageSpec, Resample
from sensorium.media.text import BERT_END, BERT_START, CLIP_END, CLIP_START, TextSpec

RESAMPLES: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow numbers its filters in this order, and preprocessor_config.json stores the number."""

_NO_LIMIT = 1_000_000
# Above this a "model_max_length" is the writer's way to say that there is none.

IMAGE_FILES = ("preprocessor_config.json", "processor_config.json", "open_clip_config.json")


def read_image_spec(folder: Path) -> ImageSpec:
    """The preparation of pictures that the files in ``folder`` declare.

    Raises:
        CheckpointError: No such file, a missing field, or a value that cannot be carried out, named.
    """
    for name in IMAGE_FILES:
        raw = read_json(folder / name)
        if raw is None:
            continue
        if name == "preprocessor_config.json":
            return image_from_hub(raw, f"{folder / name}")
        if name == "open_clip_config.json":
            return _from_open_clip(section(raw, "preprocess_cfg", name), raw, name)
        if "image_processor" in raw:  # a processor without one only names its class
            return image_from_hub(section(raw, "image_processor", name), f"{folder / name}")
    raise CheckpointError(
        f"{folder} does not say how pictures are prepared: put preprocessor_config.json there"
    )


def read_text_spec(folder: Path, family: str, config: Mapping[str, Any]) -> TextSpec | None:
    """The preparation of words for a checkpoint of ``family`` (some read none), from its files.

    Args:
        folder: Where the checkpoint lies.
        family: As in `sensorium.weights.files.ModelFiles`.
        config: The parsed ``config.json``, or ``open_clip_config.json`` in its absence.

    Raises:
        CheckpointError: A needed field or file is missing, named.
    """
    if family not in ("clip", "siglip", "chinese_clip", "mini_clip"):
        return None
    tokens = read_json(folder / "tokenizer_config.json") or {}
    stated = tokens.get("model_max_length")
    limit = stated if isinstance(stated, int) and stated < _NO_LIMIT else None
    positions = _positions(family, config)
    length = min(positions, limit) if limit else positions
    if family == "clip":
        return TextSpec(
            context_length=length,
            padding="none",
            pad_id=_pad_id(folder, tokens, CLIP_END),
            lowercase=True,
            start=_word(tokens, "bos_token", CLIP_START),
            end=_word(tokens, "eos_token", CLIP_END),
        )
    if family == "siglip":
        if not (folder / "tokenizer.json").is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json: SigLIP 2 keeps its vocabulary there")
        if str(tokens.get("tokenizer_class", "")).startswith("SiglipTokenizer"):
            raise CheckpointError(
                f"{folder} has the tokenizer of SigLIP 1, which drops punctuation: not supported"
            )
        return TextSpec(
            context_length=length,
            padding="fixed",
            pad_id=_pad_id(folder, tokens, "<pad>"),
            lowercase=True,  # trained on lower case only, whatever do_lower_case says (transformers#43101)
            end=_word(tokens, "eos_token", "<eos>"),
        )
    if family == "chinese_clip":
        return TextSpec(
            context_length=length,
            padding="none",
            pad_id=_pad_id(folder, tokens, "[PAD]"),
            lowercase=bool(tokens.get("do_lower_case", True)),
            start=_word(tokens, "cls_token", BERT_START),
            end=_word(tokens, "sep_token", BERT_END),
            split_chinese=bool(tokens.get("tokenize_chinese_chars", True)),
            strip_accents=tokens.get("strip_accents"),
        )
    stated_here = {**tokens, **(config.get("text_config") or {})}
    return TextSpec(
        context_length=length,
        padding="none",
        pad_id=_pad_id(folder, stated_here, "<pad>"),
        lowercase=bool(stated_here.get("do_lower_case", False)),
        prefix=str(stated_here.get("prefix", "")),
    )


def image_fields(spec: ImageSpec, processor: str = "CLIPImageProcessor") -> dict[str, Any]:
    """The content of a ``preprocessor_config.json`` of today's style that `read_image_spec` reads back."""
    fields: dict[str, Any] = {
        "do_center_crop": spec.fit == "crop",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(spec.mean),
        "image_processor_type": processor,
        "image_std": list(spec.std),
        "resample": RESAMPLES.index(spec.resample),
        "rescale_factor": 1 / 255,
        "size": {"height": spec.height, "width": spec.width},
    }
    if spec.fit == "crop":
        fields["crop_size"] = {"height": spec.height, "width": spec.width}
        fields["size"] = {"shortest_edge": spec.resize}
    if spec.fit == "longest":
        fields["do_pad"] = True
        fields["pad_size"] = {"height": spec.height, "width": spec.width}
        fields["size"] = {"longest_edge": spec.resize}
    return fields


def text_fields(spec: TextSpec, pad_token: str | None = None) -> dict[str, Any]:
    """The content of a ``tokenizer_config.json`` that `read_text_spec` reads back."""
    fields: dict[str, Any] = {"model_max_length": spec.context_length, "do_lower_case": spec.lowercase}
    if spec.prefix:
        fields["prefix"] = spec.prefix
    start, end = ("cls_token", "sep_token") if spec.start == BERT_START else ("bos_token", "eos_token")
    optional = {start: spec.start, end: spec.end, "pad_token": pad_token, "strip_accents": spec.strip_accents}
    fields.update({name: value for name, value in optional.items() if value is not None})
    if start == "cls_token":
        fields["tokenize_chinese_chars"] = spec.split_chinese
    return fields


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None when there is no such file.

    Raises:
        CheckpointError: The file is no JSON object.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return value


def check_steps(raw: Mapping[str, Any], where: str) -> None:
    """Refuse a preprocessor that leaves out a step or scales bytes to anything but [0, 1].

    Raises:
        CheckpointError: Names the field.
    """
    if not raw.get("do_resize", True) or not raw.get("do_normalize", True) or not raw.get("do_rescale", True):
        raise CheckpointError(f"{where}: do_resize, do_rescale and do_normalize must be true")
    factor = raw.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or abs(factor * 255 - 1) > 1e-6:
        raise CheckpointError(f"{where}: rescale_factor is {factor}; only 1/255 is supported")


def image_from_hub(raw: Mapping[str, Any], where: str) -> ImageSpec:
    """The content of a ``preprocessor_config.json`` of either style; ``where`` names the file in errors.

    Raises:
        CheckpointError: A field is missing or cannot be carried out, named.
    """
    check_steps(raw, where)
    longest = (raw.get("size") or {}).get("longest_edge") if isinstance(raw.get("size"), dict) else None
    if isinstance(longest, int):
        height, width = cast(
            tuple[int, int], _size(need(raw, "pad_size", where), "pad_size", where, shortest=False)
        )
        resample = resample_of(need(raw, "resample", where), where)
        mean, std = triple(raw, "image_mean", where), triple(raw, "image_std", where)
        return ImageSpec(height, width, "longest", longest, resample, mean, std)
    crops = need(raw, "do_center_crop", where) if "crop_size" in raw else raw.get("do_center_crop", False)
    size = _size(need(raw, "size", where), "size", where, shortest=bool(crops))
    crop = _size(need(raw, "crop_size", where), "crop_size", where, shortest=False) if crops else None
    resample = resample_of(need(raw, "resample", where), where)
    mean, std = triple(raw, "image_mean", where), triple(raw, "image_std", where)
    if crop is not None and isinstance(size, int):
        height, width = cast(tuple[int, int], crop)
        return ImageSpec(height, width, "crop", size, resample, mean, std)
    if isinstance(size, int):
        raise CheckpointError(f"{where}: size has only a shortest edge, and do_center_crop is off")
    if crop is not None and crop != size:
        raise CheckpointError(f"{where}: a crop of {crop} from a squashed size of {size} is not supported")
    return ImageSpec(size[0], size[1], "squash", size[0], resample, mean, std)


def _from_open_clip(raw: Mapping[str, Any], config: Mapping[str, Any], where: str) -> ImageSpec:
    vision = section(section(config, "model_cfg", where), "vision_cfg", where)
    declared = raw.get("size", vision.get("image_size"))
    if declared is None:
        raise CheckpointError(f"{where}: preprocess_cfg.size and model_cfg.vision_cfg.image_size are missing")
    sides = declared if isinstance(declared, list) else [declared, declared]
    height, width = int(sides[0]), int(sides[1])
    mode = raw.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise CheckpointError(f"{where}: resize_mode {mode!r} is not supported; shortest and squash are")
    if mode == "shortest" and height != width:
        raise CheckpointError(f"{where}: resize_mode 'shortest' with a size of {declared} is not supported")
    resample = resample_of(raw.get("interpolation", "bicubic"), where)
    mean, std = triple(raw, "mean", where), triple(raw, "std", where)
    return ImageSpec(height, width, "crop" if mode == "shortest" else "squash", height, resample, mean, std)


def _size(value: Any, name: str, where: str, *, shortest: bool) -> int | tuple[int, int]:
    """A side alone (shortest edge) or (height, width), from any style of writing it."""
    if isinstance(value, int):
        return value if shortest else (value, value)
    if isinstance(value, list) and len(value) == 2:
        return int(value[0]), int(value[1])
    if (
        isinstance(value, dict)
        and isinstance(value.get("shortest_edge"), int)
        and "longest_edge" not in value
    ):
        return int(value["shortest_edge"])
    if (
        isinstance(value, dict)
        and isinstance(value.get("height"), int)
        and isinstance(value.get("width"), int)
    ):
        return int(value["height"]), int(value["width"])
    raise CheckpointError(
        f"{where}: {name} is {value!r}; a number, shortest_edge, or height and width needed"
    )


def resample_of(value: Any, where: str) -> Resample:
    """A filter by its name or Pillow's number. Raises CheckpointError."""
    if isinstance(value, int) and 0 <= value < len(RESAMPLES):
        return RESAMPLES[value]
    if value in RESAMPLES:
        return cast(Resample, value)
    raise CheckpointError(
        f"{where}: resample is {value!r}; one of {', '.join(RESAMPLES)} or its number needed"
    )


def triple(raw: Mapping[str, Any], name: str, where: str) -> tuple[float, float, float]:
    """Three numbers, one a channel. Raises CheckpointError."""
    value = need(raw, name, where)
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(v, int | float) for v in value):
        raise CheckpointError(f"{where}: {name} is {value!r}; three numbers are needed")
    return float(value[0]), float(value[1]), float(value[2])


def need(raw: Mapping[str, Any], name: str, where: str) -> Any:
    """A field that must be there and not null. Raises CheckpointError."""
    if raw.get(name) is None:
        raise CheckpointError(f"{where}: the field {name} is missing")
    return raw[name]


def section(raw: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """A field that must be an object. Raises CheckpointError."""
    value = need(raw, name, where)
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: {name} must be an object")
    return value


def _positions(family: str, config: Mapping[str, Any]) -> int:
    """How many tokens the text tower has positions for."""
    if "model_cfg" in config:
        text = section(section(config, "model_cfg", "open_clip_config.json"), "text_cfg", "model_cfg")
        return int(need(text, "context_length", "open_clip_config.json: text_cfg"))
    text = config.get("text_config") or {}
    # Configs of OpenAI's CLIP leave these out of config.json: the reference's defaults are theirs.
    defaults = {"clip": 77, "siglip": 64, "chinese_clip": 512}
    found = text.get("max_position_embeddings", defaults.get(family))
    if not isinstance(found, int):
        raise CheckpointError("config.json: the field text_config.max_position_embeddings is missing")
    return found


def _word(tokens: Mapping[str, Any], name: str, default: str) -> str:
    """A special token, written as a string or as an object with its content."""
    value = tokens.get(name)
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else default


def _pad_id(folder: Path, tokens: Mapping[str, Any], default: str) -> int:
    """The number of the padding token, from the cheapest file that knows it."""
    token = _word(tokens, "pad_token", default)
    for number, added in (tokens.get("added_tokens_decoder") or {}).items():
        if isinstance(added, dict) and added.get("content") == token:
            return int(number)
    if (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text("utf-8").split("\n")
        if token in lines:
            return lines.index(token)
    vocabulary = read_json(folder / "vocab.json") or {}
    if token in vocabulary:
        return int(vocabulary[token])
    whole = read_json(folder / "tokenizer.json") or {}
    for added in whole.get("added_tokens", []):
        if added.get("content") == token:
            return int(added["id"])
    raise CheckpointError(f"{folder}: no vocabulary file knows the padding token {token!r}")
