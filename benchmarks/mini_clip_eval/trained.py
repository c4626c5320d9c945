"""Peer AB: the untrained search A beside a head B that a first attempt trained on captioned pictures.

This is the best system that was tried before mini-clip was made: B adds a perceptron over the pooled
features of EfficientNet-Lite0 to A's own vector of a picture, in the space of e5. It learns by InfoNCE from
drawings, emoji, stamps and the photographs of one package (GCompris), with a loss that keeps pictures close
to the names of their classes. The embedding is A's and B's side by side. Measured here on the same photos
and queries as mini-clip, since a figure from another set would say nothing.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mini_clip_eval.untrained import Untrained
from sensorium.train.data.captions import Captioned, drawings, emoji, photos, stamps
from sensorium.train.data.sources import SOURCES, fetch
from sensorium.train.data.views import views
from sensorium.train.losses import info_nce

PHOTOS = "gcompris-qt-data"
PACKAGES = (
    *("openclipart-png", "tuxpaint-stamps-default", "fonts-noto-color-emoji", "emojibase-data"),
    PHOTOS,
)
STEPS, BATCH, PHOTO_SHARE = 1200, 256, 0.3
_SIDE = 224


class Residual(nn.Module):
    """A picture's vector by A, and what its features add: unit rows."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features, affine=False)
        self.layers = nn.Sequential(
            *(nn.Dropout(0.3), nn.Linear(features, 512), nn.GELU(), nn.Dropout(0.3), nn.Linear(512, width))
        )
        self.scale = nn.Parameter(torch.tensor(2.7))

    def forward(self, features: Tensor, base: Tensor) -> Tensor:
        """Features ``[b, features]`` and A's vectors ``[b, width]`` -> ``[b, width]``."""
        added: Tensor = self.layers(self.norm(features))
        return F.normalize(base + added, dim=1)


class AddedTraining:
    """Peer AB, with the methods of `sensorium.skills.embed.DualEncoder` that the measurement uses."""

    name = "A + B, photos of GCompris"

    def __init__(self, cache: Path) -> None:
        self._base = Untrained(cache)
        sources = cache / "sources"
        for source in SOURCES:
            if source.name in PACKAGES:
                print(f"fetching {source.name}", file=sys.stderr)
                sources.mkdir(exist_ok=True)
                fetch(source, sources)
        wanted = [picture for picture in photos(sources) if PHOTOS in picture.path.parts]
        pictures = [*wanted, *stamps(sources), *emoji(sources), *drawings(sources)]
        self._head = self._trained(pictures)

    def embed_images(self, images: list[Image.Image]) -> NDArray[np.float32]:
        """Upright RGB pictures -> unit rows [b, 768]."""
        base = self._base.embed_images(images)
        with torch.inference_mode():
            rows = self._head(self._features([_squashed(image) for image in images]), torch.from_numpy(base))
        return np.concatenate([base, rows.numpy()], axis=1) / np.float32(2**0.5)

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """Queries -> unit rows [b, 768]."""
        rows = self._base.embed_texts(texts)
        return np.concatenate([rows, rows], axis=1) / np.float32(2**0.5)

    def engines(self) -> dict[str, str]:
        """What runs it."""
        return self._base.engines()

    def _features(self, pixels: Sequence[NDArray[np.float32]]) -> Tensor:
        batch = torch.from_numpy((np.stack(pixels) - 127.0) / 128.0).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            maps: Tensor = self._base._network.extract_features(batch)
        return maps.mean(dim=(2, 3))

    def _trained(self, pictures: Sequence[Captioned]) -> Residual:
        owners, features, base = self._described(pictures)
        texts = sorted({text for picture in pictures for text in picture.texts})
        number = {text: row for row, text in enumerate(texts)}
        sentences = torch.from_numpy(self._base.embed_texts(texts))
        captions = [[number[text] for text in picture.texts] for picture in pictures]
        names = F.normalize(torch.from_numpy(self._base._classes), dim=1)
        teacher = (base @ names.T * 20).softmax(1)
        is_photo = np.array([pictures[owner].kind == "photo" for owner in owners])
        share = np.where(is_photo, PHOTO_SHARE / is_photo.sum(), (1 - PHOTO_SHARE) / (~is_photo).sum())
        torch.manual_seed(0)
        chance = np.random.default_rng(0)
        head = Residual(features.shape[1], base.shape[1]).train()
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            rows = chance.choice(len(owners), BATCH, p=share)
            chosen = [chance.choice(captions[owners[row]]) for row in rows]
            image = head(features[rows], base[rows])
            scale = head.scale.exp()
            ids = torch.from_numpy(owners[rows])
            contrast = info_nce(image, sentences[chosen], scale, ids=ids) / BATCH
            logits = image @ names.T * 20
            classes = -(teacher[rows] * logits.log_softmax(1)).sum(1).mean()
            optimizer.zero_grad()
            (contrast + 0.3 * classes).backward()
            optimizer.step()
            schedule.step()
        return head.eval()

    def _described(self, pictures: Sequence[Captioned]) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        """Owners, features and A's vectors of all views: of a photo six, of anything else one.

        Here A looks once at each view and not four times, as it does at the photos that are searched.
        """
        owners: list[int] = []
        features: list[Tensor] = []
        base: list[Tensor] = []
        network, classes = self._base._network, torch.from_numpy(self._base._classes)
        for number, picture in enumerate(pictures):
            shown = views(picture, [], random.Random(number))
            if not shown:
                continue
            features.append(self._features([_squashed(view) for view in shown]))
            with torch.inference_mode():
                base.append(F.normalize(network._fc(features[-1]).softmax(1) @ classes, dim=1))
            owners += [number] * len(shown)
            if number % 500 == 0:
                print(f"looked at {number} of {len(pictures)} pictures", file=sys.stderr)
        return np.array(owners), torch.cat(features), torch.cat(base)


def _squashed(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), np.float32)
