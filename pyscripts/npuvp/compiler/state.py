"""What firmware of a generation holds in INT SRAM, and the phases that it marks."""

from enum import IntEnum

__all__ = ["PHASES", "State"]

#: Values of the phase mark, by number.
PHASES = ("embed", "qkv", "attention", "o", "gate_up", "down", "head", "sampling", "experts")


class State(IntEnum):
    """A word of INT SRAM by its address.

    A call computes `COUNT` positions from `FIRST` on, `ROWS` = COUNT * B rows in all. Sampling
    concerns the `SPAN` positions from `LOW` to `END`.
    """

    FIRST = 0
    COUNT = 1
    ROWS = 2
    LAYER_LOW = 3
    LAYER_HIGH = 4
    LAYER = 5
    BLOCK = 6
    STEP = 7
    CALL = 8
    START = 9
    END = 10
    LOW = 11
    SPAN = 12
    TILE = 13
    """First row of the tile that is being worked on."""
    TILE_ROWS = 14
    GROUPS = 15
    """Groups of rows that a matrix product takes at once, in the tile."""
    OFFSET = 16
    """Byte offset of the weights that are loaded next."""
    REMAINING = 17
    """Rows of the weights that are not yet loaded."""
    COLUMN = 18
    """Bytes (in the head: tokens) left of the chunk of columns."""
    LEFT = 19
    """Masked positions of the block, over all rows of the batch."""
    KIND = 20
    ROW = 21
    """Row of the batch."""
    HEAD_ROWS = 22
    MINUS_INFINITY = 23
    LOG = 24
    """Eight words, one record of the call log."""
    TAKE = 32
    """Dream: positions that every row of the batch commits."""
    POOL = 33
    """Dream: what a step left to the next; with a threshold."""
    LAST = 34
    """Dream: steps in all."""
    EXPERT = 35
    """Mixture of experts: the expert that is being worked on."""
    EXPERT_AT = 36
    """Bytes from the first expert's matrix to its own; the same for all of its matrices."""
    FRESH = 37
    """Block diffusion: position from which the block is searched for the end token."""
    LIMIT = 38
    """Block diffusion: bytes to the row of the key mask that shows what the call sees."""
    ATTENTION = 40
    """Units of attention that are under way, and what comes next."""
    FREE = 173
