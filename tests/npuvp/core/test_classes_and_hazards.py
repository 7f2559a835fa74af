"""Issue interval, latency and hazards: ready at N, too early at N - 1.

Each case runs tiny programs with one entry of the timing table at N and at N + 1 and demands the exact
cycle count of both. The first instruction issues at cycle 0.
"""

import pytest

import npuvp as vp
from npuvp.isa import load

#: An instruction of each timing class that depends on nothing before it, and its elements.
EXAMPLES = {
    "scalar_int": ("S_ADDI_INT gp1, gp0, 1", 0),
    "scalar_fp": ("S_ADD_FP f1, f0, f0", 0),
    "scalar_fp_exp": ("S_EXP_FP f1, f0", 0),
    "scalar_fp_reci": ("S_RECI_FP f1, f0", 0),
    "scalar_fp_sqrt": ("S_SQRT_FP f1, f0", 0),
    "scalar_fp_log": ("S_LOG_FP f1, f0", 0),
    "fp_mem": ("S_LD_FP f1, gp0, 0", 0),
    "int_mem": ("S_LD_INT gp1, gp0, 0", 0),
    "control": ("C_SET_STRIDE_REG gp0", 0),
    "branch": ("C_BNE gp0, gp0, .+1", 0),
    "sync": ("C_FENCE 1", 0),
    "vector_add": ("V_ADD_VV gp0, gp0, gp0", 0),
    "vector_mul": ("V_MUL_VV gp0, gp0, gp0", 0),
    "vector_exp": ("V_EXP_V gp0, gp0, 0", 0),
    "vector_reci": ("V_RECI_V gp0, gp0, 0", 0),
    "vector_log": ("V_LOG_V gp0, gp0", 0),
    "vector_silu": ("V_SILU_V gp0, gp0", 0),
    "vector_max": ("V_MAX_VV gp0, gp0, gp0", 0),
    "vector_max_idx": ("V_RED_MAX_IDX gp1, gp0, gp0, f1", 0),
    "vector_sum": ("V_RED_SUM f1, gp0", 0),
    "vector_select": ("V_SELECT_VVM gp0, gp0, gp0, gp0", 0),
    "vector_shift": ("V_SHFT_V gp0, gp0, gp0", 0),
    "vector_topk": ("V_TOPK_MASK gp0, gp0, gp0, gp0, gp0", 64),
    "vector_topk_n": ("V_TOPK gp0, gp0, gp0, 0", 32),
    "vector_map": ("S_MAP_V_FP gp0, gp0, 0", 64),
    "vector_select_int": ("V_SELECT_INT gp0, gp0, gp0, gp0, gp0", 64),
    "vector_compare": ("V_CMP_INT gp0, gp0, gp0, gp0, eq", 64),
    "vector_count": ("V_COUNT gp1, gp0, gp0", 1),
    "vector_get": ("V_GET f1, gp0, gp0", 0),
    "vector_colmax": ("V_COLMAX gp0, gp0, gp2, gp3", 2),
    "vector_rand": ("V_RAND gp0, gp0, 0", 0),
    "matrix_mm": ("M_MM 0, gp0, gp0", 0),
    "matrix_bmm": ("M_BMM 0, gp0, gp0", 0),
    "matrix_mv": ("M_MV 0, gp0, gp0", 0),
    "matrix_bmv": ("M_BTMV gp0, gp0, gp0", 0),
    "matrix_writeout": ("M_MM_WO gp0, gp0, 0", 0),
}
#: Classes that need operands of their own before the instruction that is timed.
BEFORE = {"vector_colmax": "S_ADDI_INT gp2, gp0, 2\nS_ADDI_INT gp3, gp0, 64\n"}


def run(text, issue="scoreboard", core=None, **timing):
    """Cycles on a machine of VLEN 64 whose other classes take one cycle."""
    table = {
        name: {"interval": 1, "latency": 1, "per_element": 0}
        for name in load().timing_classes
        if name != "mark"
    }
    table |= {name: {"per_element": 0, **entry} for name, entry in timing.items()}
    p = vp.Platform("timing")
    p.core(
        "core0",
        **{"vlen": 64, "mlen": 64, "blen": 4, "hlen": 16, "issue": issue},
        **{"matrix_timing": "table", "timing": table, "vector_sram_bytes": "64KiB"},
        **(core or {}),
    )
    p.hbm("hbm", backend="ideal", size="1MiB", latency="20ns", bandwidth="32GB/s")
    return p.run(vp.assemble(text + "\n")).cycles


def test_every_class_is_here():
    assert set(EXAMPLES) | {"mark", "dma"} == set(load().timing_classes)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("latency", [7, 8])
def test_latency(name, latency):
    instruction, _ = EXAMPLES[name]
    before = BEFORE.get(name, "")
    cycles = run(before + instruction, **{name: {"interval": 1, "latency": latency}})
    assert cycles == before.count("\n") + latency


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("interval", [7, 8])
def test_interval_keeps_the_unit(name, interval):
    """Another instruction of the class that waits for nothing issues when its unit is free."""
    instruction, _ = EXAMPLES[name]
    before = BEFORE.get(name, "")
    text = before + f"{instruction}\n{instruction}\n"
    cycles = run(text, **{name: {"interval": interval, "latency": 1}})
    assert cycles == before.count("\n") + 2 * interval


@pytest.mark.parametrize("name", [n for n, (_, elements) in EXAMPLES.items() if elements])
@pytest.mark.parametrize("per_element", [1, 2])
def test_cost_per_element(name, per_element):
    instruction, elements = EXAMPLES[name]
    before = BEFORE.get(name, "")
    entry = {"interval": 0, "latency": 3, "per_element": per_element}
    assert (
        run(before + instruction, **{name: entry})
        == before.count("\n") + 3 + per_element * elements
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_blocking_issue_waits_for_the_result(name):
    instruction, _ = EXAMPLES[name]
    before = BEFORE.get(name, "")
    entry = {"interval": 2, "latency": 9}
    text = before + f"{instruction}\n{instruction}\n"
    assert run(text, issue="blocking", **{name: entry}) == before.count("\n") + 18


def test_marks_cost_nothing():
    assert run("C_MARK step, gp0\n" * 5 + "S_ADDI_INT gp1, gp0, 1\n") == 1


#: producer, its class, consumer: the second waits for the first one's result.
READ_AFTER_WRITE = {
    "gp": ("S_ADDI_INT gp1, gp0, 1", "scalar_int", "C_SET_STRIDE_REG gp1"),
    "gp from vector": ("V_COUNT gp1, gp0, gp0", "vector_count", "S_ADDI_INT gp2, gp1, 1"),
    "fp": ("S_EXP_FP f1, f0", "scalar_fp_exp", "V_ADD_VF gp0, gp0, f1"),
    "fp from vector": ("V_RED_SUM f1, gp0", "vector_sum", "S_ADD_FP f2, f1, f1"),
    "row": ("V_EXP_V gp0, gp0, 0", "vector_exp", "V_RED_SUM f1, gp0"),
    "row from the matrix unit": ("M_MM_WO gp0, gp0, 0", "matrix_writeout", "V_RED_SUM f1, gp0"),
    "row to the matrix unit": ("V_EXP_V gp0, gp0, 0", "vector_exp", "M_MM 0, gp0, gp0"),
    "row from FP SRAM": ("S_MAP_V_FP gp0, gp0, 0", "vector_map", "V_RED_SUM f1, gp0"),
    "int word": ("S_ST_INT gp0, gp0, 5", "int_mem", "V_CMP_INT gp0, gp0, gp0, gp0, eq"),
    "int word from vector": (
        "V_SELECT_INT gp0, gp0, gp0, gp0, gp0", "vector_select_int", "S_LD_INT gp1, gp0, 3",
    ),
    "fp word": ("S_ST_FP f0, gp0, 5", "fp_mem", "V_CMP_FP gp0, gp0, f0, gp0, eq"),
    "fp word from vector": ("S_MAP_FP_V gp0, gp0, gp0", "vector_map", "S_LD_FP f1, gp0, 1"),
    "special register": ("C_SET_V_MASK_REG gp0", "control", "V_ADD_VV gp0, gp0, gp0, 1"),
}  # fmt: skip


@pytest.mark.parametrize("hazard", READ_AFTER_WRITE)
@pytest.mark.parametrize("latency", [9, 10])
def test_read_after_write(hazard, latency):
    producer, name, consumer = READ_AFTER_WRITE[hazard]
    entry = {name: {"interval": 1, "latency": latency}}
    same_class = next(
        (n for n, (text, _) in EXAMPLES.items() if text.split()[0] == consumer.split()[0]), None
    )
    last = latency if same_class == name else 1
    assert run(f"{producer}\n{consumer}\n", **entry) == latency + last


@pytest.mark.parametrize(
    ("producer", "name", "other"),
    [
        ("S_EXP_FP f1, f0", "scalar_fp_exp", "V_RED_SUM f2, gp0"),
        ("V_EXP_V gp0, gp0, 0", "vector_exp", "S_ADDI_INT gp1, gp0, 1"),
        ("V_EXP_V gp0, gp0, 0", "vector_exp", "M_MM_WO gp4, gp0, 0"),
        ("M_MM 0, gp0, gp0", "matrix_mm", "V_EXP_V gp4, gp4, 0"),
    ],
)
def test_independent_work_overlaps(producer, name, other):
    before = "S_ADDI_INT gp4, gp0, 64 * 16\nNOP\n"
    text = before + f"{producer}\n{other}\n"
    assert run(text, **{name: {"interval": 20, "latency": 20}}) == 2 + 20
    assert run(text, issue="blocking", **{name: {"interval": 20, "latency": 20}}) == 2 + 20 + 1


@pytest.mark.parametrize(
    ("first", "name", "second"),
    [
        ("V_COUNT gp1, gp0, gp0", "vector_count", "S_ADDI_INT gp1, gp0, 1"),
        ("V_RED_SUM f1, gp0", "vector_sum", "S_ADD_FP f1, f0, f0"),
        ("V_EXP_V gp0, gp0, 0", "vector_exp", "M_MM_WO gp0, gp0, 0"),
    ],
)
@pytest.mark.parametrize("latency", [9, 10])
def test_write_after_write(first, name, second, latency):
    text = f"{first}\n{second}\n"
    assert run(text, **{name: {"interval": 1, "latency": latency}}) == latency + 1


LOAD = """
    S_ADDI_INT gp1, gp0, 1
    C_SET_ADDR_REG a1, gp0, gp0
    H_LD_V gp0, gp0, a1, gp1, 3
"""
#: Issue at 2; the memory answers 20 ns later, and 64 bytes and 2 scales take 66 / 32 ns: 24.06.
ARRIVES = 25


@pytest.mark.parametrize(
    ("after", "cycles"),
    [
        ("", ARRIVES),
        ("V_EXP_V gp0, gp0, 0", ARRIVES + 1),  # reads the row that is under way
        ("V_SUB_VV gp2, gp2, gp0", ARRIVES + 1),
        ("V_ADD_VV gp0, gp2, gp2", ARRIVES + 1),  # writes it
        ("V_EXP_V gp2, gp2, 0", ARRIVES),  # another row
        ("C_FENCE 1 << 3", ARRIVES + 1),
        ("C_FENCE 1 << 3\nNOP", ARRIVES + 2),
        ("C_FENCE 1 << 2", ARRIVES),  # another tag
    ],
)
def test_dma_overlaps_with_what_does_not_need_it(after, cycles):
    text = "S_ADDI_INT gp2, gp0, 64\n" + LOAD + after + "\n"
    assert run(text) == cycles + 1


def test_dma_blocks_in_blocking_mode():
    text = LOAD + "S_ADDI_INT gp3, gp0, 1\n"
    assert run(text) == ARRIVES
    assert run(text, issue="blocking") == ARRIVES + 1


@pytest.mark.parametrize("interval", [20, 21])
def test_the_matrix_unit_holds_the_rows_that_it_streams(interval):
    """Write after read."""
    entry = {"matrix_mm": {"interval": interval, "latency": interval}}
    assert run("M_MM 0, gp0, gp0\nV_EXP_V gp0, gp0, 0\n", **entry) == interval + 1


def test_a_store_holds_its_rows_until_it_is_done():
    """Write after read: 64 bytes and 2 scales leave by a port of 4 bytes a cycle in 17 cycles."""
    text = LOAD.replace("H_LD_V", "H_ST_V")
    narrow = {"dma_ports": 1, "dma_port_bits": 32, "dma_burst_beats": 64}
    assert run(text + "V_RED_SUM f1, gp0\n", core=narrow) == 2 + 17
    assert run(text + "V_EXP_V gp0, gp0, 0\n", core=narrow) == 2 + 17 + 1


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_full_queue_stalls_issue(depth):
    """Four loads of separate rows; with the queue full the next waits for the oldest."""
    loads = "".join(
        f"S_ADDI_INT gp2, gp0, 64 * {i}\nH_LD_V gp2, gp0, a1, gp1, {i}\n" for i in range(4)
    )
    text = "S_ADDI_INT gp1, gp0, 1\nC_SET_ADDR_REG a1, gp0, gp0\n" + loads
    p = vp.Platform("queue")
    p.core("core0", vlen=64, dma_queue_depth=depth)
    p.hbm("hbm", backend="ideal", size="1MiB", latency="100ns", bandwidth="32GB/s")
    cycles = p.run(vp.assemble(text)).cycles
    rounds = -(-4 // depth)
    assert 100 * rounds < cycles < 100 * rounds + 40


@pytest.mark.parametrize("quantum", ["1ns", "7ns", "10us"])
@pytest.mark.parametrize("mode", ["functional", "timing"])
def test_neither_quantum_nor_mode_changes_a_cycle(quantum, mode):
    text = LOAD + "C_LOOP_START gp4, 50\n" + "V_EXP_V gp0, gp0, 0\n" + "C_LOOP_END gp4\n" + LOAD
    p = vp.Platform("quantum")
    p.core("core0", vlen=64, quantum=quantum)
    p.hbm("hbm", backend="ideal", size="1MiB", latency="20ns", bandwidth="32GB/s")
    reference = vp.Platform("quantum")
    reference.core("core0", vlen=64)
    reference.hbm("hbm", backend="ideal", size="1MiB", latency="20ns", bandwidth="32GB/s")
    firmware = vp.assemble(text)
    cycles = p.run(firmware, mode=mode).cycles
    assert cycles == reference.run(firmware).cycles > 100
