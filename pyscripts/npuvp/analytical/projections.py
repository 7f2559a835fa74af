"""Closed form of what becomes of queries, keys and values behind their product
(`npuvp.compiler.projections`, `kv_cache`): biases, norms of heads, the rotation, and BAOS."""

from typing import TYPE_CHECKING, NamedTuple

from npuvp.analytical.schedule import Work, body, repeat
from npuvp.analytical.smoothing import normalised_row

if TYPE_CHECKING:
    from npuvp.analytical.phases import Phases

__all__ = ["Projection", "projection"]

BF16_BYTES = 2
#: A transfer that a chunk needs: its place, how its rows stand, and its issue.
_ASKED = "int int int " + repeat("int ctl", 4) + " dma"
#: The norm of a head within a row.
_NORM_OF_HEAD = "ctl fp vsum1. fp. fp. fsqrt. freci. vmul2. int int br"


class Projection(NamedTuple):
    """Work on the results of a projection.

    Attributes:
        text: Instructions of a row; none if nothing is done with it.
        registers: That are carried from row to row, or kept for the product.
        begun: What a chunk of columns needs, which arrives while it is multiplied.
    """

    text: str
    registers: int
    begun: Work


def projection(phases: "Phases", role: str, columns: int, alike: int) -> Projection:
    """Work on a chunk of queries (``q``), keys (``k``) or values (``v``).

    Args:
        phases: Of what.
        role: Which.
        columns: Of a chunk.
        alike: Rows that follow each other at the same position.
    """
    spec, h, batch = phases.spec, phases.hardware, phases.call.batch
    turned, normed = role != "v", spec.qk_norm and role != "v"
    smoothed = role != "q" and phases.layout.smoothed_cache
    words: list[str] = []
    # The row's address, and the rows of the rotary tables.
    registers = 4 if turned else 1
    begun = Work()
    loads: list[Work] = []
    if spec.qkv_bias:
        words.append("vadd3.")
        registers += 1
        loads.append(phases._load(1, BF16_BYTES * columns))
    if normed:
        heads = repeat(_NORM_OF_HEAD, columns // spec.head_dim)
        words.append(f"vmul3. int int {heads} vmul3.")
        registers += 4
        loads.append(phases._load(1, BF16_BYTES * phases.geometry.width))
        begun.add(body(h, "int ctl " + repeat("int int fp", 2)))
    if turned:
        words.append("vshft2. vmul3 vmul3. vadd3. int " + ("br" if alike > 1 else "int"))
    if smoothed:
        words.append(normalised_row(phases))
        registers += 3
        pitch = BF16_BYTES * spec.kv_heads * spec.head_dim
        loads.append(phases._load(batch, BF16_BYTES * columns, pitch))
    for load in loads:
        begun.add(body(h, f"im {_ASKED}"))
        begun.add(load)
        if not h.classes.blocking:
            begun.cycles -= h.memory.start + h.memory.latency
    return Projection(" ".join([*words, "int"]) if words else "", registers, begun)
