"""Cycles: every timing class and every kind of hazard, one too few and just enough."""

from typing import Any

import pytest
from core_machine import cycles, run

ROWS = """
    LI gp1, 16
    LI gp2, 32
    LI gp3, 48
    LI gp4, 64
    LI gp5, 5
"""
BF16 = ROWS + "    LI gp6, 8\n"

# Class, an instruction of it, one that needs its result, one of the class that does not.
RESULTS: list[tuple[str, str, str, str]] = [
    ("scalar_int", "S_ADDI_INT gp6, gp0, 1", "S_ADD_INT gp7, gp6, gp0", "S_MUL_INT gp8, gp1, gp1"),
    ("scalar_fp", "S_ADD_FP f1, f2, f3", "S_MAX_FP f4, f1, f0", "S_MUL_FP f5, f2, f3"),
    ("scalar_fp_exp", "S_EXP_FP f1, f2", "S_ADD_FP f4, f1, f0", "S_EXP_FP f5, f2"),
    ("scalar_fp_reci", "S_RECI_FP f1, f2", "S_ADD_FP f4, f1, f0", "S_RECI_FP f5, f2"),
    ("scalar_fp_sqrt", "S_SQRT_FP f1, f2", "S_ADD_FP f4, f1, f0", "S_SQRT_FP f5, f2"),
    ("scalar_fp_log", "S_LOG_FP f1, f2", "S_ADD_FP f4, f1, f0", "S_LOG_FP f5, f2"),
    ("fp_mem", "S_LD_FP f1, gp0, 0", "S_ADD_FP f4, f1, f0", "S_LD_FP f5, gp0, 1"),
    ("int_mem", "S_LD_INT gp6, gp0, 0", "S_ADD_INT gp7, gp6, gp0", "S_ST_INT gp1, gp0, 1"),
    ("control", "C_CSRW dma_len, gp1", "C_CSRR gp7, dma_len", "C_CSRW dma_rows, gp1"),
    ("vector_add", "V_ADD_VV gp1, gp0, gp0", "V_GET f1, gp1, gp0", "V_SUB_VV gp2, gp0, gp0"),
    ("vector_mul", "V_MUL_VF gp1, gp0, f1", "V_GET f1, gp1, gp0", "V_MUL_VV gp2, gp0, gp0"),
    ("vector_exp", "V_EXP_V gp1, gp0, 0", "V_GET f1, gp1, gp0", "V_EXP_V gp2, gp0, 0"),
    ("vector_reci", "V_RECI_V gp1, gp0, 0", "V_GET f1, gp1, gp0", "V_RECI_V gp2, gp0, 0"),
    ("vector_silu", "V_SILU_V gp1, gp0", "V_GET f1, gp1, gp0", "V_SILU_V gp2, gp0"),
    ("vector_log", "V_LOG_V gp1, gp0", "V_GET f1, gp1, gp0", "V_LOG_V gp2, gp0"),
    ("vector_max", "V_RED_MAX f1, gp0, 0", "S_ADD_FP f4, f1, f0", "V_MAX_VF gp2, gp0, f2"),
    (
        "vector_max_idx",
        "V_RED_MAX_IDX gp6, gp0, gp0, f1",
        "S_ADD_INT gp7, gp6, gp0",
        "V_RED_MAX_IDX gp8, gp0, gp0, f2",
    ),
    ("vector_sum", "V_RED_SUM f1, gp0", "S_ADD_FP f4, f1, f0", "V_RED_SUM_M f2, gp0, 0"),
    (
        "vector_select",
        "V_SELECT_VVM gp1, gp0, gp0, gp2",
        "V_GET f1, gp1, gp0",
        "V_CMP_VF gp2, gp0, f1, lt",
    ),
    ("vector_shift", "V_SHFT_V gp1, gp0, gp5", "V_GET f1, gp1, gp0", "V_SHFT_V gp2, gp0, gp5"),
    ("vector_get", "V_GET f1, gp0, gp5", "S_ADD_FP f4, f1, f0", "V_GET f2, gp0, gp5"),
    ("vector_rand", "V_RAND gp1, gp0, gumbel", "V_GET f1, gp1, gp0", "V_RAND gp2, gp0, gumbel"),
]


def issue(
    text: str, before: str = ROWS, timing: dict[str, dict[str, int]] | None = None, **core: Any
) -> int:
    """The cycle in which what follows `text` could issue at the earliest, from its first one on."""
    timing = {"vector_get": {"interval": 1, "latency": 1}} | (timing or {})
    program = before + text + "\nC_CSRR gp15, cycle_lo\n"
    found = run(program, timing=timing, **core).gp[15]
    again = run(program, timing=timing, mode="timing", **core).gp[15]
    assert found == again
    assert run(program, timing=timing, quantum="1ns", **core).gp[15] == found
    return found - before.strip().count("\n") - (1 if before.strip() else 0)


@pytest.mark.parametrize(("name", "first", "reader", "_other"), RESULTS)
@pytest.mark.parametrize("latency", [1, 6, 7])
def test_latency(name: str, first: str, reader: str, _other: str, latency: int) -> None:
    timing = {name: {"interval": 1, "latency": latency}}
    before = (
        "" if name in ("scalar_int", "control") else ROWS
    )  # the registers' values do not matter
    assert issue(f"{first}\n{reader}", before=before, timing=timing) == latency + 1


@pytest.mark.parametrize(
    ("name", "first", "_reader", "other"), [r for r in RESULTS if r[0] != "control"]
)
@pytest.mark.parametrize("interval", [1, 6, 7])
def test_interval(name: str, first: str, _reader: str, other: str, interval: int) -> None:
    timing = {name: {"interval": interval, "latency": 1}}
    before = "" if name == "scalar_int" else ROWS
    assert issue(f"{first}\n{other}", before=before, timing=timing) == interval + 1


# Class, an instruction with n elements (n = 5 in gp5), one that needs its result, n.
ELEMENTS: list[tuple[str, str, str, int]] = [
    ("vector_topk", "V_TOPK_MASK gp1, gp0, gp2, gp5, gp5", "V_GET f1, gp1, gp0", 5),
    ("vector_topk", "V_TOPK_FP gp1, gp0, gp2, gp5, gp5", "V_GET f1, gp1, gp0", 5),
    ("vector_topk_n", "V_TOPK_N gp1, gp0, gp0, gp5, gp5", "S_LD_FP f1, gp1, 4", 5),
    ("vector_topk_n", "V_TOPK gp1, gp0, gp0, 0", "S_LD_INT gp6, gp0, 3", 32),
    ("vector_map", "S_MAP_V_FP gp1, gp0, 0", "V_GET f1, gp1, gp0", 16),
    ("vector_map", "S_MAP_V_FP gp1, gp0, 0, gp5", "V_GET f1, gp1, gp0", 5),
    ("vector_map", "S_MAP_FP_V gp1, gp0, gp5", "S_LD_FP f1, gp1, 0", 5),
    ("vector_select_int", "V_SELECT_INT gp1, gp0, gp2, gp0, gp5", "S_LD_INT gp6, gp1, 4", 5),
    ("vector_compare", "V_CMP_INT gp1, gp0, gp0, gp5, eq", "V_GET f1, gp1, gp0", 5),
    ("vector_compare", "V_CMP_FP gp1, gp0, f0, gp5, eq", "V_GET f1, gp1, gp0", 5),
    ("vector_count", "V_COUNT gp6, gp0, gp2", "S_ADD_INT gp7, gp6, gp0", 2),  # rows
    ("vector_colmax", "V_COLMAX gp1, gp2, gp5, gp0", "V_GET f1, gp1, gp0", 5),  # rows
]


@pytest.mark.parametrize(("name", "first", "reader", "n"), ELEMENTS)
@pytest.mark.parametrize(("once", "each"), [(0, 1), (2, 1), (1, 3)])
def test_cost_per_element(name: str, first: str, reader: str, n: int, once: int, each: int) -> None:
    late = {name: {"interval": 0, "latency": once, "per_element": each}}
    assert issue(f"{first}\n{reader}", timing=late) == once + each * n + 1
    busy = {name: {"interval": once, "latency": 0, "per_element": each}}
    assert issue(f"{first}\nV_GET f6, gp4, gp0", timing=busy) == once + each * n + 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("branch", "C_BEQ gp0, gp1, .+1"),
        ("branch", "C_JUMP .+1"),
        ("sync", "C_FENCE 65535"),
        ("control", "C_SET_ADDR_REG a1, gp0, gp0"),
        ("control", "C_HOST_PUSH gp1"),
    ],
)
@pytest.mark.parametrize("interval", [1, 6, 7])
def test_interval_of_control(name: str, text: str, interval: int) -> None:
    timing = {"control": {"interval": 1, "latency": 1}}
    timing[name] = {"interval": interval, "latency": 1}
    assert issue(text, timing=timing) == interval


def test_marks_and_results_for_f0_take_no_time() -> None:
    free = """
        C_MARK layer, gp1
        S_ADD_FP f0, f1, f2
        S_EXP_FP f0, f1
        V_RED_SUM f0, gp0
        V_RED_MAX f0, gp0, 0
    """
    assert issue(free) == 0
    assert issue("S_ADD_FP f1, f1, f2") == 1


# Hazards

SLOW = {"vector_add": {"interval": 1, "latency": 9}, "scalar_fp_exp": {"interval": 1, "latency": 9}}
SLOW |= {
    "vector_max_idx": {"interval": 1, "latency": 9},
    "vector_sum": {"interval": 1, "latency": 9},
}
SLOW |= {"int_mem": {"interval": 1, "latency": 9}, "fp_mem": {"interval": 1, "latency": 9}}

HAZARDS: list[tuple[str, str, str]] = [
    ("RAW gp", "V_RED_MAX_IDX gp6, gp0, gp0, f1", "S_ADD_INT gp7, gp6, gp0"),
    ("WAW gp", "V_RED_MAX_IDX gp6, gp0, gp0, f1", "S_ADD_INT gp6, gp1, gp0"),
    ("address in gp", "S_LD_INT gp6, gp0, 9", "S_LD_INT gp7, gp6, 0"),
    ("branch on gp", "S_LD_INT gp6, gp0, 9", "C_BEQ gp6, gp1, .+1"),
    ("RAW fp", "S_EXP_FP f1, f2", "S_ADD_FP f3, f1, f0"),
    ("WAW fp", "S_EXP_FP f1, f2", "S_ADD_FP f1, f2, f0"),
    ("fp to vector", "S_EXP_FP f1, f2", "V_MUL_VF gp1, gp0, f1"),
    ("RAW row", "V_ADD_VV gp1, gp0, gp0", "V_MUL_VV gp2, gp1, gp0"),
    ("WAW row", "V_ADD_VV gp1, gp0, gp0", "V_MUL_VV gp1, gp0, gp0"),
    ("RAW INT word", "S_ST_INT gp1, gp0, 7", "S_LD_INT gp7, gp0, 7"),
    ("WAW INT word", "S_ST_INT gp1, gp0, 7", "S_ST_INT gp2, gp0, 7"),
    ("RAW FP word", "S_ST_FP f1, gp0, 7", "S_LD_FP f2, gp0, 7"),
    ("WAW FP word", "S_ST_FP f1, gp0, 7", "S_ST_FP f2, gp0, 7"),
    ("INT words to vector", "S_ST_INT gp1, gp0, 4", "V_CMP_INT gp1, gp0, gp0, gp5, eq"),
    ("DMA reads rows", "V_ADD_VV gp1, gp0, gp0", "H_ST_V gp1, gp0, a0, gp5, 0"),
    ("DMA writes rows", "V_ADD_VV gp1, gp0, gp0", "H_LD_V gp1, gp0, a0, gp5, 0"),
    ("DMA reads words", "S_ST_INT gp1, gp0, 4", "H_ST_INT gp0, gp0, a0, gp5, 0"),
    ("gather reads words", "S_ST_INT gp0, gp0, 4", "H_GATHER_V gp1, gp0, a0, gp5, 0"),
]
FREE: list[tuple[str, str]] = [
    ("V_RED_MAX_IDX gp6, gp0, gp0, f1", "S_ADD_INT gp7, gp1, gp0"),
    ("S_EXP_FP f1, f2", "S_ADD_FP f3, f2, f0"),
    ("V_ADD_VV gp1, gp0, gp0", "V_MUL_VV gp2, gp0, gp0"),
    ("V_ADD_VV gp1, gp0, gp0", "V_MUL_VV gp0, gp2, gp2"),  # write after read
    ("S_ST_INT gp1, gp0, 7", "S_LD_INT gp7, gp0, 8"),
    ("S_ST_FP f1, gp0, 7", "S_LD_FP f2, gp0, 6"),
    ("S_ST_INT gp1, gp0, 5", "V_CMP_INT gp1, gp0, gp0, gp5, eq"),
    ("S_ST_INT gp1, gp0, 5", "H_ST_INT gp0, gp0, a0, gp5, 0"),
]


@pytest.mark.parametrize(("first", "second"), [h[1:] for h in HAZARDS], ids=[h[0] for h in HAZARDS])
def test_hazard(first: str, second: str) -> None:
    first = "C_CSRW dma_format, gp6\n" + first if second.startswith("H_") else first
    for filler, expected in ((0, 10), (8, 10), (9, 11)):  # one too few, just enough
        text = first + "\nNOP" * filler + "\n" + second
        assert issue(text, before=BF16, timing=SLOW) - first.startswith("C_CSRW") == expected


@pytest.mark.parametrize(("first", "second"), FREE)
def test_no_hazard(first: str, second: str) -> None:
    assert issue(f"{first}\n{second}", timing=SLOW) == 2


# Transfers. A load of 16 BF16 elements: 10 ns latency, 32 bytes per ns, so it is complete 11 cycles
# after its issue.

LOAD = ROWS + "    LI gp6, 8\n    C_CSRW dma_format, gp6\n    LI gp6, 1\n"
DONE = 11


@pytest.mark.parametrize(
    ("reader", "waits"),
    [
        ("V_ADD_VV gp2, gp1, gp0", True),
        ("V_ADD_VV gp1, gp0, gp0", True),
        ("V_ADD_VV gp2, gp0, gp0", False),
        ("M_MV 0, gp0, gp1", True),
        ("C_FENCE 1", True),
        ("C_FENCE 2", False),
        ("H_ST_V gp1, gp0, a1, gp6, 0", True),
        ("H_ST_V gp2, gp0, a1, gp6, 0", False),
    ],
)
def test_a_load_overlaps_what_does_not_need_it(reader: str, waits: bool) -> None:
    load = "H_LD_V gp1, gp0, a0, gp6, 0\n"
    late = DONE if waits else 1
    for filler in (0, late - 2, late - 1):
        text = load + "NOP\n" * max(0, filler) + reader
        assert issue(text, before=LOAD) == late + 1
    assert issue(load + "NOP\n" * late + reader, before=LOAD) == late + 2


@pytest.mark.parametrize(
    ("writer", "waits"),
    [
        ("V_ADD_VV gp1, gp0, gp0", True),
        ("V_ADD_VV gp2, gp1, gp0", False),  # reads what the store reads
        ("H_LD_V gp1, gp0, a1, gp6, 0", True),
    ],
)
def test_a_store_keeps_its_rows(writer: str, waits: bool) -> None:
    store = "H_ST_V gp1, gp0, a0, gp6, 0\n"
    narrow = {"dma_ports": 1, "dma_port_bits": 32}  # 8 cycles for a row
    assert issue(store + "C_FENCE 1", before=LOAD, **narrow) == 8 + 1
    assert issue(store + writer, before=LOAD, **narrow) == (8 + 1 if waits else 2)


def test_blocking_issue_waits_for_the_transfer() -> None:
    load = "H_LD_V gp1, gp0, a0, gp6, 0\n"
    assert issue(load + "NOP", before=LOAD, issue="blocking") == DONE + 1
    assert issue(load + "NOP", before=LOAD) == 2


def test_blocking_issue_takes_one_instruction_at_a_time() -> None:
    timing = {
        "vector_add": {"interval": 3, "latency": 9},
        "vector_mul": {"interval": 9, "latency": 3},
    }
    for text in ("V_ADD_VV gp1, gp0, gp0", "V_MUL_VV gp1, gp0, gp0"):
        assert issue(text, timing=timing, issue="blocking") == 9
        assert issue(text, timing=timing) == 1


def test_a_full_queue_stalls() -> None:
    load = "H_LD_V gp{}, gp0, a0, gp6, 0\n"
    assert issue(load.format(1) + load.format(2), before=LOAD) == 2
    three = "".join(load.format(i) for i in (1, 2, 3))
    assert issue(three, before=LOAD) == DONE + 1
    assert issue(three, before=LOAD, dma_queue_depth=3) == 3
    assert issue(load.format(1) + load.format(2) + "NOP\n" * 8 + load.format(3), before=LOAD) == 12
    assert issue(load.format(1) + load.format(2) + "NOP\n" * 9 + load.format(3), before=LOAD) == 12
    assert issue(load.format(1) + load.format(2) + "NOP\n" * 10 + load.format(3), before=LOAD) == 13


def test_the_core_ends_when_its_transfers_have() -> None:
    assert cycles(LOAD + "H_LD_V gp1, gp0, a0, gp6, 0") == 8 + DONE


# Matrix unit. MLEN = VLEN = 16, BLEN = 4: a product streams 4 cycles, its last sum is there 6 later,
# the adder tree has depth 2, four rows are written.

MATRIX = BF16 + "    C_CSRW dma_format, gp6\n    LI gp6, 160\n    LI gp7, 256\n"
STREAM, SKEW, TREE = 4, 6, 2


def test_products_stream_one_after_the_other() -> None:
    product = "M_MM 0, gp0, gp0\n"
    assert issue(product, before=MATRIX) == 1
    for n in (1, 2, 3):
        assert issue(product * (n + 1), before=MATRIX) == n * STREAM + 1


def test_a_writeout_waits_in_the_unit_and_the_next_tile_for_it() -> None:
    tile = "M_MM 0, gp0, gp0\nM_MM 0, gp0, gp0\nM_MM_WO gp6, gp0, 0\n"
    done = 2 * STREAM + SKEW
    assert issue(tile, before=MATRIX) == STREAM + 2  # the core goes on
    assert issue(tile + "M_MM 0, gp0, gp0\n", before=MATRIX) == done + 1
    for filler, expected in (
        (0, done + 1),
        (done - STREAM - 2, done + 1),
        (done - STREAM - 1, done + 2),
    ):
        text = tile + "NOP\n" * filler + "M_MM 0, gp0, gp0\n"
        assert issue(text, before=MATRIX) == expected
    # A second write-out is taken when the first has begun.
    assert issue(tile + "M_MV_WO gp4, 0\n", before=MATRIX) == done + 1


@pytest.mark.parametrize("extra", [0, 3])
def test_results_of_a_tile(extra: int) -> None:
    timing = {"matrix_writeout": {"interval": 1, "latency": extra}}
    tile = "M_MM 0, gp0, gp0\nM_MM_WO gp6, gp0, 0\n"
    ready = STREAM + SKEW + TREE + 4 + extra
    for filler, expected in (
        (0, ready),
        (ready - 3, ready),
        (ready - 2, ready),
        (ready - 1, ready + 1),
    ):
        text = tile + "NOP\n" * filler + "V_GET f1, gp6, gp0"
        assert issue(text, before=MATRIX, timing=timing) == expected + 1


def test_another_accumulator_waits_for_the_array() -> None:
    assert issue("M_MM 0, gp0, gp0\nM_MV 0, gp0, gp0\n", before=MATRIX) == STREAM + SKEW + 1
    # One row of multipliers is active: a skew of 3.
    assert issue("M_MV 0, gp0, gp0\nM_MM 0, gp0, gp0\n", before=MATRIX) == STREAM + 3 + 1


@pytest.mark.parametrize(
    ("product", "stream"),
    [
        ("M_MM 0, gp0, gp0", 4),
        ("M_TMM 0, gp0, gp0", 4),
        ("M_MV 0, gp0, gp0", 4),
        ("M_TMV 0, gp0, gp0", 4),
        ("M_BMM 0, gp0, gp0", (16 // 4) ** 2 * 4),
        ("M_BTMM 0, gp0, gp0", (16 // 4) ** 2 * 4),
        ("M_BTMV gp0, gp0, gp0", 16),
    ],
)
def test_streaming(product: str, stream: int) -> None:
    name = {"M_MM": "mm", "M_TM": "mm", "M_MV": "mv", "M_BM": "bmm", "M_BT": "bmm"}[product[:4]]
    name = {"M_TMV": "mv", "M_BTMV": "bmv"}.get(product.split()[0], name)
    for extra in (0, 5):
        timing = {f"matrix_{name}": {"interval": extra, "latency": 0}}
        assert issue(f"{product}\n{product}", before=MATRIX, timing=timing) == stream + extra + 1


def test_rows_of_the_grid_divide_the_batched_forms() -> None:
    text = "M_BTMM 0, gp0, gp0\nM_BTMM 0, gp0, gp0"
    assert issue(text, before=MATRIX, matrix_rows=2) == 32 + 1
    assert issue("M_MM 0, gp0, gp0\nM_MM 0, gp0, gp0", before=MATRIX, matrix_rows=2) == 4 + 1


@pytest.mark.parametrize(
    ("writer", "waits"),
    [
        ("V_ADD_VV gp3, gp4, gp4", True),  # row 3 streams into the array
        ("V_ADD_VV gp4, gp3, gp3", False),
        ("V_RED_SUM f1, gp3", False),
        ("H_LD_M gp0, gp0, a0, gp5, 0", True),
        ("H_LD_M gp7, gp0, a0, gp5, 0", False),
    ],
)
def test_operands_are_kept_while_they_stream(writer: str, waits: bool) -> None:
    product = "M_MM 0, gp0, gp0\n"
    assert issue(product + writer, before=MATRIX) == (STREAM + 1 if waits else 2)
    if waits:
        assert issue(product + "NOP\n" * (STREAM - 1) + writer, before=MATRIX) == STREAM + 1
        assert issue(product + "NOP\n" * STREAM + writer, before=MATRIX) == STREAM + 2


def test_table_of_the_public_machine() -> None:
    timing = {
        "matrix_mm": {"interval": 64, "latency": 64},
        "matrix_bmv": {"interval": 1, "latency": 1},
        "matrix_writeout": {"interval": 1, "latency": 1},
    }
    options: dict[str, Any] = {"matrix_timing": "table", "issue": "blocking", "timing": timing}
    assert issue("M_MM 0, gp0, gp0", before=MATRIX, **options) == 64
    assert issue("M_MM 0, gp0, gp0\nM_MM_WO gp6, gp0, 0", before=MATRIX, **options) == 65
    assert issue("M_BTMV gp0, gp0, gp0\nM_BMV_WO gp6, 0", before=MATRIX, **options) == 2


def test_energy_of_a_product() -> None:
    one = run(MATRIX + "M_MM 0, gp0, gp0").result
    two = run(MATRIX + "M_MM 0, gp0, gp0\nM_MM 0, gp0, gp0").result
    assert two.stats["cores"]["core0"]["matrix"]["macs"] == 2 * 4 * 4 * 16
    spent = two.energy.dynamic_fj["core0.matrix"] - one.energy.dynamic_fj["core0.matrix"]
    assert spent == 4 * 4 * 16 * 105  # MXINT8
