"""What differs between the families: how many tokens a picture takes, who looks at it, where tokens stand.

One small class a family with the same methods; `eyes_of` picks it by the family that the files declare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.media.resized import PictureSpec, normalise, patchify_qwen
from sensorium.media.resizing.plan import ResizePlan
from sensorium.media.vocabulary import Vocabulary
from sensorium.models.blip2 import Blip2, Blip2Config
from sensorium.models.decoder import DecoderConfig
from sensorium.models.llava import Llava, LlavaConfig, Run
from sensorium.models.mini_vlm import MiniVlm, MiniVlmConfig
from sensorium.models.qwen_vl.qwen_vl import Film as FilmGrid
from sensorium.models.qwen_vl.qwen_vl import QwenVl, QwenVlConfig, positions_of
from sensorium.models.qwen_vl.vision import Grid
from sensorium.weights.files import ModelFiles
from sensorium.weights.pictures import FilmSpec, read_film_spec, read_picture_spec

if TYPE_CHECKING:
    from sensorium.skills.answer.planning import Item

Views = Sequence[Sequence[NDArray[np.uint8]]]
"""For each frame (one of a picture) its views' pixels, in the order of the plan."""
Kind = Literal["image", "video"]

_TOGETHER = 4  # views that go through a tower at once: more only take more memory
_BLIP_MARK = -1  # where a query's token stands among the ids; the vocabulary has no place for it


class Eyes(Protocol):
    """A family's way of looking."""

    @property
    def spec(self) -> PictureSpec:
        """How the checkpoint wants its pictures."""
        ...

    @property
    def text(self) -> DecoderConfig:
        """The language model."""
        ...

    @property
    def most_pictures(self) -> int | None:
        """How many it can take; None: as many as the context holds."""
        ...

    @property
    def needs_picture(self) -> bool:
        """Whether words alone cannot be answered."""
        ...

    @property
    def marks(self) -> dict[Kind, int]:
        """The id that stands for a token of a picture, and of a film."""
        ...

    def tokens(self, plan: ResizePlan, frames: int) -> int:
        """Tokens of a picture, or of a film of so many frames."""
        ...

    def tower_bytes(self, plan: ResizePlan, frames: int, bytes_each: int) -> int:
        """About what the tower holds at once while it looks."""
        ...

    def see(self, network: nn.Module, plan: ResizePlan, views: Views, question: Sequence[int]) -> Tensor:
        """Pixels to the tokens that the language model reads: ``[tokens, word_width]``."""
        ...

    def embed(self, network: nn.Module, ids: Tensor, seen: Sequence[tuple[Kind, Tensor]]) -> Tensor:
        """Ids ``[n]`` with what was seen in its places, in order -> ``[1, n, word_width]``."""
        ...

    def positions(self, ids: Sequence[int], items: Sequence[Item]) -> Tensor | None:
        """Positions ``[3, n]`` of a whole prompt; None: tokens count by themselves."""
        ...


def eyes_of(files: ModelFiles, config: object) -> Eyes:
    """The way of looking of a model.

    Raises:
        SensoriumError: The model sees nothing, or does not speak.
        CheckpointError: Its files do not say how it wants pictures.
    """
    match config:
        case LlavaConfig() | MiniVlmConfig():
            return OneByOne(read_picture_spec(files.folder, files.family, config), config)
        case QwenVlConfig():
            films = read_film_spec(files.folder, config)
            return Native(read_picture_spec(files.folder, files.family, config), films, config)
        case Blip2Config():
            return Queries(read_picture_spec(files.folder, files.family, config), config)
    raise SensoriumError(
        f"{files.name} is a {files.family} and answers no questions about pictures: name a LLaVA, a "
        "Qwen2.5-VL, a BLIP-2 with a language model, or mini-vlm"
    )


def _pixels(network: nn.Module, views: Sequence[NDArray[np.uint8]], spec: PictureSpec) -> Tensor:
    """Views of one size as ``[v, 3, h, w]``, in the network's format and place."""
    stacked = torch.from_numpy(np.stack([normalise(view, spec) for view in views]))
    first = next(network.parameters())
    return stacked.to(first.device, first.dtype)


def _vit_bytes(width: int, mlp_width: int, tokens: int, views: int, bytes_each: int) -> int:
    return min(views, _TOGETHER) * tokens * max(6 * width, 2 * width + 3 * mlp_width) * bytes_each


@dataclass(frozen=True)
class OneByOne:
    """LLaVA and mini-vlm: each view is looked at by itself, every place of it is a token."""

    spec: PictureSpec
    config: LlavaConfig | MiniVlmConfig

    @property
    def text(self) -> DecoderConfig:
        """As in `Eyes`."""
        return self.config.text

    @property
    def most_pictures(self) -> int | None:
        """As in `Eyes`."""
        return self.config.most_pictures if isinstance(self.config, MiniVlmConfig) else None

    @property
    def needs_picture(self) -> bool:
        """As in `Eyes`."""
        return isinstance(self.config, MiniVlmConfig)  # nothing else was in its training

    @property
    def marks(self) -> dict[Kind, int]:
        """As in `Eyes`."""
        return {"image": self.config.image_token}

    def tokens(self, plan: ResizePlan, frames: int) -> int:
        """As in `Eyes`."""
        return plan.tokens + _class_tokens(self.config, plan)

    def tower_bytes(self, plan: ResizePlan, frames: int, bytes_each: int) -> int:
        """As in `Eyes`."""
        if isinstance(self.config, MiniVlmConfig):
            # the widest map is the stem's expansion at half of the resolution, in and out
            return 2 * self.config.side**2 // 4 * 96 * bytes_each
        vision = self.config.vision
        tokens = max(view.features for view in plan.views)
        return _vit_bytes(vision.width, vision.mlp_width, tokens, len(plan.views), bytes_each)

    def see(self, network: nn.Module, plan: ResizePlan, views: Views, question: Sequence[int]) -> Tensor:
        """As in `Eyes`."""
        pixels = _pixels(network, views[0], self.spec)
        if isinstance(network, MiniVlm):
            return network.see(pixels).flatten(0, 1)
        assert isinstance(network, Llava)
        seen = torch.cat([network.see(part) for part in torch.split(pixels, _TOGETHER)])
        return network.joined(seen, runs_of(plan))

    def embed(self, network: nn.Module, ids: Tensor, seen: Sequence[tuple[Kind, Tensor]]) -> Tensor:
        """As in `Eyes`."""
        assert isinstance(network, Llava | MiniVlm)
        return network.prompt(ids[None], [tokens for _, tokens in seen])

    def positions(self, ids: Sequence[int], items: Sequence[Item]) -> Tensor | None:
        """As in `Eyes`."""
        return None


@dataclass(frozen=True)
class Native:
    """Qwen2.5-VL: pictures and films of their own shape, positions in three directions."""

    spec: PictureSpec
    films: FilmSpec
    config: QwenVlConfig
    most_pictures: None = None
    needs_picture: bool = False

    @property
    def text(self) -> DecoderConfig:
        """As in `Eyes`."""
        return self.config.text

    @property
    def marks(self) -> dict[Kind, int]:
        """As in `Eyes`."""
        return {"image": self.config.image_token, "video": self.config.video_token}

    def tokens(self, plan: ResizePlan, frames: int) -> int:
        """As in `Eyes`."""
        return plan.tokens * self._groups(frames)

    def tower_bytes(self, plan: ResizePlan, frames: int, bytes_each: int) -> int:
        """As in `Eyes`."""
        vision = self.config.vision
        patches = self.tokens(plan, frames) * vision.merge**2
        return _vit_bytes(vision.width, vision.mlp_width, patches, 1, bytes_each)

    def see(self, network: nn.Module, plan: ResizePlan, views: Views, question: Sequence[int]) -> Tensor:
        """As in `Eyes`."""
        assert isinstance(network, QwenVl)
        patches, grids = self.patches(network, views)
        return torch.cat(network.see(patches, grids))

    def patches(self, network: nn.Module, views: Views) -> tuple[Tensor, list[Grid]]:
        """The sequence of patches of a picture's views, or of a film's frames, and its grids."""
        vision = self.config.vision
        parts, grids = [], []
        for number in range(len(views[0])):
            frames = np.stack([normalise(frame[number], self.spec) for frame in views])
            flat, grid = patchify_qwen(frames, vision.patch, vision.merge, vision.frames)
            parts.append(flat)
            grids.append(grid)
        first = next(network.parameters())
        return torch.from_numpy(np.concatenate(parts)).to(first.device, first.dtype), grids

    def embed(self, network: nn.Module, ids: Tensor, seen: Sequence[tuple[Kind, Tensor]]) -> Tensor:
        """As in `Eyes`."""
        assert isinstance(network, QwenVl)
        pictures, films = ([tokens for one, tokens in seen if one == kind] for kind in ("image", "video"))
        return network.prompt(ids[None], pictures, films)

    def positions(self, ids: Sequence[int], items: Sequence[Item]) -> Tensor | None:
        """As in `Eyes`."""
        pictures = [grid for item in items if item.kind == "image" for grid in self._grids(item)]
        films = [FilmGrid(self._grids(item)[0], item.seconds) for item in items if item.kind == "video"]
        found, _ = positions_of(self.config, ids, pictures, films)
        return found

    def _grids(self, item: Item) -> list[Grid]:
        merge, groups = self.config.vision.merge, self._groups(len(item.pictures))
        return [(groups, view.feature_rows * merge, view.feature_columns * merge) for view in item.plan.views]

    def _groups(self, frames: int) -> int:
        return -(-frames // self.config.vision.frames)


@dataclass(frozen=True)
class Queries:
    """BLIP-2 and InstructBLIP: a few queries look at one picture, before all words."""

    spec: PictureSpec
    config: Blip2Config
    most_pictures: int | None = 1
    needs_picture: bool = True

    @property
    def text(self) -> DecoderConfig:
        """As in `Eyes`."""
        return self.config.text

    @property
    def marks(self) -> dict[Kind, int]:
        """As in `Eyes`."""
        return {"image": _BLIP_MARK}

    def tokens(self, plan: ResizePlan, frames: int) -> int:
        """As in `Eyes`."""
        return self.config.qformer.queries

    def tower_bytes(self, plan: ResizePlan, frames: int, bytes_each: int) -> int:
        """As in `Eyes`."""
        vision = self.config.vision
        return _vit_bytes(vision.width, vision.mlp_width, plan.tokens + 1, 1, bytes_each)

    def see(self, network: nn.Module, plan: ResizePlan, views: Views, question: Sequence[int]) -> Tensor:
        """As in `Eyes`."""
        assert isinstance(network, Blip2)
        pixels = _pixels(network, views[0], self.spec)
        if not self.config.instructed:
            return network.see(pixels)[0]
        ids = torch.tensor([list(question)], device=pixels.device)
        return network.see(pixels, ids, torch.ones_like(ids))[0]

    def embed(self, network: nn.Module, ids: Tensor, seen: Sequence[tuple[Kind, Tensor]]) -> Tensor:
        """As in `Eyes`."""
        assert isinstance(network, Blip2)
        words = ids[ids != _BLIP_MARK]
        if not seen:
            return network.decoder.embed(words[None])
        return network.prompt(seen[0][1][None], words[None])

    def positions(self, ids: Sequence[int], items: Sequence[Item]) -> Tensor | None:
        """As in `Eyes`."""
        return None


def _class_tokens(config: LlavaConfig | MiniVlmConfig, plan: ResizePlan) -> int:
    if isinstance(config, MiniVlmConfig) or not config.class_token:
        return 0
    return config.vision.prefix * len(plan.views)


def runs_of(plan: ResizePlan) -> list[Run]:
    """How the features of a plan's views become tokens, as `Llava.joined` takes it."""
    return [
        Run(torch.from_numpy(plan.feature_index(number)), block.height, block.width, block.newline)
        for number, block in enumerate(plan.blocks)
    ]


def question_ids(files: ModelFiles, config: object, question: str) -> list[int]:
    """What InstructBLIP's Q-Former reads of a question, in its own vocabulary; [] for all others.

    Raises:
        SensoriumError: It is longer than the Q-Former's positions.
        CheckpointError: The vocabulary is missing.
    """
    if not isinstance(config, Blip2Config) or not config.instructed:
        return []
    found = Vocabulary.from_folder(files.folder / "qformer_tokenizer").encode(question)
    if len(found) > config.qformer.context_length:
        raise SensoriumError(
            f"the question has {len(found)} tokens, {files.name} reads at most "
            f"{config.qformer.context_length} of them with the picture: shorten it"
        )
    return found
