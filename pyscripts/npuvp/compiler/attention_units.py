"""The units that attention works on, one behind the other, and what is known of them.

Words in INT SRAM say what every unit is about, while it is under way, and which group of queries
comes next; `npuvp.compiler.attention` has the stages that units pass through.
"""

from collections.abc import Callable
from enum import IntEnum

from npuvp.compiler.emitter import LAYER, Emitter
from npuvp.compiler.formats import Stored
from npuvp.compiler.key_tiles import SCORES, KeyTiles
from npuvp.compiler.kv_cache import FRESH
from npuvp.compiler.state import State

__all__ = ["ATTENTION_WORDS", "Places", "Unit", "Units", "Word"]

SLOT = 16


class Unit(IntEnum):
    """Words of a unit; a ring of them in INT SRAM."""

    ROWS = 0
    """Rows of queries; 0: no unit."""
    OWN = 1
    """Address of the head's queries; the same for every unit of the slot, as the next two."""
    SCORES = 2
    FACTORS = 3
    """FP SRAM: what the earlier outputs of a row are multiplied with."""
    KEYS = 4
    """Where its keys stand in Matrix SRAM."""
    TO = 5
    """Where its outputs go."""
    OFFSET = 6
    """Of its keys and values in a row of a table in BF16, in bytes."""
    VISIT = 7
    """Number of its keys and values, counted as they are used."""
    START = 8
    """First key."""
    CHANNELS = 9
    """Where its values stand in Matrix SRAM."""
    MASK = 10
    STORE = 11
    """Where the outputs of its group go in memory, or all ones."""
    OUT = 12
    """Where the outputs of its group are gathered."""
    TILE = 13
    SEEN = 14
    """Where its mask of keys stands; the same for every unit of the slot."""
    MASK_LOADED = 15
    """Of the first two slots: which mask stands there."""


class Word(IntEnum):
    """Words behind the ring. The first are of the group of rows that is loaded next, then come the
    same of the one that enters the pipeline."""

    OFFSET = 0
    VISIT = 1
    START = 2
    MASK = 3
    KEYS = 4
    QUERIES = 5
    OUT = 6
    STORE = 7
    TILE = 8
    CURRENT = 9
    LANES = 18
    """Where the lanes of the head are that enters next."""
    HEAD_AT = 19
    """Lane at which it begins."""
    CHANNELS = 20
    HEADS = 21
    """Heads of the group that have not entered."""
    SLOT_AT = 22
    ROWS = 23
    """Rows of a group."""
    PART = 24
    """Rows of softmax behind a product."""
    MORE = 25
    """Whether there are groups that have not entered."""
    DRAIN = 26
    """Rounds behind the last unit."""
    LOAD = 27
    """Whether the next group is to be loaded, and whether its keys are."""
    LOAD_KEYS = 28
    FIRST = 29
    QUERY_HEADS = 30
    MEMBERS = 31
    ITEMS = 32
    HEAD_OF_ROW = 33
    ROW_MASK = 34
    KEYS_LOADED = 35
    VALUES_LOADED = 36
    END = 37


COPIED = 9
#: Stages of which the sequence knows.
STAGE_SCORES, STAGE_SOFTMAX, STAGE_OUTPUTS = 1, 3, 4
#: Units in the ring: as many as stages or more, and a multiple of all that there are two or three of.
SLOTS = 6
RING = int(State.ATTENTION)
WORDS = RING + SLOTS * SLOT
#: Words of INT SRAM from `State.ATTENTION` on.
ATTENTION_WORDS = SLOTS * SLOT + int(Word.END)
NONE = 0xFFFFFFFF

# Registers: of products, and free between them,
INNER, MATRIX, TO, OPERAND, PIECE = "gp1", "gp2", "gp3", "gp4", "gp5"
# of the loop over rows, which live through a round,
ROW, LAST, COUNT, LEFT, SEEN = "gp6", "gp7", "gp8", "gp9", "gp10"
# of stage 0, or where there are several tiles of what is kept of a row.
SOURCE, OWN, LANES, LOWEST = "gp11", "gp12", "gp13", "gp14"
BEGIN, KEPT, STEP, FACTOR = "gp11", "gp12", "gp13", "gp14"
MAX, SUM, SHARE, INVERSE, LEAST, SCALE, OLD = "f1", "f2", "f3", "f4", "f5", "f6", "f7"


class Places:
    """Addresses in Vector SRAM."""

    def __init__(self, emitter: "Units", tiles: KeyTiles):
        memory, width = emitter._vector(), tiles.geometry.width
        group = tiles.geometry.group

        def rows(name: str, count: int) -> int:
            return memory.take(name, count * width)

        self.queries = [rows("queries", group) for _ in range(2)]
        self.outputs = [rows("outputs", group) for _ in range(2)]
        self.own = self.queries
        self.lanes = 0
        if tiles.together > 1:
            self.own = [rows("queries of a head", group) for _ in range(2)]
            self.lanes = rows("lanes of the heads", tiles.together)
        self.tile = rows("outputs of a tile", group) if tiles.count > 1 else 0
        self.scores = [rows("scores", tiles.blocks * (group + 1)) for _ in range(SCORES)]
        self.seen = [rows("key mask", tiles.blocks) for _ in range(2)]
        self.lowest = rows("row of -inf", 1)
        self.factors = {role: rows(f"factors of {role}", 1) for role in FRESH}


class Units(Emitter):
    """Emits the sequence of units.

    Attributes:
        key_tiles: Of the canvas.
        places: In Vector SRAM.
        hidden: For every block of the lanes of a tile, whether a mask is applied.
        masks_differ: Whether not all units have the same one; if they have, it is loaded once.
        padded: Whether rows of the batch or calls see different keys.
        columns: Of the heads that are moved together.
    """

    key_tiles: KeyTiles
    places: "Places"
    hidden: list[bool]
    masks_differ: bool
    padded: bool
    columns: int

    # Words

    def _get(self, register: str, word: Word) -> None:
        self.asm.load(register, WORDS + word)

    def _put(self, register: str, word: Word) -> None:
        self.asm.store(register, WORDS + word)

    def _set(self, word: Word, value: int, scratch: str = INNER) -> None:
        if value == 0:
            self._put("gp0", word)
            return
        self.asm.li(scratch, value)
        self._put(scratch, word)

    def _stage(self, register: str, stage: int) -> None:
        """register <- the slot of the unit in a stage."""
        self._get(register, Word.SLOT_AT)
        if stage:
            self.asm.add(register, register, (SLOTS - stage) * SLOT)
            self._wrap(register)

    def _wrap(self, register: str) -> None:
        asm = self.asm
        asm.li(asm.scratch, SLOTS * SLOT)
        with asm.skip_if("C_BLTU", register, asm.scratch):
            asm(f"S_SUB_INT {register}, {register}, {asm.scratch}")

    def _of(self, slot: str, register: str, word: Unit) -> None:
        self.asm(f"S_LD_INT {register}, {slot}, {RING + word}")

    def _into(self, slot: str, register: str, word: Unit) -> None:
        self.asm(f"S_ST_INT {register}, {slot}, {RING + word}")

    def _toggle(self, word: Word, places: list[int]) -> None:
        """The other one of two places."""
        self._get(MATRIX, word)
        self.asm.li(TO, sum(places))
        self.asm(f"S_SUB_INT {MATRIX}, {TO}, {MATRIX}")
        self._put(MATRIX, word)

    def _each_row(self, count: str, pointers: dict[str, int], work: Callable[[], None]) -> None:
        """Work on as many rows as a register says; pointers advance."""
        with self.asm.repeat(count):
            work()
            for register, step in pointers.items():
                self.asm.add(register, register, step)

    def _divide(self, result: str, value: str, divisor: str) -> None:
        """result <- value / divisor, rounded up; value is lost."""
        asm = self.asm
        again, behind = asm.new_label("divide"), asm.new_label("divided")
        asm.li(result, 1)
        asm.label(again)
        asm(f"C_BGEU {divisor}, {value}, {behind}", f"S_SUB_INT {value}, {value}, {divisor}")
        asm.add(result, result, 1)
        asm(f"C_JUMP {again}")
        asm.label(behind)

    # Before the first round

    def _prepare_words(self, first: int, items: int) -> None:
        """Slots without units; the first group is the next."""
        asm, spec, tiles, places = self.asm, self.layout.spec, self.key_tiles, self.places
        per_row = spec.kv_heads // tiles.together
        factors = 4 + 2 * self.geometry.group
        for slot in range(SLOTS):
            at = RING + slot * SLOT
            asm.store("gp0", at + Unit.ROWS)
            for field, value in (
                (Unit.OWN, places.own[slot % 2]),
                (Unit.SCORES, places.scores[slot % SCORES]),
                (Unit.SEEN, places.seen[slot % 2 if self.masks_differ else 0]),
                (Unit.MASK_LOADED, NONE),
                (Unit.FACTORS, factors + slot % 2 * (self.geometry.group + 1)),
            ):
                asm.li(INNER, value)
                asm.store(INNER, at + field)
        heads = first * spec.group * 2 * self.columns
        for word, value in (
            (Word.OFFSET, first * 2 * self.columns),
            (Word.VISIT, 0),
            (Word.START, 0),
            (Word.KEYS, 0),
            # The first unit comes into the second slot.
            (Word.QUERIES, places.queries[1]),
            (Word.OUT, places.outputs[0]),
            (Word.STORE, heads),
            (Word.TILE, 0),
            (Word.HEADS, 0),
            (Word.SLOT_AT, 0),
            (Word.MORE, 1),
            (Word.DRAIN, STAGE_OUTPUTS),
            (Word.LOAD, 1),
            (Word.LOAD_KEYS, 1),
            (Word.FIRST, 0),
            (Word.QUERY_HEADS, heads),
            (Word.MEMBERS, spec.group),
            (Word.ITEMS, items),
            (Word.HEAD_OF_ROW, first % per_row),
            (Word.KEYS_LOADED, NONE),
            (Word.VALUES_LOADED, NONE),
        ):
            self._set(word, value)
        asm.li(INNER, first // per_row * self.layout.mask_bytes)
        if self.layout.shape.block:
            asm.load(INNER, State.LIMIT)
        self._put(INNER, Word.ROW_MASK)
        self._put(INNER, Word.MASK)
        if tiles.count > 1:
            # What the first tile of a row begins with.
            asm(f"S_ST_FP {LEAST}, gp0, 0", "S_ST_FP f0, gp0, 1")

    # Transfers, in the free registers

    def _load_mask(self, address: str) -> None:
        """Rows at MATRIX <- a mask of keys."""
        asm, width = self.asm, self.geometry.width
        asm.li(TO, self.key_tiles.blocks)
        self.tiles.memory_rows(Stored("key_mask", 0, width), width)
        asm(f"H_LD_V {MATRIX}, {address}, a3, {TO}, 1")

    def _load_rows(self, role: str) -> None:
        """Matrix SRAM at MATRIX <- a tile of keys or values, OFFSET in TO and START in PIECE."""
        asm, layout, batch = self.asm, self.layout, self.layout.shape.batch
        asm.li(OPERAND, self.key_tiles.keys)

        def load(stored: Stored, register: str) -> None:
            self.tiles.bytes_from(TO, stored)
            asm.add(TO, TO, stored.offset)
            if self.key_tiles.count > 1:
                asm.scaled(PIECE, PIECE, stored.pitch * batch)
                asm(f"S_ADD_INT {TO}, {TO}, {PIECE}")
            self.tiles.memory_rows(stored, self.columns, every=batch)
            asm(f"H_LD_M {MATRIX}, {TO}, {register}, {OPERAND}, 0")

        if not layout.quantised_cache:
            load(layout.stored[role], LAYER)
            return
        refine, done = asm.new_label("refine"), asm.new_label("loaded")
        asm.load(INNER, State.KIND)
        asm(f"C_BNE {INNER}, gp0, {refine}")
        load(layout.stored[f"fresh_{role}"], FRESH[role])
        asm(f"C_JUMP {done}")
        asm.label(refine)
        load(layout.stored[role], LAYER)
        asm.label(done)

    def _load_factors(self, role: str, offset: str) -> None:
        """Factors of the head of BAOS, OFFSET in a register that is not in use here."""
        asm, table = self.asm, self.layout.stored[f"{role}.factors"]
        asm.add(TO, offset, table.offset)
        asm.li(MATRIX, self.places.factors[role])
        asm.li(OPERAND, 1)
        self.tiles.memory_rows(table, self.columns)
        asm(f"H_LD_V {MATRIX}, {TO}, {LAYER}, {OPERAND}, 1")

    def _fold(self, place: str, role: str) -> None:
        """Rows of queries or outputs from a register on times the factors, in refine passes."""
        asm = self.asm
        asm.li(TO, self.places.factors[role])
        self._get(OPERAND, Word.ROWS)
        self._each_row(
            OPERAND,
            {place: self.geometry.width},
            lambda: asm(f"V_MUL_VV {place}, {place}, {TO}"),
        )

    def _move_group(self, operation: str, register: str, name: str, place: str, at: str) -> None:
        """Queries or outputs of a group between memory, `at` bytes in, and Vector SRAM."""
        self._get(OPERAND, Word.ROWS)
        self.tiles.memory_rows(
            self.layout.stored[name], self.columns, every=self.layout.shape.batch
        )
        self.asm(f"{operation} {place}, {at}, {register}, {OPERAND}, 1")

    def _enter(self) -> None:
        """The next group enters, and the one behind it is the next."""
        asm, tiles = self.asm, self.key_tiles
        for word in range(COPIED):
            asm.load(INNER, WORDS + word)
            asm.store(INNER, WORDS + Word.CURRENT + word)
        self._set(Word.LANES, self.places.lanes)
        self._set(Word.HEAD_AT, 0)
        self._set(Word.CHANNELS, tiles.values_tile * self.geometry.mlen**2)
        self._set(Word.HEADS, tiles.together)
        if self.layout.smoothed_cache:
            asm.load(INNER, State.KIND)
            with asm.skip_if("C_BEQ", INNER, "gp0"):
                self._get(MATRIX, Word.QUERIES)
                self._fold(MATRIX, "keys")
        self._advance()

    def _advance(self) -> None:
        """Words of the next group, from those of the last one."""
        asm, spec, layout, tiles = self.asm, self.layout.spec, self.layout, self.key_tiles
        advanced, none = asm.new_label("advanced"), asm.new_label("no_group")
        if tiles.count > 1:
            self._next_tile(advanced)
        # The last rows may be some of the group before: their outputs are stored twice.
        asm.load(INNER, State.COUNT)
        self._get(TO, Word.ROWS)
        self._get(MATRIX, Word.FIRST)
        asm(f"S_ADD_INT {MATRIX}, {MATRIX}, {TO}", f"S_SUB_INT {TO}, {INNER}, {TO}")
        with asm.skip_if("C_BGEU", MATRIX, INNER):
            asm.minimum(MATRIX, TO)
            self._put(MATRIX, Word.FIRST)
            asm(f"C_JUMP {advanced}")
        self._set(Word.FIRST, 0)
        for word, step in ((Word.QUERY_HEADS, 2 * self.columns), (Word.MEMBERS, -1)):
            self._get(MATRIX, word)
            asm.add(MATRIX, MATRIX, step)
            self._put(MATRIX, word)
        asm(f"C_BNE {MATRIX}, gp0, {advanced}")
        self._set(Word.MEMBERS, spec.group)
        for word, step in ((Word.OFFSET, 2 * self.columns), (Word.ITEMS, -1)):
            self._get(MATRIX, word)
            asm.add(MATRIX, MATRIX, step)
            self._put(MATRIX, word)
        with asm.skip_if("C_BNE", MATRIX, "gp0"):
            self._set(Word.MORE, 0)
            asm(f"C_JUMP {none}")
        if self.padded:
            self._get(MATRIX, Word.HEAD_OF_ROW)
            asm.add(MATRIX, MATRIX, 1)
            asm.li(TO, spec.kv_heads // tiles.together)
            with asm.skip_if("C_BNE", MATRIX, TO):
                asm.li(MATRIX, 0)
                self._get(TO, Word.ROW_MASK)
                asm.add(TO, TO, layout.mask_bytes)
                self._put(TO, Word.ROW_MASK)
            self._put(MATRIX, Word.HEAD_OF_ROW)
        if tiles.count == 1:
            self._next_visit()
        asm.label(advanced)
        if tiles.count > 1:
            self._next_visit()
        self._get(MATRIX, Word.FIRST)
        asm.scaled(MATRIX, MATRIX, layout.stored["q"].pitch * layout.shape.batch)
        self._get(TO, Word.QUERY_HEADS)
        asm(f"S_ADD_INT {MATRIX}, {MATRIX}, {TO}")
        self._put(MATRIX, Word.STORE)
        self._toggle(Word.QUERIES, self.places.queries)
        self._get(INNER, Word.TILE)
        with asm.skip_if("C_BNE", INNER, "gp0"):
            self._toggle(Word.OUT, self.places.outputs)
        self._get(MATRIX, Word.ROW_MASK)
        if tiles.count > 1:
            asm.scaled(INNER, INNER, 2 * tiles.blocks * self.geometry.width)
            asm(f"S_ADD_INT {MATRIX}, {MATRIX}, {INNER}")
        self._put(MATRIX, Word.MASK)
        self._set(Word.LOAD, 1)
        asm.label(none)

    def _next_tile(self, advanced: str) -> None:
        """The next tile of the same queries, if there is one."""
        asm, tiles = self.asm, self.key_tiles
        self._get(MATRIX, Word.TILE)
        asm.add(MATRIX, MATRIX, 1)
        asm.li(TO, tiles.count)
        with asm.skip_if("C_BEQ", MATRIX, TO):
            self._put(MATRIX, Word.TILE)
            asm.scaled(MATRIX, MATRIX, tiles.keys)
            asm.li(TO, tiles.length - tiles.keys)
            asm.minimum(MATRIX, TO)
            self._put(MATRIX, Word.START)
            asm(f"C_JUMP {advanced}")
        self._set(Word.TILE, 0)
        self._set(Word.START, 0)

    def _next_visit(self) -> None:
        """Other keys and values than the last ones."""
        tiles = self.key_tiles
        self._get(MATRIX, Word.VISIT)
        self.asm.add(MATRIX, MATRIX, 1)
        self._put(MATRIX, Word.VISIT)
        if tiles.buffers > 1:
            self._toggle(Word.KEYS, [0, tiles.key_rows * self.geometry.mlen])
            self._set(Word.LOAD_KEYS, 1)

    def _unit(self) -> None:
        """A unit enters stage 0."""
        asm, tiles = self.asm, self.key_tiles
        self._get(INNER, Word.SLOT_AT)

        def take(word: Word, to: Unit) -> None:
            asm.load(MATRIX, WORDS + Word.CURRENT + word)
            self._into(INNER, MATRIX, to)

        self._get(MATRIX, Word.ROWS)
        self._into(INNER, MATRIX, Unit.ROWS)
        take(Word.OFFSET, Unit.OFFSET)
        take(Word.VISIT, Unit.VISIT)
        take(Word.KEYS, Unit.KEYS)
        if self.masks_differ:
            take(Word.MASK, Unit.MASK)
        self._get(MATRIX, Word.CHANNELS)
        self._into(INNER, MATRIX, Unit.CHANNELS)
        take(Word.OUT, Unit.OUT)
        if tiles.count > 1:
            take(Word.START, Unit.START)
            take(Word.TILE, Unit.TILE)
            # MATRIX holds the tile: the first one's outputs are those of the group so far.
            asm.load(TO, WORDS + Word.CURRENT + Word.OUT)
            with asm.skip_if("C_BEQ", MATRIX, "gp0"):
                asm.li(TO, self.places.tile)
            self._into(INNER, TO, Unit.TO)
            asm.li(TO, tiles.count - 1)
        else:
            self._get(TO, Word.HEAD_AT)
            asm(f"S_ADD_INT {MATRIX}, {MATRIX}, {TO}")
            self._into(INNER, MATRIX, Unit.TO)
            self._get(MATRIX, Word.HEADS)
            asm.li(TO, 1)
        # The last unit of a group stores its outputs.
        asm.li(OPERAND, NONE)
        with asm.skip_if("C_BNE", MATRIX, TO):
            asm.load(OPERAND, WORDS + Word.CURRENT + Word.STORE)
        self._into(INNER, OPERAND, Unit.STORE)
