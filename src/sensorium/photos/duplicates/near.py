"""Hashes that differ in few bits, among 100,000, without comparing each with each.

The 64 bits are cut into four parts of 16. Of two hashes that differ in at most seven bits, some part differs
in at most one; so each hash looks up its four parts, and each of them with one bit turned, in tables of parts
(Faiss's ``IndexBinaryMultiHash``). That finds every such pair, and of 100,000 hashes it takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.duplicates.hashing import BYTES
from sensorium.photos.vectors.sieve import faiss_module

MOST_BITS = 7
"""The most bits of difference that this way of looking finds every time."""

_PARTS, _PART_BITS = 4, 16
_BLOCK = 4096  # hashes whose neighbours are asked for at a time

Hashes = NDArray[np.uint8]
Pairs = NDArray[np.int64]


def pairs(hashes: Hashes, bits: int) -> Iterator[Pairs]:
    """Places [n, 2], the smaller first, of different hashes that differ in at most ``bits`` bits, in blocks.

    Args:
        hashes: uint8 [m, 8], each of them once.
        bits: At most `MOST_BITS`.
    """
    if bits > MOST_BITS:
        raise ValueError(f"only up to {MOST_BITS} bits are looked for, not {bits}")
    if len(hashes) < 2:
        return
    faiss = faiss_module()
    index = faiss.IndexBinaryMultiHash(8 * BYTES, _PARTS, _PART_BITS)
    index.nflip = 1 if bits >= _PARTS else 0
    index.add(hashes)
    for start in range(0, len(hashes), _BLOCK):
        limits, _, found = index.range_search(hashes[start : start + _BLOCK], bits + 1)
        asked = start + np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        kept = asked < found
        if kept.any():
            yield np.stack((asked[kept], found[kept]), axis=1)


def groups(links: Iterable[Pairs]) -> list[list[int]]:
    """Places that hang together by links [n, 2], each group rising, the groups by their first place."""
    leader: dict[int, int] = {}

    def find(place: int) -> int:
        above = leader.setdefault(place, place)
        while above != leader[above]:
            leader[above] = above = leader[leader[above]]
        leader[place] = above
        return above

    for block in links:
        for one, other in block.tolist():
            first, second = sorted((find(one), find(other)))
            leader[second] = first
    together: dict[int, list[int]] = {}
    for place in sorted(leader):
        together.setdefault(find(place), []).append(place)
    return list(together.values())
