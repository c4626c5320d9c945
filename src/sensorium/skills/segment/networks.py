"""Segment Anything as three networks that can be exported: bytes in, arrays out, one output each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sensorium.models.sam import mirrored

if TYPE_CHECKING:
    from sensorium.media.image import ImageSpec
    from sensorium.models.sam.sam import Sam


class Encode(nn.Module):
    """A picture as bytes to its embedding; normalisation and padding are part of the graph."""

    def __init__(self, network: Sam, spec: ImageSpec) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = spec.mean, spec.std
        self.side = network.config.vision.image_size

    def forward(self, pixels: Tensor, extent: Tensor) -> Tensor:
        """Pixels uint8 [b, side, side, 3], extent int64 [b, 2] (columns and rows that hold the picture)."""
        values = pixels.permute(0, 3, 1, 2).float() * (1 / 255)
        mean, std = (torch.tensor(x, device=pixels.device)[:, None, None] for x in (self.mean, self.std))
        places = torch.arange(self.side, device=pixels.device)
        across = (places[None, :] < extent[:, :1])[:, None, None, :]
        down = (places[None, :] < extent[:, 1:])[:, None, :, None]
        values = ((values - mean) / std) * (across & down)  # zero where there is no picture
        return mirrored.embed(self.network, values.to(next(self.network.parameters()).dtype))


class Decode(nn.Module):
    """Prompts on an embedding, to masks and qualities."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.network = network

    def forward(self, places: Tensor, points: Tensor, labels: Tensor) -> Tensor:
        """Places of the embedding [1, grid * grid, width], points float32 [p, n, 2], labels int64 [p, n].

        Returns [p, 1 + c, 1 + (4 grid)**2]: each row is a mask's quality and then its logits; row 0 is the
        single answer, then the candidates.
        """
        grid = self.network.config.grid
        embedding = places.transpose(1, 2).reshape(1, -1, grid, grid)
        embedding = embedding.to(next(self.network.parameters()).dtype)
        return _joined(*mirrored.decode(self.network, embedding, points.float(), labels))


class DecodeMasked(nn.Module):
    """As ``Decode``, with the logits of an earlier mask: the picture is looked at with it."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.network = network

    def forward(self, embedding: Tensor, masks: Tensor, points: Tensor, labels: Tensor) -> Tensor:
        """Embedding [1, width, grid, grid], masks float32 [p, 1, 4 grid, 4 grid], the rest as ``Decode``."""
        dtype = next(self.network.parameters()).dtype
        answer = mirrored.decode(self.network, embedding.to(dtype), points.float(), labels, masks.to(dtype))
        return _joined(*answer)


def _joined(logits: Tensor, quality: Tensor) -> Tensor:
    return torch.cat((quality[..., None], logits.flatten(2)), dim=2)
