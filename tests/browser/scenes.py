"""Pictures that look like somewhere: drawn, so that nobody's photos are needed to look at the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
SIZES = ((960, 640), (960, 640), (640, 960), (800, 800), (1120, 630))
SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((88, 140, 196), (226, 236, 240)),  # noon
    ((54, 58, 110), (250, 172, 110)),  # evening
    ((120, 150, 178), (244, 214, 200)),  # morning
    ((20, 26, 54), (70, 84, 128)),  # night
    ((150, 162, 170), (214, 218, 218)),  # clouds
)
GROUNDS: tuple[Colour, ...] = ((62, 92, 66), (96, 110, 70), (70, 84, 98), (120, 100, 78), (54, 74, 92))


@dataclass(frozen=True)
class Scene:
    """What a picture shows: ``kind`` is one of mountains, sea, town, garden, portrait."""

    kind: str
    seed: int


def draw(scene: Scene) -> Image.Image:
    """The picture, upright, another one for every seed."""
    random = np.random.default_rng(scene.seed)
    width, height = SIZES[scene.seed % len(SIZES)]
    above, below = SKIES[scene.seed % len(SKIES)]
    picture = _blend(above, below, (width, height))
    pen = ImageDraw.Draw(picture)
    sun = random.uniform(0.15, 0.85) * width, random.uniform(0.1, 0.4) * height
    _disc(pen, sun, height * 0.05, (255, 240, 214))
    ground = GROUNDS[int(random.integers(len(GROUNDS)))]
    _PARTS[scene.kind](pen, random, (width, height), ground)
    return picture.filter(ImageFilter.GaussianBlur(1.1))


def _blend(above: Colour, below: Colour, size: tuple[int, int]) -> Image.Image:
    width, height = size
    share = np.linspace(0, 1, height)[:, None, None] ** 1.4
    rows = np.array(above) * (1 - share) + np.array(below) * share
    return Image.fromarray(np.broadcast_to(rows, (height, width, 3)).astype(np.uint8).copy())


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (max(0, min(255, round(value * factor))) for value in colour)
    return red, green, blue


def _disc(pen: ImageDraw.ImageDraw, at: tuple[float, float], radius: float, colour: Colour) -> None:
    x, y = at
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _ridge(random: np.random.Generator, width: int, base: float, rough: float) -> list[tuple[float, float]]:
    waves = [(random.uniform(1, 7), random.uniform(0, 6.3), random.uniform(0.2, 1)) for _ in range(5)]
    return [
        (x, base - rough * sum(abs(math.sin(f * x / width * 2 + p)) * a / f for f, p, a in waves))
        for x in range(0, width + 8, 8)
    ]


def _mountains(pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], ground: Colour):
    width, height = size
    for layer in range(4):
        line = _ridge(random, width, height * (0.62 + 0.1 * layer), height * (0.3 - 0.06 * layer))
        pen.polygon([(0, height), *line, (width, height)], fill=_shade(ground, 1.5 - 0.32 * layer))


def _sea(pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], ground: Colour):
    width, height = size
    horizon = height * 0.56
    pen.rectangle((0, horizon, width, height), fill=(46, 96, 122))
    for _ in range(70):
        y = horizon + (height - horizon) * random.uniform(0, 1) ** 1.6
        x, long = random.uniform(0, width), random.uniform(0.03, 0.16) * width
        pen.line((x, y, x + long, y), fill=(112, 156, 172), width=2)
    shore = _ridge(random, width, height * 0.97, height * 0.08)
    pen.polygon([(0, height), *shore, (width, height)], fill=(206, 186, 146))


def _town(pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], ground: Colour):
    width, height = size
    x = 0.0
    while x < width:
        wide, tall = random.uniform(0.06, 0.14) * width, random.uniform(0.2, 0.6) * height
        wall = _shade(ground, random.uniform(0.7, 1.6))
        pen.rectangle((x, height * 0.92 - tall, x + wide, height), fill=wall)
        for row in np.arange(height * 0.95 - tall, height * 0.88, height * 0.05):
            for column in np.arange(x + wide * 0.15, x + wide * 0.85, wide * 0.25):
                light = (250, 222, 150) if random.random() < 0.4 else _shade(wall, 0.75)
                pen.rectangle((column, row, column + wide * 0.12, row + height * 0.025), fill=light)
        x += wide + 2
    pen.rectangle((0, height * 0.92, width, height), fill=(70, 72, 76))


def _garden(pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], ground: Colour):
    width, height = size
    pen.rectangle((0, height * 0.6, width, height), fill=(98, 132, 78))
    petals: tuple[Colour, ...] = ((226, 92, 110), (240, 190, 84), (236, 236, 226), (172, 116, 190))
    for at in sorted(random.uniform(0.62, 1, 90)):
        where, radius = (random.uniform(0, width), at * height), (at - 0.5) * height * 0.06
        pen.line((*where, where[0], where[1] + radius * 5), fill=(62, 96, 54), width=3)
        _disc(pen, where, radius, petals[int(random.integers(len(petals)))])


def _portrait(pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], ground: Colour):
    width, height = size
    pen.rectangle((0, height * 0.7, width, height), fill=ground)
    people: tuple[tuple[Colour, Colour], ...] = (
        ((236, 196, 168), (74, 52, 40)),
        ((196, 146, 112), (30, 26, 26)),
        ((244, 212, 190), (196, 150, 84)),
        ((240, 204, 170), (40, 34, 34)),
    )
    skin, hair = people[int(random.integers(len(people)))]
    x, y, head = width * 0.5, height * 0.42, min(width, height) * 0.17
    pen.ellipse((x - head * 2.1, y + head * 1.2, x + head * 2.1, y + head * 6), fill=_shade(ground, 1.7))
    pen.rectangle((x - head * 0.35, y + head * 0.6, x + head * 0.35, y + head * 1.6), fill=_shade(skin, 0.9))
    pen.ellipse((x - head * 1.06, y - head * 1.3, x + head * 1.06, y + head * 0.9), fill=hair)
    pen.ellipse((x - head * 0.82, y - head * 0.9, x + head * 0.82, y + head * 1.15), fill=skin)
    for side in (-1, 1):
        _disc(pen, (x + side * head * 0.33, y), head * 0.09, (40, 34, 32))
    pen.arc((x - head * 0.4, y, x + head * 0.4, y + head * 0.7), 25, 155, fill=(150, 70, 66), width=4)


FACE = (0.5, 0.42, 0.17)
"""Where a portrait's face is: its centre as shares of width and height, its reach of the shorter side."""

_PARTS = {"mountains": _mountains, "sea": _sea, "town": _town, "garden": _garden, "portrait": _portrait}
