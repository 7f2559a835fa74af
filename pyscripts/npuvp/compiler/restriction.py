"""top_p and top_k in firmware: which tokens remain at every position.

The published code sorts the vocabulary (Dream's `top_p_logits`, `top_k_logits`). The same set comes
of a level: with V the smallest logit such that what lies above V has at most top_p of the
probability, and fewer than top_k tokens, everything above V remains, everything below is left out,
and of tokens at V the first ones remain, in the order of their numbers, until top_p is exceeded (all
of them if it never is). Logits are BF16, so V is one of 65,536 values: it is found bit by bit, in 16
passes over the stored logits, all positions of a tile at once.

A level's number orders it: the sign bit flipped for positive values, all bits for negative ones.
"""

from collections.abc import Callable

from npuvp.compiler.head_rows import (
    INDEX,
    LEAST,
    SAMPLES,
    SPARE,
    WORD,
    HeadRows,
)
from npuvp.compiler.linear import X_GROUP, A, B
from npuvp.compiler.state import State

__all__ = ["Restriction"]

Vocabulary = Callable[[Callable[[int], None]], None]

_BITS = 16
_SIGN = 1 << 15
_MINUS_INFINITY = 0x7F
"""Number of the level below all numbers."""
_TIES = 20
"""Bits of how many tokens at a level can be told apart; no vocabulary has as many."""


class Restriction(HeadRows):
    """Emits the search for levels, and what leaves tokens out."""

    def _find_levels(self, vocabulary: Vocabulary) -> None:
        """The level of every position of the tile, and how many tokens at it remain.

        Args:
            vocabulary: Emits work for all chunks of the vocabulary, given how many columns one has.
        """
        asm = self.asm
        if self.sampler.top_p < 1:
            vocabulary(lambda columns: self._each_row(lambda: self._add_to_sum(columns)))
        self._each_row(lambda: asm(f"S_ST_INT gp0, {WORD}, {self.bounds}"))
        asm.li(A, _SIGN)
        asm.store(A, State.BIT)
        again = asm.new_label("level_bit")
        asm.label(again)
        self._each_row(self._begin_bit)
        vocabulary(lambda columns: self._each_row(lambda: self._add_above(columns)))
        self._each_row(self._end_bit)
        asm.load(A, State.BIT)
        asm.li(B, 1)
        asm(f"S_SHR_INT {A}, {A}, {B}")
        asm.store(A, State.BIT)
        asm(f"C_BNE {A}, gp0, {again}")
        self._each_row(self._settle)

    def _add_to_sum(self, columns: int) -> None:
        """The largest logit so far, and the sum of exponentials relative to it."""
        asm = self.asm
        self._only_vocabulary(columns)
        self._get("f1", "maxima")
        self._get("f2", "sums")
        asm("S_ADD_FP f3, f1, f0", f"V_RED_MAX f1, {X_GROUP}, 0", "S_SUB_FP f3, f3, f1")
        self._put("f1", "maxima")
        self._sharpen("f3")
        self._exponentials()
        asm("S_EXP_FP f3, f3", "S_MUL_FP f2, f2, f3", f"V_RED_SUM f2, {X_GROUP}")
        self._put("f2", "sums")

    def _sharpen(self, register: str) -> None:
        """register <- register / temperature; uses f6."""
        if self.sampler.sharpness != 1:
            self._float("f6", self.sampler.sharpness)
            self.asm(f"S_MUL_FP {register}, {register}, f6")

    def _exponentials(self, row: str = X_GROUP) -> None:
        """A row <- exponentials of its logits relative to f1; uses f6."""
        asm = self.asm
        asm(f"V_SUB_VF {row}, {row}, f1, 0, 0")
        if self.sampler.sharpness != 1:
            self._float("f6", self.sampler.sharpness)
            asm(f"V_MUL_VF {row}, {row}, f6")
        asm(f"V_EXP_V {row}, {row}, 0")

    def _level(self) -> None:
        """f5 <- the value of the level whose number is INDEX."""
        asm = self.asm
        positive, known = asm.new_label("positive"), asm.new_label("level")
        asm.li(A, _MINUS_INFINITY)
        with asm.skip_if("C_BGEU", INDEX, A):
            asm(f"MV {INDEX}, {A}")
        asm.li(A, _SIGN)
        asm(f"C_BGEU {INDEX}, {A}, {positive}")
        asm.li(A, (1 << _BITS) - 1)
        asm(f"S_SUB_INT {A}, {A}, {INDEX}", f"C_JUMP {known}")
        asm.label(positive)
        asm(f"S_SUB_INT {A}, {INDEX}, {A}")
        asm.label(known)
        asm.li(B, _BITS)
        asm(f"S_SHL_INT {A}, {A}, {B}", f"S_SET_FP f5, {A}")

    def _begin_bit(self) -> None:
        """The level that is tried next; nothing above it has been seen."""
        asm = self.asm
        asm(f"S_LD_INT {INDEX}, {WORD}, {self.bounds}")
        asm.load(A, State.BIT)
        asm(f"S_OR_INT {INDEX}, {INDEX}, {A}")
        self._level()
        self._put("f5", "level")
        for name in ("mass", "count"):
            if name in self.search:
                self._put("f0", name)

    def _add_above(self, columns: int) -> None:
        """What of a chunk lies above the level: its exponentials, how many tokens."""
        asm = self.asm
        self._only_vocabulary(columns)
        self._get("f5", "level")
        asm.li(SPARE, self.over)
        asm(f"V_CMP_VF {SPARE}, {X_GROUP}, f5, gt")
        if columns < self.width:
            asm.li(A, self.seen)
            asm(f"V_MUL_VV {SPARE}, {SPARE}, {A}")
        if "count" in self.search:
            self._get("f7", "count")
            asm(f"V_RED_SUM f7, {SPARE}")
            self._put("f7", "count")
        if "mass" in self.search:
            self._get("f1", "maxima")
            self._exponentials()
            self._get("f7", "mass")
            asm(f"V_MUL_VV {X_GROUP}, {X_GROUP}, {SPARE}", f"V_RED_SUM f7, {X_GROUP}")
            self._put("f7", "mass")

    def _end_bit(self) -> None:
        """A level with too much above it has the bit; one that has not is the best so far."""
        asm = self.asm
        asm.li(SAMPLES, 1)
        if "mass" in self.search:
            self._share()
            self._get("f7", "mass")
            asm(f"S_CMP_FP {SAMPLES}, f7, f2, le")
        if "count" in self.search:
            self._get("f6", "count")
            self._float("f5", self.sampler.top_k)
            asm(f"S_CMP_FP {A}, f6, f5, lt", f"S_AND_INT {SAMPLES}, {SAMPLES}, {A}")
        asm.label("decide_bit")
        if "mass" in self.search:
            with asm.skip_if("C_BEQ", SAMPLES, "gp0"):
                self._put("f7", "above")
        with asm.skip_if("C_BNE", SAMPLES, "gp0"):
            asm(f"S_LD_INT {INDEX}, {WORD}, {self.bounds}")
            asm.load(A, State.BIT)
            asm(f"S_OR_INT {INDEX}, {INDEX}, {A}", f"S_ST_INT {INDEX}, {WORD}, {self.bounds}")

    def _share(self) -> None:
        """f2 <- top_p of the sum of all exponentials; uses f6."""
        self._get("f2", "sums")
        self._float("f6", self.sampler.top_p)
        self.asm("S_MUL_FP f2, f2, f6")

    def _settle(self) -> None:
        """The level is the next one; how many tokens at it remain takes the place of its number.
        The statistics begin anew."""
        asm = self.asm
        asm(f"S_LD_INT {INDEX}, {WORD}, {self.bounds}")
        asm.add(INDEX, INDEX, 1)
        self._level()
        self._put("f5", "level")
        asm.li(INDEX, 1 << _TIES)
        if "mass" in self.search:
            # The exponential of the level as the vector unit makes it.
            self._get("f1", "maxima")
            asm.li(SPARE, self.over)
            asm.li(A, self.width)
            asm(f"V_SHFT_V {SPARE}, {SPARE}, {A}", f"V_ADD_VF {SPARE}, {SPARE}, f5")
            self._exponentials(SPARE)
            self._share()
            self._get("f3", "above")
            asm(f"V_GET f5, {SPARE}, gp0")
            # The largest n with above + n * exponential <= share; one token more remains.
            asm.li(INDEX, 0)
            asm.li(SAMPLES, 1 << (_TIES - 1))
            again = asm.new_label("ties_bit")
            asm.label(again)
            asm(
                f"S_OR_INT {SPARE}, {INDEX}, {SAMPLES}",
                f"S_ITOF f7, {SPARE}",
                "S_MUL_FP f7, f7, f5",
                "S_ADD_FP f7, f7, f3",
                f"S_CMP_FP {A}, f7, f2, le",
            )
            asm.label("decide_ties")
            with asm.skip_if("C_BEQ", A, "gp0"):
                asm(f"MV {INDEX}, {SPARE}")
            asm.li(A, 1)
            asm(f"S_SHR_INT {SAMPLES}, {SAMPLES}, {A}", f"C_BNE {SAMPLES}, gp0, {again}")
            asm.add(INDEX, INDEX, 1)
            self._float("f6", LEAST)
            self._put("f6", "maxima")
            self._put("f0", "sums")
        asm(f"S_ST_INT {INDEX}, {WORD}, {self.bounds}")

    def _leave_out(self) -> None:
        """No logits of tokens that do not remain, in the row at X_GROUP."""
        asm = self.asm
        self._get("f5", "level")
        asm.li(SPARE, self.over)
        asm.li(SAMPLES, self.equal)
        asm(f"V_CMP_VF {SPARE}, {X_GROUP}, f5, gt", f"S_LD_INT {INDEX}, {WORD}, {self.bounds}")
        with asm.skip_if("C_BEQ", INDEX, "gp0"):
            asm(f"V_CMP_VF {SAMPLES}, {X_GROUP}, f5, eq", f"V_COUNT {A}, {SAMPLES}, gp0")
            asm.label(asm.new_label("decide_remaining"))
            with asm.skip_if("C_BGEU", INDEX, A):
                # The first ones of them only.
                asm.li(B, self.ones)
                asm(f"V_TOPK_MASK {SAMPLES}, {B}, {SAMPLES}, {INDEX}", f"MV {A}, {INDEX}")
            asm(
                f"S_SUB_INT {INDEX}, {INDEX}, {A}",
                f"S_ST_INT {INDEX}, {WORD}, {self.bounds}",
                f"V_MAX_VV {SPARE}, {SPARE}, {SAMPLES}",
            )
        asm.li(A, self.lowest)
        asm(f"V_SELECT_VVM {X_GROUP}, {X_GROUP}, {A}, {SPARE}")

    def _without_left_out(self, row: str) -> None:
        """0 in the lanes of tokens that do not remain: an exponential is never quite that."""
        if self.sampler.restricted:
            self.asm.li(A, self.over)
            self.asm(f"V_MUL_VV {row}, {row}, {A}")
