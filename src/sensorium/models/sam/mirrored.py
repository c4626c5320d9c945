"""Two looks for mini-sam: the second, at the mirror image of the picture, corrects what the first answered.

A small network errs in other places when left and right are exchanged, and gets nearer when it sees its own
answer. A second look doubles what an answer costs, so that only those have it that refine an earlier one. The
published networks look once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.models.sam.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT
from sensorium.models.sam.pyramid import Pyramid
from sensorium.models.sam.sam import Sam

_MOST = 32.0  # of a logit of an earlier answer, as in training


def embed(network: Sam, pixels: Tensor) -> Tensor:
    """Normalised pixels ``[b, channels, size, size]`` -> embedding ``[b, looks * width, grid, grid]``."""
    seen = network.embed(pixels)
    if not isinstance(network.image_encoder, Pyramid):
        return seen
    return torch.cat((seen, network.embed(pixels.flip(-1))), dim=1)


def decode(
    network: Sam, embedding: Tensor, points: Tensor, labels: Tensor, masks: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Logits ``[p, 1 + c, 4 grid, 4 grid]`` and qualities ``[p, 1 + c]`` as ``Sam.decode``.

    ``embedding`` as ``embed`` makes it; ``masks`` are earlier logits ``[p, 1, 4 grid, 4 grid]``: with them
    there is a second look, which starts from the single answer of the first.
    """
    encoder = network.image_encoder
    width = 2 * encoder.config.out_channels if isinstance(encoder, Pyramid) else embedding.shape[1]
    looks = torch.split(embedding, width, dim=1)
    logits, quality = network.decode(network.look(looks[0], masks), points, labels)
    if masks is None or len(looks) == 1:
        return logits, quality
    before = logits[:, :1].clamp(-_MOST, _MOST).flip(-1)
    turned = mirror(points, labels, network.config.vision.image_size)
    logits, quality = network.decode(network.look(looks[1], before), turned, labels)
    return logits.flip(-1), quality


def mirror(points: Tensor, labels: Tensor, size: int) -> Tensor:
    """Points ``[p, n, 2]`` in the mirror image; the corners of a box (neighbours) exchange their columns."""
    across = points[..., 0]
    across = torch.where(labels == TOP_LEFT, across.roll(-1, dims=1), across)
    across = torch.where(labels == BOTTOM_RIGHT, points[..., 0].roll(1, dims=1), across)
    return torch.stack((size - 1 - across, points[..., 1]), dim=-1)
