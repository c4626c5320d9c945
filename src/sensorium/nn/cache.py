"""What a causal decoder remembers of the tokens it has read, as a value.

Adding to a memory gives a new one and leaves the old one as it was, so two continuations can share what they
have in common (beams, a second question about the same picture) and nobody has to reset anything.

Behind that, one store of tensors serves every memory of a line of descent: tokens are written in place behind
the last one while there is room. A second continuation of the same memory finds that place taken and gets a
store of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor


class _Store:
    """Keys and values of one layer, ``[b, kv_heads, capacity, dim]``, filled up to ``used``."""

    def __init__(self, keys: Tensor, values: Tensor, used: int) -> None:
        self.keys, self.values, self.used = keys, values, used
        self.lock = threading.Lock()

    def claim(self, start: int, count: int) -> bool:
        """Reserve the places ``start .. start + count``, if they are there and nobody has written them."""
        with self.lock:
            free = self.used == start and start + count <= self.keys.shape[2]
            if free:
                self.used = start + count
            return free


@dataclass(frozen=True)
class LayerCache:
    """The keys and values of one layer."""

    length: int
    _store: _Store | None = field(repr=False)

    @property
    def keys(self) -> Tensor:
        """``[b, kv_heads, length, dim]``; a view that the caller must not write."""
        return self._filled().keys[:, :, : self.length]

    @property
    def values(self) -> Tensor:
        """``[b, kv_heads, length, dim]``; a view that the caller must not write."""
        return self._filled().values[:, :, : self.length]

    def append(self, keys: Tensor, values: Tensor, room: int) -> LayerCache:
        """Remember n more tokens: keys and values ``[b, kv_heads, n, dim]``.

        When the store has to be copied, places for ``room`` further tokens are added to it. With no room, or
        while gradients are recorded, tensors are joined and nothing is ever written in place.
        """
        total = self.length + keys.shape[2]
        if room == 0 or (torch.is_grad_enabled() and keys.requires_grad):
            if self._store is not None:
                keys, values = torch.cat((self.keys, keys), 2), torch.cat((self.values, values), 2)
            return LayerCache(total, _Store(keys, values, total))
        store = self._store
        if store is None or not store.claim(self.length, keys.shape[2]):
            shape = (*keys.shape[:2], total + room, keys.shape[3])
            store = _Store(keys.new_empty(shape), values.new_empty((*shape[:3], values.shape[3])), total)
            if self._store is not None:
                store.keys[:, :, : self.length] = self.keys
                store.values[:, :, : self.length] = self.values
        store.keys[:, :, self.length : total] = keys
        store.values[:, :, self.length : total] = values
        return LayerCache(total, store)

    def _filled(self) -> _Store:
        if self._store is None:
            raise ValueError("nothing was read yet")
        return self._store


@dataclass(frozen=True)
class Cache:
    """The keys and values of every layer, and which of them are padding. Made with `empty_cache` or `of`."""

    layers: tuple[LayerCache, ...]
    real: Tensor | None
    """Boolean ``[b, length]``, false where a token is padding; None when there is none."""
    room: int
    """How many places are added when a store is full; 0: join tensors, write nothing in place."""

    @property
    def length(self) -> int:
        """How many tokens were read, padding included."""
        return self.layers[0].length if self.layers else 0

    @classmethod
    def of(
        cls, pairs: Sequence[tuple[Tensor, Tensor]], *, real: Tensor | None = None, room: int = 0
    ) -> Cache:
        """A memory of given keys and values, ``[b, kv_heads, n, dim]`` each, one pair a layer."""
        layers = tuple(LayerCache(k.shape[2], _Store(k, v, k.shape[2])) for k, v in pairs)
        return cls(layers, real, room)

    def pairs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Keys and values of every layer, ``[b, kv_heads, length, dim]``: the inverse of `of`."""
        return tuple((layer.keys, layer.values) for layer in self.layers)

    def crop(self, length: int) -> Cache:
        """The memory of the first ``length`` tokens alone.

        Raises:
            ValueError: Not so many were read.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop to {length} tokens: {self.length} were read")
        if length == 0:
            return empty_cache(len(self.layers), room=self.room)
        real = None if self.real is None else self.real[:, :length]
        return replace(self, layers=tuple(replace(one, length=length) for one in self.layers), real=real)

    def select(self, rows: Tensor) -> Cache:
        """The memory of some sequences of the batch, in the order of ``rows`` ``[m]``; one may come twice."""
        real = None if self.real is None else self.real[rows]
        pairs = [(keys.index_select(0, rows), values.index_select(0, rows)) for keys, values in self.pairs()]
        return Cache.of(pairs, real=real, room=self.room)

    def trim(self) -> Cache:
        """The same memory without the leading tokens that are padding in every sequence."""
        if self.real is None:
            return self
        start = int(self.real.any(dim=0).int().argmax())
        real = self.real[:, start:]
        pairs = [(keys[:, :, start:], values[:, :, start:]) for keys, values in self.pairs()]
        return Cache.of(pairs, real=None if bool(real.all()) else real, room=self.room)


def empty_cache(depth: int, *, room: int = 0) -> Cache:
    """The memory of a decoder of ``depth`` layers that has read nothing. ``room`` as in `Cache`."""
    return Cache(tuple(LayerCache(0, None) for _ in range(depth)), None, room)


def join(caches: Sequence[Cache]) -> Cache:
    """The memories of several batches as one batch, shorter ones padded on the left: their ends meet.

    Raises:
        ValueError: One of them is empty.
    """
    longest = max(cache.length for cache in caches)
    if not all(cache.length for cache in caches):
        raise ValueError("an empty memory cannot be joined with others")
    pairs = []
    for layer in range(len(caches[0].layers)):
        alone = [cache.layers[layer] for cache in caches]
        keys = torch.cat([_padded(one.keys, longest) for one in alone])
        pairs.append((keys, torch.cat([_padded(one.values, longest) for one in alone])))
    real = torch.cat([F.pad(_real(cache), (longest - cache.length, 0)) for cache in caches])
    return Cache.of(pairs, real=None if bool(real.all()) else real, room=max(cache.room for cache in caches))


def _padded(x: Tensor, length: int) -> Tensor:
    return F.pad(x, (0, 0, length - x.shape[2], 0))  # zeros, which a mask hides


def _real(cache: Cache) -> Tensor:
    if cache.real is not None:
        return cache.real
    keys = cache.layers[0].keys
    return torch.ones(keys.shape[0], cache.length, dtype=torch.bool, device=keys.device)
