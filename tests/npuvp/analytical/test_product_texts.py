"""Texts of the closed form of products against what the compiler emits."""

import pytest

from npuvp.analytical import blocking
from npuvp.compiler.assembly import Assembly
from npuvp.compiler.formats import stored
from npuvp.compiler.geometry import Geometry
from npuvp.compiler.products import Panels, Products, RowWork, Weights
from npuvp.compiler.state import State

GEOMETRY = Geometry(
    width=64, mlen=64, blen=16, group=16, vector_rows=512, matrix_rows=512, int_words=1024,
    fp_words=1024, hbm_bytes=1 << 30,
)  # fmt: skip


def emitted(emit):
    """Instructions that `emit` emits; branches that pass over some are not taken."""
    asm = Assembly()
    emit(Products(asm, GEOMETRY))
    return sum(line.startswith("        ") for line in asm.lines)


def words(text):
    return len(text.split())


@pytest.mark.parametrize("element", ["bf16", "mxint8"])
@pytest.mark.parametrize("ways", [1, 2])
def test_a_piece_of_weights(element, ways):
    one = stored("weights.gate", 0, 64, element, 32, 8192, 64, 128)
    beside = tuple(
        stored("weights.up", 16384, 64, element, 32, 24576, 64, 128) for _ in [1][: ways - 1]
    )
    panels = Panels.plan(GEOMETRY, "gate", 64, 128, 0, ways)
    assert panels.blocks == 1
    weights = Weights("a1", one, 128, beside=beside)
    count = emitted(lambda products: products._piece(weights, panels, 16))
    assert words(blocking.piece_text(panels, GEOMETRY, one)) == count


def test_words_that_count_down_and_advance():
    assert words(blocking.AGAIN) == emitted(lambda p: p._again(State.STAGES, "stage"))
    assert words(blocking.GROUP) == emitted(lambda p: p._begin_group(RowWork()))


@pytest.mark.parametrize("element", ["bf16", "mxint8"])
def test_a_finished_group(element):
    table = stored("gated", 64, 64, element, 32, 8192)

    def finish(products):
        def end():
            products.store_group(0, 64, "a2", table)

        products._finish(RowWork(end=end), 128)

    # Those of the last group of a chunk are passed over.
    last = words("im im int im im int int im br")
    assert words(blocking.finish_text(table, 1)) == emitted(finish) - last
