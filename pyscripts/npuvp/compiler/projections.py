"""What some families do to queries, keys and values behind the product: biases, norms of heads; and
the rotation, which all do."""

from npuvp.compiler.emitter import LAYER, Emitter
from npuvp.compiler.linear import (
    PANEL,
    ROW1,
    ROW2,
    ROW3,
    W_BLOCK,
    W_PANEL,
    X_BLOCK,
    X_GROUP,
    Y_GROUP,
    Y_PANEL,
    A,
    B,
)
from npuvp.compiler.state import State

__all__ = ["MASK_BITS", "Projections"]

#: Heads that a row can be masked by.
MASK_BITS = 32


class Projections(Emitter):
    """Emits the way from a chunk of a product to queries, keys or values, row by row.

    Registers of the work on a row: X_GROUP the row; cosine, sine, rows left at the position, half of
    the rotated channels, a row for the swapped halves, and channels of a head.
    """

    COSINE, SINE, LEFT, HALF, TURNED, HEAD = Y_GROUP, ROW1, ROW2, ROW3, A, B

    def _begin_projection(self, role: str, columns: int, at: int) -> None:
        """What a chunk of q, k or v needs in `projection_rows` rows at `at`."""
        asm, spec, layout = self.asm, self.layout.spec, self.layout
        if spec.qkv_bias:
            bias = layout.stored[f"{role}_bias"]
            asm.load(A, State.COLUMN)
            asm.add(A, A, bias.offset)
            asm.li(B, 1)
            asm.li(X_GROUP, at)
            self.tiles.memory_rows(bias, columns)
            asm(f"H_LD_V {X_GROUP}, {A}, {LAYER}, {B}, 1")
            at += self.geometry.width
        if spec.qk_norm and role != "v":
            # One vector of weights for all heads, which memory holds for a whole row.
            asm.li(A, layout.stored[f"{role}_norm"].offset)
            asm.li(B, 1)
            asm.li(X_GROUP, at)
            self.tiles.memory_rows(layout.stored["q_norm"], self.geometry.width)
            asm(f"H_LD_V {X_GROUP}, {A}, {LAYER}, {B}, 1")
            asm.csr("head_len", spec.head_dim)
            self._float("f3", 1.0 / spec.head_channels)
            self._float("f4", spec.norm_eps)

    def _enter_projection(self, role: str, at: int) -> None:
        asm, spec, width = self.asm, self.layout.spec, self.geometry.width
        if spec.qkv_bias:
            asm.li(X_BLOCK, at)
            at += width
        if spec.qk_norm and role != "v":
            asm.li(W_BLOCK, at)
            asm.li(Y_PANEL, at + width)

    def _projection_uses(self, role: str) -> tuple[str, ...]:
        spec = self.layout.spec
        norm = (W_BLOCK, Y_PANEL, W_PANEL, PANEL) if spec.qk_norm and role != "v" else ()
        return ((X_BLOCK,) if spec.qkv_bias else ()) + norm

    def _project_row(self, role: str, columns: int) -> None:
        """Bias, then the norm of every head, of the row at X_GROUP."""
        asm, spec = self.asm, self.layout.spec
        if spec.qkv_bias:
            asm(f"V_ADD_VV {X_GROUP}, {X_GROUP}, {X_BLOCK}")
        if not spec.qk_norm or role == "v":
            return
        asm(f"V_MUL_VV {Y_PANEL}, {X_GROUP}, {X_GROUP}")
        asm.li(W_PANEL, 1)
        asm.li(PANEL, columns // spec.head_dim)
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
        asm(f"V_MUL_VV {X_GROUP}, {X_GROUP}, {W_BLOCK}")

    def _enter_rotation(self, turned: int) -> None:
        asm, spec = self.asm, self.layout.spec
        asm.li(self.HALF, spec.rotary_dim // 2)
        asm.li(self.TURNED, turned)
        asm.li(self.HEAD, spec.head_dim)

    def _rotate_row(self, alike: int) -> None:
        """The row at X_GROUP, rotated: x cos + swapped sin, the sign of the lower half in the table."""
        asm, width = self.asm, self.geometry.width
        asm(
            f"V_SWAP_V {self.TURNED}, {X_GROUP}, {self.HALF}, {self.HEAD}",
            f"V_MUL_VV {X_GROUP}, {X_GROUP}, {self.COSINE}",
            f"V_MUL_VV {self.TURNED}, {self.TURNED}, {self.SINE}",
            f"V_ADD_VV {X_GROUP}, {X_GROUP}, {self.TURNED}",
        )
        if alike == 1:
            asm.add(self.COSINE, self.COSINE, width)
            asm.add(self.SINE, self.SINE, width)
            return
        asm.add(self.LEFT, self.LEFT, 1)
        with asm.skip_if("C_BNE", self.LEFT, "gp0"):
            asm.li(self.LEFT, (1 << 32) - alike)
            asm.add(self.COSINE, self.COSINE, width)
            asm.add(self.SINE, self.SINE, width)

    def _projection_faults(self) -> list[str]:
        spec, width = self.layout.spec, self.geometry.width
        if spec.qk_norm and width // spec.head_dim > MASK_BITS:
            return [
                f"norms of heads of {spec.head_dim} channels: {width // spec.head_dim} in a row, "
                f"V_MASK has {MASK_BITS} bits"
            ]
        return []
