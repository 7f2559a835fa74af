"""Mixture of experts in place of an MLP (LLaDA-MoE, facts 1.2).

The router's softmax goes over all experts and is not renormalised. Every expert that some row of a
tile chose sees the whole tile, and its output counts with weight 0 in rows that did not choose it;
experts that no row chose are passed over, and so are their weights.
"""

import math

from npuvp.compiler.emitter import GLOBAL, LAYER, OTHER
from npuvp.compiler.errors import CompileError
from npuvp.compiler.linear import (
    ROW1,
    ROW2,
    W_BLOCK,
    W_PANEL,
    X_BLOCK,
    X_GROUP,
    Y_GROUP,
    Y_PANEL,
    A,
    B,
    Tile,
)
from npuvp.compiler.phases import Phases
from npuvp.compiler.products import Panels, RowWork
from npuvp.compiler.state import State
from npuvp.model.spec import Moe

__all__ = ["Experts"]

_LEAST = -1e30


class Experts(Phases):
    """Emits the experts' phase.

    FP SRAM holds of every row of the tile the largest router logit, one over the sum of
    exponentials, and the weight of the expert in work.

    Attributes:
        rows_of_tile: Rows of a tile, once the phase is emitted.
    """

    rows_of_tile = 0

    def experts(self) -> None:
        """x <- x + sum over the chosen experts of weight * expert(normalised x)."""
        asm, spec, geometry, layout = self.asm, self.layout.spec, self.geometry, self.layout
        moe = spec.moe
        assert moe is not None
        width = geometry.width
        if moe.experts > width:
            raise CompileError(
                [f"{moe.experts} experts, allowed: {width}, the lanes of a row of Vector SRAM"]
            )
        blocks, inner = -(-spec.hidden // width), -(-moe.mlp // width)
        rows = self._tile_rows("experts", 2 * blocks + inner + 4, blocks + 6)
        rows = min(rows, geometry.fp_words // 3 // geometry.group * geometry.group)
        if rows == 0:
            raise CompileError(
                [
                    f"phase experts: 3 words of FP SRAM for {geometry.group} tokens, it has "
                    f"{geometry.fp_words}"
                ]
            )
        self.rows_of_tile = rows
        memory = self._vector()
        x = self._tile(memory, "x", rows, spec.hidden)
        total = self._tile(memory, "sum", rows, spec.hidden)
        gated = self._tile(memory, "gated", rows, moe.mlp)
        y = self._rows(memory, "chunk", rows)
        other = self._rows(memory, "gate", rows)
        logits = self._rows(memory, "router logits", rows)
        chosen = self._rows(memory, "chosen experts", rows)
        weight = self._rows(memory, "mlp_norm", blocks)
        square = self._rows(memory, "squares", 1)
        used, present, ones, lowest, spare = (
            self._rows(memory, name, 1)
            for name in ("used experts", "experts", "ones", "row of no logits", "spare")
        )
        self._load_norm(LAYER, "mlp_norm", weight)
        self._address(GLOBAL, "x")
        self._address(OTHER, "gated")
        self._constant_row(ones, 1.0)
        self._constant_row(lowest, _LEAST)
        # The lanes of experts: as many of the lowest as there are.
        asm.li(X_GROUP, present)
        asm.li(X_BLOCK, ones)
        asm.li(A, moe.experts)
        asm(f"V_TOPK_MASK {X_GROUP}, {X_BLOCK}, {X_BLOCK}, {A}, {A}")

        def tile() -> None:
            self.tiles.move("H_LD_V", x, GLOBAL, layout.stored["x"], State.TILE, State.TILE_ROWS)
            self._norm(x, weight, square)
            self._quantise(x)
            self._route(x, logits, chosen, (ones, present, lowest, spare), moe)
            asm.li(A, used)
            asm.li(B, chosen)
            asm.load(W_BLOCK, State.TILE_ROWS)
            asm(f"V_COLMAX {A}, {B}, {W_BLOCK}, gp0")
            for block in range(blocks):
                asm.li(A, width)
                self.tiles.for_rows(
                    {X_GROUP: total.address + block * total.pitch},
                    lambda: asm(f"V_SHFT_V {X_GROUP}, {X_GROUP}, {A}"),
                )
            asm.store("gp0", State.EXPERT)
            asm.store("gp0", State.EXPERT_AT)
            again, next_expert = asm.new_label("expert"), asm.new_label("next_expert")
            asm.label(again)
            asm.load(A, State.EXPERT)
            asm.li(B, used)
            asm(f"V_GET f1, {B}, {A}", f"S_CMP_FP {A}, f1, f0, gt")
            asm.label("decide_expert")
            asm(f"C_BEQ {A}, gp0, {next_expert}")
            self._expert(x, gated, total, (y, other, logits, chosen), moe)
            asm.label(next_expert)
            asm.load(A, State.EXPERT_AT)
            asm.add(A, A, moe.mlp * layout.stored["weights.expert_gate"].row_bytes)
            asm.store(A, State.EXPERT_AT)
            asm.load(A, State.EXPERT)
            asm.add(A, A, 1)
            asm.store(A, State.EXPERT)
            asm.li(B, moe.experts)
            done = asm.new_label("experts_done")
            asm(f"C_BEQ {A}, {B}, {done}", f"C_JUMP {again}")
            asm.label(done)
            self._add_total(total, y)

        self.tiles.over_tiles(rows, State.ROWS, tile)
        self._end()

    def _constant_row(self, at: int, value: float) -> None:
        asm = self.asm
        self._float("f5", value)
        asm.li(A, self.geometry.width)
        asm.li(B, at)
        asm(f"V_SHFT_V {B}, {B}, {A}", f"V_ADD_VF {B}, {B}, f5")

    def _route(
        self, x: Tile, logits: int, chosen: int, rows: tuple[int, int, int, int], moe: Moe
    ) -> None:
        """Router logits, the chosen experts of every row, and what their weights need."""
        asm, geometry = self.asm, self.geometry
        ones, present, lowest, spare = rows
        # Every core needs all of them.
        weights = self._all_weights("router", moe.experts)
        panels = Panels.plan(geometry, "router", x.columns, moe.experts, 0)
        self.tiles.product(
            x, logits, weights, panels, lambda columns: RowWork(), 2 * geometry.width
        )
        asm.li(Y_PANEL, 0)

        def row() -> None:
            asm.li(A, present)
            asm.li(B, lowest)
            asm(f"V_SELECT_VVM {X_GROUP}, {X_GROUP}, {B}, {A}")
            asm.li(A, ones)
            asm.li(B, moe.top_k)
            asm.li(X_BLOCK, moe.experts)
            asm(f"V_TOPK_MASK {Y_GROUP}, {X_GROUP}, {A}, {B}, {X_BLOCK}")
            self._float("f1", _LEAST)
            asm.li(X_BLOCK, spare)
            asm(
                f"V_RED_MAX f1, {X_GROUP}, 0",
                f"V_SUB_VF {X_BLOCK}, {X_GROUP}, f1, 0, 0",
                f"V_EXP_V {X_BLOCK}, {X_BLOCK}, 0",
                "S_ADD_FP f2, f0, f0",
                f"V_RED_SUM f2, {X_BLOCK}",
                "S_RECI_FP f2, f2",
                f"S_ST_FP f1, {Y_PANEL}, 0",
                f"S_ST_FP f2, {Y_PANEL}, {self.rows_of_tile}",
            )
            asm.add(Y_PANEL, Y_PANEL, 1)

        self.tiles.for_rows({X_GROUP: logits, Y_GROUP: chosen}, row)

    def _expert(
        self, x: Tile, gated: Tile, total: Tile, rows: tuple[int, int, int, int], moe: Moe
    ) -> None:
        """total <- total + weight * expert, for all rows of the tile."""
        asm, spec, geometry, layout = self.asm, self.layout.spec, self.geometry, self.layout
        y, other, logits, chosen = rows
        width, weight_at = geometry.width, 2 * self.rows_of_tile
        gate, up = (
            self._layer_weights(f"expert_{name}", moe.mlp, geometry.blen, State.EXPERT_AT)
            for name in ("gate", "up")
        )
        self._gated(x, y, other, gate, up)
        self._end()
        self.tiles.move("H_LD_V", gated, OTHER, layout.stored["gated"], State.TILE, State.TILE_ROWS)
        self._quantise(gated)
        asm.load(W_PANEL, State.EXPERT)
        asm.li(Y_PANEL, 0)

        def weigh() -> None:
            asm(
                f"V_GET f1, {X_GROUP}, {W_PANEL}",
                f"V_GET f2, {Y_GROUP}, {W_PANEL}",
                f"S_LD_FP f3, {Y_PANEL}, 0",
                "S_SUB_FP f1, f1, f3",
                "S_EXP_FP f1, f1",
                f"S_LD_FP f3, {Y_PANEL}, {self.rows_of_tile}",
                "S_MUL_FP f1, f1, f3",
                "S_MUL_FP f1, f1, f2",
                f"S_ST_FP f1, {Y_PANEL}, {weight_at}",
            )
            asm.add(Y_PANEL, Y_PANEL, 1)

        self.tiles.for_rows({X_GROUP: logits, Y_GROUP: chosen}, weigh)
        # Whole rows of columns, so that a chunk is one column block of the sum.
        down = self._layer_weights("expert_down", spec.hidden, width, State.EXPERT_AT)
        panels = Panels.plan(geometry, "expert_down", moe.mlp, down.outputs, 0)

        weight_of_row, sum_of_row = ROW1, ROW2

        def add(columns: int) -> RowWork:
            def begin() -> None:
                asm.load(A, State.COLUMN)
                asm.li(B, int(math.log2(2 * width)))
                asm(f"S_SHR_INT {A}, {A}, {B}")
                asm.scaled(A, A, total.pitch)
                asm.li(sum_of_row, total.address)
                asm(f"S_ADD_INT {sum_of_row}, {sum_of_row}, {A}")
                asm.li(weight_of_row, weight_at)
                asm.li(X_GROUP, y)

            def row() -> None:
                asm(
                    f"S_LD_FP f1, {weight_of_row}, 0",
                    f"V_MUL_VF {X_GROUP}, {X_GROUP}, f1",
                    f"V_ADD_VV {sum_of_row}, {sum_of_row}, {X_GROUP}",
                )
                asm.add(weight_of_row, weight_of_row, 1)
                asm.add(sum_of_row, sum_of_row, width)
                asm.add(X_GROUP, X_GROUP, width)

            return RowWork(row, (X_GROUP, weight_of_row, sum_of_row), begin)

        self.tiles.product(gated, y, down, panels, add, 2 * width)
        # The next expert writes where this one was read.
        self._end()

    def _add_total(self, total: Tile, y: int) -> None:
        """x <- x + sum, in the columns of this core."""
        asm, spec, width = self.asm, self.layout.spec, self.geometry.width
        stored = self.layout.stored["x"]
        first, count = self.share(spec.hidden, width)
        for column in range(first, first + count, width):
            columns = min(width, spec.hidden - column)
            asm.li(A, 2 * column)
            asm.store(A, State.COLUMN)
            self.tiles.move_chunk("H_LD_V", y, columns, GLOBAL, stored)
            self.tiles.for_rows(
                {X_GROUP: y, Y_GROUP: total.address + column // width * total.pitch},
                lambda: asm(f"V_ADD_VV {X_GROUP}, {X_GROUP}, {Y_GROUP}"),
            )
            self.tiles.move_chunk("H_ST_V", y, columns, GLOBAL, stored)
            # The chunk's rows are used again.
            asm("C_FENCE 0xFFFF")
