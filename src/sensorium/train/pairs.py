"""Pictures with captions: read from lists or folders, made into batches that their places alone decide."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sensorium.errors import BadImageError, SensoriumError
from sensorium.media.image import PHOTO_EXTENSIONS, ImageSpec, fit_image, normalize, read_image
from sensorium.media.text import Tokenizer
from sensorium.train.order import Place, generator


@dataclass(frozen=True)
class Pair:
    """A picture and the captions that describe it, at least one."""

    image: Path
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """What was read, and a line with its reason for each entry that was left out."""

    pairs: list[Pair]
    refused: list[str] = field(default_factory=list)


def read_pairs(source: Path, *, image_key: str = "image", text_key: str = "text") -> Pairs:
    """Read pairs from a JSON-lines, CSV or TSV file, or from a folder.

    A row of a file has the path of the picture, relative to the file, under ``image_key`` and a caption under
    ``text_key`` (in JSON also a list of captions); rows of the same picture are joined. In a folder, the
    captions of ``a/b.jpg`` are the lines of ``a/b.txt``. Pictures that do not exist are refused.

    Raises SensoriumError naming the line that is malformed, or when no pair is left.
    """
    if source.is_dir():
        rows = _folder_rows(source)
    elif not source.is_file():
        raise SensoriumError(f"{source} is neither a list of pairs nor a folder of pictures with captions")
    elif source.suffix in (".jsonl", ".csv", ".tsv"):
        rows = _file_rows(source, image_key, text_key)
    else:
        raise SensoriumError(f"{source}: give a .jsonl, .csv or .tsv file, or a folder")
    captions: dict[Path, dict[str, None]] = {}
    for image, texts in rows:
        captions.setdefault(image, {}).update(dict.fromkeys(texts))
    refused = [f"{image}: there is no such file" for image in captions if not image.is_file()]
    pairs = [Pair(image, tuple(texts)) for image, texts in captions.items() if image.is_file()]
    if not pairs:
        wanted = "pictures with captions of the same name (.txt)" if source.is_dir() else "rows"
        raise SensoriumError(f"{source} has no {wanted} to train on" + (f"; {refused[0]}" if refused else ""))
    return Pairs(pairs, refused)


@dataclass(frozen=True)
class PairLoader:
    """Makes the batch of some places; whatever is random in it comes from (seed, epoch, item).

    Pictures are cut to a random window of at least ``crop_area`` of them (1: prepared as for use), and
    mirrored with probability ``flip``. A picture with several captions gets one, another each time.
    """

    pairs: Sequence[Pair]
    spec: ImageSpec
    tokenizer: Tokenizer
    seed: int
    crop_area: float = 1.0
    flip: float = 0.0

    def __call__(self, places: Sequence[Place]) -> dict[str, Any]:
        """Pixels [b, 3, h, w], ids and mask [b, n], and a number [b] that equal captions share.

        Pictures that cannot be decoded are left out and listed under ``refused`` with their reasons.
        Raises SensoriumError when none can be.
        """
        pixels, captions, refused = [], [], []
        for place in places:
            pair, source = self.pairs[place.item], generator(self.seed, place)
            captions.append(pair.captions[int(source.integers(len(pair.captions)))])
            try:
                pixels.append(self._pixels(pair.image, source))
            except (BadImageError, OSError) as error:
                captions.pop()
                refused.append(f"{pair.image}: {error}")
        if not pixels:
            raise SensoriumError(f"not one picture of a batch can be read; {refused[0]}")
        tokens = self.tokenizer.encode(captions)
        return {
            "pixels": torch.from_numpy(normalize(np.stack(pixels), self.spec)),
            "ids": torch.from_numpy(tokens.ids),
            "mask": torch.from_numpy(tokens.mask),
            "captions": torch.tensor([_number(caption) for caption in captions]),
            "refused": refused,
        }

    def _pixels(self, path: Path, source: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
        image = read_image(path, smallest=math.ceil(self.spec.decode_side / math.sqrt(self.crop_area)))
        spec = self.spec
        if self.crop_area < 1:
            image = image.crop(_window(image, spec.width / spec.height, self.crop_area, source))
            spec = replace(spec, fit="squash", resize=spec.height)
        if source.random() < self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return fit_image(image, spec)


def _window(
    image: Image.Image, ratio: float, least: float, source: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random box of area ``least`` to 1 and proportions 3:4 to 4:3 around ``ratio``.

    As for Inception (Szegedy et al. 2015, section 6). The whole picture when ten tries find none that fits.
    """
    for _ in range(10):
        area = image.width * image.height * source.uniform(least, 1)
        shape = ratio * math.exp(source.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < width <= image.width and 0 < height <= image.height:
            left = int(source.integers(image.width - width + 1))
            top = int(source.integers(image.height - height + 1))
            return left, top, left + width, top + height
    return 0, 0, image.width, image.height


def _number(caption: str) -> int:
    """A number of 63 bits that is the same for equal captions in every process."""
    return int.from_bytes(hashlib.sha256(caption.encode()).digest()[:8], "big") >> 1


def _folder_rows(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for path in sorted(folder.rglob("*")):
        text = path.with_suffix(".txt")
        if path.suffix.lower() in PHOTO_EXTENSIONS and text.is_file():
            lines = [line.strip() for line in text.read_text(encoding="utf-8").splitlines()]
            yield path, [line for line in lines if line]


def _file_rows(source: Path, image_key: str, text_key: str) -> Iterator[tuple[Path, list[str]]]:
    for number, row in _numbered_rows(source):
        image, texts = row.get(image_key), row.get(text_key)
        words = [texts] if isinstance(texts, str) else texts if isinstance(texts, list) else []
        captions = [word.strip() for word in words if isinstance(word, str) and word.strip()]
        if not isinstance(image, str) or not image or not captions or len(captions) != len(words):
            raise SensoriumError(
                f"{source}: line {number} needs a path under {image_key!r} and words under {text_key!r}"
            )
        yield source.parent / image, captions


def _numbered_rows(source: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    content = source.read_text(encoding="utf-8-sig")
    if source.suffix != ".jsonl":
        table = csv.DictReader(io.StringIO(content), delimiter="\t" if source.suffix == ".tsv" else ",")
        for row in table:
            yield table.line_num, row
        return
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if not isinstance(value, dict):
                raise SensoriumError(f"{source}: line {number} is no JSON object")
            yield number, value
