"""Every trap: its message, the detail, the place, and a machine that can be read afterwards."""

from typing import Any

import numpy as np
import pytest
from core_machine import platform, run

import npuvp as vp

LAST = 16 * 63  # of the small machine's 64 rows of 16 lanes

TRAPS: list[tuple[str, str, str]] = [
    # words
    (".word 0x31", "illegal instruction word", "word 0x00000031: opcode 31 is unassigned"),
    (".word 0x33", "illegal instruction word", "opcode 33 is unassigned"),
    (".word 0xDC00003F", "illegal instruction word", "function 55 of opcode 3f is unassigned"),
    (".word 0x43", "illegal instruction word", "M_BMM with field rd = 1 (must be 0)"),
    (".word 0x217", "illegal instruction word", "S_ADD_FP names f8 as fD (f0..f7 exist)"),
    (".word 0x2F", "illegal instruction word", "C_LOOP_START with imm = 0 (allowed: at least 1)"),
    (".word 0x80037", "illegal instruction word", "V_TOPK with p = 2"),
    # Vector SRAM
    (
        "LI gp1, 8\nV_ADD_VV gp0, gp1, gp0",
        "Vector SRAM address is not the start of a row",
        "element address 8, rows are multiples of 16",
    ),
    (
        "LI gp1, 1024\nV_EXP_V gp1, gp0, 0",
        "access outside Vector SRAM",
        "gp1 = 0x0000_0400, gp0 = 0x0000_0000  ->  row 64, the SRAM has rows 0..63",
    ),
    (
        f"LI gp1, {LAST}\nLI gp2, 17\nV_COUNT gp3, gp1, gp2",
        "access outside Vector SRAM",
        "rows 63..64, the SRAM has rows 0..63",
    ),
    ("LI gp1, 16\nV_GET f1, gp0, gp1", "lane outside the row", "16, allowed: 0..15"),
    (
        "LI gp1, 17\nV_TOPK_MASK gp0, gp0, gp0, gp1, gp1",
        "more elements than a row has",
        "17, allowed: 0..16",
    ),
    ("V_COLMAX gp0, gp0, gp0, gp0", "column maximum of no rows", "gpRows is 0"),
    (
        "LI gp1, 5\nLI gp2, 8\nV_SWAP_V gp0, gp0, gp1, gp2",
        "lanes of a head cannot change places",
        "5 and 5 of 8 lanes",
    ),
    (
        "LI gp1, 1\nLI gp2, 24\nV_COLMAX gp0, gp0, gp1, gp2",
        "Vector SRAM address is not the start of a row",
        "element address 24",
    ),
    (
        "LI gp1, 2\nLI gp2, 3\nV_TOPK_N gp0, gp0, gp0, gp1, gp2",
        "top-k of fewer elements",
        "k = 3, n = 2",
    ),
    # FP and INT SRAM
    (
        "LI gp1, 255\nS_LD_FP f1, gp1, 1",
        "access outside FP SRAM",
        "word 256, the SRAM has words 0..255",
    ),
    ("LI gp1, 255\nS_ST_FP f1, gp1, 1", "access outside FP SRAM", "word 256"),
    ("LI gp1, 255\nS_LD_INT gp1, gp1, 1", "access outside INT SRAM", "word 256"),
    ("S_SUB_INT gp1, gp0, gp0\nS_ST_INT gp1, gp1, 256", "access outside INT SRAM", "word 256"),
    ("LI gp1, 241\nS_MAP_V_FP gp0, gp1, 0", "access outside FP SRAM", "words 241..256"),
    (
        "LI gp1, 254\nLI gp2, 3\nV_CMP_INT gp0, gp1, gp0, gp2, eq",
        "access outside INT SRAM",
        "words 254..256",
    ),
    ("LI gp1, 253\nV_TOPK gp0, gp0, gp1", "access outside INT SRAM", "words 253..256"),
    # Matrix unit
    (
        "LI gp1, 512\nM_MM 0, gp1, gp0",
        "access outside Matrix SRAM",
        "element 512, the SRAM has elements 0..511",
    ),
    (
        "LI gp1, 272\nM_MM 0, gp1, gp0",
        "Matrix SRAM address has no such offset in its tile",
        "offset 16 in tile 1, allowed: k * 16 with k a multiple of 4 below 16",
    ),
    ("LI gp1, 4\nM_TMM 0, gp0, gp1", "Matrix SRAM address has no such offset in its tile", "4 in"),
    (
        "LI gp1, 2\nM_MV 0, gp1, gp0",
        "Matrix SRAM address has no such offset in its tile",
        "offset 2 in tile 0, allowed: multiples of 4 below 16",
    ),
    (
        "LI gp1, 16\nM_MV 0, gp1, gp0",
        "Matrix SRAM address has no such offset in its tile",
        "offset 16 in tile 0, allowed: multiples of 4 below 16",
    ),
    (
        "LI gp1, 4\nM_TMV 0, gp1, gp0",
        "Matrix SRAM address has no such offset in its tile",
        "offset 4 in tile 0, allowed: 0",
    ),
    (
        "LI gp1, 2\nM_BMM 0, gp1, gp0",
        "Matrix SRAM address has no such offset in its tile",
        "offset 2 in tile 0, allowed: multiples of the head length 4 below 16",
    ),
    (
        "LI gp1, 16\nM_BTMM 0, gp1, gp0",
        "Matrix SRAM address has no such offset in its tile",
        "offset 16 in tile 0",
    ),
    (
        "LI gp1, 12\nLI gp2, 4\nM_BTMV gp2, gp1, gp0",
        "Matrix SRAM address has no such offset in its tile",
        "offset 16 in tile 0",
    ),
    ("M_BMV gp0, gp0, gp0", "M_BMV with more than one head", "MLEN 16 holds 4 heads of 4"),
    (
        "LI gp1, 3\nC_CSRW head_len, gp1\nM_BTMM 0, gp0, gp0",
        "head length does not divide MLEN",
        "head_len = 3, MLEN = 16",
    ),
    (
        "M_BTMM 0, gp0, gp0\nLI gp1, 8\nC_CSRW head_len, gp1\nM_BTMM 0, gp0, gp0",
        "head length changed while the accumulators hold sums",
        "sums of 4 heads, head_len = 8 makes 2",
    ),
    (
        "LI gp1, 8\nM_MM 0, gp0, gp1",
        "Vector SRAM address is not the start of a row",
        "element address 8, operand rows are multiples of 16",
    ),
    (
        f"LI gp1, {LAST}\nM_MM 0, gp0, gp1",
        "access outside Vector SRAM",
        "rows 63..66, the SRAM has rows 0..63",
    ),
    (
        "LI gp1, 2\nM_MM_WO gp1, gp0, 0",
        "write-out address is not aligned",
        "element address 2, allowed: multiples of 4",
    ),
    (
        "LI gp1, 8\nM_BMV_WO gp1, 0",
        "write-out address is not aligned",
        "element address 8, allowed: multiples of 16",
    ),
    (
        f"LI gp1, {LAST}\nM_MM_WO gp1, gp0, 0",
        "access outside Vector SRAM",
        "rows 63..66, the SRAM has rows 0..63",
    ),
    ("LI gp1, 16\nM_BMM_WO gp1, 0", "access outside Vector SRAM", "rows 1..64"),
    # Control
    ("C_LOOP_END gp1", "C_LOOP_END without a loop on its register", "open loops: 0"),
    (
        "C_LOOP_START gp1, 2\nC_BREAK\nC_LOOP_END gp1",
        "C_LOOP_END without a loop on its register",
        "open loops: 0",
    ),
    ("C_BREAK", "C_BREAK outside every loop", ""),
    ("C_LOOP_START gp1, 1\nC_JUMP .-1", "loop stack overflow", "65536 loops are open"),
    (
        ".word 0x193FD",
        "branch outside the program",
        "target 100, the program has words 0..0",
    ),
    ("LI gp1, 7\nC_TRAP gp1", "firmware trap", "code 7"),
    # Transfers
    (
        "LI gp1, 16\nH_PREFETCH_M gp1, gp0, a0, 0, 0",
        "Matrix SRAM address is not the start of a tile",
        "element address 16, allowed: multiples of 256",
    ),
    (
        "LI gp1, 512\nH_PREFETCH_M gp1, gp0, a0, 0, 0",
        "access outside Matrix SRAM",
        "rows 32..47, the SRAM has rows 0..31",
    ),
    (
        f"LI gp1, {LAST}\nH_STORE_V gp1, gp0, a0, 0, 0",
        "access outside Vector SRAM",
        "rows 63..66",
    ),
    (
        "LI gp1, 1\nLIA a1, 0x100000, gp2\nH_LD_INT gp0, gp0, a1, gp1, 0\nC_FENCE 1",
        "DMA beyond every memory and peripheral",
        "address 0x100000  ->  in no region",
    ),
    (
        "LIA a1, 0x100000, gp2\nH_STORE_V gp0, gp0, a1, 0, 0\nC_FENCE 1",
        "DMA beyond every memory and peripheral",
        "address 0x100000",
    ),
    (
        "LI gp1, 11\nC_CSRW dma_format, gp1\nH_LD_V gp0, gp0, a0, gp1, 0",
        "no such DMA format",
        "dma_format = 11, allowed: 0..10",
    ),
    (
        "LI gp1, 12\nC_CSRW dma_block, gp1\nH_LD_V gp0, gp0, a0, gp1, 0",
        "no such MX block",
        "dma_block = 12, allowed: 8, 16, 32",
    ),
    (
        "LI gp1, 24\nC_CSRW dma_sram_pitch, gp1\nH_LD_V gp0, gp0, a0, gp1, 0",
        "DMA rows overlap in Vector SRAM, or do not begin at a row",
        "dma_sram_pitch = 24, a row takes 16 elements",
    ),
    (
        "LI gp1, 9\nC_CSRW dma_format, gp1\nLI gp1, 4\nC_CSRW dma_len, gp1\nLI gp1, 2\nC_CSRW dma_sram_pitch, gp1\n"
        "H_LD_FP gp0, gp0, a0, gp1, 0",
        "DMA rows overlap in the SRAM",
        "dma_sram_pitch = 2, a row takes 4",
    ),
    (
        "LI gp1, 5\nH_LD_V gp0, gp1, a0, gp1, 0",
        "a row does not begin at an MX block",
        "offset 5",
    ),
    (
        "LI gp1, 17\nC_CSRW dma_len, gp1\nLI gp1, 1\nH_LD_M gp0, gp0, a0, gp1, 0",
        "a row longer than a Matrix SRAM row",
        "17, allowed: 1..16",
    ),
    ("LI gp1, 257\nH_LD_INT gp0, gp0, a0, gp1, 0", "access outside INT SRAM", "words 0..256"),
    (
        "LI gp1, 8\nC_CSRW dma_format, gp1\nLI gp1, 250\nLI gp2, 7\nH_GATHER_V gp0, gp1, a0, gp2, 0",
        "access outside INT SRAM",
        "words 250..256",
    ),
]


@pytest.mark.parametrize(("text", "message", "detail"), TRAPS)
def test_trap(text: str, message: str, detail: str) -> None:
    p = platform()
    with pytest.raises(vp.Trap) as caught:
        run(text, on=p)
    trap = caught.value
    assert trap.message == message
    assert str(trap).startswith(f"core0 {message}\n") and detail in str(trap)
    assert trap.core == "core0"
    assert trap.machine is p.machine  # and it can be read
    assert trap.machine.registers()["pc"] == trap.pc
    # Timing mode takes the same trap at the same place.
    with pytest.raises(vp.Trap) as again:
        run(text, on=p, mode="timing")
    assert (again.value.message, again.value.pc) == (message, trap.pc)
    # The platform is as good as new.
    assert run("LI gp1, 5\nC_HALT gp1", on=p).result.stats["cores"]["core0"]["exit_code"] == 5


def test_the_whole_text() -> None:
    with pytest.raises(vp.Trap) as caught:
        run("LI gp7, 0x400\n    V_RED_MAX_IDX gp4, gp7, gp6, f1\n")
    lines = [" ".join(line.split()) for line in str(caught.value).splitlines()]
    assert lines == [
        "core0 access outside Vector SRAM",
        "pc 0x0001 V_RED_MAX_IDX gp4, gp7, gp6, f1 <text>:3",
        "gp4 = 0x0000_0000, gp7 = 0x0000_0400, gp6 = 0x0000_0000 -> "
        "row 64, the SRAM has rows 0..63",
        "last writer of gp7: pc 0x0000 S_ADDI_INT gp7, gp0, 1024 <text>:2",
    ]


def test_too_long_an_iteration() -> None:
    text = """
        C_LOOP_START gp1, 3
            C_LOOP_START gp2, {inner}
                NOP
            C_LOOP_END gp2
        C_LOOP_END gp1
    """
    # An outer iteration has 1 + 2 inner + 1 instructions.
    assert run(text.format(inner=4), max_loop_instructions=10).cycles == 1 + 3 * 10
    with pytest.raises(vp.Trap) as caught:
        run(text.format(inner=5), max_loop_instructions=10)
    assert "more than 10 instructions in one iteration of a loop" in str(caught.value)
    assert "loop of C_LOOP_START at pc 0" in str(caught.value)


def test_prefetch_drops_rows_behind_the_end() -> None:
    r = run(
        f"LI gp1, {16 * 62}\nH_PREFETCH_V gp1, gp0, a0, 0, 0",
        memories={("hbm", 0): np.full(64, 0x38, np.uint8), ("hbm", 64): np.full(8, 127, np.uint8)},
        act_format="bf16",
    )
    assert r.result.stats["cores"]["core0"]["dma"]["bytes_read"] == 2 * 32


# Uninitialised reads

UNWRITTEN: list[tuple[str, str]] = [
    ("V_ADD_VV gp0, gp0, gp0", "Vector SRAM row 0"),
    ("LI gp1, 16\nV_RED_SUM f1, gp1", "Vector SRAM row 1"),
    ("V_RAND gp0, gp0, uniform\nLI gp1, 2\nV_COLMAX gp0, gp0, gp1, gp0", "Vector SRAM row 1"),
    ("S_LD_FP f1, gp0, 9", "FP SRAM word 9"),
    ("S_ST_FP f1, gp0, 8\nS_LD_FP f1, gp0, 9", "FP SRAM word 9"),
    ("S_LD_INT gp1, gp0, 64", "INT SRAM word 64"),
    ("LI gp1, 2\nS_ST_INT gp1, gp0, 0\nV_CMP_INT gp0, gp0, gp0, gp1, eq", "INT SRAM word 1"),
    ("V_RAND gp0, gp0, uniform\nM_MV 0, gp0, gp0", "Matrix SRAM row 0"),
    (
        "V_RAND gp0, gp0, uniform\nH_PREFETCH_M gp0, gp0, a0, 0, 0\n"
        "M_MV 0, gp0, gp0\nLI gp1, 256\nM_MV 0, gp1, gp0",
        "Matrix SRAM row 16",
    ),
    ("LI gp1, 1\nH_ST_V gp0, gp0, a0, gp1, 0", "Vector SRAM row 0"),
    ("M_MV 0, gp0, gp0", "Vector SRAM row 0"),
]


@pytest.mark.parametrize(("text", "detail"), UNWRITTEN)
def test_reads_of_what_nothing_has_written(text: str, detail: str) -> None:
    with pytest.raises(vp.Trap) as caught:
        run(text, check_uninitialised=True)
    assert caught.value.message == "read of what nothing has written"
    assert detail in str(caught.value)
    assert caught.value.pc == text.count("\n")
    assert run(text).cycles > 0  # without the check it reads zeros


def test_what_counts_as_written() -> None:
    everything = """
        LI gp1, 8
        C_CSRW dma_format, gp1
        LI gp1, 4
        LI gp3, 16
        LI gp2, 64
        H_LD_V gp0, gp0, a0, gp1, 0         ; rows 0..3
        H_LD_M gp0, gp0, a0, gp3, 0
        H_LD_INT gp0, gp0, a0, gp1, 0       ; words 0..3
        H_LD_FP gp0, gp0, a0, gp1, 0
        V_ADD_VV gp0, gp0, gp3
        M_MM 0, gp0, gp0
        M_MM_WO gp2, gp0, 0                 ; rows 4..7
        V_RED_SUM f1, gp2
        S_LD_INT gp4, gp0, 3
        S_LD_FP f1, gp0, 3
        S_ST_INT gp4, gp0, 9
        S_LD_INT gp4, gp0, 9
        LI gp2, 128
        V_RED_MAX f2, gp2, 0                ; the loader wrote row 8
    """
    r = run(
        everything,
        check_uninitialised=True,
        memories={("core0.vector", 256): np.ones(32, np.uint8)},
    )
    assert r.result.stats["cores"]["core0"]["instructions"] == 19


# Timing mode and unknown data


def test_control_on_unknown_data_needs_decisions() -> None:
    text = """
        V_RED_MAX_IDX gp1, gp0, gp0, f1
        LI gp2, 3
        C_BLTU gp1, gp2, low
        C_HALT gp2
    low:
        C_HALT gp0
    """
    data: Any = {("core0.vector", 0): np.array([0, 0, 0, 0x3F80, 0, 0], np.uint16)}
    full = run(text, memories=data)
    assert full.result.decisions == {0: [(2, 3)]}
    timed = run(text, mode="timing", decisions=full.result.decisions)
    assert timed.cycles == full.cycles
    assert timed.result.stats["cores"]["core0"]["exit_code"] == 3
    with pytest.raises(vp.Trap) as caught:
        run(text, mode="timing")
    assert "gp1 depends on data that timing mode does not compute" in str(caught.value)
    with pytest.raises(vp.Trap) as caught:
        run(text, mode="timing", decisions={0: [(1, 3)]})
    assert "the next decision was recorded at pc 1, not here" in str(caught.value)
