"""Closed forms of what BAOS adds to a forward call (`npuvp.compiler.kv_cache`, `attention`).

A warm pass takes the factors of every channel behind its projections; refine passes normalise fresh
keys and values row by row, and multiply queries and outputs with the factors once per group of rows.
"""

from typing import TYPE_CHECKING

from npuvp.analytical.schedule import Work, body, repeat
from npuvp.analytical.shared import dealt, together
from npuvp.baos import headroom

if TYPE_CHECKING:
    from npuvp.analytical.phases import Phases

__all__ = ["calibration", "folds", "normalised_row"]

BF16_BYTES = 2
#: How the rows of a transfer stand in memory.
_ROWS = "int ctl int ctl int ctl"


def normalised_row(phases: "Phases") -> str:
    """Instructions by which a fresh row of keys or values is normalised, in refine passes."""
    multiplied = "" if phases.call.warm else "vmul3."
    # Every row of the batch has its own factors.
    return f"im br {multiplied}" + (" int int br" if phases.layout.shape.batch > 1 else "")


def calibration(phases: "Phases") -> Work:
    """Factors of all channels and the normalised cache, behind the projections of a warm pass."""
    spec, g, call, h = phases.spec, phases.geometry, phases.call, phases.hardware
    if not call.warm:
        return body(h, "im br")
    heads = max(
        n
        for n in range(1, spec.kv_heads + 1)
        if spec.kv_heads % n == 0 and n * spec.head_dim <= g.width
    )
    columns = heads * spec.head_dim
    length = phases.layout.shape.length
    rows = min(length, g.vector_rows - 6)
    tiles = [min(rows, length - at) for at in range(0, length, rows)]
    total = Work()
    for role in ("keys", "values"):
        fresh, cache = phases.layout.stored[f"fresh_{role}"], phases.layout.stored[role]
        for index, count in enumerate(tiles):
            load = phases._load(count, BF16_BYTES * columns, fresh.pitch * call.batch)
            # A second time for the rows that were overwritten by other tiles.
            total.add(load, 2 if len(tiles) > 1 else 1)
            total.add(phases._column_maxima(count))
            total.add(body(h, f"{repeat('int', 4)} {_ROWS} dma int"))
            if index:
                total.add(body(h, "int vmax3."))
            total.add(body(h, "vmul3. int int br", count))
            store = phases._store(count, cache.bytes_of(columns), cache.pitch * call.batch)
            if cache.scaled:
                pitch = call.batch * cache.columns // cache.block
                scales = phases._store(count, columns / cache.block, pitch)
                store.cycles += scales.cycles
                store.beside(scales)
            total.add(store)
            total.add(body(h, f"{repeat('int', 10)} {_ROWS} ctl int ctl dma"))
        format = phases.layout.cache(role)
        if format.rounding == "pow2":
            text = "vsel2. vadd3. vsel3. vsel4. vsel2. vsel4."
        elif headroom(format.element) != 1:
            text = "int ctl vmul2. vsel2. vsel4."
        else:
            text = "vsel2. vsel4."
        total.add(body(h, f"{repeat('int', 6)} {text} vreci2."))
        for _ in range(2):
            factors = phases._store(1, BF16_BYTES * columns)
            total.beside(factors)
            if h.classes.blocking:
                total.cycles += factors.cycles
        total.add(body(h, f"{repeat('int', 3)} {_ROWS} dma", 2))

    def part(cores: tuple[int, ...], items: int) -> Work:
        whole = Work()
        if items:
            whole.add(total, items)
            whole.add(body(h, "im br " + repeat("int", 14) + " vshft1. vadd2. sync"))
        return whole

    return together(dealt(phases.layout.cores, (call.batch * spec.kv_heads // heads, 1)), part)


def folds(phases: "Phases", rows: int, columns: int) -> tuple[Work, Work]:
    """What a group of rows of queries takes as it enters attention, and its outputs before they are
    stored, in refine passes."""
    h = phases.hardware
    loop = body(h, "vmul3. int int br", rows)
    load = phases._load(1, BF16_BYTES * columns)
    asked = body(h, f"im im br im int int int {_ROWS} int ctl dma")
    entered = body(h, "im br im int im")
    entered.add(asked)
    entered.beside(load)
    entered.add(loop)
    finished = body(h, "im br int im im")
    finished.add(asked)
    finished.add(load)
    finished.add(loop)
    if h.classes.blocking:
        entered.cycles += load.cycles
    return entered, finished
