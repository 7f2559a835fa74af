"""Conversion to and from MX formats costs the DMA engine no time: bytes alone do."""

import numpy as np
import pytest

import npuvp as vp
from npuvp.isa import assemble_text

FORMATS = {"mxfp8_e4m3": (0, 8), "mxint4": (6, 4), "bf16": (8, 16)}
ROWS, VLEN, BLOCK = 16, 64, 32
PROGRAM = """
    .tensor x, hbm, 0, FORMAT, ROWS, VLEN, inBLOCK
    .text
    LIA a1, 0, gp1
    LI gp1, NUMBER
    C_CSRW dma_format, gp1
    LI gp1, VLEN
    C_CSRW dma_len, gp1
    .if NUMBER != 8
        LI gp1, x.scales - x
        C_CSRW scale, gp1
        LI gp1, 32
        C_CSRW dma_block, gp1
    .endif
    LI gp2, ROWS
    C_CSRR gp5, cycle_lo
    H_LD_V gp0, gp0, a1, gp2, 0
    C_FENCE 1
    C_CSRR gp6, cycle_lo
    S_SUB_INT gp7, gp6, gp5
    C_HOST_PUSH gp7
"""


def load(name: str, ports: int = 1) -> tuple[int, int]:
    """Cycles and bytes of one load of ROWS rows."""
    p = vp.Platform("line_rate")
    p.core("core0", vlen=VLEN, mlen=64, blen=16, hlen=16, dma_ports=ports, dma_port_bits=256)
    p.hbm("hbm", backend="ideal", size="1MiB", bandwidth="100TB/s", latency="1ns")
    number, _ = FORMATS[name]
    text = PROGRAM.replace("FORMAT", name).replace(
        "inBLOCK", "in" if number == 8 else "in, block=32"
    )
    firmware = assemble_text(text, defines={"NUMBER": number, "ROWS": ROWS, "VLEN": VLEN})
    r = p.run(firmware, inputs={"x": np.ones((ROWS, VLEN), np.float32)}, outputs=[])
    return r.host_words[0][2], r.stats["cores"]["core0"]["dma"]["bytes_read"]


@pytest.mark.parametrize("name", FORMATS)
def test_scales_come_along_and_bytes_alone_take_time(name: str) -> None:
    elements = ROWS * VLEN
    _, bits = FORMATS[name]
    expected = elements * bits // 8 + (elements // BLOCK if name != "bf16" else 0)
    cycles, moved = load(name)
    assert moved == expected
    wide, moved = load(name, ports=2)
    assert moved == expected
    # One port carries 32 bytes a cycle, two carry 64; the rest is the same.
    assert cycles - wide == pytest.approx(expected / 32 - expected / 64, abs=2)
