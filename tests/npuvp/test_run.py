"""Runs: determinism, many in one process, inputs and outputs, traps."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

import npuvp as vp

SUM = """
    .tensor x, hbm, 0x1000, bf16, 2, 64, in
    .tensor n, hbm, auto, raw32, 2, in
    .tensor y, hbm, auto, fp32, 2, out
    .text
    LI gp1, 1
    LIA a1, x, gp2
    LI gp2, 8                   ; bf16
    C_CSRW dma_format, gp2
    LI gp3, 2
    H_LD_V gp0, gp0, a1, gp3, 0
    LI gp4, 64
    V_RED_SUM f1, gp0
    V_RED_SUM f2, gp4
    S_ST_FP f1, gp0, 0
    S_ST_FP f2, gp0, 1
    LI gp2, 9                   ; fp32
    C_CSRW dma_format, gp2
    C_CSRW dma_len, gp3
    LIA a2, y, gp2
    H_ST_FP gp0, gp0, a2, gp1, 1
    C_FENCE 2
    LI gp5, 42
    C_HOST_PUSH gp5
    C_HALT gp0
"""


@pytest.fixture
def edge():
    return vp.Platform.load("platform/edge.yaml")


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.integers(-8, 8, (2, 64)).astype(np.float32), "n": np.array([1, 2])}


def test_inputs_to_outputs(edge):
    given = inputs()
    result = edge.run(vp.assemble(SUM), inputs=given, outputs=["y"])
    np.testing.assert_array_equal(result.outputs["y"], given["x"].sum(axis=1))
    assert [(core, word) for _, core, word in result.host_words] == [(0, 42)]
    assert result.stats["hbm"]["bytes_read"] == 2 * 64 * 2
    assert result.stats["hbm"]["bytes_written"] == 8
    assert result.time == result.cycles * 1e-9
    moved = result.stats["hbm"]["bytes_read"] + result.stats["hbm"]["bytes_written"]
    assert result.stats["hbm"]["bandwidth"] == pytest.approx(moved / result.time)
    assert result.energy.by_component["hbm"] > 0
    assert result.energy.total == pytest.approx(sum(result.energy.by_component.values()))


def test_wrong_inputs_are_reported_together_and_nothing_runs(edge):
    firmware = vp.assemble(SUM)
    with pytest.raises(vp.InputError) as error:
        edge.run(firmware, inputs={"x": np.zeros((2, 63)), "z": 1, "y": np.zeros(2)})
    assert str(error.value).splitlines()[1:] == [
        "  x: shape (2, 63), the firmware declares (2, 64)",
        "  z: is no tensor of this firmware (inputs: x, n)",
        "  y: is an output (inputs: x, n)",
        "  n: missing, raw32 of shape (2,)",
    ]
    assert edge.machine is None
    with pytest.raises(vp.InputError, match=r"n: type float64, raw32 takes integers"):
        edge.run(firmware, inputs={**inputs(), "n": np.zeros(2)})
    with pytest.raises(vp.InputError, match=r"no such output: q \(outputs: y\)"):
        edge.run(firmware, inputs=inputs(), outputs=["q"])
    with pytest.raises(vp.InputError, match=r"mode 'fast' \(allowed: functional, timing\)"):
        edge.run(firmware, inputs=inputs(), mode="fast")


def test_a_program_fits_instruction_memory_or_is_refused():
    text = "NOP\n" * 15 + "C_HALT gp0\n"
    small = vp.Platform.load("platform/edge.yaml", core={"imem_words": 16})
    assert small.run(vp.assemble(text)).stats["cores"]["core0"]["instructions"] == 16
    with pytest.raises(
        vp.InputError, match="the program has 17 words, instruction memory holds 16"
    ):
        small.run(vp.assemble("NOP\n" + text))


def test_same_run_same_everything(edge, tmp_path):
    firmware = vp.assemble(SUM)
    files = []
    for name in ("a", "b"):
        vcd, csv = tmp_path / f"{name}.vcd", tmp_path / f"{name}.csv"
        with edge.trace(vcd, power=csv, power_window="10ns"):
            result = edge.run(firmware, inputs=inputs())
        files.append((vcd.read_bytes(), csv.read_bytes(), result.cycles, result.energy.total))
    assert files[0] == files[1]
    assert len(files[0][0]) > 1000


def test_tracing_changes_nothing(edge, tmp_path):
    firmware = vp.assemble(SUM)
    plain = edge.run(firmware, inputs=inputs())
    with edge.trace(tmp_path / "x.vcd", power=tmp_path / "x.csv"):
        traced = edge.run(firmware, inputs=inputs())
    assert (plain.cycles, plain.energy.dynamic_fj) == (traced.cycles, traced.energy.dynamic_fj)


def test_a_trace_holds_one_run(edge, tmp_path):
    firmware = vp.assemble(SUM)
    with edge.trace(tmp_path / "x.vcd"):
        edge.run(firmware, inputs=inputs())
        with pytest.raises(vp.InputError, match="this trace already holds a run"):
            edge.run(firmware, inputs=inputs())


def test_two_platforms_alive_at_once():
    firmware = vp.assemble(SUM)
    one = vp.Platform.load("platform/edge.yaml")
    other = vp.Platform.load("platform/edge.yaml", core={"issue": "blocking"})
    a1 = one.run(firmware, inputs=inputs(1))
    b1 = other.run(firmware, inputs=inputs(2))
    # Both machines still stand and can be read.
    assert one.machine.registers()["gp"][5] == other.machine.registers()["gp"][5] == 42
    y = firmware.tensors["y"]
    np.testing.assert_array_equal(one.machine.read_tensor(y), inputs(1)["x"].sum(axis=1))
    np.testing.assert_array_equal(other.machine.read_tensor(y), inputs(2)["x"].sum(axis=1))
    a2 = one.run(firmware, inputs=inputs(1))
    assert (a1.cycles, b1.cycles > a1.cycles) == (a2.cycles, True)


def resident_kb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.slow
def test_hundreds_of_runs_at_constant_memory():
    firmware = vp.assemble(SUM)
    platform = vp.Platform.load("platform/edge.yaml")
    for i in range(50):
        platform.run(firmware, inputs=inputs(i))
    gc.collect()
    before = resident_kb()
    for i in range(300):
        platform.run(firmware, inputs=inputs(i))
    gc.collect()
    assert resident_kb() - before < 4 * 1024


TRAP = """
start:
    LI gp8, 0x1000
    S_ADD_INT gp7, gp7, gp8     ; beyond the end
next:
    LI gp9, 4
    V_RED_MAX f1, gp7, 0
    C_HALT gp0
"""


def test_a_trap_explains_itself(tmp_path):
    source = tmp_path / "trap.s"
    source.write_text(TRAP.replace("0x1000", "0x8000"))
    platform = vp.Platform.load("platform/edge.yaml")
    vcd = tmp_path / "run.vcd"
    with pytest.raises(vp.Trap) as error, platform.trace(vcd):
        platform.run(vp.assemble(source))
    lines = str(error.value).splitlines()
    assert lines[0] == "core0 access outside Vector SRAM"
    assert lines[1].split() == [
        "pc",
        "0x0003",
        "V_RED_MAX",
        "f1,",
        "gp7,",
        "0",
        "trap.s:7",
        "(next+1)",
    ]
    assert lines[2] == "  gp7 = 0x0000_8000  ->  row 512, the SRAM has rows 0..511"
    assert lines[3].split() == (
        [
            "last",
            "writer",
            "of",
            "gp7:",
            "pc",
            "0x0001",
            "S_ADD_INT",
            "gp7,",
            "gp7,",
            "gp8",
            "trap.s:4",
            "(start+1)",
        ]
    )
    assert lines[4].strip() == f"traces complete up to 0.003 us: {vcd}"
    assert error.value.pc == 3 and error.value.core == "core0"
    assert error.value.machine.registers()["gp"][7] == 0x8000
    # The waveform is whole: it ends with the trap.
    assert "$enddefinitions" in vcd.read_text()
    # The platform can be used again.
    assert platform.run(vp.assemble("C_HALT gp0\n")).cycles == 1


def test_dma_outside_every_space(edge):
    text = """
        LI gp1, 1
        LI gp2, 0x300
        C_SET_ADDR_REG a1, gp2, gp0
        H_LD_INT gp0, gp0, a1, gp1, 0
        C_HALT gp0
    """
    with pytest.raises(vp.Trap) as error:
        edge.run(vp.assemble(text))
    assert "DMA beyond every memory and peripheral" in str(error.value)
    assert "address 0x30000000000  ->  in no region (hbm 0x0..0xffffffff" in str(error.value)


def test_timing_mode_takes_decisions(edge):
    """The branch depends on a maximum's index, which timing mode does not compute."""
    text = """
        .tensor x, core0.vector, 0, bf16, 64, in
        .text
        LI gp2, 3
        LI gp3, 0xFF80_0000
        S_SET_FP f1, gp3
        V_RED_MAX_IDX gp1, gp0, gp0, f1
        C_BNE gp1, gp2, other
        C_HALT gp0
other:
        .rept 10
        NOP
        .endr
        C_HALT gp2
    """
    firmware = vp.assemble(text)
    x = np.zeros(64, np.float32)
    x[3] = 1
    at_three = edge.run(firmware, inputs={"x": x})
    elsewhere = edge.run(firmware, inputs={"x": np.roll(x, 1)})
    assert at_three.decisions == {0: [(at_three.decisions[0][0][0], 3)]}
    assert elsewhere.cycles == at_three.cycles + 10
    for functional in (at_three, elsewhere):
        timing = edge.run(firmware, mode="timing", decisions=functional.decisions)
        assert timing.cycles == functional.cycles
        assert (
            timing.stats["cores"]["core0"]["exit_code"]
            == functional.stats["cores"]["core0"]["exit_code"]
        )
    with pytest.raises(vp.Trap, match="gp1 depends on data that timing mode does not compute"):
        edge.run(firmware, mode="timing")
