"""A causal decoder made fast on the processor at hand, to be used wherever the network itself is.

Two compiled graphs read tokens. One takes many at once (a prompt, where products of matrices are the work; in
bfloat16), the other few (a token of each text, where reading packed weights is the work; activations are
rounded to 8 bits in groups). Both keep keys and values as their state; memories go from one to the other.

A memory stays a value, as in `nn.cache`: one running request serves every memory of a line of descent,
written in place behind the last token. A second continuation of the same memory gets a request of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.models.decoder import Decoder, DecoderConfig, LearnedPositions, next_positions
from sensorium.nn.cache import Cache, LayerCache, empty_cache
from sensorium.nn.rotary import RotaryConfig, angles
from sensorium.runtime import language_graph, machine, signal_stack
from sensorium.runtime.device import threads
from sensorium.runtime.engines import first_line
from sensorium.runtime.packing import GROUP

Weights = Literal["w4", "w8", "float32"]
"""Number format of the weights: 4 bits in groups, 8 bits, or as they are."""

MANY = 16  # tokens of a row from which on the graph for prompts reads them
PIECE = 1024  # tokens of a row that are read at once: masks and activations grow with it
# Of every token's scores to those in float32. Rounding to 4 bits turns those of random weights far (0.86 at
# six layers of Qwen2-0.5B's width); for a trained network pass a text of its own and a bound of your own.
LEAST_COSINE: Mapping[str, float] = {"w4": 0.5, "w8": 0.98, "float32": 0.9999}
_UNSEEN = -1e30  # in bfloat16 it is still a number
_PROBE = 48  # tokens of the test that every set of graphs has to pass


@dataclass(frozen=True)
class Drift:
    """How far scores are from those of the network in float32, over the tokens of a text."""

    cosine: float
    """The least of any token, after its scores' mean was taken off."""
    divergence: float
    """Mean Kullback-Leibler divergence of the next token's probabilities, in nats."""
    agreement: float
    """Share of tokens after which the same next one is the likeliest."""

    def describe(self) -> str:
        """One line."""
        return (
            f"cosine at least {self.cosine:.5f}, divergence {self.divergence:.5f} nats, "
            f"the same likeliest token {self.agreement:.1%}"
        )


class _Chain:
    """A request and the tokens in its state: the store of all memories of one line of descent."""

    def __init__(self, compiled: Any, used: int, state: dict[str, NDArray[np.float32]]) -> None:
        self.compiled, self.used = compiled, used
        self.request = compiled.create_infer_request()
        self.lock = threading.Lock()
        if state:
            openvino = machine.openvino()
            for variable in self.request.query_state():
                variable.state = openvino.Tensor(np.ascontiguousarray(state[variable.name]))

    def state(self, length: int) -> dict[str, NDArray[np.float32]]:
        """Keys and values of the first tokens by name, ``[b, kv_heads, length, dim]``, copied."""
        with self.lock:
            return {
                variable.name: np.array(variable.state.data[:, :, :length], np.float32)
                for variable in self.request.query_state()
            }


@dataclass(frozen=True)
class GraphCache:
    """What a `FastDecoder` remembers of the tokens it has read. Made by reading; used as `nn.cache.Cache`."""

    length: int
    real: Tensor | None
    """Boolean ``[b, length]``, false where a token is padding; None when there is none."""
    room: int
    _chain: _Chain = field(repr=False)

    @property
    def layers(self) -> tuple[LayerCache, ...]:
        """A copy of keys and values, which the network in torch and `nn.cache.join` can use."""
        return self.plain().layers

    def plain(self) -> Cache:
        """The same memory for the network in torch, or beside others in a batch: a copy."""
        state = {name: torch.from_numpy(array) for name, array in self._chain.state(self.length).items()}
        pairs = [(state[f"k{index}"], state[f"v{index}"]) for index in range(len(state) // 2)]
        return Cache.of(pairs, real=self.real, room=self.room)

    def crop(self, length: int) -> GraphCache | Cache:
        """The memory of the first ``length`` tokens alone.

        Raises:
            ValueError: Not so many were read.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop to {length} tokens: {self.length} were read")
        if length == 0:
            return empty_cache(len(self._chain.request.query_state()) // 2, room=self.room)
        return replace(self, length=length, real=None if self.real is None else self.real[:, :length])

    def select(self, rows: Tensor) -> GraphCache:
        """The memory of some sequences of the batch, in the order of ``rows`` ``[m]``; one may come twice."""
        state = {name: array[rows.numpy()] for name, array in self._chain.state(self.length).items()}
        real = None if self.real is None else self.real[rows]
        return replace(self, real=real, _chain=_Chain(self._chain.compiled, self.length, state))

    def trim(self) -> Cache:
        """The same memory without the leading tokens that are padding in every sequence."""
        return self.plain().trim()


class FastDecoder:
    """A decoder's graphs, called as the decoder is. Made with `quicken`.

    Only reading without gradients, on the CPU. Several threads may call it; they take turns.
    """

    def __init__(self, decoder: Decoder, weights: Weights) -> None:
        self.config: DecoderConfig = decoder.config
        self.weights: Weights = weights
        self._embedding, self._positions = decoder.embedding, decoder.positions
        self._project_in, self._project_out = decoder.project_in, decoder.project_out
        whole = weights == "float32"
        graph = language_graph.body(decoder, weights)
        self._few = _compiled(graph, "f32", 0 if whole else GROUP)
        self._many = self._few if whole else _compiled(graph, "bf16")
        scores = _compiled(language_graph.head(decoder, weights), "f32", 0 if whole else GROUP)
        self._scores = scores.create_infer_request()
        self._turn = threading.Lock()
        self.drift: Drift | None = None

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids ``[b, n]`` -> word vectors ``[b, n, word_width]``."""
        out: Tensor = self._embedding(ids)
        return out

    @torch.no_grad()
    def __call__(
        self,
        embeds: Tensor,
        positions: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        cache: GraphCache | Cache | None = None,
        last: int | None = None,
    ) -> tuple[Tensor, GraphCache]:
        """Read tokens behind those in ``cache``; arguments and results as those of `Decoder.forward`.

        A `Cache` of the network in torch is taken, too (copied).
        """
        past: GraphCache | Cache = empty_cache(self.config.depth) if cache is None else cache
        count = embeds.shape[1]
        if count == 0:
            raise ValueError("nothing to read")
        if positions is None:
            positions = next_positions(past, embeds, mask)  # type: ignore[arg-type]
        wanted = count if last is None else min(last, count)
        hidden = []
        for start in range(0, count, PIECE):
            piece = slice(start, min(start + PIECE, count))
            skipped = max(0, count - wanted - piece.start)  # of this piece's hidden states
            found, past = self._read(
                embeds[:, piece],
                positions[..., piece],
                None if mask is None else mask[:, piece],
                past,
                max(1, piece.stop - piece.start - skipped),
            )
            if skipped < piece.stop - piece.start:
                hidden.append(found)
        assert isinstance(past, GraphCache)
        return torch.cat(hidden, dim=1), past

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states ``[..., word_width]`` -> scores of every token ``[..., vocabulary]``."""
        flat = hidden.detach().float().reshape(1, -1, hidden.shape[-1]).contiguous()
        with self._turn, signal_stack.kept():
            self._scores.infer([flat.numpy()], share_inputs=True)
            scores = np.array(self._scores.get_output_tensor(0).data, np.float32)
        return torch.from_numpy(scores).reshape(*hidden.shape[:-1], -1)

    def _read(
        self, embeds: Tensor, positions: Tensor, mask: Tensor | None, past: GraphCache | Cache, last: int
    ) -> tuple[Tensor, GraphCache]:
        count, total = embeds.shape[1], past.length + embeds.shape[1]
        real = _joined(past.real, past.length, mask, embeds)
        inputs = self._inputs(embeds, positions)
        inputs["mask"] = _visible(count, past.length, real)
        inputs["rows"] = np.arange(len(embeds), dtype=np.int32)
        inputs["last"] = np.array([last], np.int64)
        chain = self._claimed(past, count, self._many if count >= MANY else self._few)
        with self._turn, chain.lock, signal_stack.kept():
            chain.request.infer(inputs, share_inputs=True)
            hidden = torch.from_numpy(np.array(chain.request.get_output_tensor(0).data, np.float32))
        if self._project_out is not None:
            hidden = self._project_out(hidden)
        return hidden, GraphCache(total, real, past.room, chain)

    def _inputs(self, embeds: Tensor, positions: Tensor) -> dict[str, np.ndarray]:
        x = embeds.float() if self._project_in is None else self._project_in(embeds.float())
        learned = self.config.positions
        if self._positions is not None and isinstance(learned, LearnedPositions):
            x = x + self._positions(positions + learned.offset)
        inputs = {"embeds": x.contiguous().numpy()}
        if isinstance(learned, RotaryConfig):
            cosines, sines = angles(learned, positions, torch.float32)
            inputs |= {"cosines": cosines.contiguous().numpy(), "sines": sines.contiguous().numpy()}
        return inputs

    def _claimed(self, past: GraphCache | Cache, count: int, compiled: Any) -> _Chain:
        """A request whose state is ``past`` and which nobody else will go on with."""
        total = past.length + count
        if past.length == 0:
            return _Chain(compiled, total, {})
        if isinstance(past, Cache):
            pairs = [(k.numpy(), v.numpy()) for k, v in past.pairs()]
            state = {f"{name}{i}": pair[j] for i, pair in enumerate(pairs) for j, name in enumerate("kv")}
            return _Chain(compiled, total, state)
        chain = past._chain
        if chain.compiled is compiled:
            with chain.lock:
                if chain.used == past.length:
                    chain.used = total
                    return chain
        return _Chain(compiled, total, chain.state(past.length))


def quicken(
    decoder: Decoder,
    weights: Weights = "w4",
    *,
    text: Tensor | None = None,
    least_cosine: float | None = None,
) -> FastDecoder:
    """A decoder's graphs for this processor, tested against the network; `FastDecoder.drift` says how they
    did.

    Args:
        decoder: In float32 on the CPU; its word vectors are used on, everything else may be forgotten.
        weights: How they are kept: ``w4`` writes fastest, ``float32`` computes what the network computes.
        text: Ids ``[b, n]`` of the test; None: random ones.
        least_cosine: None: that of `LEAST_COSINE`.

    Raises:
        SensoriumError: Scores stray further than that from the network's, or OpenVINO lacks something.
        ValueError: The format is unknown.
    """
    if weights not in get_args(Weights):
        raise ValueError(
            f"unknown format of weights {weights!r}; choose one of {', '.join(get_args(Weights))}"
        )
    least = LEAST_COSINE[weights] if least_cosine is None else least_cosine
    if text is None:
        generator = torch.Generator().manual_seed(0)
        count = min(_PROBE, decoder.config.context_length)
        text = torch.randint(decoder.config.vocabulary, (1, count), generator=generator)
    try:
        fast = FastDecoder(decoder, weights)
        fast.drift = measure(decoder, fast, text)
    except RuntimeError as error:
        raise SensoriumError(f"OpenVINO cannot run this decoder: {first_line(error)}") from error
    if not fast.drift.cosine >= least:
        wider = "the network itself" if weights == "float32" else "w8" if weights == "w4" else "float32"
        raise SensoriumError(
            f"{weights} weights turn this decoder's scores too far (cosine {fast.drift.cosine:.4f}, "
            f"at least {least} is needed): use {wider}"
        )
    return fast


@torch.no_grad()
def measure(decoder: Decoder, fast: FastDecoder, ids: Tensor) -> Drift:
    """How far ``fast`` is from the network on a text ``[b, n]``.

    The first half is read at once, as prompts are, and the rest token by token, as answers are.
    """
    half = max(1, ids.shape[1] // 2)
    hidden, _ = decoder(decoder.embed(ids))
    part, cache = fast(fast.embed(ids[:, :half]))
    parts = [part]
    for index in range(half, ids.shape[1]):
        part, cache = fast(fast.embed(ids[:, index : index + 1]), cache=cache)
        parts.append(part)
    expected = decoder.logits(hidden).flatten(0, 1)
    found = fast.logits(torch.cat(parts, dim=1)).flatten(0, 1)
    one, other = (scores - scores.mean(-1, keepdim=True) for scores in (expected, found))
    likely, guessed = expected.log_softmax(-1), found.log_softmax(-1)
    return Drift(
        cosine=float(F.cosine_similarity(one, other, dim=-1).min()),
        divergence=float((likely.exp() * (likely - guessed)).sum(-1).mean()),
        agreement=float((expected.argmax(-1) == found.argmax(-1)).float().mean()),
    )


def _compiled(model: Any, hint: str, rounded: int = 0) -> Any:
    """``rounded``: in groups of how many neighbours activations are rounded to 8 bits; 0: not at all."""
    properties = {
        "INFERENCE_PRECISION_HINT": hint,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": rounded,
        "KV_CACHE_PRECISION": "f32",  # a memory goes from one graph to the other without loss
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads(),
        "ENABLE_CPU_PINNING": False,
    }
    with signal_stack.kept():
        return machine.openvino().Core().compile_model(model, "CPU", properties)


def _joined(old: Tensor | None, past: int, mask: Tensor | None, embeds: Tensor) -> Tensor | None:
    """Which of all tokens, old and new, are no padding: ``[b, total]``, or None when all are."""
    if old is None and mask is None:
        return None
    rows, count = embeds.shape[:2]
    old = torch.ones(rows, past, dtype=torch.bool) if old is None else old
    new = torch.ones(rows, count, dtype=torch.bool) if mask is None else mask.bool()
    return torch.cat((old, new), dim=-1)


def _visible(count: int, past: int, real: Tensor | None) -> NDArray[np.float32]:
    """What is added to the weights of attention: ``[b or 1, 1, count, past + count]``."""
    order = torch.ones(count, past + count, dtype=torch.bool).tril(past)[None, None]
    if real is not None:
        itself = torch.ones(count, past + count, dtype=torch.bool).triu(past) & order
        order = (order & real[:, None, None]) | itself
    return torch.where(order, 0.0, _UNSEEN).numpy()
