"""The two halves of a dual encoder as networks that can be exported: bytes or token ids in, vectors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from sensorium.media.image import ImageSpec


class ImageTower(nn.Module):
    """Pixels as bytes to embeddings; the normalisation is part of the graph, so bytes are all that moves."""

    def __init__(self, network: nn.Module, spec: ImageSpec) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = spec.mean, spec.std

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 [b, h, w, 3] -> [b, d], not normalised to unit length."""
        values = pixels.permute(0, 3, 1, 2).float() * (1 / 255)
        mean, std = (torch.tensor(x, device=pixels.device)[:, None, None] for x in (self.mean, self.std))
        # float32 until here: in bfloat16 the difference to the mean would lose what tells bytes apart
        values = ((values - mean) / std).to(next(self.network.parameters()).dtype)
        encode = cast("Callable[[Tensor], Tensor]", self.network.encode_image)
        return encode(values)


class TextTower(nn.Module):
    """Token ids and mask to embeddings."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask int64 [b, n] -> [b, d], not normalised to unit length."""
        encode = cast("Callable[[Tensor, Tensor], Tensor]", self.network.encode_text)
        return encode(ids, mask)
