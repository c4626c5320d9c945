"""Masks without specks: small islands go and small holes close, unless somebody clicked there.

The published code does so in everything mode alone ("remove small regions"); a small network needs it always.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALL = 0.03
"""Share of a mask's area below which an island or a hole is a speck."""


def tidied(
    logits: NDArray[np.float32], points: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits [h, w] of one mask; clicks [n, 2] as (x, y) in cells of it, labels [n] (1 on, 0 off, else none).

    What changes gets the opposite sign.
    """
    found = logits.copy()
    least = SMALL * int((logits > 0).sum())
    for label in (1, 0):  # islands first: one may lie in a hole
        bits = (found > 0) == bool(label)
        found[_specks(bits, least, points[labels == label])] *= -1
    return found


def _specks(bits: NDArray[np.bool_], area: float, clicks: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The connected parts smaller than ``area`` on which no click lies."""
    import cv2

    _, parts, statistics, _ = cv2.connectedComponentsWithStats(bits.astype(np.uint8), connectivity=4)
    small = statistics[:, cv2.CC_STAT_AREA] < area
    small[0] = False  # what is not ``bits``
    for x, y in clicks:
        row, column = min(max(int(y), 0), bits.shape[0] - 1), min(max(int(x), 0), bits.shape[1] - 1)
        small[parts[row, column]] = False
    return np.asarray(small[parts], bool)
