"""Networks that need no training: one cuts what is of one colour, one reads colours from words."""

from __future__ import annotations

import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

from sensorium.media.image import ImageSpec, fit_image, placement
from sensorium.skills.segment.masks import Geometry
from sensorium.skills.segment.segmenter import Embedding, Segmenter

SIDE, GRID = 256, 128
COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 200, 40),
    "blue": (20, 40, 220),
    "yellow": (240, 220, 20),
    "purple": (140, 40, 160),
}
CHINESE = {"红色": "red", "绿色": "green", "黄色": "yellow"}
SPEC = ImageSpec(SIDE, SIDE, "longest", SIDE, "bilinear", (0.5,) * 3, (0.5,) * 3)


class FlatSegmenter(Segmenter):
    """Masks are the connected pixels of the colour that was clicked; of three candidates one is sure."""

    is_small = False

    def __init__(self) -> None:
        self.name = "test/flat"
        self.seen: list[tuple[int, int]] = []

    def embed(self, image: Image.Image, *, keep: bool = True) -> Embedding:
        """The prepared pixels at the grid's size are all that there is to know."""
        self.seen.append(image.size)
        place = placement(*image.size, SPEC)
        pixels = np.asarray(
            Image.fromarray(fit_image(image, SPEC)).resize((GRID, GRID), Image.Resampling.BOX)
        )
        geometry = Geometry(image.size, (place.width, place.height), SIDE, GRID)
        content = pixels.astype(np.float32)
        return Embedding(f"{zlib.crc32(content.tobytes())}", geometry, content)

    def decode(self, embedding: Embedding, points: Any, labels: Any) -> tuple[Any, Any]:
        """Logits 8 where the colour is that below the first point, or in the middle of a box."""
        logits = np.full((len(points), 4, GRID, GRID), -8, np.float32)
        for i, (point, kinds) in enumerate(zip(points, labels, strict=True)):
            x, y = point[:2].mean(axis=0) if kinds[0] == 2 else point[0]
            column, row = (int(min(max(v * GRID / SIDE, 0), GRID - 1)) for v in (x, y))
            colour = embedding.content[row, column]
            alike = (np.abs(embedding.content - colour).max(axis=2) < 40).astype(np.uint8)
            _, pieces = cv2.connectedComponents(alike)
            logits[i, :, pieces == pieces[row, column]] = 8
        return logits, np.tile(np.array([0.95, 0.9, 0.1, 0.1], np.float32), (len(points), 1))

    def _decode_masked(self, embedding: Embedding, earlier: Any, points: Any, labels: Any) -> tuple[Any, Any]:
        logits = np.tile(np.where(earlier[0, 0] > 0, 8.0, -8.0).astype(np.float32), (1, 4, 1, 1))
        return logits, np.array([[0.95, 0.9, 0.1, 0.1]], np.float32)

    def engines(self) -> dict[str, str]:
        """None: nothing was compiled."""
        return {"decode": "a stand-in"}


class ColourReader:
    """Pictures and words as the direction of their colour; a word that names none points anywhere."""

    def __init__(self, pipeline: str = "colours-of-things-1") -> None:
        self.name = "test/colour-reader"
        self.pipeline = pipeline
        self.image_spec = ImageSpec(48, 48, "crop", 48, "bicubic", (0.5,) * 3, (0.5,) * 3)
        self.batches: list[int] = []
        self.texts = 0

    def embed_images(self, images: list[Image.Image]) -> Any:
        """The colour of the middle, in 16 dimensions of which 3 are colour."""
        self.batches.append(len(images))
        middles = [np.asarray(image)[20:28, 20:28].mean(axis=(0, 1)) for image in images]
        return self._rows(np.array(middles))

    def embed_texts(self, texts: list[str]) -> Any:
        """The colour that a text names; else a random direction that is always the same."""
        self.texts += len(texts)
        rows = []
        for text in texts:
            known = next((COLOURS[name] for name in COLOURS if name in text.split()), None)
            known = known or COLOURS.get(CHINESE.get(text, ""))
            if known is not None:
                rows.append(self._rows(np.array([known]))[0])
            else:
                rows.append(np.random.default_rng(zlib.crc32(text.encode())).normal(size=16) / 4)
        return np.array(rows, np.float32) / np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)

    @staticmethod
    def _rows(colours: Any) -> Any:
        """Each known colour an axis of its own, by nearness."""
        known = np.array(list(COLOURS.values()), float)
        near = np.exp(-np.square(colours[:, None] - known).sum(2) / 2 / 45**2)
        rows = np.concatenate([near, np.full((len(colours), 11), 0.1)], axis=1)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
