"""H_LD_M at any block of rows of Matrix SRAM, which panels of weights need."""

import numpy as np
import pytest
from compiler_cases import platform

import npuvp as vp
from npuvp.golden.machine import run

PROGRAM = """
    .tensor w, hbm, 4096, bf16, 8, 32, in
        LIA a0, w, gp1
        LI gp1, 8
        C_CSRW dma_format, gp1
        LI gp2, {rows} * 32
        LI gp3, 8
        H_LD_M gp2, gp0, a0, gp3, 0
        C_HALT gp0
"""


@pytest.mark.parametrize("rows", [8, 24, 40])
def test_rows_at_a_block(rows: int) -> None:
    machine = platform(32, 8)
    firmware = vp.assemble(PROGRAM.format(rows=rows))
    values = np.arange(256, dtype=np.float32).reshape(8, 32)
    expected = (values.view(np.uint32) >> 16).astype(np.uint16)
    machine.run(firmware, inputs={"w": values})
    golden = run(machine, firmware, inputs={"w": values}).machine
    assert golden is not None
    assert machine.machine is not None
    for made in (machine.machine, golden):
        stored = made.read_bytes("core0.matrix", 2 * 32 * rows, 2 * 256).view(np.uint16)
        assert np.array_equal(stored.reshape(8, 32), expected)
        assert not made.read_bytes("core0.matrix", 2 * 32 * (rows - 1), 64).any()
        assert not made.read_bytes("core0.matrix", 2 * 32 * (rows + 8), 64).any()


@pytest.mark.parametrize("rows", [4, 9])
def test_other_rows_trap(rows: int) -> None:
    machine = platform(32, 8)
    firmware = vp.assemble(PROGRAM.format(rows=rows))
    values = np.zeros((8, 32))
    for execute in (machine.run, lambda *a, **k: run(machine, *a, **k)):
        with pytest.raises(
            vp.Trap, match=f"element address {32 * rows}, allowed: multiples of 256"
        ):
            execute(firmware, inputs={"w": values})
