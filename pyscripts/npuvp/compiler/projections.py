"""What some families do to queries, keys and values behind the product: biases, norms of heads."""

from npuvp.compiler.emitter import LAYER, Emitter
from npuvp.compiler.linear import (
    PANEL,
    W_BLOCK,
    W_PANEL,
    X_BLOCK,
    X_GROUP,
    Y_PANEL,
    A,
    B,
)
from npuvp.compiler.state import State

__all__ = ["Projections"]

_MASK_BITS = 32


class Projections(Emitter):
    """Emits the way from a chunk of a product to queries, keys or values."""

    @property
    def projection_rows(self) -> int:
        """Rows of Vector SRAM that `_finish` takes."""
        spec = self.layout.spec
        return int(spec.qkv_bias) + 2 * int(spec.qk_norm)

    def _finish(self, role: str, y: int, columns: int, at: int) -> None:
        """Bias, then the norm of every head, of the chunk at `y` of q, k or v.

        Args:
            role: ``q``, ``k`` or ``v``.
            y: Address of the chunk.
            columns: Of it.
            at: Address of `projection_rows` rows.
        """
        asm, spec, layout = self.asm, self.layout.spec, self.layout
        width = self.geometry.width
        if spec.qkv_bias:
            bias = layout.stored[f"{role}_bias"]
            asm.load(A, State.COLUMN)
            asm.add(A, A, bias.offset)
            asm.li(B, 1)
            asm.li(X_BLOCK, at)
            self.tiles.memory_rows(bias, columns)
            asm(f"H_LD_V {X_BLOCK}, {A}, {LAYER}, {B}, 1")
            self.tiles.for_rows(
                {X_GROUP: y}, lambda: asm(f"V_ADD_VV {X_GROUP}, {X_GROUP}, {X_BLOCK}")
            )
            at += width
        if spec.qk_norm and role != "v":
            self._norm_heads(layout.stored[f"{role}_norm"].offset, y, columns, at)

    def _norm_heads(self, offset: int, y: int, columns: int, at: int) -> None:
        """RMSNorm of every head: one vector of weights, which memory holds for a whole row."""
        asm, spec, width = self.asm, self.layout.spec, self.geometry.width
        asm.li(A, offset)
        asm.li(B, 1)
        asm.li(X_BLOCK, at)
        self.tiles.memory_rows(self.layout.stored["q_norm"], width)
        asm(f"H_LD_V {X_BLOCK}, {A}, {LAYER}, {B}, 1")
        asm.csr("head_len", spec.head_dim)
        self._float("f3", 1.0 / spec.head_channels)
        self._float("f4", spec.norm_eps)
        asm.li(Y_PANEL, at + width)

        def row() -> None:
            asm(f"V_MUL_VV {Y_PANEL}, {X_GROUP}, {X_GROUP}")
            asm.li(W_PANEL, 1)
            heads = columns // spec.head_dim
            asm.li(PANEL, heads)
            with asm.repeat(PANEL):
                asm(
                    f"C_SET_V_MASK_REG {W_PANEL}",
                    "S_ADD_FP f1, f0, f0",
                    f"V_RED_SUM_M f1, {Y_PANEL}, 1",
                    "S_MUL_FP f1, f1, f3",
                    "S_ADD_FP f1, f1, f4",
                    "S_SQRT_FP f1, f1",
                    "S_RECI_FP f1, f1",
                    f"V_MUL_VF {X_GROUP}, {X_GROUP}, f1, 1",
                    f"S_ADD_INT {W_PANEL}, {W_PANEL}, {W_PANEL}",
                )
            asm(f"V_MUL_VV {X_GROUP}, {X_GROUP}, {X_BLOCK}")

        self.tiles.for_rows({X_GROUP: y}, row)
        # HLEN of the array again: what else looks at heads sets its own length.
        asm.csr("head_len", 0)
        asm.li(W_BLOCK, 0)

    def _projection_faults(self) -> list[str]:
        spec, width = self.layout.spec, self.geometry.width
        if spec.qk_norm and width // spec.head_dim > _MASK_BITS:
            return [
                f"norms of heads of {spec.head_dim} channels: {width // spec.head_dim} in a row, "
                f"V_MASK has {_MASK_BITS} bits"
            ]
        return []
