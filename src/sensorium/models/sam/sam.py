"""Segment Anything as a whole: what is computed once for an image, and what for each prompt."""

from __future__ import annotations

from torch import Tensor, nn

from sensorium.models.sam.config import SamConfig, SamVisionConfig, TinyVitConfig
from sensorium.models.sam.image_encoder import ImageEncoder
from sensorium.models.sam.mask_decoder import ImageSide, MaskDecoder
from sensorium.models.sam.prompt_encoder import PromptEncoder
from sensorium.models.sam.pyramid import Pyramid
from sensorium.models.sam.tiny_vit import TinyVit


class Sam(nn.Module):
    """The three parts. ``forward`` is one image with its prompts; applications call the parts."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder: ImageEncoder | TinyVit | Pyramid
        if isinstance(config.vision, SamVisionConfig):
            self.image_encoder = ImageEncoder(config.vision)
        elif isinstance(config.vision, TinyVitConfig):
            self.image_encoder = TinyVit(config.vision)
        else:
            self.image_encoder = Pyramid(config.vision)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    def embed(self, pixels: Tensor) -> Tensor:
        """Normalised pixels ``[b, channels, size, size]`` -> embedding ``[b, width, grid, grid]``."""
        out: Tensor = self.image_encoder(pixels)
        return out

    def look(self, embedding: Tensor, masks: Tensor | None = None) -> ImageSide:
        """The decoder's view of one image ``[1, width, grid, grid]``, with earlier masks when there are some.

        ``masks`` are logits ``[p, 1, 4 grid, 4 grid]``.
        """
        positions = self.prompt_encoder.positions.grid(self.config.grid)
        return self.mask_decoder.look(embedding, self.prompt_encoder.dense(masks), positions)

    def answer(
        self, side: ImageSide, points: Tensor, labels: Tensor, *, single: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Masks of prompts on one image: points ``[p, n, 2]``, labels ``[p, n]`` as ``PromptEncoder`` says.

        Returns logits ``[p, c, 4 grid, 4 grid]`` and qualities ``[p, c]`` of the candidates, or of the single
        answer, where c is 1.
        """
        logits, quality = self.decode(side, points, labels)
        return (logits[:, :1], quality[:, :1]) if single else (logits[:, 1:], quality[:, 1:])

    def decode(self, side: ImageSide, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As ``answer``, with the single answer before the candidates: as ``MaskDecoder`` returns them."""
        prompts = self.prompt_encoder(points, labels).to(side.image.dtype)
        placed = (points + 0.5) / self.config.vision.image_size  # the centre of the pixel
        found: tuple[Tensor, Tensor] = self.mask_decoder(
            self.mask_decoder.told(prompts, placed, labels, side), side
        )
        return found

    def forward(
        self,
        pixels: Tensor,
        points: Tensor,
        labels: Tensor,
        masks: Tensor | None = None,
        *,
        single: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """One image ``[1, channels, size, size]`` and its prompts, as ``answer``."""
        return self.answer(self.look(self.embed(pixels), masks), points, labels, single=single)
