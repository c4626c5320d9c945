"""What the photo library asks of a model, and where the default one comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sensorium.media.image import ImageSpec

DEFAULT_MODEL = "sensorium/mini-clip"


class Encoder(Protocol):
    """The part of ``sensorium.skills.embed.DualEncoder`` that a library uses.

    ``pipeline`` names the vectors' identity (weights and preprocessing): vectors of different pipelines
    are never compared. Both methods give rows of unit length, float32 [b, dim].
    """

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def dim(self) -> int:
        """Length of a vector. May open a graph, unlike the other properties."""

    @property
    def pipeline(self) -> str:
        """Identity of its vectors."""

    @property
    def image_spec(self) -> ImageSpec:
        """The preparation of pictures."""

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Prepared pictures, uint8 [b, h, w, 3]."""

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """Sentences."""


EncoderLoader = Callable[[str], Encoder]


def load_encoder(name: str) -> Encoder:
    """Open a model by name or folder. Raises ModelNotFoundError when its files are not here."""
    from sensorium.skills import embed

    return embed.load(name)
