"""mini-vlm: a small language model with eyes, LLaVA's way (Liu et al. 2023, arXiv 2310.03744).

A convolutional tower that is not trained, a perceptron that turns each of its places into a token, and a
causal decoder. A place has what the tower knows there at all four scales: small letters are only seen at
1/4 of the resolution, what a thing is only at 1/32. A table of positions is added before the perceptron: a
convolution does not tell where a place lies, and the box of a thing follows from that and what is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.connectors import MlpConfig, MlpConnector, in_places
from sensorium.models.decoder import Decoder, DecoderConfig
from sensorium.models.efficientnet import EfficientNetConfig, EfficientNetTrunk

SEEN_STAGES = (1, 2, 4, 6)
"""The tower's stages, from 0, whose maps at 1/4, 1/8, 1/16 and 1/32 are seen."""


@dataclass(frozen=True)
class MiniVlmConfig:
    """A tower, a connector and a language model."""

    side: int  # pixels of the square that it sees, a multiple of 32
    trunk: EfficientNetConfig
    connector: MlpConfig
    text: DecoderConfig
    image_token: int  # the id that the picture takes the place of
    most_pictures: int  # how many it was trained to see in a conversation

    def __post_init__(self) -> None:
        """Raises ValueError when the square has no whole number of places at 1/32."""
        if self.side % 32:
            raise ValueError(f"a side of {self.side} pixels is not a multiple of 32")

    @property
    def rows(self) -> int:
        """Rows of tokens, and as many columns: one for 16 x 16 pixels."""
        return self.side // 16

    @property
    def tokens(self) -> int:
        """Tokens of a picture."""
        return self.rows**2

    @property
    def source(self) -> int:
        """What the tower knows of a place: values of all four scales."""
        widths = self.channels
        return 16 * widths[0] + 4 * widths[1] + widths[2] + widths[3]

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the tower's maps at 1/4, 1/8, 1/16 and 1/32."""
        first, second, third, last = (self.trunk.stages[stage].width for stage in SEEN_STAGES)
        return first, second, third, last


class MiniVlm(nn.Module):
    """A picture and words to the words that follow."""

    def __init__(self, config: MiniVlmConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = EfficientNetTrunk(config.trunk)
        self.norm = nn.LayerNorm(config.source, eps=1e-5)
        self.connector = MlpConnector(config.connector, config.source, config.text.word_width)
        self.positions = nn.Parameter(torch.empty(config.tokens, config.source).normal_(std=0.02))
        self.decoder = Decoder(config.text)

    def see(self, pixels: Tensor) -> Tensor:
        """Pixels ``[v, 3, side, side]`` -> tokens ``[v, tokens, word_width]``."""
        _, x4, x8, x16, x32 = self.vision.levels(pixels)
        return self.connected(x4, x8, x16, x32)

    def connected(self, x4: Tensor, x8: Tensor, x16: Tensor, x32: Tensor) -> Tensor:
        """The tower's maps ``[v, channels, side / scale, side / scale]`` -> tokens, row by row."""
        coarse = F.interpolate(x32, scale_factor=2.0, mode="nearest")
        places = torch.cat((F.pixel_unshuffle(x4, 4), F.pixel_unshuffle(x8, 2), x16, coarse), dim=1)
        tokens: Tensor = self.connector(self.norm(places.flatten(2).transpose(1, 2)) + self.positions)
        return tokens

    def prompt(self, ids: Tensor, pictures: Sequence[Tensor]) -> Tensor:
        """Ids ``[b, n]`` with ``image_token`` wherever a picture's token goes -> ``[b, n, word_width]``.

        Raises ValueError when there are more or fewer places than tokens of pictures.
        """
        return in_places(self.decoder.embed(ids), ids == self.config.image_token, pictures)
