"""Run control: where it stops, what it shows, and that a run cannot tell."""

import numpy as np
import pytest

import npuvp as vp
from npuvp.debug import DebuggerError

SUM = """
    .tensor x, hbm, 0x1000, bf16, 4, 64, in
    .tensor y, core0.fp, 8, fp32, 4, out
    .equ ROWS, 4
    .text
    LI gp4, 64                  ; elements of a row
    LIA a1, x, gp2
    LI gp2, 8                   ; bf16
    C_CSRW dma_format, gp2
    LI gp5, ROWS
    H_LD_V gp0, gp0, a1, gp5, 3
    C_FENCE 8
    C_LOOP_START gp3, ROWS
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
X = np.arange(256, dtype=np.float32).reshape(4, 64) % 17


@pytest.fixture
def edge():
    return vp.Platform.load("platform/edge.yaml")


@pytest.fixture
def debugger(edge):
    with edge.debug(vp.assemble(SUM), inputs={"x": X}) as debugger:
        yield debugger


def pc_of(debugger, label):
    return debugger.firmware.symbols[label].value


def test_stands_before_the_first_instruction_and_ends_with_the_result(debugger):
    assert debugger.stop.reason == "start"
    assert debugger.registers()["pc"] == 0
    assert debugger.state(0)["instructions"] == 0
    with pytest.raises(DebuggerError, match="the run has not ended"):
        _ = debugger.result
    assert debugger.cont().reason == "finished"
    np.testing.assert_array_equal(debugger.result.outputs["y"], X.sum(axis=1))
    with pytest.raises(DebuggerError, match="has ended"):
        debugger.step()


@pytest.mark.parametrize("place", ["row", "mark step", "C_MARK", "c_mark", ":15"])
def test_a_place_stops_every_time_before_its_instruction(debugger, place):
    point = debugger.break_at(place)
    numbers = []
    while not debugger.cont().ended:
        assert debugger.stop.numbers == (point.number,)
        assert debugger.stop.pc == pc_of(debugger, "row")
        numbers.append(debugger.registers()["gp6"])
    assert numbers == [0, 1, 2, 3]
    assert point.hits == 4


@pytest.mark.parametrize(
    ("place", "condition"),
    [
        ("step 2", None),
        ("row", "gp6 == 2"),
        ("row", "gp6 > 1 and fp[8] != 0"),
        ("row", lambda d: d.loops()[0].iteration == 3),
    ],
)
def test_a_condition_holds_at_one_of_four(debugger, place, condition):
    debugger.break_at(place, condition=condition)
    assert debugger.cont().reason == "breakpoint"
    assert debugger.registers()["gp6"] == 2
    stopped = [debugger.cont().reason]
    while not debugger.stop.ended:
        stopped.append(debugger.cont().reason)
    assert len(stopped) == (1 if condition != "gp6 > 1 and fp[8] != 0" else 2)


def test_shows_loops_marks_registers_and_memory(debugger):
    debugger.break_at("V_RED_SUM", condition="step == 2")
    debugger.cont()
    (loop,) = debugger.loops()
    assert (loop.register, loop.iteration, loop.count) == ("gp3", 3, 4)
    assert debugger.marks() == {"step": 2}
    registers = debugger.registers()
    assert (registers["gp1"], registers["dma_format"], registers["a1"]) == (128, 8, 0x1000)
    np.testing.assert_array_equal(debugger.sram("vector", slice(0, 4)), X)
    np.testing.assert_array_equal(debugger.sram("vector", 3), X[3])
    np.testing.assert_array_equal(debugger.sram("fp", range(8, 12)), [X[0].sum(), X[1].sum(), 0, 0])
    np.testing.assert_array_equal(debugger.hbm(0x1080, 64, "bf16"), X[1])
    assert debugger.hbm(0x1002, 2).tolist() == [0x80, 0x3F]  # 1.0
    np.testing.assert_array_equal(debugger.tensor("x"), X)
    assert debugger.value("gp1 // gp4 + ROWS") == 6
    where = debugger.where()
    assert "V_RED_SUM f1, gp1" in where
    assert "in iteration 3 of 4 of the loop on gp3" in where
    assert "step 2" in where
    shown = debugger.disassembly(before=1, after=1).splitlines()
    assert [line.split()[0] for line in shown] == ["row:", "0x0009", "=>*", "0x000b"]


def test_shows_pending_transfers(debugger):
    debugger.break_at("C_FENCE")
    debugger.cont()
    (transfer,) = debugger.transfers()
    assert (transfer.tag, transfer.to_sram, transfer.address) == (3, True, 0x1000)
    assert transfer.bytes == 512
    assert transfer.ranges == (("vector", 0, 4),)
    debugger.step()
    assert debugger.transfers() == []


def test_watches_say_who_changed_what(debugger):
    debugger.watch("fp[8:12]")
    stop = debugger.cont()
    assert stop.reason == "watch"
    assert stop.changes == (f"core0.fp[8]: 0 -> {X[0].sum():.9g}",)
    assert "S_ST_FP f1, gp6, 8" in stop.text
    assert debugger.cont().changes == (f"core0.fp[9]: 0 -> {X[1].sum():.9g}",)


def test_watches_registers_and_transfers(debugger):
    rows = debugger.watch("vector[2:4]")
    register = debugger.watch("gp3")
    stop = debugger.cont()
    assert (stop.numbers, stop.by_transfer) == ((rows.number,), True)
    assert stop.changes == ("core0.vector[2] lane 0: 0 -> 9 (and 119 more)",)
    assert "H_LD_V" in stop.text
    stop = debugger.cont()
    assert (stop.numbers, stop.changes) == ((register.number,), ("core0.gp3: 0 -> 4",))
    debugger.clear(register.number)
    assert debugger.cont().reason == "finished"


def test_steps_lines_marks_and_cycles(debugger):
    assert debugger.step(3).reason == "step"
    assert debugger.state(0)["instructions"] == 3
    debugger.break_at("row")
    debugger.cont()
    lines = []
    for _ in range(3):
        stop = debugger.next_line()
        lines.append(debugger.firmware.location(0, stop.pc).line)
        assert stop.reason == "line"
    assert lines == [16, 17, 18]
    debugger.clear()
    assert debugger.next_mark("step").reason == "mark"
    assert debugger.registers()["gp6"] == 1
    cycle = debugger.stop.cycle + 10
    stop = debugger.run_to(cycle)
    assert stop.reason == "cycle"
    assert stop.cycle >= cycle
    instructions = debugger.state(0)["instructions"]
    debugger.reverse_step()
    assert debugger.state(0)["instructions"] == instructions - 1
    assert debugger.stop.cycle < cycle
    with pytest.raises(vp.InputError, match="is past"):
        debugger.run_to(1)


def test_reverse_is_exact(debugger):
    debugger.break_at("row")
    debugger.watch("f1")
    stops = [debugger.stop]
    digests = [debugger.digests()]
    while not debugger.cont().ended:
        stops.append(debugger.stop)
        digests.append(debugger.digests())
    assert len(stops) == 1 + 4 + 8
    for stop, digest in zip(stops[:0:-1], digests[:0:-1], strict=True):
        assert debugger.reverse_cont().position == stop.position
        assert debugger.digests() == digest
    assert debugger.reverse_cont().reason == "start"
    with pytest.raises(DebuggerError, match="carried out 0 instructions"):
        debugger.reverse_step()
    debugger.clear()
    assert debugger.cont().reason == "finished"
    assert debugger.reverse_to(0).reason == "start"


def test_a_run_cannot_tell(edge, tmp_path):
    firmware = vp.assemble(SUM)

    def traces(name):
        return {
            "vcd": tmp_path / f"{name}.vcd",
            "log": tmp_path / f"{name}.log",
            "power": tmp_path / f"{name}.csv",
        }

    with edge.trace(**traces("free")):
        free = edge.run(firmware, inputs={"x": X})
    with edge.trace(**traces("debug")):
        debugger = edge.debug(firmware, inputs={"x": X})
    debugger.break_at("S_ADD_INT")
    debugger.watch("vector[0:4]")
    while not debugger.cont().ended:
        debugger.sram("vector")
        if debugger.stop.reason == "breakpoint":
            debugger.step()
            debugger.reverse_step()
    assert debugger.result.cycles == free.cycles
    assert debugger.result.energy == free.energy
    for kind, path in traces("debug").items():
        assert path.read_bytes() == traces("free")[kind].read_bytes(), kind


def test_timing_mode_has_the_same_instants(edge):
    firmware = vp.assemble(SUM)
    positions = []
    for mode in ("functional", "timing"):
        inputs = {"x": X} if mode == "functional" else None
        with edge.debug(firmware, inputs=inputs, mode=mode) as debugger:
            debugger.break_at("row", condition="gp6 == 3")
            positions.append((debugger.cont().position, debugger.stop.cycle))
    assert positions[0] == positions[1]
    with pytest.raises(vp.InputError, match="timing mode computes no floating-point data"):
        debugger.sram("vector", 0)


def test_marks_have_names_and_ends(edge):
    firmware = vp.assemble(
        """
        .equ MARK_PHASE_MAXIMUM, 0
        .equ MARK_PHASE_SUM, 1
        LI gp1, 1
        C_MARK phase, gp0
        C_MARK phase, gp1
        S_SUB_INT gp2, gp0, gp1
        C_MARK phase, gp2
        C_HALT gp0
        """
    )
    with edge.debug(firmware) as debugger:
        debugger.break_at("phase sum")
        debugger.cont()
        assert "phase maximum" in debugger.where()
        debugger.step()
        assert debugger.marks() == {"phase": 1}
        debugger.step(2)
        assert debugger.marks() == {}
        assert debugger.value("phase") == -1
        with pytest.raises(vp.InputError, match="or a name: maximum, sum"):
            debugger.break_at("phase exp")


def test_a_trap_and_a_deadlock_are_stops(edge):
    debugger = edge.debug(vp.assemble("LI gp4, 0x400000\nV_RED_SUM f1, gp4\n"))
    stop = debugger.cont()
    assert stop.reason == "trap"
    assert isinstance(stop.error, vp.Trap)
    assert debugger.registers()["gp4"] == 0x400000
    with pytest.raises(vp.Trap, match="outside Vector SRAM"):
        _ = debugger.result
    assert debugger.reverse_step().pc == stop.pc - 1
    debugger = edge.debug(vp.assemble("LI gp1, 1\nC_SEM_WAIT gp0, gp1\n"))
    stop = debugger.cont()
    assert stop.reason == "deadlock"
    assert "semaphore 0" in stop.text


CORES = """
    .core all
    LI gp2, 2
    C_LOOP_START gp4, 5
work:
    S_ADDI_INT gp5, gp5, 1
    C_LOOP_END gp4
    C_BARRIER gp0, gp2
    S_ST_INT gp5, gp0, 3
    C_HALT gp0
"""


def two_cores():
    platform = vp.Platform("two", clock="1GHz")
    for index in range(2):
        platform.core(f"core{index}", vlen=64, mlen=64, blen=16)
    platform.hbm("hbm", backend="ideal", size="64MiB", bandwidth="32GB/s")
    return platform


def test_several_cores():
    with two_cores().debug(vp.assemble(CORES)) as debugger:
        debugger.step(all_cores=True)
        counts = [debugger.state(i)["instructions"] for i in (0, 1)]
        # The one ran ahead to the barrier before the other began.
        assert sorted(counts) == [1, 12]
        second = f"core{counts.index(1)}"
        first = f"core{counts.index(12)}"
        debugger.break_at("work", core=second, condition="gp5 == 3")
        stop = debugger.cont()
        assert (stop.core, debugger.core) == (second, second)
        assert debugger.registers(first)["gp5"] == 5
        assert "C_BARRIER gp0, gp2" in debugger.where(first)
        debugger.watch("int[3]", core=first)
        stop = debugger.cont()
        assert stop.changes == (f"{first}.int[3]: 0 -> 5",)
        with pytest.raises(vp.InputError, match=r"no core 'core7' \(cores: core0, core1\)"):
            debugger.core = "core7"
        assert debugger.cont().reason == "finished"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (99, "no word 0x63 in the program"),
        ("0x1000", "no word 0x1000"),
        ("rwo", "near: row"),
        (":14", "no instruction comes from this line"),
        ("other.s:3", "no file 'other.s'"),
        ("layer", "no mark of kind layer"),
        ("step third", r"mark step 'third' \(allowed: step and a number\)"),
        ("V_EXP_V", "the program has no V_EXP_V"),
    ],
)
def test_places_that_are_not_there(debugger, place, message):
    with pytest.raises(vp.InputError, match=message):
        debugger.break_at(place)
    assert debugger.points == []


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("gp16 > 2", "no 'gp16' here"),
        ("gp1 >", "invalid syntax"),
        ("__import__('os')", "cannot stand here"),
        ("(1).real", "cannot stand here"),
        ("hbm[3]", "cannot stand here"),
    ],
)
def test_conditions_that_mean_nothing(debugger, condition, message):
    with pytest.raises(vp.InputError, match=message):
        debugger.break_at("row", condition=condition)
    assert debugger.points == []


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("gp16", r"gp0\.\.gp15 exist"),
        ("vector[512]", r"core0\.vector has 0\.\.511"),
        ("vector[3:3]", "the end comes after"),
        ("fp[x]", "'x' is no number"),
        ("cache[3]", "no space"),
        ("q", "allowed: gp0"),
    ],
)
def test_watches_of_nothing(debugger, what, message):
    with pytest.raises(vp.InputError, match=message):
        debugger.watch(what)
    assert debugger.points == []


def test_other_platforms_run_while_one_stands_still(debugger, edge):
    debugger.break_at("row")
    debugger.cont()
    other = vp.Platform.load("platform/edge.yaml")
    result = other.run(vp.assemble(SUM), inputs={"x": X})
    with other.debug(vp.assemble(SUM), inputs={"x": X}) as second:
        second.break_at("row", condition="gp6 == 1")
        second.cont()
        debugger.clear()
        assert debugger.cont().reason == "finished"
        assert second.registers()["gp6"] == 1
    assert debugger.result.cycles == result.cycles


def test_a_core_without_a_program_has_halted_at_once():
    with two_cores().debug(vp.assemble(".core 0\nLI gp1, 7\nLI gp2, 8\n")) as debugger:
        assert debugger.stop.core == "core0"
        assert debugger.step().pc == 1
        with pytest.raises(DebuggerError, match="core1 has halted"):
            debugger.step(core="core1")


def test_watches_of_memory_see_stores_arrive(edge):
    firmware = vp.assemble(
        """
        .tensor y, hbm, 0x2000, fp32, 2, out
        .text
        LI gp1, 9                   ; fp32
        C_CSRW dma_format, gp1
        LI gp2, 2
        C_CSRW dma_len, gp2
        LI gp3, 1
        LI gp4, 0x40400000          ; 3.0
        S_SET_FP f1, gp4
        S_ST_FP f1, gp3, 0
        LIA a1, y, gp4
        H_ST_FP gp0, gp0, a1, gp3, 2
        C_FENCE 4
        C_HALT gp0
        """
    )
    with edge.debug(firmware) as debugger:
        debugger.watch("hbm[0x2000:0x2008]")
        tensor = debugger.watch("y")
        debugger.watch("hbm[0x3000]")
        stop = debugger.cont()
        assert (stop.reason, stop.by_transfer) == ("watch", True)
        assert stop.changes[0] == "hbm[0x2006]: 0 -> 64 (and 1 more)"
        assert stop.numbers == (1, tensor.number)
        assert "H_ST_FP" in stop.text
        assert debugger.tensor("y").tolist() == [0.0, 3.0]
        assert debugger.cont().reason == "finished"
