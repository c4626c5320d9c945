"""A made-up model of concepts whose scores lie where one likes them, and a library that it sees."""

from __future__ import annotations

import zlib

import numpy as np

from sensorium.photos.search import calibration
from sensorium.photos.vectors.index import NumpyExact

DIM = 512
GEOMETRIES = {"like CLIP": (0.19, 0.14), "like SigLIP": (0.0, 0.09), "wide": (0.0, 0.5)}
"""Where scores of unrelated photos and texts lie, and how much a right one adds."""


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def direction(name: str) -> np.ndarray:
    """A direction of its own for every name; the first axes are no concept's."""
    rows = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(DIM)
    rows[:4] = 0
    return unit(rows)


class ConceptEncoder:
    """Texts are their concept, seen through a cone; words that mean nothing share a direction."""

    def __init__(self, geometry: str) -> None:
        self.base, self.gain = GEOMETRIES[geometry]
        background = calibration.background()
        self._known = {
            text: direction(background.texts[place & ~1]) for place, text in enumerate(background.texts)
        }
        self._senseless = {
            text for text, shown in zip(background.texts, background.shown, strict=True) if not shown
        }

    def concept(self, text: str) -> np.ndarray:
        if text in self._senseless or text.startswith("zz"):
            return unit(direction("nothing at all") + 0.8 * direction(text))
        return self._known.get(text, direction(text))

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        rows = np.stack([self.concept(text) for text in texts])
        return self._cone(rows, unit(np.stack([direction(f"noise of {text}") for text in texts])), 2)

    def embed_photos(self, concepts: list[tuple[str, ...]], seed: int = 0) -> np.ndarray:
        """Photos of one or more concepts each, with a lot else on them; rows [n, d]."""
        random = np.random.default_rng(seed)
        rows = np.stack([sum(self.concept(name) for name in names) for names in concepts])
        rows = rows + random.standard_normal(rows.shape) * (0.6 / np.sqrt(DIM))
        photos = self._cone(unit(rows), unit(random.standard_normal(rows.shape)), 3)
        photos[:, 1] += random.normal(0, 0.02, len(photos))  # some photos are near everything
        return unit(photos)

    def _cone(self, rows: np.ndarray, noise: np.ndarray, gap: int) -> np.ndarray:
        """Turn rows so that text and photo score ``base``, and ``gain`` more when they show the same, about.

        Most of what else is in them lies on an axis of texts or of photos alone, as in real models.
        """
        shared, own = np.sqrt(max(self.base, 1e-6)), np.sqrt(self.gain)
        rest = np.sqrt(max(1 - shared**2 - own**2, 0.0))
        turned = own * rows + 0.6 * rest * noise
        turned[:, 0] += shared
        turned[:, gap] += 0.8 * rest
        return unit(turned)


def library(vectors: np.ndarray) -> NumpyExact:
    index = NumpyExact()
    index.rebuild(np.arange(1, len(vectors) + 1, dtype=np.int64), vectors.astype(np.float16))
    return index
