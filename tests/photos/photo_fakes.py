"""A model that sees colours, and pictures to show it: what the photo tests share."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from sensorium.media.image import ImageSpec, fit_image
from sensorium.photos.golden import draw
from sensorium.photos.library import Library

GRID = 4
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 40), "blue": (20, 40, 220), "红": (220, 20, 20)}


class ColourEncoder:
    """Mean colours of a 4 x 4 grid, a pure function of each picture alone."""

    def __init__(self, name: str = "test/colours", pipeline: str = "colours-1") -> None:
        self.name = name
        self.pipeline = pipeline
        self.dim = GRID * GRID * 3
        self.image_spec = ImageSpec(32, 32, "crop", 32, "bicubic", (0.5,) * 3, (0.5,) * 3)
        self.golden = fit_image(draw(), self.image_spec)  # what a library shows it besides photos
        self.batches: list[int] = []

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (32, 32, 3)
        if len(pixels) != 1 or not np.array_equal(pixels[0], self.golden):
            self.batches.append(len(pixels))
        cells = pixels.reshape(len(pixels), GRID, 8, GRID, 8, 3).mean(axis=(2, 4), dtype=np.float64)
        return _unit(cells.reshape(len(pixels), -1) - 128)

    def embed_images(self, images: list[Image.Image]) -> np.ndarray:
        return self.embed_pixels(np.stack([fit_image(image, self.image_spec) for image in images]))

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        rows = [np.tile(np.subtract(_colour(text), 128.0), GRID * GRID) for text in texts]
        return _unit(np.stack(rows))

    @property
    def encoded(self) -> int:
        return sum(self.batches)


class LightEncoder(ColourEncoder):
    """Another model, of another size: brightness only."""

    def __init__(self) -> None:
        super().__init__("test/light", "light-1")
        self.dim = GRID * GRID

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        rows = super().embed_pixels(pixels).reshape(len(pixels), -1, 3).mean(axis=2)
        return _unit(rows + 0.01)

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        return _unit(super().embed_texts(texts).reshape(len(texts), -1, 3).mean(axis=2) + 0.01)


def _colour(text: str) -> tuple[int, ...]:
    """The colour that a text names at its end; for any other text some colour, always the same."""
    return COLOURS.get(text.split()[-1], tuple(zlib.crc32(text.encode()).to_bytes(4, "big")[:3]))


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Models:
    """A loader that counts what it loads and encodes."""

    def __init__(self) -> None:
        self.all = {"test/colours": ColourEncoder(), "test/light": LightEncoder()}
        self.all["sensorium/mini-clip"] = self.all["test/colours"]

    def __call__(self, name: str) -> ColourEncoder:
        return self.all[name]


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture of soft random colours that no other seed gives."""
    values = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def plain(colour: str, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, COLOURS[colour])


def write(
    path: Path | str, image: Image.Image, *, exif: Image.Exif | None = None, kind: str = "JPEG"
) -> None:
    """Write a picture under any name, with or without EXIF."""
    buffer = io.BytesIO()
    extra = {"exif": exif.tobytes()} if exif is not None else {}
    image.save(buffer, kind, quality=92, **extra)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(buffer.getvalue())


def run(library: Library, *folders: Path | str, **options):
    """Index to the end; the report."""
    *_, finished = library.index(list(folders), workers=2, **options)
    return finished.report


def vectors(library: Library) -> dict[str, np.ndarray]:
    """The vector of each photo that is there, by its path below the root."""
    store = library._store
    ids, rows = store.vectors(store.active_pipeline())
    photos = store.photos(ids.tolist())
    return {photos[photo].path: row for photo, row in zip(ids.tolist(), rows, strict=True)}
