"""Attention: tiles of keys in an online softmax, a pipeline over heads.

The work of a core is a sequence of units: a group of rows of queries, one head, one tile of keys. A
unit passes through five stages, and in a round every stage works on the unit behind the one in the
next stage, so that the matrix unit computes scores of one head and outputs of another while the
vector unit has the softmax of a third:

====  ==========================================================================================
0     queries of the head alone, all other channels zero, where heads lie together
1     scores, a product per panel of keys
2     nothing: the last scores leave the array
3     softmax: the tile's part of it, and how much is left of what the tiles before made
4     outputs, a product per panel of channels; added to what is left of the earlier ones
====  ==========================================================================================

Stages 0 and 3 are one loop over rows, a part of which follows every product of stages 4 and 1: no
unit waits where the other has work. The queries and keys of the next group are loaded behind the
scores of a round, the values of the next unit behind the outputs.

Outputs are kept normalised: with the maximum m, the sum l and the outputs o of the tiles so far, a
tile with scores s makes m' = max(m, max s), p = exp(s - m'), l' = exp(m - m') l + sum p and
o' = (exp(m - m') l / l') o + (p / l') v. The order of loops is that of FlashAttention-2 (Dao 2023),
queries outside; with a single tile this is softmax(s) v, rounded as ever.
"""

import numpy as np

from npuvp.compiler.attention_units import (
    BEGIN,
    COUNT,
    FACTOR,
    INNER,
    INVERSE,
    KEPT,
    LANES,
    LAST,
    LEAST,
    LEFT,
    LOWEST,
    MATRIX,
    MAX,
    NONE,
    OLD,
    OPERAND,
    OWN,
    PIECE,
    ROW,
    SCALE,
    SEEN,
    SHARE,
    SLOT,
    SOURCE,
    STAGE_OUTPUTS,
    STAGE_SCORES,
    STAGE_SOFTMAX,
    STEP,
    SUM,
    TO,
    WORDS,
    Places,
    Unit,
    Units,
    Word,
)
from npuvp.compiler.emitter import GLOBAL, OTHER
from npuvp.compiler.kv_cache import FRESH
from npuvp.compiler.state import State

__all__ = ["Attention"]


class Attention(Units):
    """Emits attention: o from q and the cache."""

    def attention(self, padded: bool) -> None:
        """All rows of the batch and heads of this core.

        Args:
            padded: Whether rows of the batch or calls see different keys.
        """
        layout, spec = self.layout, self.layout.spec
        self.key_tiles = tiles = layout.key_tiles
        self.hidden = [padded or some for some in tiles.has_hidden]
        # A mask that is the same for all units is loaded once.
        self.masks_differ = any(self.hidden) and (padded or tiles.count > 1)
        self.padded = padded
        self.columns = tiles.together * spec.head_dim
        first, items = self.share(layout.shape.batch * spec.kv_heads // tiles.together, 1)
        if items:
            self.places = Places(self, tiles)
            self._prepare_attention(first, items)
            self._pipeline()
        self._end()

    # Before the first round

    def _prepare_attention(self, first: int, items: int) -> None:
        asm, spec, tiles, places = self.asm, self.layout.spec, self.key_tiles, self.places
        geometry = self.geometry
        width, group, head = geometry.width, geometry.group, spec.head_dim
        self._address(GLOBAL, "q")
        self._address(OTHER, "o")
        self._address("a3", "key_mask")
        if self.layout.quantised_cache:
            for role, register in FRESH.items():
                self._address(register, f"fresh_{role}")
        asm.li(INNER, width)
        asm.li(MATRIX, places.lowest)
        self._float(LEAST, -np.inf, TO)
        asm(f"V_SHFT_V {MATRIX}, {MATRIX}, {INNER}", f"V_ADD_VF {MATRIX}, {MATRIX}, {LEAST}")
        # Finite, so that a tile in which a row sees no key does no harm.
        self._float(LEAST, float(np.finfo(np.float32).min), TO)
        self._float(SCALE, spec.head_channels**-0.5, TO)
        self._float(SUM, 1.0, TO)
        if tiles.together > 1:
            # One in the lanes of the first head, and zero behind; then shifted.
            asm.li(MATRIX, places.lanes)
            asm(f"V_SHFT_V {MATRIX}, {MATRIX}, {INNER}", f"V_ADD_VF {MATRIX}, {MATRIX}, {SUM}")
            asm.li(TO, places.lanes + width)
            asm.li(INNER, head)
            asm(f"V_SHFT_V {TO}, {MATRIX}, {INNER}", f"V_SUB_VV {MATRIX}, {MATRIX}, {TO}")
            with asm.loop(OPERAND, tiles.together - 1):
                asm(f"V_SHFT_V {TO}, {MATRIX}, {INNER}", f"MV {MATRIX}, {TO}")
                asm.add(TO, TO, width)
        self._prepare_words(first, items)
        # Rows of a group, all groups alike, and of a part of its softmax.
        asm.load(INNER, State.COUNT)
        asm(f"MV {PIECE}, {INNER}")
        asm.li(MATRIX, group)
        whole = asm.new_label("one_group")
        asm(f"C_BGEU {MATRIX}, {INNER}, {whole}")
        asm.add(MATRIX, INNER, group - 1)
        asm.li(TO, group.bit_length() - 1)
        asm(f"S_SHR_INT {MATRIX}, {MATRIX}, {TO}")
        self._divide(PIECE, INNER, MATRIX)
        asm.label(whole)
        self._put(PIECE, Word.ROWS)
        asm.li(MATRIX, self._products)
        self._divide(TO, PIECE, MATRIX)
        self._put(TO, Word.PART)
        if any(self.hidden) and not self.masks_differ:
            asm.li(PIECE, 0)
            asm.li(MATRIX, self.places.seen[0])
            self._load_mask(PIECE)

    @property
    def _products(self) -> int:
        """Products of a round behind which a part of the softmax is worked on."""
        blen = self.geometry.blen
        return -(-self.layout.spec.head_dim // blen) + self.key_tiles.key_rows // blen

    # The sequence of units

    def _pipeline(self) -> None:
        asm = self.asm
        group, unit, round_, drain = (
            asm.new_label(name) for name in ("group", "unit", "round", "drain")
        )
        done, behind = asm.new_label("attended"), asm.new_label("entered")
        # A round without units loads the first group.
        asm(f"C_JUMP {round_}")
        asm.label(group)
        self._enter()
        asm.label(unit)
        self._unit()
        asm.label(round_)
        self._round()
        self._get(INNER, Word.SLOT_AT)
        asm.add(INNER, INNER, SLOT)
        self._wrap(INNER)
        self._put(INNER, Word.SLOT_AT)
        if self.key_tiles.together > 1:
            self._get(MATRIX, Word.HEADS)
            asm(f"C_BEQ {MATRIX}, gp0, {behind}")
            asm.add(MATRIX, MATRIX, -1)
            self._put(MATRIX, Word.HEADS)
            asm(f"C_BEQ {MATRIX}, gp0, {behind}")
            head = self.layout.spec.head_dim
            for word, step in (
                (Word.LANES, self.geometry.width),
                (Word.HEAD_AT, head),
                (Word.CHANNELS, head * self.geometry.mlen),
            ):
                self._get(TO, word)
                asm.add(TO, TO, step)
                self._put(TO, word)
            asm(f"C_JUMP {unit}")
        asm.label(behind)
        self._get(MATRIX, Word.MORE)
        asm(f"C_BNE {MATRIX}, gp0, {group}")
        asm.label(drain)
        self._get(MATRIX, Word.DRAIN)
        asm(f"C_BEQ {MATRIX}, gp0, {done}")
        asm.add(MATRIX, MATRIX, -1)
        self._put(MATRIX, Word.DRAIN)
        self._into(INNER, "gp0", Unit.ROWS)
        asm(f"C_JUMP {round_}")
        asm.label(done)

    # A round

    def _round(self) -> None:
        asm, tiles, places = self.asm, self.key_tiles, self.places
        self._stage(INNER, STAGE_SOFTMAX)
        self._of(INNER, ROW, Unit.SCORES)
        self._of(INNER, LEFT, Unit.ROWS)
        asm.add(LAST, ROW, self.geometry.group * self.geometry.width)
        self._of(INNER, SEEN, Unit.SEEN)
        if tiles.count > 1:
            self._of(INNER, FACTOR, Unit.FACTORS)
            self._of(INNER, MATRIX, Unit.TILE)
            asm.li(BEGIN, 0)
            asm.li(STEP, 0)
            asm.li(KEPT, 2)
            with asm.skip_if("C_BEQ", MATRIX, "gp0"):
                asm.li(BEGIN, 4)
                asm.li(STEP, 2)
        else:
            asm.li(LOWEST, places.lowest)
        if tiles.together > 1:
            self._get(INNER, Word.SLOT_AT)
            self._of(INNER, OWN, Unit.OWN)
            asm.load(SOURCE, WORDS + Word.CURRENT + Word.QUERIES)
            self._get(LANES, Word.LANES)
            self._separate_alone()
        self._outputs()
        if self.masks_differ:
            self._load_next_mask()
        self._load_values()
        self._scores()
        self._load_next()
        asm(f"MV {COUNT}, {LEFT}")
        with asm.skip_if("C_BEQ", COUNT, "gp0"):
            self._softmax_rows()
        self._invert_last()
        self._normalise_last()
        self._finish_unit()

    def _separate_alone(self) -> None:
        """Stage 0 where nothing is in stage 3."""
        asm, width = self.asm, self.geometry.width
        behind = asm.new_label("separated")
        self._of(INNER, COUNT, Unit.ROWS)
        asm(f"C_BNE {LEFT}, gp0, {behind}", f"C_BEQ {COUNT}, gp0, {behind}")
        self._each_row(
            COUNT,
            {SOURCE: width, OWN: width},
            lambda: asm(f"V_MUL_VV {OWN}, {SOURCE}, {LANES}"),
        )
        asm.label(behind)

    def _outputs(self) -> None:
        """The products of the last stage."""
        asm, tiles, geometry = self.asm, self.key_tiles, self.geometry
        mlen, blen = geometry.mlen, geometry.blen
        self._stage(PIECE, STAGE_OUTPUTS)
        self._of(PIECE, INNER, Unit.ROWS)
        behind = asm.new_label("no_outputs")
        asm(f"C_BEQ {INNER}, gp0, {behind}")
        self._of(PIECE, TO, Unit.TO)
        self._of(PIECE, MATRIX, Unit.CHANNELS)
        self._of(PIECE, OPERAND, Unit.SCORES)
        offsets = [self._score_offset(part * mlen) for part in range(tiles.parts)]
        with asm.loop(INNER, -(-self.layout.spec.head_dim // blen)):
            for part in range(tiles.parts):
                asm(f"M_MM 0, {MATRIX}, {OPERAND}")
                if part + 1 < tiles.parts:
                    asm.add(MATRIX, MATRIX, mlen * mlen)
                    asm.add(OPERAND, OPERAND, offsets[part + 1] - offsets[part])
            self._softmax_part()
            asm(f"M_MM_WO {TO}, gp0, 0")
            asm.add(MATRIX, MATRIX, blen * mlen - (tiles.parts - 1) * mlen * mlen)
            asm.add(OPERAND, OPERAND, offsets[0] - offsets[-1])
            asm.add(TO, TO, blen)
        asm.label(behind)

    def _score_offset(self, key: int) -> int:
        """Elements from the scores of a tile's first key to those of another one."""
        width = self.geometry.width
        return key // width * self.key_tiles.score_pitch + key % width

    def _scores(self) -> None:
        """The products of stage 1."""
        asm, tiles, geometry = self.asm, self.key_tiles, self.geometry
        blen, width = geometry.blen, geometry.width
        self._stage(PIECE, STAGE_SCORES)
        self._of(PIECE, INNER, Unit.ROWS)
        behind = asm.new_label("no_scores")
        asm(f"C_BEQ {INNER}, gp0, {behind}")
        self._of(PIECE, OPERAND, Unit.OWN)
        self._of(PIECE, MATRIX, Unit.KEYS)
        self._of(PIECE, TO, Unit.SCORES)
        with asm.loop(INNER, tiles.key_rows // blen):
            asm(f"M_TMM 0, {OPERAND}, {MATRIX}")
            self._softmax_part()
            asm(f"M_MM_WO {TO}, gp0, 0")
            asm.add(MATRIX, MATRIX, blen * geometry.mlen)
            asm.add(TO, TO, blen)
            if tiles.blocks > 1:
                # Behind the last lane of a block comes the next block.
                asm.li(asm.scratch, width - 1)
                asm(f"S_AND_INT {PIECE}, {TO}, {asm.scratch}")
                with asm.skip_if("C_BNE", PIECE, "gp0"):
                    asm.add(TO, TO, tiles.score_pitch - width)
        asm.label(behind)

    def _softmax_part(self) -> None:
        """Some of the rows of stages 0 and 3."""
        asm = self.asm
        self._get(COUNT, Word.PART)
        asm.minimum(COUNT, LEFT)
        asm(f"S_SUB_INT {LEFT}, {LEFT}, {COUNT}")
        with asm.skip_if("C_BEQ", COUNT, "gp0"):
            self._softmax_rows()

    def _softmax_rows(self) -> None:
        """COUNT rows. A row is divided by its sum when the next one's maximum is known, so that the
        vector unit never waits for a scalar."""
        asm, tiles = self.asm, self.key_tiles
        several, width = tiles.count > 1, self.geometry.width
        blocks = range(tiles.blocks)
        again = asm.new_label("row")
        asm.label(again)
        at = 0
        for block in blocks:
            row = self._row_of(ROW, block)
            if self.hidden[block]:
                asm.add(SEEN, SEEN, (block - at) * width)
                at = block
                lowest = LOWEST
                if several:
                    lowest = asm.scratch
                    asm.li(lowest, self.places.lowest)
                asm(f"V_SELECT_VVM {row}, {row}, {lowest}, {SEEN}")
            if block == 0:
                asm(f"S_LD_FP {MAX}, {BEGIN}, 0" if several else f"S_ADD_FP {MAX}, {LEAST}, f0")
            asm(f"V_RED_MAX {MAX}, {row}, 0")
        self._invert_last()
        if several:
            asm(
                f"S_LD_FP {SHARE}, {BEGIN}, 0",
                f"S_LD_FP {OLD}, {BEGIN}, 1",
                f"S_SUB_FP {SHARE}, {SHARE}, {MAX}",
                f"S_MUL_FP {SHARE}, {SHARE}, {SCALE}",
                f"S_EXP_FP {SHARE}, {SHARE}",
                f"S_MUL_FP {SHARE}, {SHARE}, {OLD}",
                f"S_ADD_FP {SUM}, {SHARE}, f0",
                f"S_ST_FP {MAX}, {KEPT}, 2",
            )
        else:
            asm(f"S_ADD_FP {SUM}, f0, f0")
        if tiles.together > 1:
            asm(f"V_MUL_VV {OWN}, {SOURCE}, {LANES}")
        self._normalise_last()
        for block in blocks:
            row = self._row_of(ROW, block)
            asm(
                f"V_SUB_VF {row}, {row}, {MAX}, 0, 0",
                f"V_MUL_VF {row}, {row}, {SCALE}",
                f"V_EXP_V {row}, {row}, 0",
                f"V_RED_SUM {SUM}, {row}",
            )
        asm.add(SEEN, SEEN, -at * width)
        asm(f"MV {LAST}, {ROW}")
        asm.add(ROW, ROW, width)
        if several:
            asm(f"S_ADD_INT {BEGIN}, {BEGIN}, {STEP}")
            asm.add(KEPT, KEPT, 2)
            asm.add(FACTOR, FACTOR, 1)
        elif tiles.together > 1:
            asm.add(SOURCE, SOURCE, width)
            asm.add(OWN, OWN, width)
        asm.add(COUNT, COUNT, -1)
        asm(f"C_BNE {COUNT}, gp0, {again}")

    def _row_of(self, pointer: str, block: int) -> str:
        """Register with the address of a block of the row that a pointer names."""
        if block == 0:
            return pointer
        self.asm.add(PIECE, pointer, block * self.key_tiles.score_pitch)
        return PIECE

    def _invert_last(self) -> None:
        """What the row before this one is multiplied with; before the first one stands a row that
        nothing reads."""
        asm, tiles = self.asm, self.key_tiles
        asm(f"S_RECI_FP {INVERSE}, {SUM}")
        if tiles.count > 1:
            asm(
                f"S_MUL_FP {SHARE}, {SHARE}, {INVERSE}",
                f"S_ST_FP {SHARE}, {FACTOR}, 0",
                f"S_ST_FP {SUM}, {KEPT}, 1",
            )

    def _normalise_last(self) -> None:
        """The row before this one is divided by its sum."""
        asm = self.asm
        for block in range(self.key_tiles.blocks):
            row = self._row_of(LAST, block)
            asm(f"V_MUL_VF {row}, {row}, {INVERSE}")

    def _load_values(self) -> None:
        """Behind the last products with other values: those of the unit in softmax."""
        asm = self.asm
        behind = asm.new_label("values_there")
        self._stage(INNER, STAGE_SOFTMAX)
        self._of(INNER, MATRIX, Unit.ROWS)
        self._of(INNER, TO, Unit.VISIT)
        self._get(OPERAND, Word.VALUES_LOADED)
        asm(f"C_BEQ {MATRIX}, gp0, {behind}", f"C_BEQ {TO}, {OPERAND}, {behind}")
        self._put(TO, Word.VALUES_LOADED)
        self._of(INNER, TO, Unit.OFFSET)
        if self.key_tiles.count > 1:
            self._of(INNER, PIECE, Unit.START)
        asm.li(MATRIX, self.key_tiles.values_tile * self.geometry.mlen**2)
        self._load_rows("values")
        asm.label(behind)

    def _load_next(self) -> None:
        """Behind the scores: queries of the next group, and its keys into the other buffer; with one
        buffer, keys of the unit in stage 0."""
        asm, tiles = self.asm, self.key_tiles
        behind = asm.new_label("next_loaded")
        self._get(INNER, Word.LOAD)
        asm(f"C_BEQ {INNER}, gp0, {behind}")
        self._set(Word.LOAD, 0)
        self._get(MATRIX, Word.QUERIES)
        self._get(TO, Word.STORE)
        self._move_group("H_LD_V", GLOBAL, "q", MATRIX, TO)
        if self.layout.smoothed_cache:
            asm.load(INNER, State.KIND)
            with asm.skip_if("C_BEQ", INNER, "gp0"):
                self._get(PIECE, Word.OFFSET)
                self._load_factors("keys", PIECE)
        if tiles.buffers > 1:
            self._get(INNER, Word.LOAD_KEYS)
            asm(f"C_BEQ {INNER}, gp0, {behind}")
            self._set(Word.LOAD_KEYS, 0)
            self._get(MATRIX, Word.KEYS)
            self._get(TO, Word.OFFSET)
            if tiles.count > 1:
                self._get(PIECE, Word.START)
            self._load_rows("keys")
        asm.label(behind)
        if tiles.buffers == 1:
            there = asm.new_label("keys_there")
            self._stage(INNER, 0)
            self._of(INNER, MATRIX, Unit.ROWS)
            self._of(INNER, TO, Unit.VISIT)
            self._get(OPERAND, Word.KEYS_LOADED)
            asm(f"C_BEQ {MATRIX}, gp0, {there}", f"C_BEQ {TO}, {OPERAND}, {there}")
            self._put(TO, Word.KEYS_LOADED)
            self._of(INNER, TO, Unit.OFFSET)
            asm.li(MATRIX, 0)
            self._load_rows("keys")
            asm.label(there)

    def _load_next_mask(self) -> None:
        """The mask of the unit that is the next in softmax, ahead of what takes longer."""
        asm = self.asm
        behind = asm.new_label("mask_there")
        self._stage(INNER, STAGE_SOFTMAX - 1)
        self._of(INNER, TO, Unit.ROWS)
        self._of(INNER, PIECE, Unit.MASK)
        self._of(INNER, MATRIX, Unit.SEEN)
        asm.li(OPERAND, SLOT)
        asm(f"S_AND_INT {INNER}, {INNER}, {OPERAND}")
        self._of(INNER, OPERAND, Unit.MASK_LOADED)
        asm(f"C_BEQ {TO}, gp0, {behind}", f"C_BEQ {PIECE}, {OPERAND}, {behind}")
        self._into(INNER, PIECE, Unit.MASK_LOADED)
        self._load_mask(PIECE)
        asm.label(behind)

    def _finish_unit(self) -> None:
        """The last stage behind its products: adds to the outputs of earlier tiles; the last unit of a
        group stores them."""
        asm, tiles, width = self.asm, self.key_tiles, self.geometry.width
        behind = asm.new_label("no_unit")
        self._stage(PIECE, STAGE_OUTPUTS)
        self._of(PIECE, INNER, Unit.ROWS)
        asm(f"C_BEQ {INNER}, gp0, {behind}")
        if tiles.count > 1:
            self._of(PIECE, MATRIX, Unit.TILE)
            with asm.skip_if("C_BEQ", MATRIX, "gp0"):
                self._of(PIECE, MATRIX, Unit.OUT)
                self._of(PIECE, TO, Unit.FACTORS)
                asm.li(OPERAND, self.places.tile)
                self._each_row(
                    INNER,
                    {MATRIX: width, TO: 1, OPERAND: width},
                    lambda: asm(
                        f"S_LD_FP {OLD}, {TO}, 1",
                        f"V_MUL_VF {MATRIX}, {MATRIX}, {OLD}",
                        f"V_ADD_VV {MATRIX}, {MATRIX}, {OPERAND}",
                    ),
                )
        self._of(PIECE, TO, Unit.STORE)
        asm.li(MATRIX, NONE)
        asm(f"C_BEQ {TO}, {MATRIX}, {behind}")
        if self.layout.smoothed_cache:
            asm.load(INNER, State.KIND)
            with asm.skip_if("C_BEQ", INNER, "gp0"):
                self._of(PIECE, INNER, Unit.OFFSET)
                self._load_factors("values", INNER)
                self._of(PIECE, INNER, Unit.OUT)
                self._fold(INNER, "values")
        self._of(PIECE, MATRIX, Unit.OUT)
        self._of(PIECE, TO, Unit.STORE)
        self._move_group("H_ST_V", OTHER, "o", MATRIX, TO)
        asm.label(behind)
