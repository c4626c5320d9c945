"""Which files make up a model, read without building any network: what a search needs before torch exists.

A model is a folder in the hub's layout. The embedded one lies in the package, pulled ones lie in
``settings.models_dir()``, and any other folder can be named by its path. What the folder holds is decided
by its ``config.json`` (or ``open_clip_config.json``), never by its name.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from sensorium import settings
from sensorium.errors import CheckpointError, ModelNotFoundError
from sensorium.media.image import ImageSpec
from sensorium.media.text import TextSpec
from sensorium.weights import catalog
from sensorium.weights.preprocess import IMAGE_FILES, read_image_spec, read_json, read_text_spec

Family = Literal[
    "clip",
    "siglip",
    "chinese_clip",
    "mini_clip",
    "vit",
    "sam",
    "sam_original",
    "llama",
    "qwen2",
    "opt",
    "blip2",
    "blip2_matcher",
    "llava",
    "mini_vlm",
    "qwen_vl",
]

_FAMILIES: dict[str, Family] = {
    "clip": "clip",
    "siglip": "siglip",
    "chinese_clip": "chinese_clip",
    "mini_clip": "mini_clip",
    "vit": "vit",
    "sam": "sam",
    "sam_original": "sam_original",
    "llama": "llama",
    "qwen2": "qwen2",
    "opt": "opt",
    "blip-2": "blip2",
    "instructblip": "blip2",
    "llava": "llava",
    "llava_next": "llava",
    "qwen2_5_vl": "qwen_vl",
    "sensorium_mini_vlm": "mini_vlm",
}
"""``model_type`` of a ``config.json`` to family."""

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
    "consolidated.00.pth",  # Meta's original Llama, beside the hub's config.json
)
"""Where the weights may be; the first that exists is used, safetensors before pickles."""

_OF_WORDS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)

COMPANIONS = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
    "chat_template.json",
    "chat_template.jinja",
    *_OF_WORDS,
    *(f"qformer_tokenizer/{name}" for name in _OF_WORDS),  # InstructBLIP's second one
)
"""What may belong to a model beside its weights and ``config.json``, and is read by something here."""

WITHOUT_SPECS: tuple[Family, ...] = (
    "llama",
    "qwen2",
    "opt",
    "blip2",
    "blip2_matcher",
    "llava",
    "mini_vlm",
    "qwen_vl",
)
"""Families with a language model. No one size fits their pictures, where they see any: how each is shown
follows from its shape (`sensorium.weights.pictures`); and words have no limit but that of the context."""

_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")


@dataclass(frozen=True)
class ModelFiles:
    """One model on this machine: where it lies and what its files declare."""

    name: str
    """The hub's name, or the folder's own for one given by path."""
    folder: Path
    family: Family
    config: dict[str, Any]
    """The content of ``config.json``; of ``open_clip_config.json`` in its absence."""
    pictures: ImageSpec | None
    """None for models that see none, or see them in their own shape (`sensorium.media.resizing`)."""
    text: TextSpec | None
    """None for models that read no text, and for decoders (`sensorium.media.vocabulary`)."""
    fingerprint: str
    """16 hexadecimal digits that change with the weights, the config, the vocabulary or the preparation."""
    weights: tuple[Path, ...] = ()
    """The weight files: one, or the shards of an index in order."""

    @property
    def image(self) -> ImageSpec:
        """How pictures are prepared.

        Raises:
            CheckpointError: The model sees none, or not by one specification.
        """
        if self.pictures is None:
            raise CheckpointError(f"{self.name} neither compares nor cuts pictures: choose a model that does")
        return self.pictures


def find(name_or_folder: str | Path) -> ModelFiles:
    """Find a model by its hub name, an embedded name, or its folder.

    Opens no connection and never imports torch.

    Raises:
        ModelNotFoundError: It is not on this machine; the text says which files to put where.
        CheckpointError: Its files contradict each other or lack a field, named.
    """
    if isinstance(name_or_folder, str):
        folder, entry = folder_of(name_or_folder), catalog.entry(name_or_folder)
        if Path(name_or_folder).suffix in (".pth", ".pt") and Path(name_or_folder).is_file():
            return find(Path(name_or_folder))
        if entry is not None and entry.lone and (folder / entry.weights).is_file():
            return replace(_lone_checkpoint(folder / entry.weights), name=name_or_folder)
        if folder.is_dir() and not (entry and entry.lone):
            known = entry is not None or not Path(name_or_folder).is_dir()
            return read_folder(folder, name_or_folder if known else folder.name)
        raise ModelNotFoundError(_how_to_get(name_or_folder, folder))
    folder = name_or_folder.expanduser()
    if folder.suffix in (".pth", ".pt") and folder.is_file():
        return _lone_checkpoint(folder.resolve())
    if not folder.is_dir():
        raise ModelNotFoundError(f"{folder} is no folder: name a folder that holds a model, or pull one")
    return read_folder(folder.resolve(), folder.resolve().name)


def find_onnx(name: str) -> Path:
    """The file of a network that the catalog has as ONNX.

    Raises:
        ModelNotFoundError: It is not on this machine; the text says which file to put where.
    """
    entry, folder = catalog.entry(name), folder_of(name)
    if entry is None or not entry.onnx:
        raise ModelNotFoundError(f"the catalog has no ONNX network called {name!r}")
    if not (folder / entry.weights).is_file():
        raise ModelNotFoundError(_how_to_get(name, folder))
    return folder / entry.weights


def folder_of(name: str) -> Path:
    """Where the model called ``name`` lies or would lie; the folder need not exist."""
    entry = catalog.entry(name)
    if entry is not None and entry.embedded:
        return Path(str(resources.files("sensorium.weights"))) / "embedded" / name.rpartition("/")[2]
    given = Path(name).expanduser()
    if entry is None and (given.is_dir() or given.is_absolute() or name.startswith((".", "~"))):
        return given.resolve()
    return settings.models_dir() / name.replace("/", "--")


def read_folder(folder: Path, name: str) -> ModelFiles:
    """Read what the files in ``folder`` declare. Errors are those of `find`."""
    config = read_json(folder / "config.json") or read_json(folder / "open_clip_config.json")
    if config is None:
        raise ModelNotFoundError(f"{folder} holds no model: config.json is missing there")
    family = family_of(config, folder)
    weights = weight_files(folder)
    image = None if family in WITHOUT_SPECS else read_image_spec(folder)
    text = read_text_spec(folder, family, config)
    vocabulary = tuple(folder / part for part in _VOCABULARIES if (folder / part).is_file())
    parts: dict[str, Any] = {
        "config": config,
        "image": asdict(image) if image else None,
        "text": asdict(text) if text else None,
        "files": sha256s((*weights, *vocabulary)),
    }
    if family in WITHOUT_SPECS:
        parts["pictures"] = [read_json(folder / part) for part in IMAGE_FILES]
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return ModelFiles(name, folder, family, config, image, text, fingerprint, weights)


def _lone_checkpoint(file: Path) -> ModelFiles:
    """A SAM or MobileSAM as its authors published it: one file, whose tensors alone say what it is."""
    image = ImageSpec(1024, 1024, "longest", 1024, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    config = {"model_type": "sam_original"}
    identity = json.dumps({"image": asdict(image), "files": sha256s((file,))}, sort_keys=True)
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return ModelFiles(file.name, file.parent, "sam_original", config, image, None, fingerprint, (file,))


def family_of(config: Mapping[str, Any], where: Path) -> Family:
    """The family that a config declares.

    Raises:
        CheckpointError: It declares none, or one that is not supported.
    """
    if "model_cfg" in config:
        vision, text = (config["model_cfg"].get(part, {}) for part in ("vision_cfg", "text_cfg"))
        if "timm_model_name" in vision or "hf_model_name" in text or "hf_tokenizer_name" in text:
            raise CheckpointError(
                f"{where}: open_clip_config.json has towers of other libraries: not supported"
            )
        return "clip"
    declared = config.get("model_type")
    if declared not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise CheckpointError(f"{where}: config.json has model_type {declared!r}; supported are {known}")
    if declared == "blip-2" and "Blip2ForImageTextRetrieval" in (config.get("architectures") or ()):
        return "blip2_matcher"
    return _FAMILIES[declared]


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The weight files of a folder: one, or every shard that an index lists.

    Raises:
        ModelNotFoundError: There is none, or shards are missing, named.
    """
    for name in WEIGHTS:
        if not (folder / name).is_file():
            continue
        if not name.endswith(".index.json"):
            return (folder / name,)
        table = (read_json(folder / name) or {}).get("weight_map")
        if not isinstance(table, dict) or not table:
            raise CheckpointError(f"{folder / name} lists no weights")
        if outside := [shard for shard in table.values() if Path(shard).name != shard]:
            raise CheckpointError(f"{folder / name} lists {outside[0]}, which is no plain file name")
        shards = tuple(folder / shard for shard in sorted(set(table.values())))
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing:
            raise ModelNotFoundError(f"put {', '.join(missing)} into {folder}: {name} lists them")
        return shards
    raise ModelNotFoundError(f"put model.safetensors (or pytorch_model.bin) into {folder}: it has no weights")


def sha256s(paths: tuple[Path, ...]) -> dict[str, str]:
    """SHA-256 of each file by name, computed once and remembered while size and time of change stay.

    The memory is ``hashes.json`` in ``settings.home()``; where that cannot be written, files are read anew.
    """
    memory = settings.home() / "hashes.json"
    try:
        remembered: dict[str, Any] = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):  # absent, or cut short by a crash: it is only a memory
        remembered = {}
    result, learned = {}, False
    for path in paths:
        stat = path.stat()
        key, state = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        known = remembered.get(key)
        if not (isinstance(known, list) and known[:2] == state and len(known) == 3):
            known = [*state, sha256(path)]
            remembered[key], learned = known, True
        result[path.name] = str(known[2])
    if learned:
        write_atomically(memory, json.dumps(remembered, indent=0, sort_keys=True))
    return result


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> bool:
    """Write a small file so that it is whole or absent. False where the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError:
        return False
    return True


def _how_to_get(name: str, folder: Path) -> str:
    entry = catalog.entry(name)
    if entry is not None and entry.embedded:
        return f"{name} ships inside the package, but {folder} is missing: install sensorium again"
    if entry is None and name.count("/") != 1:
        known = ", ".join(known.name for known in catalog.ENTRIES)
        return f"no model is called {name!r}: give a folder, a hub name (owner/name), or one of {known}"
    needed = ", ".join(entry.file_names if entry else catalog.USUAL_FILES)
    if entry is not None and entry.weights.endswith(".index.json"):
        needed += " with the files that it names"
    return f"{name} is not on this machine: run 'sensorium models pull {name}', or put {needed} into {folder}"
