"""What varies between published Segment Anything checkpoints. Nothing has a default: the checkpoint says."""

from __future__ import annotations

from dataclasses import dataclass

from sensorium.models.efficientnet import EfficientNetConfig
from sensorium.nn.mlp import Activation


@dataclass(frozen=True)
class SamVisionConfig:
    """The image encoder: a ViT with attention in windows, but for a few global blocks."""

    image_size: int  # side of the square it sees, pixels
    patch: int  # side of a square patch, pixels
    channels: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    activation: Activation
    norm_eps: float
    qkv_bias: bool
    window: int  # side of a window, patches
    global_blocks: tuple[int, ...]  # blocks whose attention sees all patches
    out_channels: int  # channels of the embedding

    @property
    def grid(self) -> int:
        """Rows, and columns, of patches."""
        return self.image_size // self.patch


@dataclass(frozen=True)
class TinyVitConfig:
    """The light image encoder of MobileSAM: convolutions, then attention in windows at three scales."""

    image_size: int
    widths: tuple[int, int, int, int]  # of each stage
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]  # of the first stage, which only convolves, none is used
    windows: tuple[int, int, int, int]  # side of a window, tokens; of the first stage none is used
    out_channels: int

    @property
    def grid(self) -> int:
        """Rows, and columns, of the embedding."""
        return self.image_size // 16


@dataclass(frozen=True)
class PyramidConfig:
    """The image encoder of our own mini-sam: a trunk of convolutions and a pyramid over its scales."""

    image_size: int
    trunk: EfficientNetConfig
    out_channels: int

    @property
    def grid(self) -> int:
        """Rows, and columns, of the embedding."""
        return self.image_size // 8


@dataclass(frozen=True)
class SamConfig:
    """A whole Segment Anything."""

    vision: SamVisionConfig | TinyVitConfig | PyramidConfig
    mask_channels: int  # channels inside the embedding of an earlier mask
    decoder_depth: int
    decoder_heads: int
    decoder_mlp_width: int
    decoder_norm_eps: float
    downsample: int  # how much narrower cross-attention is than the tokens
    candidates: int  # masks proposed for one prompt, beside the single one
    quality_width: int  # hidden width of the head that predicts each mask's quality
    quality_depth: int

    @property
    def width(self) -> int:
        """Channels of the embedding and of prompt tokens."""
        return self.vision.out_channels

    @property
    def grid(self) -> int:
        """Rows, and columns, of the embedding."""
        return self.vision.grid

    @property
    def detailed(self) -> bool:
        """Whether details lie behind the embedding's first ``width`` channels: in mini-sam alone."""
        return isinstance(self.vision, PyramidConfig)
