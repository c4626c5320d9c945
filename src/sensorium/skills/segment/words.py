"""Things by their names: everything in a picture is proposed, and CLIP says which of it the words mean.

Each proposal is shown to CLIP twice: alone on neutral ground, and with its surroundings blurred and pale. The
first tells it from its neighbours, the second shows what it belongs to. (Plain crops, in which the neighbours
are as clear as the thing, made every figure worse.) What a likeness means is found by comparing:

1. ``contrast.txt`` names a few hundred other things. How far the words lie above what these reach with the
   same proposal, in units of their spread, says how much likelier the words are than anything else.
2. What all proposals of the picture have in common is mostly taken off: words that fit each of them a little,
   by the style of the picture or because the word is near everything, mean none of them.

The result, the evidence, has no unit and knows no model; a likelihood is read off it, and what stays below
``LIKELIHOOD`` was not found. The constants were set on scenes of ``train/data/scenes`` with mini-clip, and
``benchmarks/segment_words.py`` measures them on others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.skills.segment import everything, storage
from sensorium.skills.segment.masks import INSIDE, Mask, mask_of, overlap

if TYPE_CHECKING:
    from sensorium.media.image import ImageSpec
    from sensorium.skills.segment.segmenter import Segmenter

Floats = NDArray[np.float32]

PROPOSALS = everything.Settings(side=16, quality=0.2, stability=0.2, most=48)
"""What is proposed: fewer clicks than in everything mode, and any mask that is not hopeless, since CLIP looks
at them again and what is not proposed cannot be found."""

LONGEST = 1024
"""Pixels of the longer side of the picture that is searched; what is found is drawn at full size."""

LIKELIHOOD = 0.38
"""What a thing needs by default: of words for what is not in a picture, one in twenty finds something."""

_EVEN = 3.5  # evidence at which the words mean the likeliest thing in one of two cases, ...
_SLOPE = 0.7  # ... and how fast that grows: the logistic curve through what was measured
_COMMON = 0.8  # how much of what all proposals have in common is taken off ...
_FEW = 4  # ... of many proposals; of so few, half of that
_MOST_COMMON = 2.5  # more than this in common is a picture full of the thing
_GROUND = (124, 116, 104)  # the mean colour of photographs: what is left out says least in it
_MARGINS = (0.1, 0.2)  # around the thing alone, and with its surroundings; of its longer side


class Embedder(Protocol):
    """The part of `sensorium.skills.embed.DualEncoder` that is needed."""

    image_spec: ImageSpec

    @property
    def pipeline(self) -> str:
        """Identity of the vectors."""

    def embed_images(self, images: list[Image.Image]) -> Floats:
        """Unit rows [b, d]."""

    def embed_texts(self, texts: list[str]) -> Floats:
        """Unit rows [b, d]."""


@dataclass(frozen=True)
class Settings:
    """How things are sought: what is proposed, and the ``likelihood`` (0 to 1) that a thing needs."""

    proposals: everything.Settings = PROPOSALS
    likelihood: float = LIKELIHOOD


def find(
    segmenter: Segmenter,
    embedder: Embedder,
    image: Image.Image,
    words: str,
    *,
    all: bool = False,  # the word that people say; the builtin is not needed here
    settings: Settings | None = None,
) -> list[Mask]:
    """What the words mean in an upright RGB picture: the likeliest thing, or with ``all`` each of them.

    Masks are of the picture's size, likeliest first, with the words as ``label`` and the likelihood as
    ``score``; none when nothing is likely enough. Raises SensoriumError for empty words.
    """
    if not words.strip():
        raise SensoriumError("there are no words: say what to look for")
    chosen = settings or Settings()
    small = reduced(image)
    proposed = everything.everything(segmenter, small, chosen.proposals)
    likely = likelihoods(embedder, small, proposed, words)
    found: list[Mask] = []
    for i in np.argsort(-likely, kind="stable"):
        if likely[i] < chosen.likelihood or (found and not all):
            break
        if not any(_same(proposed[i], other) for other in found):
            found.append(replace(proposed[i], label=words.strip(), score=float(likely[i])))
    return [enlarged(mask, image.size) for mask in found]


def likelihoods(embedder: Embedder, image: Image.Image, masks: Sequence[Mask], words: str) -> Floats:
    """How likely the words mean each mask [n] of an RGB picture, 0 to 1."""
    if not masks:
        return np.zeros(0, np.float32)
    side = max(embedder.image_spec.height, embedder.image_spec.width)
    crops = [crop for mask in masks for crop in views(image, mask, side)]
    vectors = embedder.embed_images(crops).reshape(len(masks), 2, -1).sum(axis=1)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = evidence(vectors, embedder.embed_texts([words.strip()])[0], contrasts(embedder))
    likely: Floats = 1 / (1 + np.exp(_SLOPE * (_EVEN - np.clip(found, -50, 50))))
    return likely.astype(np.float32)


def evidence(crops: Floats, query: Floats, others: Floats) -> Floats:
    """How much speaks for the words [d] in each proposal [n, d], compared with other texts [m, d]: [n]."""
    usual = crops @ others.T
    above = (crops @ query - usual.mean(axis=1)) / np.maximum(usual.std(axis=1), 1e-6)
    common = min(max(float(np.quantile(above, 0.25)), 0.0), _MOST_COMMON)
    return np.asarray(above - _COMMON * len(crops) / (len(crops) + _FEW) * common, np.float32)


def views(image: Image.Image, mask: Mask, side: int) -> tuple[Image.Image, Image.Image]:
    """What CLIP is shown of a mask that is not empty: it alone, it amid pale surroundings; side x side."""
    from PIL import ImageFilter

    pixels, shape = _square(image, mask, _MARGINS[0], side)
    alone = Image.composite(pixels, Image.new("RGB", pixels.size, _GROUND), shape)
    pixels, shape = _square(image, mask, _MARGINS[1], side)
    soft = pixels.filter(ImageFilter.GaussianBlur(side / 20))
    pale = Image.blend(soft, Image.new("RGB", pixels.size, _GROUND), 0.5)
    return alone, Image.composite(pixels, pale, shape)


def contrasts(embedder: Embedder) -> Floats:
    """Vectors [m, d] of the texts of ``contrast.txt``, computed once a model and kept on disk."""
    texts, digest = _texts()
    key = f"contrast-{digest}-{embedder.pipeline}"
    kept = storage.read(key)
    if kept is not None and kept.ndim == 2 and len(kept) == len(texts):
        return kept
    vectors = embedder.embed_texts(list(texts))
    storage.write(key, vectors)
    return vectors


def reduced(image: Image.Image) -> Image.Image:
    """The picture with a longer side of ``LONGEST`` at most: masks of megapixels would fill the memory."""
    if max(image.size) <= LONGEST:
        return image
    scale = LONGEST / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def enlarged(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask of the reduced picture as one of the original, whose width and height are given."""
    if mask.bitmap.shape == (size[1], size[0]):
        return mask
    softness = None
    if mask.softness is not None:
        softness = replace(mask.softness[0], size=size), mask.softness[1]
        bitmap = softness[0].spread(softness[1]) > 0
    else:
        drawn = Image.fromarray(mask.bitmap.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        bitmap = np.asarray(drawn) > 127
    whole = mask_of(bitmap, mask.quality, mask.stability, softness)
    return replace(whole, level=mask.level, label=mask.label, score=mask.score)


@cache
def _texts() -> tuple[tuple[str, ...], str]:
    content = resources.files("sensorium.skills.segment").joinpath("contrast.txt").read_text("utf-8")
    lines = [line for line in content.splitlines() if line and not line.startswith("#")]
    texts = tuple(text for line in lines for text in line.split("|"))
    return texts, hashlib.sha256("|".join(texts).encode()).hexdigest()[:16]


def _square(image: Image.Image, mask: Mask, margin: float, side: int) -> tuple[Image.Image, Image.Image]:
    """The square around a mask: pixels, neutral beyond the picture, and the mask as greys; side x side."""
    left, top, right, bottom = mask.box
    length = max(right - left, bottom - top) * (1 + 2 * margin)
    x0, y0 = (left + right - length) / 2, (top + bottom - length) / 2
    part = max(0.0, x0), max(0.0, y0), min(image.width, x0 + length), min(image.height, y0 + length)
    scale = side / length
    size = max(1, round((part[2] - part[0]) * scale)), max(1, round((part[3] - part[1]) * scale))
    place = round((part[0] - x0) * scale), round((part[1] - y0) * scale)
    pixels, shape = Image.new("RGB", (side, side), _GROUND), Image.new("L", (side, side))
    pixels.paste(image.resize(size, Image.Resampling.BICUBIC, part), place)
    drawn = Image.fromarray(mask.bitmap.astype(np.uint8) * 255)
    shape.paste(drawn.resize(size, Image.Resampling.BILINEAR, part), place)
    return pixels, shape


def _same(mask: Mask, other: Mask) -> bool:
    """Whether two masks show one thing: they overlap by half, or one lies within the other."""
    both = np.count_nonzero(mask.bitmap & other.bitmap)
    return overlap(mask.bitmap, other.bitmap) > 0.5 or bool(both >= INSIDE * min(mask.area, other.area))
