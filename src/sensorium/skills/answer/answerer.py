"""A language model with eyes, ready to use: turns of a conversation in, streamed words out.

What was read is remembered, so a second question about the same picture neither looks at it again nor reads
again what both prompts begin with.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.media.chat import ChatTemplate
from sensorium.media.vocabulary import Vocabulary
from sensorium.models.blip2 import Blip2Config
from sensorium.models.decoder import Decoder
from sensorium.nn.cache import Cache
from sensorium.runtime.device import Placement, choose
from sensorium.sampling.constrain import JsonSchema
from sensorium.sampling.generate import Finished, Reading, Reason, read, stream, write
from sensorium.sampling.pick import Sampling
from sensorium.skills.answer import languages, memory, planning, prompting
from sensorium.skills.answer.boxes import FoundBox, Style, find_boxes
from sensorium.skills.answer.eyes import Eyes, Native, Views, eyes_of, question_ids
from sensorium.skills.answer.looks import MOST_TOKENS, Look, looks_of_answer, looks_of_tower
from sensorium.skills.answer.planning import Item
from sensorium.skills.answer.prompting import Layout, Unit
from sensorium.skills.answer.shown import Film, Turn, shown_of
from sensorium.weights import catalog
from sensorium.weights.files import ModelFiles, find
from sensorium.weights.generation import read_end_ids
from sensorium.weights.load import FAMILIES, build, empty

if TYPE_CHECKING:
    from sensorium.runtime.language import FastDecoder, GraphCache, Weights

SEEN_BYTES = 256_000_000
"""Of pictures' tokens that are kept: 27 pictures for a LLaVA of 7 billion parameters."""
REMEMBERED = 3
"""Conversations whose keys and values are kept, as far as `REMEMBERED_BYTES` reach."""
REMEMBERED_BYTES = 1_000_000_000


def load(
    name: str, *, device: str | None = None, dtype: str | None = None, weights: Weights | None = None
) -> Answerer:
    """Open a model by its hub name, an embedded name or a folder; its weights are read when first used.

    ``weights`` has the language model run as graphs for this processor with weights in that format
    (`runtime.language`): faster, and for 4 bits not quite the same. None: the network itself.

    Raises:
        ModelNotFoundError: It is not on this machine.
        CheckpointError: Its files do not fit together.
        SensoriumError: It is of another kind, the device is absent, or graphs do not run there.
    """
    return Answerer(find(name), device=device, dtype=dtype, weights=weights)


@dataclass(frozen=True, eq=False)
class Settings:
    """How a question is to be answered."""

    most: int = 256
    """The most tokens to write."""
    sampling: Sampling = field(default_factory=Sampling)
    budget: int | None = None
    """The most tokens of each picture or film; None: the checkpoint's own way."""
    stops: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    """A JSON schema that the answer must follow."""
    explain: bool = False
    """Also return where it looked."""
    force: bool = False
    """Go on where memory seems too small or the question's language foreign."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A conversation that fits, about to be answered."""

    items: tuple[Item, ...]
    layout: Layout
    units: tuple[Unit, ...]
    keys: tuple[str, ...]
    positions: Tensor | None
    places: int
    """Positions of the context that it takes."""
    context: int
    notes: tuple[str, ...]
    question: tuple[int, ...]
    """What InstructBLIP's Q-Former reads; () for all others."""
    settings: Settings
    schema: JsonSchema | None
    views: Mapping[str, Views]
    """The pixels of what was not seen before."""

    @property
    def tokens(self) -> int:
        """All tokens, those of pictures included."""
        return len(self.layout.ids)


@dataclass(frozen=True, eq=False)
class Written:
    """An answer, and what it took."""

    text: str
    reason: Reason
    tokens: int
    prompt_tokens: int
    reused_tokens: int
    """Of the prompt, those that had been read before."""
    looked_at: int
    """Pictures and films that went through the tower."""
    boxes: tuple[FoundBox, ...]
    looks: tuple[Look, ...]
    seconds: float
    first_seconds: float
    """Until the first token was known."""


@dataclass(frozen=True, eq=False)
class _Remembered:
    units: tuple[Unit, ...]
    cache: Cache


class Answerer:
    """Answers questions about what it is shown. Safe to use from several threads."""

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str | None = None,
        dtype: str | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.files, self.name = files, files.name
        self.config = FAMILIES[files.family].read_config(files.config)
        self.eyes: Eyes = eyes_of(files, self.config)
        self.vocabulary = Vocabulary.from_folder(files.folder)
        self.template = None if self.is_single else ChatTemplate.from_folder(files.folder)
        self.end_ids = read_end_ids(files.folder, self.vocabulary)
        self.placement: Placement = choose(device, dtype)
        if weights is not None and (self.placement.device, self.placement.dtype) != ("cpu", "float32"):
            raise SensoriumError(
                f"{weights} weights are for the processor, with --dtype float32: leave one of both out"
            )
        self.weights = weights
        self._quick: FastDecoder | None = None
        self._lock = threading.RLock()
        self._network: nn.Module | None = None
        self._seen: OrderedDict[str, Tensor] = OrderedDict()
        self._remembered: list[_Remembered] = []

    @property
    def is_single(self) -> bool:
        """Whether it answers one question and knows no conversation (BLIP-2, InstructBLIP)."""
        return isinstance(self.config, Blip2Config)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """ISO 639 of the languages that its card names, or the catalog; () when nobody says."""
        known = catalog.entry(self.name)
        return languages.languages_of(self.files.folder) or (known.languages if known else ())

    @property
    def network(self) -> nn.Module:
        """The network itself, in evaluation mode, where it runs."""
        with self._lock:
            if self._network is None:
                built = build(self.files, dtype=self.placement.torch_dtype)
                self._network = built.to(self.placement.torch_device)
            return self._network

    @property
    def decoder(self) -> Decoder:
        """What reads and writes: the network's own decoder, or its graphs, which are called as it is.

        Raises:
            SensoriumError: The format turns its scores too far.
        """
        network = self.network
        assert isinstance(network.decoder, Decoder)
        if self.weights is None:
            return network.decoder
        from sensorium.runtime.language import quicken

        with self._lock:
            if self._quick is None:
                self._quick = quicken(network.decoder, self.weights)
            return cast(Decoder, self._quick)

    def prepare(self, turns: Sequence[Turn], settings: Settings) -> Prompt:
        """A conversation as the model will read it, everything checked before it is loaded.

        Args:
            turns: What was said; the last one is the question.
            settings: How to answer.

        Raises:
            SensoriumError: What is shown does not fit (by how much), or is missing; a language the model
                lacks; too little memory. Each one line.
            BadImageError: A picture cannot be decoded, named.
            CheckpointError: The files of the model cannot carry it out.
        """
        turns = tuple(turns)
        self._check_words(turns, settings)
        shown = shown_of(turns)
        if not shown and self.eyes.needs_picture:
            raise SensoriumError(f"{self.name} answers questions about pictures: show it one")
        if self.is_single and any(isinstance(one, Film) for one in shown):
            raise SensoriumError(f"{self.name} looks at one picture and at no film: show it a frame")
        words = sum(len(self.vocabulary.encode(turn.text, enclose=False)) for turn in turns)
        things = planning.arrange(shown, self.eyes, settings.budget, words)
        items = tuple(item for thing in things for item in thing)
        planning.refuse_too_many(self.name, self.eyes, items, words=words, places=0)
        layout, question = self._laid_out(turns, things, items)
        positions = self.eyes.positions(layout.ids, items)
        places = len(layout.ids) if positions is None else int(positions.amax()) + 1
        words = len(layout.ids) - sum(item.tokens for item in items)
        planning.refuse_too_many(self.name, self.eyes, items, words=words, places=places)
        if not settings.force:
            need = self._need(items, len(layout.ids) + settings.most)
            memory.refuse_if_short(need, self.name, self._free())
        keys = tuple(item.key + (f" {question}" if question else "") for item in items)
        units = layout.units(keys)
        views = {
            key: item.views(self.eyes.spec)
            for key, item in zip(keys, items, strict=True)
            if key not in self._seen
        }
        notes, context = tuple(planning.notes_of(items)), self.eyes.text.context_length
        schema = self._schema(settings)
        return Prompt(
            items, layout, units, keys, positions, places, context, notes, question, settings, schema, views
        )

    def _check_words(self, turns: Sequence[Turn], settings: Settings) -> None:
        if not turns or turns[-1].role != "user":
            raise SensoriumError("there is no question: the last turn must be the user's")
        captions = isinstance(self.config, Blip2Config) and not self.config.instructed
        if not turns[-1].text.strip() and not captions:
            raise SensoriumError("the question is empty: ask something about the picture")
        script = languages.foreign_script(turns[-1].text, self.languages)
        if script is not None and not settings.force:
            raise SensoriumError(
                f"{self.name} was not made for {script}: ask in one of its languages "
                f"({', '.join(self.languages)}), or name another model; --force asks anyway"
            )

    def _laid_out(
        self, turns: Sequence[Turn], things: Sequence[Sequence[Item]], items: Sequence[Item]
    ) -> tuple[Layout, tuple[int, ...]]:
        """The ids of the prompt, and what a Q-Former reads of the question."""
        if self.template is not None:
            ids = prompting.rendered(turns, things, self.template, self.vocabulary)
            return prompting.laid_out(ids, items, self.eyes.marks), ()
        instructed = self.config.instructed
        text = prompting.question_of(turns, self.name, items[0], instructed)
        words = self.vocabulary.encode(text)
        count, mark = items[0].tokens, self.eyes.marks["image"]
        question = tuple(question_ids(self.files, self.config, text))
        return Layout((*([mark] * count), *words), ((0, count),)), question

    def _schema(self, settings: Settings) -> JsonSchema | None:
        if settings.schema is None:
            return None
        rows = self.eyes.text.vocabulary
        return JsonSchema(settings.schema, self.vocabulary, rows=rows, end_ids=self.end_ids)

    def _need(self, items: Sequence[Item], tokens: int) -> memory.Need:
        """What answering takes; weights that are loaded already are not asked for again."""
        text, size = self.eyes.text, self.placement.torch_dtype.itemsize
        weights = 0
        if self._network is None:
            weights = sum(one.numel() for one in self._parameters()) * size
        tower = max((self.eyes.tower_bytes(item.plan, len(item.pictures), size) for item in items), default=0)
        reading = memory.activation_bytes(text, tokens, size)
        return memory.Need(weights, memory.cache_bytes(text, tokens, size), max(tower, reading))

    def _parameters(self) -> list[Tensor]:
        family = FAMILIES[self.files.family]
        return list(empty(family, self.config).parameters())

    def _free(self) -> int | None:
        return memory.available() if self.placement.device == "cpu" else None

    def stream(self, prompt: Prompt) -> Generator[str, None, Written]:
        """The answer in pieces, as soon as they are known; the generator's value is what it took.

        Closing the generator ends the answer; what was read until then stays remembered.
        """
        start = time.perf_counter()
        network, decoder = self.network, self.decoder
        reading, reused, looked_at = self._read(network, decoder, prompt)
        first_seconds = time.perf_counter() - start
        settings = prompt.settings
        tokens = write(
            decoder,
            reading,
            settings.sampling,
            most=settings.most,
            end_ids=self.end_ids,
            prompt_ids=[unit for unit in prompt.units if isinstance(unit, int)],
            constraint=None if prompt.schema is None else prompt.schema.start(),
        )
        pieces: list[str] = []
        streamed = stream(tokens, self.vocabulary, settings.stops)
        while True:
            try:
                piece = next(streamed)
            except StopIteration as end:
                finished: Finished = end.value
                break
            pieces.append(piece)
            yield piece
        self._remember(prompt.units + finished.ids, finished.cache)
        text = "".join(pieces).strip()
        looks = self._looks(network, prompt, reading, finished) if settings.explain else ()
        return Written(
            text,
            finished.reason,
            len(finished.ids),
            prompt.tokens,
            reused,
            looked_at,
            self._boxes(text, prompt),
            looks,
            time.perf_counter() - start,
            first_seconds,
        )

    def _read(self, network: nn.Module, decoder: Decoder, prompt: Prompt) -> tuple[Reading, int, int]:
        """The prompt behind what is remembered of it, how much that is, and how much was looked at."""
        past, known = self._recall(prompt.units)
        looked_at, seen = 0, []
        for number, ((start, _), item) in enumerate(zip(prompt.layout.spans, prompt.items, strict=True)):
            if start >= known:
                tokens, new = self._look(network, prompt, number)
                looked_at += new
                seen.append((item.kind, tokens))
        device = self.placement.torch_device
        with torch.no_grad():
            ids = torch.tensor(prompt.layout.ids[known:], device=device)
            embeds = self.eyes.embed(network, ids, seen)
        positions = None
        if prompt.positions is not None:
            positions = prompt.positions[:, None, known:].to(device)
        reading = read(decoder, embeds, positions=positions, cache=past)
        self._remember(prompt.units, reading.cache)
        return reading, known, looked_at

    def _look(self, network: nn.Module, prompt: Prompt, number: int) -> tuple[Tensor, bool]:
        """The tokens of a picture, and whether the tower had to look."""
        key, item = prompt.keys[number], prompt.items[number]
        with self._lock:
            if key in self._seen:
                self._seen.move_to_end(key)
                return self._seen[key], False
        views = prompt.views.get(key) or item.views(self.eyes.spec)
        with torch.no_grad():
            tokens = self.eyes.see(network, item.plan, views, prompt.question)
        if len(tokens) != item.tokens:
            raise SensoriumError(
                f"{self.name} gives {item.name} {len(tokens)} tokens where its plan has {item.tokens}: its "
                "preprocessor_config.json does not fit its weights"
            )
        with self._lock:
            self._seen[key] = tokens
            while len(self._seen) > 1 and sum(one.nbytes for one in self._seen.values()) > SEEN_BYTES:
                self._seen.popitem(last=False)
        return tokens, True

    def _recall(self, units: Sequence[Unit]) -> tuple[Cache | None, int]:
        """The memory that has most in common with a prompt, cut to that; the last token is always read."""
        with self._lock:
            found = [(prompting.common(one.units, units), one.cache) for one in self._remembered]
        count, cache = max(found, key=lambda pair: pair[0], default=(0, None))
        count = min(count, len(units) - 1)
        if cache is None or count == 0:
            return None, 0
        return cache.crop(count), count

    def _remember(self, units: tuple[Unit, ...], cache: Cache) -> None:
        units = units[: cache.length]  # the last token that was written is perhaps not read
        with self._lock:
            others = [one for one in self._remembered if prompting.common(one.units, units) < len(one.units)]
            kept = [_Remembered(units, cache), *others][:REMEMBERED]
            size = self.placement.torch_dtype.itemsize
            each = memory.cache_bytes(self.eyes.text, 1, size)
            while len(kept) > 1 and sum(len(one.units) for one in kept) * each > REMEMBERED_BYTES:
                kept.pop()
            self._remembered = kept

    def forget(self) -> None:
        """Drop what was seen and read: the next question is answered from scratch."""
        with self._lock:
            self._seen.clear()
            self._remembered.clear()

    def _boxes(self, text: str, prompt: Prompt) -> tuple[FoundBox, ...]:
        """Boxes of the last picture that was shown: models do not say which one they mean."""
        if not prompt.items or prompt.items[-1].kind == "video":
            return ()
        item = prompt.items[-1]
        style: Style = "pixels" if isinstance(self.eyes, Native) else "fractions"
        return find_boxes(text, style, item.plan, item.name)

    @torch.no_grad()
    def _looks(
        self, network: nn.Module, prompt: Prompt, reading: Reading, finished: Finished
    ) -> tuple[Look, ...]:
        """Maps of the last picture that was shown."""
        if not prompt.items:
            return ()
        item = shown = prompt.items[-1]
        if isinstance(self.eyes, Native) and item.kind == "image" and item.tokens > MOST_TOKENS:
            [[shown]] = planning.arrange(item.pictures, self.eyes, MOST_TOKENS, 0)
        views = shown.views(self.eyes.spec)
        looks = looks_of_tower(network, self.eyes, shown, views, prompt.question)
        if self.is_single or item.kind == "video" or not finished.ids:
            return tuple(looks)
        ids = torch.tensor([finished.ids], device=self.placement.torch_device)
        decoder = network.decoder
        assert isinstance(decoder, Decoder)
        positions = reading.position[:, None] + torch.arange(len(finished.ids), device=ids.device)
        cache = finished.cache.crop(prompt.tokens)
        if self.weights is not None:
            cache = cast("GraphCache", cache).plain()
        span = slice(*prompt.layout.spans[-1])
        looks += looks_of_answer(decoder, decoder.embed(ids), cache, positions, item, span)
        return tuple(looks)
