"""LLaVA-1.5 (Liu et al. 2023, arXiv 2310.03744) and LLaVA-NeXT (blog "LLaVA-NeXT", 2024-01-30).

What a CLIP tower knows in one of its late blocks goes through a perceptron and takes the place of an image
token among the words. NeXT looks at a picture as tiles of a grid beside one small view of the whole; the
tiles are put together again, padding is cut off, and each row of tokens ends with a learned newline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.connectors import MlpConfig, MlpConnector, in_places
from sensorium.models.decoder import Decoder, DecoderConfig
from sensorium.models.vit import Vit, VitConfig


@dataclass(frozen=True)
class LlavaConfig:
    """A tower, which of its blocks is read, a connector and a language model."""

    vision: VitConfig
    layers: tuple[int, ...]  # after how many blocks the tower is read; several are put side by side
    class_token: bool  # whether the tower's class token is kept
    connector: MlpConfig
    text: DecoderConfig
    image_token: int  # the id that pictures take the place of
    newline: bool  # LLaVA-NeXT

    @property
    def tokens(self) -> int:
        """Tokens of one view of the tower's size."""
        rows, columns = self.vision.grid
        return rows * columns + (self.vision.prefix if self.class_token else 0)


@dataclass(frozen=True)
class Run:
    """Tokens of a picture that follow one another: a map of features, row by row."""

    index: Tensor
    """Which features make up the map, int64 ``[rows, columns]``: they count through all views of the picture,
    view after view, each row by row, without class tokens. Padding is not among them."""
    height: int
    """Rows of the map as it is read; smaller than the index: it is shrunk (LLaVA-OneVision)."""
    width: int
    newline: bool
    """Whether each row ends with a newline."""


class Llava(nn.Module):
    """Pictures and words to the words that follow."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = Vit(config.vision)
        source = config.vision.width * len(config.layers)
        self.connector = MlpConnector(config.connector, source, config.text.word_width)
        self.newline = (
            nn.Parameter(torch.empty(config.text.word_width).normal_(std=0.02)) if config.newline else None
        )
        self.decoder = Decoder(config.text)

    def see(self, pixels: Tensor) -> Tensor:
        """Views ``[v, 3, h, w]`` of the tower's size -> their tokens ``[v, tokens, word_width]``."""
        found = self.vision.hidden(pixels, self.config.layers)
        if not self.config.class_token:
            found = [tokens[:, self.config.vision.prefix :] for tokens in found]
        out: Tensor = self.connector(torch.cat(found, dim=-1))
        return out

    def joined(self, views: Tensor, runs: Sequence[Run]) -> Tensor:
        """The views of one picture as it is read: ``[v, tokens, word_width] -> [n, word_width]``.

        n is the sum of height * (width + newline) of the runs, and where class tokens are kept, one for each
        view, which come first. Raises ValueError when a run wants features or newlines that do not exist.
        """
        kept = self.config.vision.prefix if self.config.class_token else 0
        features = views[:, kept:].flatten(0, 1)
        parts = [views[:, :kept].flatten(0, 1)]
        for run in runs:
            grid = _shrunk(_taken(features, run.index), run.height, run.width)
            if run.newline:
                if self.newline is None:
                    raise ValueError("a newline after each row, where the network has none")
                grid = torch.cat((grid, self.newline.to(grid).expand(grid.shape[0], 1, -1)), dim=1)
            parts.append(grid.flatten(0, 1))
        return torch.cat(parts)

    def prompt(self, ids: Tensor, pictures: Sequence[Tensor]) -> Tensor:
        """Ids with ``image_token`` wherever a picture's token goes: ``[b, n] -> [b, n, word_width]``.

        Raises ValueError when there are more or fewer places than tokens of pictures.
        """
        return in_places(self.decoder.embed(ids), ids == self.config.image_token, pictures)


def _taken(features: Tensor, index: Tensor) -> Tensor:
    """Features ``[m, width]`` at ``[rows, columns]`` -> ``[rows, columns, width]``."""
    if index.numel() and int(index.max()) >= len(features):
        raise ValueError(f"feature {int(index.max())} is to be read, the views have {len(features)}")
    return features[index.to(features.device)]


def _shrunk(grid: Tensor, height: int, width: int) -> Tensor:
    """A map ``[rows, columns, width]`` bilinearly brought to ``height`` x ``width``, if it is not."""
    if grid.shape[:2] == (height, width):
        return grid
    small = F.interpolate(grid.permute(2, 0, 1)[None], (height, width), mode="bilinear")
    return small[0].permute(1, 2, 0)
