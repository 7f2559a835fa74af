"""The random draws of a generation: the same in reference, golden model and firmware.

A draw is named by what it decides, not by when it is made: the Philox counter is

    word 0: vocabulary index / 4, or `NO_TOKEN` for a draw that concerns no token
    word 1: canvas position
    word 2: number of the forward call
    word 3: batch row

and the key is the plan's seed, low half first. Token v takes word v % 4 of the output, other draws
word 0. In terms of `npuvp.golden.philox.gumbel_row`: first = position << 32, stream = row << 32 |
call.
"""

import numpy as np
from numpy.typing import NDArray

from npuvp.generation.calls import Floats
from npuvp.golden import philox

__all__ = ["NO_TOKEN", "position_gumbel", "position_uniform", "token_gumbel"]

NO_TOKEN = 0xFFFFFFFF


def token_gumbel(vocab: int, position: int, call: int, row: int, seed: int) -> Floats:
    """Gumbel noise of every token at one position, shape (vocab,)."""
    return philox.gumbel_row(vocab, position << 32, row << 32 | call, seed)


def _words(rows: int, positions: NDArray[np.int64], call: int, seed: int) -> NDArray[np.uint32]:
    counter = np.empty((rows, len(positions), 4), np.uint64)
    counter[..., 0] = NO_TOKEN
    counter[..., 1] = positions
    counter[..., 2] = call
    counter[..., 3] = np.arange(rows)[:, None]
    return philox.philox(counter, [seed & 0xFFFFFFFF, seed >> 32])[..., 0]


def position_uniform(rows: int, positions: NDArray[np.int64], call: int, seed: int) -> Floats:
    """A number in (0, 1) for every position, shape (rows, len(positions))."""
    return philox.uniform(_words(rows, positions, call, seed))


def position_gumbel(rows: int, positions: NDArray[np.int64], call: int, seed: int) -> Floats:
    """Gumbel noise for every position, shape (rows, len(positions))."""
    return philox.gumbel(_words(rows, positions, call, seed))
