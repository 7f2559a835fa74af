"""Counter-based random numbers and Gumbel noise: the twins of ``tlm/numerics/philox.h``."""

import numpy as np
import numpy.typing as npt

from npuvp.golden import elementary
from npuvp.golden.formats import Floats

__all__ = ["gumbel", "gumbel_row", "philox", "uniform"]

Words = npt.NDArray[np.uint32]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counter: npt.ArrayLike, key: npt.ArrayLike) -> Words:
    """Philox-4x32 with 10 rounds (J. Salmon et al., SC 2011).

    Args:
        counter: four words each, shape (..., 4).
        key: two words each, shape (..., 2).

    Returns:
        Four random words each, uint32, shape (..., 4).
    """
    c = np.moveaxis(np.asarray(counter, dtype=np.uint64), -1, 0)
    k = np.moveaxis(np.asarray(key, dtype=np.uint64), -1, 0)
    c0, c1, c2, c3 = c
    k0, k1 = k
    for _ in range(10):
        even, odd = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (odd >> _HALF) ^ c1 ^ k0,
            odd & _LOW,
            (even >> _HALF) ^ c3 ^ k1,
            even & _LOW,
        )
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _LOW, (k1 + np.uint64(0xBB67AE85)) & _LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def uniform(words: npt.ArrayLike) -> Floats:
    """Float32 in (0, 1): float((word >> 8) | 1) * 2^-24, exactly; same shape."""
    bits = (np.asarray(words, dtype=np.uint32) >> np.uint32(8)) | np.uint32(1)
    return bits.astype(np.float32) * np.float32(2.0**-24)


def gumbel(words: npt.ArrayLike) -> Floats:
    """Standard Gumbel noise -log(-log(uniform(word))); same shape."""
    return -elementary.log(-elementary.log(uniform(words)))


def gumbel_row(n: int, first: int, stream: int, key: int) -> Floats:
    """Gumbel noise of n lanes.

    Lane i takes word i % 4 of the counter {first + i // 4, stream}; these and the key are 64-bit
    numbers, low half first.
    """
    blocks = np.uint64(first) + np.arange(-(-n // 4), dtype=np.uint64)
    counter = np.empty((blocks.size, 4), dtype=np.uint64)
    counter[:, 0], counter[:, 1] = blocks & _LOW, blocks >> _HALF
    counter[:, 2], counter[:, 3] = stream & 0xFFFFFFFF, stream >> 32
    return gumbel(philox(counter, [key & 0xFFFFFFFF, key >> 32]).ravel()[:n])
