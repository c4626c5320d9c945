"""Where did it look? Attention of the tower, of the connector and of the answer over the picture, as maps.

A connector that is a perceptron looks nowhere by itself; instead, the maps show which of the picture's tokens
the answer's tokens looked at in the language model. A convolutional tower has no attention weights: its maps
show how strongly it responds at each place (Zagoruyko and Komodakis 2017, arXiv 1612.03928, section 3.1).
That early layers look at edges and late ones at things is measured in ``benchmarks/where_it_looked.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from sensorium.media.resized import normalise
from sensorium.media.resizing.plan import ResizePlan
from sensorium.models.blip2 import Blip2
from sensorium.models.decoder import Decoder
from sensorium.models.llava import Llava
from sensorium.models.mini_vlm import SEEN_STAGES, MiniVlm
from sensorium.models.qwen_vl.qwen_vl import QwenVl
from sensorium.models.qwen_vl.vision import places_of
from sensorium.models.vit import Vit
from sensorium.nn.blocks import PreNormBlock
from sensorium.nn.cache import Cache
from sensorium.skills.answer.eyes import Eyes, Native, Views
from sensorium.skills.answer.planning import Item

MOST_TOKENS = 400
"""Tokens of a picture of native resolution whose tower can be shown: the table of all pairs of its patches
has a hundred million values and more beyond that."""

_RAMP = np.array(  # dark blue, blue, green, yellow, red: what is looked at most is warmest
    [[20, 24, 82], [33, 102, 172], [60, 179, 113], [253, 212, 62], [214, 47, 39]], np.float32
)
_STRENGTH = 0.6  # of the colours over the picture


@dataclass(frozen=True, eq=False)
class Look:
    """One map over one picture."""

    part: Literal["tower", "connector", "answer"]
    name: str
    """For people: which block of how many."""
    layer: int
    """The block's number, from 0."""
    map: NDArray[np.float32]
    """[rows, columns]: the share that falls on each place, as the mean over heads and over whoever looks, or
    of the squares of a convolutional tower's channels."""
    covers: tuple[float, float, float, float]
    """Left, top, right, bottom of the map in pixels of the original; it may reach over its edges."""
    picture: str
    """The name of the picture."""


def looks_of_tower(
    network: nn.Module, eyes: Eyes, item: Item, views: Views, question: Sequence[int]
) -> list[Look]:
    """Where the tower looks in an early, a middle and a late block, and the connector if it does.

    Only at the view of the whole picture.
    """
    plan, name = item.plan, item.name
    if isinstance(network, QwenVl) and isinstance(eyes, Native):
        return _of_qwen(network, eyes, item, views)
    if not isinstance(network, Llava | Blip2 | MiniVlm):
        return []
    pixels = torch.from_numpy(normalise(views[0][0], eyes.spec))[None]
    first = next(network.parameters())
    pixels = pixels.to(first.device, first.dtype)
    if isinstance(network, MiniVlm):
        return _of_convolutions(network, pixels, item)
    vision = network.vision
    used = max(network.config.layers) if isinstance(network, Llava) else len(vision.blocks)
    found = [
        Look("tower", f"tower block {layer + 1} of {used}", layer, *_cut(weights, plan), name)
        for layer, weights in _of_vit(vision, pixels, used)
    ]
    if isinstance(network, Blip2):
        ids = torch.tensor([list(question)], device=pixels.device) if question else None
        crossing = network.qformer.looks(network.vision.tokens(pixels), ids)
        for number in _early_middle_late(len(crossing)):
            patches = crossing[number][0].mean(dim=(0, 1))[vision.config.prefix :]
            layer = number * network.qformer.config.cross_every
            told = f"connector block {layer + 1} of {network.qformer.config.depth}"
            found.append(Look("connector", told, layer, *_cut(_grid(patches, plan), plan), name))
    return found


def looks_of_answer(
    decoder: Decoder, embeds: Tensor, cache: Cache, positions: Tensor, item: Item, columns: slice
) -> list[Look]:
    """Which places of a picture the tokens of the answer looked at, early, middle and late in the decoder.

    Args:
        decoder: The language model.
        embeds: Vectors of the answer's tokens ``[1, n, word_width]``.
        cache: Of the prompt alone.
        positions: ``[1, n]`` of the answer's tokens.
        item: The picture.
        columns: Where its tokens stand in the prompt.
    """
    depth = decoder.config.depth
    wanted = _early_middle_late(depth)
    weights = decoder.looks(embeds, positions, cache=cache, layers=wanted)
    view = item.plan.views[0]
    block = item.plan.blocks[0]
    width = view.feature_columns + int(block.newline)
    count = view.feature_rows * width
    classes = item.tokens - item.plan.tokens  # LLaVAs that keep class tokens put them first
    found = []
    for layer, seen in zip(wanted, weights, strict=True):
        tokens = seen[0].float().mean(dim=(0, 1))[columns][classes : classes + count]
        grid = tokens.reshape(view.feature_rows, width)[:, : view.feature_columns]
        told = f"answer in decoder block {layer + 1} of {depth}"
        cut = _cut(grid.cpu().numpy(), item.plan)
        found.append(Look("answer", told, layer, *cut, item.name))
    return found


@torch.no_grad()
def _of_vit(vision: Vit, pixels: Tensor, used: int) -> list[tuple[int, NDArray[np.float32]]]:
    """Maps of some of the first ``used`` blocks: of the class token, or else of all patches together."""
    wanted = _early_middle_late(used)
    x, found = vision.embed(pixels), []
    rows, columns = (side // vision.config.patch for side in pixels.shape[-2:])
    for layer in range(wanted[-1] + 1):
        block = vision.blocks[layer]
        assert isinstance(block, PreNormBlock)
        if layer in wanted:
            weights = block.attention_weights(x)[0].float().mean(dim=0)  # [n, n]
            asking = weights[0] if vision.config.class_token else weights.mean(dim=0)
            patches = asking[vision.config.prefix :].reshape(rows, columns)
            found.append((layer, patches.cpu().numpy().astype(np.float32)))
        x = block(x)
    return found


@torch.no_grad()
def _of_convolutions(network: MiniVlm, pixels: Tensor, item: Item) -> list[Look]:
    """How strongly an early, a middle and a late stage respond: the mean square over channels."""
    levels = network.vision.levels(pixels)[1:]  # what is seen begins at 1/4
    depth = len(network.config.trunk.stages)
    found = []
    for number in _early_middle_late(len(levels)):
        stage = SEEN_STAGES[number]
        strength = levels[number][0].float().square().mean(dim=0)
        share = strength / strength.sum().clamp(min=1e-12)
        told = f"tower stage {stage + 1} of {depth}"
        found.append(Look("tower", told, stage, *_cut(share.cpu().numpy(), item.plan), item.name))
    return found


@torch.no_grad()
def _of_qwen(network: QwenVl, eyes: Native, item: Item, views: Views) -> list[Look]:
    if item.kind == "video" or item.plan.views[0].features > MOST_TOKENS:
        return []
    patches, grids = eyes.patches(network, [[frame[0]] for frame in views])
    [grid] = grids
    weights = network.vision.looks(patches, grid)
    vision = network.config.vision
    places = places_of(grid, vision.merge)[: grid[1] * grid[2]].numpy()
    found = []
    for number in _early_middle_late(len(weights)):
        flat = weights[number].float().mean(dim=(0, 1)).cpu().numpy()
        table = np.zeros((grid[1], grid[2]), np.float32)
        table[places[:, 0], places[:, 1]] = flat
        layer = vision.full_blocks[number]
        told = f"tower block {layer + 1} of {vision.depth}"
        found.append(Look("tower", told, layer, *_cut(table, item.plan), item.name))
    return found


def _early_middle_late(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1}) if count else []


def _grid(patches: Tensor, plan: ResizePlan) -> NDArray[np.float32]:
    view = plan.views[0]
    return patches.float().reshape(view.feature_rows, view.feature_columns).cpu().numpy().astype(np.float32)


def _cut(
    table: NDArray[np.float32], plan: ResizePlan
) -> tuple[NDArray[np.float32], tuple[float, float, float, float]]:
    """The places of the first view that show anything of the picture, and what of it they cover."""
    view, box = plan.views[0], plan.picture_in(0)
    rows, columns = table.shape
    high, wide = view.height / rows, view.width / columns
    assert box is not None  # the first view shows the whole
    top, left = int(box.top // high), int(box.left // wide)
    bottom = min(rows, int(np.ceil(box.bottom / high)))
    right = min(columns, int(np.ceil(box.right / wide)))
    shown = [[left * wide, top * high, right * wide, bottom * high]]
    x0, y0, x1, y1 = plan.to_original(shown)[0].tolist()
    return np.ascontiguousarray(table[top:bottom, left:right], np.float32), (x0, y0, x1, y1)


def draw_look(image: Image.Image, look: Look) -> Image.Image:
    """The picture under the map's colours, from dark blue (least) to red (most); the given one is kept."""
    left, top, right, bottom = look.covers
    least, most = float(look.map.min()), float(look.map.max())
    even = (look.map - least) / (most - least) if most > least else np.zeros_like(look.map)
    rows, columns = even.shape
    # the part of the map that each pixel of the picture lies on
    box = (
        -left / (right - left) * columns,
        -top / (bottom - top) * rows,
        (image.width - left) / (right - left) * columns,
        (image.height - top) / (bottom - top) * rows,
    )
    inside = (max(0.0, box[0]), max(0.0, box[1]), min(float(columns), box[2]), min(float(rows), box[3]))
    wide = round((inside[2] - inside[0]) / (box[2] - box[0]) * image.width)
    high = round((inside[3] - inside[1]) / (box[3] - box[1]) * image.height)
    size = max(1, min(image.width, wide)), max(1, min(image.height, high))
    spread = Image.fromarray(even.astype(np.float32)).resize(size, Image.Resampling.BICUBIC, box=inside)
    place = np.clip(np.asarray(spread), 0, 1)[..., None] * (len(_RAMP) - 1)
    lower = np.minimum(place.astype(np.int64), len(_RAMP) - 2)
    share = place - lower
    colours = _RAMP[lower[..., 0]] * (1 - share) + _RAMP[lower[..., 0] + 1] * share
    drawn = np.array(image.convert("RGB"), np.uint8)
    x = round((inside[0] - box[0]) / (box[2] - box[0]) * image.width)
    y = round((inside[1] - box[1]) / (box[3] - box[1]) * image.height)
    x, y = min(x, image.width - size[0]), min(y, image.height - size[1])
    under = drawn[y : y + size[1], x : x + size[0]].astype(np.float32)
    mixed = under * (1 - _STRENGTH) + colours * _STRENGTH
    drawn[y : y + size[1], x : x + size[0]] = np.rint(mixed).astype(np.uint8)
    return Image.fromarray(drawn)
