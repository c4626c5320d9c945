"""Light on scenes: shading, highlights and shadows, so that a thing is not what has one colour."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.float32]


def lit_thing(colours: Pixels, alpha: Pixels, random: np.random.Generator) -> Pixels:
    """The colours of one thing [side, side, 3], 0 to 255, under light from one side, perhaps with a shine.

    ``alpha`` [side, side] says where the thing is; elsewhere nothing changes that is seen.
    """
    rows, columns = np.nonzero(alpha > 0.5)
    if not len(rows):
        return colours
    box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    part = np.s_[box[1] : box[3], box[0] : box[2]]
    height, width = box[3] - box[1], box[2] - box[0]
    shaded = colours.copy()
    shaded[part] *= _smooth(height, width, 3, 0.6, 1.3, random)[..., None]
    if random.random() < 0.4:
        shaded[part] += _shine(height, width, random)[..., None]
    return np.clip(shaded, 0, 255)


def photographed(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A picture uint8 [side, side, 3] under uneven light, with shadows across it, as a camera stores it."""
    side = pixels.shape[0]
    light = _smooth(side, side, 4, 0.7, 1.25, random)
    for _ in range(int(random.integers(0, 3))):
        light = light * _shadow(side, random)
    image = Image.fromarray((pixels * light[..., None]).clip(0, 255).astype(np.uint8))
    if random.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.2)))
    if random.random() < 0.7:
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=int(random.integers(35, 95)))
        image = Image.open(stored).convert("RGB")
    return np.asarray(image)


def _smooth(
    height: int, width: int, cells: int, least: float, most: float, random: np.random.Generator
) -> Pixels:
    """A field [height, width] that varies slowly between two values."""
    coarse = random.uniform(least, most, (cells, cells)).astype(np.float32)
    field = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(field, np.float32)


def _shine(height: int, width: int, random: np.random.Generator) -> Pixels:
    """A bright spot [height, width], 0 to 160."""
    spot = Image.new("L", (width, height))
    x, y = random.uniform(0.15, 0.85, 2) * (width, height)
    a, b = random.uniform(0.04, 0.2, 2) * (width, height)
    ImageDraw.Draw(spot).ellipse((x - a, y - b, x + a, y + b), fill=int(random.uniform(60, 160)))
    return np.asarray(spot.filter(ImageFilter.GaussianBlur(float(min(a, b)) / 2)), np.float32)


def _shadow(side: int, random: np.random.Generator) -> Pixels:
    """A factor [side, side] below one where the shadow of something outside lies, with soft edges."""
    drawn = Image.new("L", (side, side), 255)
    corners = [tuple(point) for point in (random.uniform(-0.3, 1.3, (4, 2)) * side).tolist()]
    ImageDraw.Draw(drawn).polygon(corners, fill=int(random.uniform(110, 200)))
    soft = drawn.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 6) * side / 256))
    return np.asarray(soft, np.float32) / np.float32(255)
