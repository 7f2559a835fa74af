"""Closed form of a mixture of experts (`npuvp.compiler.experts`).

Every expert that some row of a tile chose sees the whole tile. Which ones are chosen are data: each
row is taken to choose its experts independently of the others, all of them alike (`used_experts`).
"""

from typing import TYPE_CHECKING

from npuvp.analytical.schedule import Work, body, repeat
from npuvp.call_kinds import used_experts
from npuvp.compiler.errors import CompileError

if TYPE_CHECKING:
    from npuvp.analytical.phases import Phases

__all__ = ["experts"]

BF16_BYTES = 2
_FLOAT = "int int fp"
#: An expert that is looked at: whether some row chose it; where its weights are.
_LOOK = "im int vget fp. br im int im im int im int br"


def experts(phases: "Phases") -> Work:
    """x <- x + sum over the chosen experts of weight * expert(normalised x)."""
    spec, g = phases.spec, phases.geometry
    moe = spec.moe
    assert moe is not None
    if moe.experts > g.width:
        raise CompileError(
            [f"{moe.experts} experts, allowed: {g.width}, the lanes of a row of Vector SRAM"]
        )
    blocks, inner = -(-spec.hidden // g.width), -(-moe.mlp // g.width)
    most = phases._tile_rows("experts", 2 * blocks + inner + 4, blocks + 6)
    most = min(most, g.fp_words // 3 // g.group * g.group)
    if most == 0:
        raise CompileError(
            [f"phase experts: 3 words of FP SRAM for {g.group} tokens, it has {g.fp_words}"]
        )
    total = phases._tiled(
        f"experts, {phases.call.experts}", most, lambda rows, most: _tile(phases, rows, most)
    )
    # Rows of ones, of no logits, and of the lanes of experts.
    total.add(phases._load(1, BF16_BYTES * spec.hidden))
    total.add(
        body(phases.hardware, f"{repeat('int', 20)} {_FLOAT} {_FLOAT} vshft1. vadd2. vtopk3.")
    )
    total.add(phases._elements("vector_topk", moe.experts))
    return phases._fence(total)


def _tile(phases: "Phases", rows: int, most: int) -> Work:
    spec, g, h, stored = phases.spec, phases.geometry, phases.hardware, phases.layout.stored
    moe = spec.moe
    assert moe is not None
    blocks = -(-spec.hidden // g.width)
    pitch = most * g.width
    tile = phases._move(rows, spec.hidden)
    tile.add(phases._norm(rows, blocks))
    tile.add(phases._quantised(rows, spec.hidden))
    # The router, the experts of every row, and what their weights need.
    nothing = phases._results("", 0, 0, rows, Work())
    router = stored["weights.router"]
    tile.add(phases._product(rows, router, moe.experts, "router", pitch, nothing))
    largest = f"{_FLOAT} int vmax1. vadd2. vexp2. fp vsum1. freci. fm fm. int"
    tile.add(phases._rows_loop(f"int int vsel4. int int int vtopk3. {largest}", 2, rows))
    tile.add(phases._elements("vector_topk", moe.experts), rows)
    tile.add(phases._column_maxima(rows))
    tile.add(phases._rows_loop("vshft1.", 1, rows), blocks)
    tile.add(body(h, _LOOK, moe.experts))
    tile.add(_expert(phases, rows, pitch), used_experts(moe, rows, phases.call.experts))
    # What was there before, a chunk of columns after the other.
    columns = phases._chunk_columns(spec.hidden)
    chunk = phases._load(rows, BF16_BYTES * columns, stored["x"].pitch)
    chunk.add(phases._store(rows, BF16_BYTES * columns, stored["x"].pitch))
    chunk.add(phases._rows_loop("vadd3.", 2, rows))
    chunk.add(body(h, repeat("im int int ctl int ctl im int int dma", 2) + " sync"))
    tile.add(chunk, blocks)
    return tile


def _expert(phases: "Phases", rows: int, pitch: int) -> Work:
    """An expert that some row of the tile chose."""
    spec, h, stored = phases.spec, phases.hardware, phases.layout.stored
    moe = spec.moe
    assert moe is not None
    store = phases._chunk(rows, phases._chunk_columns(moe.mlp), stored["gated"], True)
    gated = phases._results("vsilu2. vmul3. int int", 2, 12, rows, store, stored["gated"])
    gate, down = stored["weights.expert_gate"], stored["weights.expert_down"]
    work = phases._product(rows, gate, moe.mlp, "gate and up", pitch, gated, ways=2)
    work.add(phases._move(rows, moe.mlp))
    work.add(phases._quantised(rows, moe.mlp))
    weigh = "vget vget fm fp. fexp. fm fp. fp. fm. int"
    work.add(phases._rows_loop(weigh, 2, rows))
    added = phases._results("fm vmul2. vadd3. int int int", 3, 0, rows, Work())
    work.add(phases._product(rows, down, spec.hidden, "expert_down", pitch, added))
    work.add(body(h, f"sync sync {repeat('int', 12)}"))
    return work
