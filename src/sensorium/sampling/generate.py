"""The loop: a decoder reads a prompt once, then writes token by token.

State is a value (`Reading`), so a second question about the same picture starts from the reading of what both
share: crop its cache, or keep the reading itself.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.media.vocabulary import Vocabulary
from sensorium.models.decoder import Decoder, next_positions
from sensorium.nn.cache import Cache, empty_cache
from sensorium.sampling.constrain import Constraint
from sensorium.sampling.pick import Sampling, pick
from sensorium.sampling.text import Detokenizer, StopStrings

ROOM = 128  # places a cache grows by

Reason = Literal["end", "length", "stop"]
"""Why a text ended: an end token, the most tokens or a full context, a stop string."""


class ContextOverflowError(SensoriumError):
    """A prompt that is longer than what the network can read."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt takes {tokens} places of a context of {context}, {tokens - context} too many: "
            "shorten it, or use fewer or smaller pictures"
        )
        self.excess = tokens - context


@dataclass(frozen=True)
class Reading:
    """A decoder that has read b texts, about to write."""

    logits: Tensor
    """``[b, vocabulary]``: what comes next."""
    cache: Cache
    position: Tensor
    """``[b]``: the position of what comes next. Text has the same on all axes of M-RoPE."""

    def expand(self, rows: int) -> Reading:
        """One text, several times."""
        again = torch.zeros(rows, dtype=torch.long, device=self.position.device)
        return Reading(self.logits[again], self.cache.select(again), self.position[again])


@dataclass(frozen=True)
class Finished:
    """How a text ended."""

    reason: Reason
    ids: tuple[int, ...]
    """The tokens written, without the end token."""
    cache: Cache
    """Of the prompt and of these tokens, the last of which was perhaps not read any more. Crop it to what the
    next prompt has in common with them."""


@torch.no_grad()
def read(
    decoder: Decoder,
    embeds: Tensor,
    *,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    cache: Cache | None = None,
) -> Reading:
    """Read prompts, or their rest behind ``cache``.

    Args:
        decoder: The network.
        embeds: ``[b, n, word_width]``, of ``decoder.embed`` with pictures' features in their places.
        positions: ``[b, n]`` or ``[3, b, n]``; None: one after the other, padding left out.
        mask: ``[b, n]``, false where a token is padding, which must be on the left.
        cache: What was read before.

    Raises:
        ContextOverflowError: There are more positions than the network was trained on.
        ValueError: A prompt is empty, or padded on the right.
    """
    if embeds.shape[1] == 0 or (mask is not None and not bool(mask[:, -1].all())):
        raise ValueError("every prompt needs a last token: pad on the left")
    past = empty_cache(decoder.config.depth, room=ROOM) if cache is None else cache
    if positions is None:
        positions = next_positions(past, embeds, mask)
    counted = positions if positions.ndim == 2 else positions.amax(dim=0)
    if mask is not None:
        counted = counted.masked_fill(~mask.bool(), -1)
    highest = counted.amax(dim=-1) + 1  # [b]
    if int(highest.max()) > decoder.config.context_length:
        raise ContextOverflowError(int(highest.max()), decoder.config.context_length)
    hidden, past = decoder(embeds, positions, mask=mask, cache=past, last=1)
    return Reading(decoder.logits(hidden[:, -1]), past, highest)


@torch.no_grad()
def advance(decoder: Decoder, reading: Reading, tokens: Sequence[int]) -> Reading:
    """Read one more token of each text, ``tokens`` being b ids."""
    ids = torch.tensor(tokens, device=reading.position.device)[:, None]
    hidden, cache = decoder(decoder.embed(ids), reading.position[:, None], cache=reading.cache)
    return Reading(decoder.logits(hidden[:, -1]), cache, reading.position + 1)


def write(
    decoder: Decoder,
    reading: Reading,
    sampling: Sampling,
    *,
    most: int,
    end_ids: Collection[int],
    prompt_ids: Sequence[int] = (),
    constraint: Constraint | None = None,
) -> Generator[int, bool | None, Finished]:
    """The tokens of one text, each as soon as it is chosen.

    Args:
        decoder: The network.
        reading: Of one prompt.
        sampling: How tokens are chosen.
        most: The most tokens to write; a full context ends the text, too.
        end_ids: Tokens that end it and are not part of it.
        prompt_ids: What a repetition penalty counts besides the text itself.
        constraint: A grammar that the text must follow.

    Yields:
        Token ids; the generator's value is `Finished`. Whoever sends it true ends the text.
    """
    chosen = Chooser(sampling, prompt_ids, constraint)
    ids: list[int] = []
    most = min(most, decoder.config.context_length - int(reading.position.max()) + 1)
    while len(ids) < most:
        token = chosen.next(reading.logits)
        if token in end_ids:
            return Finished("end", tuple(ids), reading.cache)
        ids.append(token)
        if (yield token):
            return Finished("stop", tuple(ids), reading.cache)
        if len(ids) < most:
            reading = advance(decoder, reading, [token])
    return Finished("length", tuple(ids), reading.cache)


class Chooser:
    """The choices of one text: its draws, what it has written, and its grammar."""

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int], constraint: Constraint | None) -> None:
        self._sampling, self._constraint = sampling, constraint
        self._seen = list(prompt_ids)
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def next(self, logits: Tensor) -> int:
        """The next token by scores ``[1, vocabulary]``, and remember it."""
        counts = self._sampling.repetition_penalty != 1
        seen = torch.tensor([self._seen if counts else []], dtype=torch.long, device=logits.device)
        if self._constraint is not None:
            logits = self._constraint.apply(logits)
        token = pick(logits, self._sampling, seen, self._generator)
        if self._constraint is not None:
            self._constraint.accept(token)
        self._seen.append(token)
        return token


def stream(
    tokens: Generator[int, bool | None, Finished], vocabulary: Vocabulary, stops: Sequence[str] = ()
) -> Generator[str, None, Finished]:
    """The text of what `write` yields, in pieces that may be shown at once.

    Yields:
        Pieces, never empty, never with half a character or a part of a stop string; the generator's value is
        `Finished`, with every token that was written, those of the stop string included.
    """
    detokenizer, gate = Detokenizer(vocabulary), StopStrings(stops)
    while True:
        try:
            token = tokens.send(True) if gate.stopped else next(tokens)
        except StopIteration as end:
            finished: Finished = end.value
            break
        if piece := gate.feed(detokenizer.feed(token)):
            yield piece
    rest = gate.feed(detokenizer.flush())
    if rest := rest + gate.flush():
        yield rest
    return replace(finished, reason="stop") if gate.stopped else finished
