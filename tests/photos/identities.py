"""Directions of faces as a recogniser gives them: made-up people whose pictures differ like real ones.

Cosines of two pictures of one person are 0.58 in the mean, with a spread of 0.11, those of two people 0.03
with 0.09: about what networks of this kind give for everyday photos. Some people are relatives (0.32),
some looks are poor (0.35 to their own), and some faces are passers-by who are seen once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIM = 128


@dataclass(frozen=True)
class Crowd:
    """Faces of made-up people: whose each one is (-1 for passers-by), and the photo that it is in."""

    vectors: NDArray[np.float32]
    truth: NDArray[np.int64]
    photos: NDArray[np.int64]
    quality: NDArray[np.float32]


def crowd(
    seed: int,
    people: int = 40,
    faces: tuple[int, int] = (4, 60),
    relatives: int = 6,
    passers_by: int = 150,
    poor: float = 0.1,
) -> Crowd:
    """Photos of one to four different people each."""
    rng = np.random.default_rng(seed)
    shared = _unit(rng.normal(size=DIM))  # what all faces have in common
    middles = _unit(rng.normal(size=(people, DIM)) + 2.6 * shared)
    for pair in range(relatives):
        middles[2 * pair + 1] = _unit(middles[2 * pair + 1] + 0.62 * middles[2 * pair])
    counts = rng.integers(*faces, people)
    truth = np.concatenate((np.repeat(np.arange(people), counts), np.full(passers_by, -1)))
    truth = rng.permutation(truth)
    strangers = _unit(rng.normal(size=(len(truth), DIM)) + 2.6 * shared)
    own = np.where((truth >= 0)[:, None], middles[truth], strangers)
    quality = rng.uniform(0.25, 0.95, len(truth))
    bad = rng.random(len(truth)) < poor
    quality[bad] = rng.uniform(0.02, 0.2, bad.sum())
    spread = np.where(bad, 1.5, rng.lognormal(np.log(0.82), 0.3, len(truth)))
    noise = _unit(rng.normal(size=(len(truth), DIM)))
    vectors = _unit(own + spread[:, None] * noise)
    photos, photo, inside = np.zeros(len(truth), np.int64), 0, set()
    for row, person in enumerate(truth.tolist()):
        if len(inside) >= rng.integers(1, 5) or person in inside:
            photo, inside = photo + 1, set()
        photos[row] = photo
        inside.add(person if person >= 0 else ~row)
    return Crowd(vectors.astype(np.float32), truth, photos, quality.astype(np.float32))


def pairs(owners: NDArray[np.int64], truth: NDArray[np.int64]) -> tuple[float, float]:
    """Precision and recall of "these two faces are one person", over all pairs of people's faces.

    Passers-by count as people of their own; a face without a person is alone.
    """
    alone = np.arange(len(truth)) + 10**6
    found = np.where(owners == -1, alone, owners)
    meant = np.where(truth == -1, alone, truth)
    same_found = found[:, None] == found[None]
    same_meant = meant[:, None] == meant[None]
    np.fill_diagonal(same_found, False)
    np.fill_diagonal(same_meant, False)
    both = (same_found & same_meant).sum()
    return float(both / max(same_found.sum(), 1)), float(both / max(same_meant.sum(), 1))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
