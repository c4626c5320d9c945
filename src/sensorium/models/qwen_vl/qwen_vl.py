"""Qwen2.5-VL as a whole: pictures and films among words, and the three positions of each token.

Section 2.1 of arXiv 2502.13923. Words have one position; a token of a picture has its row and its column,
that of a film the seconds, too (M-RoPE with absolute time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sensorium.models.connectors import in_places
from sensorium.models.decoder import Decoder, DecoderConfig
from sensorium.models.qwen_vl.vision import Grid, QwenVision, QwenVisionConfig


@dataclass(frozen=True)
class QwenVlConfig:
    """The tower, the language model, and which ids stand for pictures and films."""

    vision: QwenVisionConfig
    text: DecoderConfig
    image_token: int
    video_token: int
    tokens_per_second: int  # how far positions advance in a second of film


@dataclass(frozen=True)
class Film:
    """A film as it was cut in patches."""

    grid: Grid
    seconds: float  # between one pair of frames and the next


class QwenVl(nn.Module):
    """Pictures, films and words to the words that follow."""

    def __init__(self, config: QwenVlConfig) -> None:
        super().__init__()
        if config.vision.out_width != config.text.word_width:
            raise ValueError(
                f"the tower gives {config.vision.out_width} values, words have {config.text.word_width}"
            )
        self.config = config
        self.vision = QwenVision(config.vision)
        self.decoder = Decoder(config.text)

    def see(self, patches: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Patches of pictures or films as ``QwenVision`` takes them -> tokens ``[m, word_width]`` of each."""
        tokens = self.vision(patches, grids)
        return list(tokens.split([tokens_of(self.config.vision, grid) for grid in grids]))

    def prompt(self, ids: Tensor, pictures: Sequence[Tensor], films: Sequence[Tensor] = ()) -> Tensor:
        """Ids ``[b, n]``, with pictures and films in their places in order -> ``[b, n, word_width]``.

        Raises ValueError when there are more or fewer places than tokens.
        """
        embeds = self.decoder.embed(ids)
        for token, given in ((self.config.image_token, pictures), (self.config.video_token, films)):
            embeds = in_places(embeds, ids == token, given)
        return embeds


def tokens_of(config: QwenVisionConfig, grid: Grid) -> int:
    """How many tokens of the language model a picture or film takes."""
    frames, rows, columns = grid
    return frames * (rows // config.merge) * (columns // config.merge)


def positions_of(
    config: QwenVlConfig,
    ids: Sequence[int],
    pictures: Sequence[Grid],
    films: Sequence[Film] = (),
    *,
    after_film: Literal["time", "space"] = "time",
) -> tuple[Tensor, int]:
    """Time, row and column of each token of one text: int64 ``[3, n]``; and the position that comes next.

    Behind a picture, positions go on from its longer side, so a text is shorter in positions than in tokens:
    when it is continued, they count from what comes next. Behind a film they go on from its last moment, as
    the authors' code does that the checkpoints were trained with (``time``); transformers 5 goes on from the
    longer side of a frame (``space``). Raises ValueError when the ids have other pictures.
    """
    waiting, rolling = list(pictures), list(films)
    parts: list[Tensor] = []
    here = place = 0
    while place < len(ids):
        token = ids[place]
        if token not in (config.image_token, config.video_token):
            parts.append(torch.full((3, 1), here))
            here, place = here + 1, place + 1
            continue
        queue: list[Grid] | list[Film] = waiting if token == config.image_token else rolling
        if not queue:
            raise ValueError(f"token {token} at {place} stands for no picture that was given")
        shown = queue.pop(0)
        grid, interval = (
            (shown.grid, config.tokens_per_second * shown.seconds)
            if isinstance(shown, Film)
            else (shown, 1.0)
        )
        count = tokens_of(config.vision, grid)
        if list(ids[place : place + count]) != [token] * count:
            raise ValueError(f"the picture at {place} needs {count} places of token {token}")
        spread = _spread(grid, config.vision.merge, interval)
        parts.append(spread + here)
        here += (int(spread.max()) if after_film == "time" else int(spread[1:].max())) + 1
        place += count
    if waiting or rolling:
        raise ValueError(f"{len(waiting) + len(rolling)} pictures or films have no place in the text")
    return torch.cat(parts, dim=1) if parts else torch.zeros(3, 0, dtype=torch.long), here


def _spread(grid: Grid, merge: int, interval: float) -> Tensor:
    frames, rows, columns = grid
    time = (torch.arange(frames) * interval).long()
    axes = torch.meshgrid(time, torch.arange(rows // merge), torch.arange(columns // merge), indexing="ij")
    return torch.stack([axis.flatten() for axis in axes])
