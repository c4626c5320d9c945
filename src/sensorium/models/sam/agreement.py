"""What overlap can be expected of each candidate of a small network: as much as the candidates agree.

A click on a wheel may mean the wheel or the car. A network too small to learn how good a mask is when two
are right expects too much of both; where its candidates differ, none can be expected to be what was meant.
So a candidate is as good as its mean overlap with all of them, if it is stable. The published networks
expect well themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def expected_overlaps(bits: NDArray[np.bool_], stability: NDArray[np.float64]) -> NDArray[np.float64]:
    """The overlap, 0 to 1, to be expected of each candidate [c, h, w] with what was meant.

    ``stability`` [c] as Segment Anything defines it, 0 to 1.
    """
    flat = bits.reshape(len(bits), -1).astype(np.float32)
    shared = flat @ flat.T
    areas = np.diag(shared)
    either = areas[:, None] + areas[None] - shared
    overlaps = np.where(either > 0, shared / np.maximum(either, 1), 1.0)
    found: NDArray[np.float64] = stability * overlaps.mean(axis=1)
    return found
