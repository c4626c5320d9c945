"""Masks without specks: small islands go and small holes close, unless somebody clicked there.

The published code does so in everything mode alone ("remove small regions"); a small network needs it always.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALL = 0.03
"""Share of a mask's area below which an island or a hole is a speck."""


_NO_POINTS, _NO_LABELS = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)


def tidied(
    logits: NDArray[np.float32],
    points: NDArray[np.float32] = _NO_POINTS,
    labels: NDArray[np.int64] = _NO_LABELS,
) -> NDArray[np.float32]:
    """Logits [h, w] of one mask; clicks [n, 2] as (x, y) in cells of it, labels [n] (1 on, 0 off, else none).

    What changes gets the opposite sign.
    """
    found = logits.copy()
    least = SMALL * int((logits > 0).sum())
    for label in (1, 0):  # islands first: one may lie in a hole
        bits = (found > 0) == bool(label)
        found[specks(bits, least, points[labels == label])] *= -1
    return found


def specks(
    bits: NDArray[np.bool_], least: float, clicks: NDArray[np.float32] = _NO_POINTS
) -> NDArray[np.bool_]:
    """Where the connected parts (of eight neighbours) of fewer than ``least`` pixels lie.

    The largest part is none, nor is one on which a click (x, y) lies.
    """
    import cv2

    _, parts, statistics, _ = cv2.connectedComponentsWithStats(bits.astype(np.uint8), connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA]
    small = areas < min(least, areas[1:].max(initial=0))
    small[0] = False  # what is not ``bits``
    for x, y in clicks:
        row, column = min(max(int(y), 0), bits.shape[0] - 1), min(max(int(x), 0), bits.shape[1] - 1)
        small[parts[row, column]] = False
    return np.asarray(small[parts], bool)
