"""A program and its inputs, as files."""

import numpy as np
import pytest

SUM = """\
; Sums of the rows of x.
    .tensor x, hbm, 0x1000, bf16, 4, 64, in
    .tensor y, core0.fp, 8, fp32, 4, out
    .text
    LI gp4, 64                  ; elements of a row
    LIA a1, x, gp2
    LI gp2, 8                   ; bf16
    C_CSRW dma_format, gp2
    LI gp5, 4
    H_LD_V gp0, gp0, a1, gp5, 3
    C_FENCE 8
    C_LOOP_START gp3, 4
row:
    C_MARK step, gp6
    V_RED_SUM f1, gp1
    S_ST_FP f1, gp6, 8
    S_SUB_FP f1, f1, f1
    S_ADD_INT gp1, gp1, gp4
    S_ADDI_INT gp6, gp6, 1
    C_LOOP_END gp3
    C_HALT gp0
"""


@pytest.fixture
def sum_program(tmp_path):
    """(program, values of x): paths."""
    program = tmp_path / "sum.s"
    program.write_text(SUM)
    np.save(tmp_path / "x.npy", np.arange(256, dtype=np.float32).reshape(4, 64) % 17)
    return program, tmp_path / "x.npy"
