"""A model that cuts discs: what it answers to a click is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sensorium.skills.segment.masks import Geometry, levelled, mask_of
from sensorium.skills.segment.segmenter import Cut

GRID = 64
RADII = (0.06, 0.12, 0.24)
"""Part, object and whole: shares of the longer side."""


@dataclass(frozen=True)
class Looked:
    """What stands for an embedding."""

    geometry: Geometry


class DiscCutter:
    """Cuts a disc around each point on the thing, and leaves out one around each other point."""

    def __init__(self, name: str = "test/discs") -> None:
        self.name = name
        self.pictures: list[tuple[int, int]] = []
        self.prompts = 0

    def __call__(self, name: str) -> DiscCutter:
        return self

    def embed(self, image) -> Looked:
        self.pictures.append(image.size)
        longest = max(image.size)
        scaled = tuple(max(1, round(side * 4 * GRID / longest)) for side in image.size)
        return Looked(Geometry(image.size, scaled, 4 * GRID, GRID))

    def cut(self, embedding: Looked, prompt) -> Cut:
        self.prompts += 1
        geometry = embedding.geometry
        if prompt.is_ambiguous:
            drawn = [_disc(geometry, *prompt.points[0][:2], radius) for radius in RADII]
            masks = levelled(
                [_mask(geometry, one, 0.8) for one in drawn[::2]] + [_mask(geometry, drawn[1], 0.9)]
            )
            return Cut(tuple(masks), max(masks, key=lambda mask: mask.quality), drawn[1])
        drawn = self._before(geometry, prompt)
        for x, y, kind in prompt.points[-1:] if prompt.memory is not None else prompt.points:
            disc = _disc(geometry, x, y, RADII[0])
            drawn = np.maximum(drawn, disc) if kind else np.minimum(drawn, -disc)
        mask = _mask(geometry, drawn, 0.95)
        return Cut((mask,), mask, drawn)

    def decode(self, embedding: Looked, points, labels):
        """The single answer and the three discs of each click, whose places are in the square's pixels."""
        geometry = embedding.geometry
        across, down = geometry.size[0] / geometry.scaled[0], geometry.size[1] / geometry.scaled[1]
        logits = [
            [_disc(geometry, x * across, y * down, radius) for radius in (RADII[1], *RADII)]
            for x, y in points[:, 0]
        ]
        return np.array(logits, np.float32), np.full((len(points), 4), 0.9, np.float32)

    def _before(self, geometry: Geometry, prompt) -> np.ndarray:
        if prompt.memory is not None:
            return prompt.memory
        if prompt.mask is not None:
            return (2 * geometry.narrowed(prompt.mask) - 1).astype(np.float32)
        if prompt.box is None:
            return np.full((GRID, GRID), -1, np.float32)
        x, y = _places(geometry)
        left, top, right, bottom = prompt.box
        inside = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
        return (inside / max(geometry.size) * GRID).astype(np.float32)


def _places(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Where the cells lie in the picture."""
    cells = (np.arange(GRID) + 0.5) * geometry.square / GRID
    across, down = geometry.size[0] / geometry.scaled[0], geometry.size[1] / geometry.scaled[1]
    x, y = np.meshgrid(cells * across, cells * down)
    return x, y


def _disc(geometry: Geometry, x: float, y: float, radius: float) -> np.ndarray:
    columns, rows = _places(geometry)
    longest = max(geometry.size)
    distance = np.hypot(columns - x, rows - y) / longest
    return ((radius - distance) * GRID).astype(np.float32)


def _mask(geometry: Geometry, logits: np.ndarray, quality: float):
    return mask_of(geometry.spread(logits) > 0, quality, 0.9, (geometry, logits))
