"""Traces of real runs, read by independent programs."""

import csv
import itertools
import shutil
import subprocess

import numpy as np
import pytest
import pywellen
from vcdvcd import VCDVCD

import npuvp as vp
from npuvp.sampling import sample, seeded_logits, workload


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    platform = vp.Platform.load("platform/edge.yaml")
    work = workload(seeded_logits(2, 3, 5000), mask_id=4999)
    with platform.trace(folder / "run.vcd", power=folder / "power.csv", power_window="100ns"):
        result = sample(platform, work)
    return folder, result


def test_vcd2fst_accepts_the_waveform(traced, tmp_path):
    folder, _ = traced
    tool = shutil.which("vcd2fst")
    assert tool, "Debian's gtkwave brings vcd2fst; tools/setup.sh installs it"
    fst = tmp_path / "run.fst"
    done = subprocess.run(
        [tool, folder / "run.vcd", fst], capture_output=True, text=True, check=True
    )
    assert "rror" not in done.stdout + done.stderr and "arning" not in done.stdout + done.stderr
    assert fst.stat().st_size > 1000


def changes(path):
    """{name: [(time, value)]} by pywellen."""
    return {var.full_name: list(var.tv) for var in pywellen.Waveform(str(path)).all_vars()}


def test_waveform_shows_every_instruction(traced):
    folder, result = traced
    wave = changes(folder / "run.vcd")
    mnemonics = [value for _, value in wave["core0.mnemonic"]]
    counts = result.stats["cores"]["core0"]["instructions_by_mnemonic"]
    never_idle = {"V_RED_MAX_IDX", "V_EXP_V", "H_LD_V", "V_TOPK_FP"}
    for mnemonic in never_idle:  # the signal changes with each of them: none stands twice in a row
        assert mnemonics.count(mnemonic) == counts[mnemonic] > 0, mnemonic
    # The plain vector beside the string changes at the same instants.
    assert [at for at, _ in wave["core0.op"]] == [at for at, _ in wave["core0.mnemonic"]]
    busy = wave["core0.vector.busy"]
    on = sum(b - a for (a, value), (b, _) in itertools.pairwise(busy) if int(value))
    vector_cycles = {"V_RED_MAX_IDX": 4, "V_SUB_VF": 2, "V_EXP_V": 1, "V_RED_SUM": 8}
    rows = sum(counts[name] * cycles for name, cycles in vector_cycles.items())
    per_batch_row = 2 * 4 * 3  # top-k mask, mask, two selects over 3 positions
    assert on == 1000 * (rows + per_batch_row)  # 1 ps steps
    for signal in ("core0.dma.busy", "hbm.busy", "core0.stall_cause"):
        assert len(wave[signal]) > 4, signal


def number(value):
    return value if isinstance(value, int) else int(value, 2)


def test_two_readers_see_the_same(traced):
    folder, _ = traced
    wave = changes(folder / "run.vcd")
    other = VCDVCD(str(folder / "run.vcd"))  # leaves strings out
    for name in ("core0.vector.busy", "core0.dma.busy", "core0.op"):
        theirs = [(at, int(value, 2)) for at, value in other[name].tv if "x" not in value]
        ours = [(at, number(value)) for at, value in wave[name] if "x" not in str(value)]
        assert ours == theirs and len(ours) > 20, name


def test_power_columns_add_up_and_integrate_to_the_energy(traced):
    folder, result = traced
    rows = list(csv.DictReader((folder / "power.csv").open()))
    columns = [name for name in rows[0] if name not in ("time_ns", "total")]
    assert set(columns) >= {"core0", "core0.vector", "core0.dma", "core0.sram", "hbm"}
    for i, row in enumerate(rows):
        assert float(row["time_ns"]) == 100 * i
        assert sum(float(row[c]) for c in columns) == pytest.approx(float(row["total"]), abs=1e-12)
    total = sum(float(row["total"]) for row in rows) * 100e-9
    assert total == pytest.approx(result.energy.total, rel=1e-9)
    assert len(rows) == -(-result.time_ps // 100_000)
    for name in columns:
        joules = sum(float(row[name]) for row in rows) * 100e-9
        parts = result.energy.by_component
        assert joules == pytest.approx(parts[name], rel=1e-9, abs=1e-18), name


def test_a_trap_leaves_complete_traces(tmp_path):
    platform = vp.Platform.load("platform/edge.yaml")
    text = ".rept 100\nV_EXP_V gp0, gp0, 0\n.endr\nC_TRAP gp0\n"
    with (
        pytest.raises(vp.Trap, match="firmware trap"),
        platform.trace(tmp_path / "t.vcd", power=tmp_path / "t.csv"),
    ):
        platform.run(vp.assemble(text))
    wave = changes(tmp_path / "t.vcd")
    assert str(wave["core0.trap"][-1][1]) == "1"
    assert wave["core0.trap"][-1][0] == 100_000  # ps: 100 exponentials, one cycle each
    assert "V_EXP_V" in {value for _, value in wave["core0.mnemonic"]}
    total = sum(float(row["total"]) for row in csv.DictReader((tmp_path / "t.csv").open()))
    assert total > 0


def test_signals_can_be_chosen(tmp_path):
    platform = vp.Platform.load("platform/edge.yaml")
    work = workload(np.zeros((1, 1, 64), np.float32), k=1, mask_id=63)
    with platform.trace(tmp_path / "s.vcd", signals=["core0.vector.*", "hbm.busy"]):
        sample(platform, work)
    scopes = {name.rpartition(".")[0] for name in changes(tmp_path / "s.vcd")}
    assert scopes == {"core0.vector", "hbm"}
    with (
        pytest.raises(ValueError, match=r"core1\.\*"),
        platform.trace(tmp_path / "n.vcd", signals=["core1.*"]),
    ):
        sample(platform, work)
    assert not (tmp_path / "n.vcd").exists()


def test_every_default_signal_moves_in_a_generation(tmp_path):
    plan = vp.GenerationPlan(gen_length=16, block_length=8, steps=4, cache="dual")
    platform = vp.Platform.load("platform/edge.yaml")
    with platform.trace(tmp_path / "run.vcd"):
        vp.generate("models/llada-mini", tokens="12+34=", plan=plan, platform=platform)
    still = [name for name, values in changes(tmp_path / "run.vcd").items() if len(values) < 2]
    assert still == ["core0.trap"]


def test_signals_that_a_program_cannot_change_stay_out(tmp_path):
    platform = vp.Platform.load("platform/edge.yaml")
    shown = {}
    for name, body in (("op", "C_MARK op, gp0"), ("sem", "C_SEM_SIGNAL gp0, gp1"), ("none", "")):
        with platform.trace(tmp_path / f"{name}.vcd"):
            platform.run(vp.assemble(f"S_ADDI_INT gp1, gp0, 1\n{body}\nC_HALT gp0\n"))
        shown[name] = set(changes(tmp_path / f"{name}.vcd"))
    assert shown["op"] - shown["none"] == {"core0.op_mark"}
    assert shown["sem"] - shown["none"] == {"semaphores.index", "semaphores.value"}
    assert not any("phase" in signal or "step" in signal for signal in shown["none"])


def test_the_host_runs_from_launch_to_completion(tmp_path):
    platform = vp.Platform.load("platform/edge.yaml")
    with platform.trace(tmp_path / "run.vcd", signals=["host"]):
        result = platform.run(vp.assemble("S_ADDI_INT gp1, gp0, 1\nC_HALT gp0\n"))
    wave = changes(tmp_path / "run.vcd")
    assert [(at, int(value)) for at, value in wave["host.running"]] == [(0, 1), (result.time_ps, 0)]
    assert [(at, int(value)) for at, value in wave["host.irq"]] == [(0, 0), (result.time_ps, 1)]
    with platform.trace(tmp_path / "trap.vcd", signals=["host"]), pytest.raises(vp.Trap):
        platform.run(vp.assemble("C_TRAP gp0\n"))
    wave = changes(tmp_path / "trap.vcd")
    assert [int(value) for _, value in wave["host.running"]] == [1]
    assert [int(value) for _, value in wave["host.irq"]] == [0]
