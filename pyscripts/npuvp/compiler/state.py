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
    """Bytes (in the head: tokens) left of the chunk of columns whose results are worked on."""
    LEFT = 19
    """Masked positions of the block, over all rows of the batch."""
    KIND = 20
    ROW = 21
    """Row of the batch."""
    HEAD_ROWS = 22
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
    BIT = 39
    """top_p and top_k: the bit of all levels that is being found."""
    CHUNKS = 40
    """Chunks of columns of a product that are left, and so on down to groups of rows."""
    PANELS = 41
    STAGES = 42
    """Groups of rows that the panel has still to meet."""
    STAGE_ROW = 43
    """First row, in the tile, of the group that meets the panel."""
    STAGE_ROWS = 44
    STAGE_X = 45
    STAGE_Y = 46
    PANEL_Y = 47
    BUFFER = 48
    """Half of Matrix SRAM that is being multiplied."""
    PIECE_AT = 49
    """Where in Matrix SRAM the next piece of the next panel goes."""
    TICK = 50
    """Output tiles until it is asked for, negative."""
    CHUNK_COLUMN = 51
    """As COLUMN, of the chunk that is being multiplied."""
    PENDING = 52
    """Chunks whose results are not all worked on."""
    UNFINISHED = 53
    """Groups of rows that are multiplied and whose results are not all worked on."""
    BACKLOG = 54
    """Those of them whose results have left the array."""
    HAND = 55
    """Output tiles until another one has."""
    GROUP_FIRST = 56
    """First row, in the tile, of the group whose results are worked on."""
    GROUP_ROWS = 57
    GROUP_LEFT = 58
    POSITION = 59
    """Rows of the rotary tables before those of the tile."""
    SAVED = 60
    """Six registers of the work on results."""
    KEPT = 66
    """Six registers of the product."""
    ATTENTION = 72
    """Units of attention that are under way, and what comes next."""
    FREE = 205
