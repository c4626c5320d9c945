"""Views of a picture to learn from, and what a frozen image network says about each, computed once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sensorium.media.image import ImageSpec, fit_image, normalize
from sensorium.train.data.captions import Captioned

_LONGEST = 900  # pixels: more would not survive the resize to the network's input
_LARGEST = 30_000_000  # pixels: some drawings are posters; they are left out
_STAGE = 400  # side of the composed picture of a stamp on a background
_BACKGROUNDS = ("/templates/", "/clickgame/", "greatWall", "canyon", "machuPicchu")


@dataclass(frozen=True)
class Features:
    """One row a view.

    ``owner`` is the place of its picture in the list; ``pooled`` the mean of the feature map
    ``[n, head_width]``; ``colours`` the colour features; ``probabilities`` those of the classes.
    """

    owner: NDArray[np.int64]
    pooled: torch.Tensor
    colours: torch.Tensor
    probabilities: torch.Tensor

    def save(self, path: Path) -> None:
        """Write to one file."""
        torch.save({**vars(self), "owner": torch.from_numpy(self.owner)}, path)

    @classmethod
    def load(cls, path: Path) -> Features:
        """Read what ``save`` wrote."""
        state = torch.load(path, weights_only=True)
        return cls(**{**state, "owner": state["owner"].numpy()})


Describe = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Normalised pixels ``[b, 3, h, w]`` to pooled features, colours and class probabilities."""


def describe_views(
    pictures: Sequence[Captioned], describe: Describe, spec: ImageSpec, seed: int
) -> Iterator[tuple[int, Features | None]]:
    """Go through all pictures; yields how many are done, and with the last one the features of all."""
    named = [
        p.path for p in pictures if p.kind == "photo" and any(w in p.path.as_posix() for w in _BACKGROUNDS)
    ]
    read = [opened(path) for path in named]
    backgrounds = [flattened(image).resize((_STAGE, _STAGE)) for image in read if image is not None]
    owners: list[int] = []
    parts: list[tuple[torch.Tensor, ...]] = []
    for number, picture in enumerate(pictures):
        shown = views(picture, backgrounds, random.Random(f"{seed} {number}"))  # noqa: S311  # not for secrets
        if shown:
            pixels = normalize(np.stack([fit_image(view, spec) for view in shown]), spec)
            with torch.inference_mode():
                parts.append(describe(torch.from_numpy(pixels)))
            owners += [number] * len(shown)
        if number % 250 == 249:
            yield number + 1, None
    pooled, colours, probabilities = (torch.cat(column) for column in zip(*parts, strict=True))
    yield len(pictures), Features(np.array(owners), pooled, colours, probabilities)


def views(picture: Captioned, backgrounds: Sequence[Image.Image], chance: random.Random) -> list[Image.Image]:
    """What is shown of one picture: a photo whole, mirrored and in four crops; a stamp on white and on three

    photographed backgrounds; anything else on a white square. Empty for pictures that are too large.
    """
    image = opened(picture.path)
    if image is None:
        return []
    image.thumbnail((_LONGEST, _LONGEST))
    if picture.kind == "photo":
        whole = flattened(image)
        crops = [random_crop(whole, chance) for _ in range(4)]
        return [whole, mirrored(whole), crops[0], mirrored(crops[1]), crops[2], mirrored(crops[3])]
    if picture.kind != "stamp" or not backgrounds:
        return [on_square(image)]
    placed = []
    for mirror in (False, True, False):
        stage = random_crop(chance.choice(backgrounds), chance).resize((_STAGE, _STAGE)).convert("RGBA")
        actor = mirrored(image) if mirror else image.copy()
        side = int(_STAGE * chance.uniform(0.55, 1.0))
        actor.thumbnail((side, side))
        place = (chance.randint(0, _STAGE - actor.width), chance.randint(0, _STAGE - actor.height))
        stage.alpha_composite(actor, place)
        placed.append(stage.convert("RGB"))
    return [on_square(image), *placed]


def opened(path: Path) -> Image.Image | None:
    """A picture with its transparency, JPEG files decoded small; None for those that are too large."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (600, 600))  # only JPEG can
            return None if image.width * image.height > _LARGEST else image.convert("RGBA")
    except Image.DecompressionBombError:  # Pillow's own limit comes first: one drawing has 623 megapixels
        return None


def flattened(image: Image.Image) -> Image.Image:
    """Over white."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def on_square(image: Image.Image) -> Image.Image:
    """In the middle of a white square with a narrow margin."""
    side = int(max(image.size) * 1.08) + 1
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square.convert("RGB")


def mirrored(image: Image.Image) -> Image.Image:
    """Left and right exchanged."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def random_crop(image: Image.Image, chance: random.Random) -> Image.Image:
    """A part of 45 to 100 % of the area, in about the proportions of the whole."""
    scale, stretch = chance.uniform(0.45, 1.0) ** 0.5, 2.718281828 ** chance.uniform(-0.25, 0.25)
    width = max(1, int(min(image.width, image.width * scale * stretch)))
    height = max(1, int(min(image.height, image.height * scale / stretch)))
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))
