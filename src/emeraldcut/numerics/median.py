"""The k-th smallest of many numbers, compiled, and what a median says of the noise."""

from __future__ import annotations

import numpy as np

from emeraldcut.numerics.jit import part

MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation over its median absolute deviation


@part
def select(values: np.ndarray, n: int, k: int) -> np.float32:
    """The k-th smallest (from 0) of the first `n` values, float32 without NaN.

    The bits of a float, as an integer, grow with it (with the sign's bit set the others are turned over), so that at
    most 32 halvings of an interval find it. Counting what is below the middle runs on vector units.
    """
    bits, keys = values[:n].view(np.int32), np.empty(n, np.int32)
    low, high = bits[0] ^ ((bits[0] >> 31) & 0x7FFFFFFF), bits[0] ^ ((bits[0] >> 31) & 0x7FFFFFFF)
    for i in range(n):
        keys[i] = bits[i] ^ ((bits[i] >> 31) & 0x7FFFFFFF)
        low, high = min(low, keys[i]), max(high, keys[i])
    while low < high:
        middle = np.int32((low + high) >> 1)
        below = np.int32(0)
        for i in range(n):
            below += np.int32(keys[i] <= middle)
        if below > k:
            high = middle
        else:
            low = middle + 1
    found = np.array([low], np.int32)
    found[0] ^= (found[0] >> 31) & 0x7FFFFFFF
    return found.view(np.float32)[0]


@part
def median_of(values: np.ndarray, n: int) -> np.float32:
    """Median of the first `n` values, float32; the upper one of the two in the middle; 0 of none."""
    return select(values, n, n // 2) if n else np.float32(0)
