"""V_SWAP_V and V_SILU_V, in machine and golden model."""

import numpy as np

import npuvp as vp
from npuvp.golden.machine import run

VLEN = 32


def both(text: str, values: np.ndarray) -> np.ndarray:
    made = vp.Platform("rows")
    made.hbm("hbm", backend="ideal", size="1MiB", latency="10ns", bandwidth="64GB/s")
    made.core("core0", vlen=VLEN, mlen=VLEN, blen=4, hlen=4)
    firmware = vp.assemble(
        f"""
    .tensor x, core0.vector, 0, bf16, {VLEN}, in
    .tensor y, core0.vector, {VLEN}, bf16, {VLEN}, out
    LI gp1, {VLEN}
    {text}
    C_HALT gp0
"""
    )
    one = made.run(firmware, inputs={"x": values}).outputs["y"]
    other = run(made, firmware, inputs={"x": values}).outputs["y"]
    assert np.array_equal(one, other)
    return np.asarray(one, np.float32)


def test_halves_of_every_head_change_places() -> None:
    lanes = np.arange(VLEN, dtype=np.float32)
    swapped = both("LI gp2, 3\n    LI gp3, 8\n    V_SWAP_V gp1, gp0, gp2, gp3", lanes)
    head = np.array([3, 4, 5, 0, 1, 2, 6, 7])
    assert np.array_equal(swapped, (np.arange(0, VLEN, 8)[:, None] + head).ravel())


def test_gate_is_the_sequence_that_it_replaces() -> None:
    values = np.linspace(-100, 100, VLEN).astype(np.float32)
    sequence = """LI gp2, 64
    LIF f3, -1.0, gp5
    LIF f4, 1.0, gp5
    V_MUL_VF gp2, gp0, f3
    V_EXP_V gp2, gp2, 0
    V_ADD_VF gp2, gp2, f4
    V_RECI_V gp2, gp2, 0
    V_MUL_VV gp1, gp0, gp2"""
    gate = both("V_SILU_V gp1, gp0", values)
    assert np.array_equal(gate, both(sequence, values))
    assert gate[-1] == 100 and abs(gate[0]) < 1e-30
