"""Weights in 4 or 8 bits with a scale for each small group of them: less to read for every token.

Writing a text is mostly the reading of weights, so fewer bits are more tokens a second. Each row of a matrix
is cut into groups of neighbours that share one scale, by which outliers spoil their own group alone (as in
GPTQ's and AWQ's grouped formats, arXiv 2210.17323, section 5; 2306.00978, section 4.1). Rounding is to the
nearest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUP = 64  # at 4 bits: 4.25 bits a weight with its share of the scale


@dataclass(frozen=True)
class Packed:
    """A matrix as whole numbers, and what they are multiplied with."""

    codes: NDArray[np.int8]
    """``[rows, groups, group]``: between -2^(bits - 1) and 2^(bits - 1) - 1."""
    scales: NDArray[np.float16]
    """``[rows, groups, 1]``."""
    bits: int

    def restore(self) -> NDArray[np.float32]:
        """The matrix that the codes stand for, ``[rows, columns]``."""
        wide = self.codes.astype(np.float32) * self.scales.astype(np.float32)
        return wide.reshape(len(self.codes), -1)

    def nibbles(self) -> NDArray[np.uint8]:
        """Codes of 4 bits, two in a byte, the first in its lower half; an odd last one beside a zero."""
        flat = self.codes.reshape(-1).view(np.uint8)
        if flat.size % 2:
            flat = np.append(flat, np.uint8(0))
        out: NDArray[np.uint8] = (flat[0::2] & np.uint8(15)) | (flat[1::2] << np.uint8(4))
        return out


def pack(weight: NDArray[np.float32], *, bits: int, group: int) -> Packed:
    """A matrix ``[rows, columns]`` in groups along its rows.

    The value of the largest size in a group becomes the most negative code, whose reach is one step longer
    than the positive one's; every other value is off by half a step at most, a value of the opposite sign and
    (almost) the same size by one step. A group whose size does not divide the columns is made the largest
    that does. float16 scales below their smallest normal number lose precision: such groups are tiny beside
    any other.

    Raises:
        ValueError: The bits are not 4 or 8, or weights are not finite.
    """
    if bits not in (4, 8):
        raise ValueError(f"weights are packed in 4 or 8 bits, not {bits}")
    if not np.isfinite(weight).all():
        raise ValueError("weights that are not finite cannot be packed")
    rows, columns = weight.shape
    grouped = weight.reshape(rows, -1, math.gcd(columns, group))
    low, high = grouped.min(-1, keepdims=True), grouped.max(-1, keepdims=True)
    largest = np.where(-low > high, low, high)
    half = 1 << (bits - 1)
    with np.errstate(over="ignore"):
        scales = (largest / -half).astype(np.float16)
    if not np.isfinite(scales).all():
        raise ValueError(f"weights beyond {half * 65504:.0f} cannot be packed")
    divisors = scales.astype(np.float32)
    divisors[divisors == 0] = np.inf  # a group of zeros, or of values too small for a scale
    codes = np.rint(grouped / divisors)
    np.clip(codes, -half, half - 1, out=codes)
    return Packed(codes.astype(np.int8), scales, bits)
