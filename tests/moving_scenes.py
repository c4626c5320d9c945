"""Films made for tests: shapes of the scenes' world that move over a picture, with the mask of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sensorium.skills.segment.masks import mask_of
from sensorium.skills.segment.prompts import Prompt, check
from sensorium.skills.segment.segmenter import Cut
from sensorium.train.data.scenes import SHAPES

SIZE = (256, 192)
RED, BLUE, GREEN = (214, 40, 40), (36, 96, 200), (44, 150, 68)
SHAPE = {name.english: outline for name, outline in SHAPES.items()}


class Moment(NamedTuple):
    """A frame, and which pixels of it belong to the thing."""

    image: Image.Image
    truth: NDArray[np.bool_]


def scenery(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Greys that change softly from place to place."""
    grey = np.random.default_rng(seed).integers(60, 200, (9, 12), dtype=np.uint8)
    return Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")


def moment(
    behind: Image.Image,
    centre: tuple[float, float],
    *,
    shape: str = "star",
    colour: tuple[int, int, int] = RED,
    side: float = 60,
    turn: float = 0,
) -> Moment:
    """A shape laid over a picture with its middle at a place, turned by degrees."""
    plate = Image.new("L", (round(side), round(side)))
    SHAPE[shape](ImageDraw.Draw(plate), side - 1, 255)
    plate = plate.rotate(turn, expand=True)
    whole = Image.new("L", behind.size)
    whole.paste(plate, (round(centre[0] - plate.width / 2), round(centre[1] - plate.height / 2)))
    image = behind.copy()
    image.paste(colour, mask=whole)
    return Moment(image, np.asarray(whole) > 127)


def along(
    places: Sequence[tuple[float, float]], *, seed: int = 1, turning: float = 3, **drawn: Any
) -> list[Moment]:
    """One frame a place."""
    behind = scenery(seed)
    return [moment(behind, place, turn=turning * i, **drawn) for i, place in enumerate(places)]


def across(
    count: int, start: tuple[float, float] = (50, 60), step: tuple[float, float] = (6, 4)
) -> list[Any]:
    """Places on a straight line."""
    return [(start[0] + step[0] * i, start[1] + step[1] * i) for i in range(count)]


def film_of(path: Path, images: Sequence[Image.Image], *, codec: str = "libx264") -> Path:
    """Write the pictures as a film of ten a second."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options={"crf": "8", "qmax": "3"})
        stream.width, stream.height = images[0].size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    return path


class ByColour:
    """Cuts what has the colour at the prompt's point, else in the middle of its box, and hangs together.

    It knows nothing of the truth: asked at a wrong place it answers with what is there.
    """

    def __init__(self, quality: float = 0.95) -> None:
        self.quality = quality
        self.looks = 0

    def embed(self, image: Image.Image, *, keep: bool = True) -> Any:
        self.looks += 1
        pixels = np.asarray(image.convert("RGB"), np.float32)
        return SimpleNamespace(content=pixels)

    def cut(self, embedding: Any, prompt: Prompt) -> Cut:
        import cv2

        pixels = embedding.content
        prompt = check(prompt, pixels.shape[1], pixels.shape[0])
        if prompt.points:
            x, y, _ = prompt.points[0]
        else:
            assert prompt.box is not None
            x, y = (prompt.box[0] + prompt.box[2]) / 2, (prompt.box[1] + prompt.box[3]) / 2
        near = np.abs(pixels - pixels[int(y), int(x)]).max(axis=2) < 40
        if prompt.box is not None:
            inside = np.zeros_like(near)
            left, top, right, bottom = (round(side) for side in prompt.box)
            inside[max(0, top) : bottom + 1, max(0, left) : right + 1] = True
            near &= inside
        _, pieces = cv2.connectedComponents(near.astype(np.uint8))
        mask = mask_of(pieces == pieces[int(y), int(x)], self.quality, 1.0)
        return Cut((mask,), mask, np.zeros((4, 4), np.float32))
