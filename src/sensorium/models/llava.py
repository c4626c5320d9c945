"""LLaVA-1.5 (Liu et al. 2023, arXiv 2310.03744) and LLaVA-NeXT (blog "LLaVA-NeXT", 2024-01-30).

What a CLIP tower knows in one of its late blocks goes through a perceptron and takes the place of an image
token among the words. NeXT looks at a picture as tiles of a grid beside one small view of the whole; the
tiles are put together again, padding is cut off, and each row of tokens ends with a learned newline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.models.connectors import MlpConfig, MlpConnector
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
class Tiling:
    """How a picture was cut: the grid of tiles, and the tokens of it that are picture and not padding."""

    rows: int
    columns: int
    top: int  # first and, exclusive, last row of tokens that are kept, of rows * the tower's rows
    bottom: int
    left: int
    right: int


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

    def joined(self, views: Tensor, tiling: Tiling | None) -> Tensor:
        """The views of one picture as it is read: ``[v, tokens, word_width] -> [n, word_width]``.

        The first view is the whole picture, the others are tiles in rows; without a tiling there is one
        view, as in LLaVA-1.5. n is ``tokens_of(config, tiling)``. Raises ValueError for another number of
        views than the tiling has.
        """
        expected = 1 if tiling is None else 1 + tiling.rows * tiling.columns
        if len(views) != expected:
            raise ValueError(f"{len(views)} views, where the plan of the picture has {expected}")
        if tiling is None:
            alone = views[0]
            return alone if self.newline is None else torch.cat((alone, self.newline[None].to(alone)))
        rows, columns = self.config.vision.grid
        grid = views[1:].reshape(tiling.rows, tiling.columns, rows, columns, -1)
        grid = grid.transpose(1, 2).reshape(tiling.rows * rows, tiling.columns * columns, -1)
        grid = grid[tiling.top : tiling.bottom, tiling.left : tiling.right]
        if self.newline is not None:
            ends = self.newline.to(grid).expand(grid.shape[0], 1, -1)
            grid = torch.cat((grid, ends), dim=1)
        return torch.cat((views[0], grid.flatten(0, 1)))

    def prompt(self, ids: Tensor, pictures: Sequence[Tensor]) -> Tensor:
        """Ids with ``image_token`` wherever a picture's token goes: ``[b, n] -> [b, n, word_width]``.

        Raises ValueError when there are more or fewer places than tokens of pictures.
        """
        embeds = self.decoder.embed(ids)
        places = ids == self.config.image_token
        given = torch.cat(list(pictures)) if pictures else embeds.new_zeros(0, embeds.shape[-1])
        if int(places.sum()) != len(given):
            raise ValueError(f"{int(places.sum())} places for pictures, {len(given)} tokens of pictures")
        return embeds.masked_scatter(places[..., None], given.to(embeds.dtype))


def tokens_of(config: LlavaConfig, tiling: Tiling | None) -> int:
    """How many tokens a picture takes, counted without looking at it."""
    if tiling is None:
        return config.tokens + int(config.newline)
    rows, columns = tiling.bottom - tiling.top, tiling.right - tiling.left
    return config.tokens + rows * (columns + int(config.newline))
