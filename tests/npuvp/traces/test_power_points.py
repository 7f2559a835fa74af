"""DVFS points, clock gating, and the power of a run: every output says the same."""

import csv
import json
from fractions import Fraction

import pytest
import pywellen

import npuvp as vp
from npuvp.energy import EnergyError, load_energy
from npuvp.sampling import sample, seeded_logits, workload


def run(tmp_path=None, **overrides):
    platform = vp.Platform.load("platform/edge.yaml", **overrides)
    work = workload(seeded_logits(1, 3, 3000), mask_id=2999)
    if tmp_path is None:
        return sample(platform, work)
    with platform.trace(
        tmp_path / "p.vcd",
        signals=["power.total", "*.power"],
        power=tmp_path / "p.csv",
        timeline=tmp_path / "p.json",
    ):
        return sample(platform, work)


def test_voltage_scales_logic_and_leaves_memory():
    nominal, lower = run(), run(voltage=0.56)
    assert nominal.cycles == lower.cycles
    square = (0.56 / 0.7) ** 2
    for name in ("core0", "core0.vector", "core0.sram", "core0.dma"):
        for kind in ("dynamic_fj", "static_fj"):
            before = getattr(nominal.energy, kind)[name]
            after = getattr(lower.energy, kind)[name]
            assert after == pytest.approx(square * before, rel=2e-3)  # of whole fJ per event
    assert nominal.energy.dynamic_fj["hbm"] == lower.energy.dynamic_fj["hbm"] > 0
    assert nominal.energy.static_fj["hbm"] == lower.energy.static_fj["hbm"] > 0


def test_the_tables_own_voltage_changes_nothing():
    assert run(voltage=0.7).energy == run().energy == run(voltage=0.0).energy
    with pytest.raises(EnergyError, match="voltage = -1"):
        load_energy().at(-1)
    with pytest.raises(vp.PlatformError, match="voltage"):
        run(voltage=2.0)


def test_frequency_is_the_other_half_of_a_dvfs_point():
    slow, fast = run(clock="500MHz"), run(clock="1GHz")
    same = "core0.vector"
    assert slow.energy.dynamic_fj[same] == fast.energy.dynamic_fj[same]
    # Leakage goes on for as long as the run does.
    ratio = slow.time_ps / fast.time_ps
    assert ratio > 1.5
    leaked = slow.energy.static_fj["core0.sram"] / fast.energy.static_fj["core0.sram"]
    assert leaked == pytest.approx(ratio, rel=1e-6)


def test_without_clock_gating_idle_units_take_power():
    gated, free = run(), run(clock_gating=False)
    assert gated.cycles == free.cycles and gated.energy.dynamic_fj == free.energy.dynamic_fj
    platform = vp.Platform.load("platform/edge.yaml")
    watts = 0.1 * vp.full_activity_power(platform, "core0")
    extra = free.energy.static_fj["core0.vector"] - gated.energy.static_fj["core0.vector"]
    assert extra == pytest.approx(watts * free.time * 1e15, rel=1e-4)
    for unit in ("core0.scalar", "core0.matrix"):
        assert free.energy.static_fj[unit] > gated.energy.static_fj[unit]
    assert free.energy.static_fj["core0.sram"] == gated.energy.static_fj["core0.sram"]


def test_every_output_says_the_same_to_the_last_digit(tmp_path):
    result = run(tmp_path)
    with (tmp_path / "p.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    window = Fraction(100, 10**9)
    power = result.power
    wave = {v.full_name: list(v.tv) for v in pywellen.Waveform(str(tmp_path / "p.vcd")).all_vars()}
    counters = {}
    for event in json.loads((tmp_path / "p.json").read_text()):
        if event["ph"] == "C" and event["name"].startswith("power "):
            counters.setdefault(event["name"].removeprefix("power "), []).append(event["args"]["W"])
    sums = []
    for name, component in [*power.components.items(), ("total", power.total)]:
        column = [Fraction(row[name]) for row in rows]
        joules = sum(column) * window
        assert joules == Fraction(component.dynamic_fj + component.static_fj, 10**15)
        sums.append(joules)
        assert float(max(column)) == component.peak
        at = next(i for i, value in enumerate(column) if value == max(column))
        assert int(Fraction(rows[at]["time_ns"]) * 1000) == component.peak_ps or max(column) == 0
        assert component.average == pytest.approx(float(joules) / result.time, rel=1e-12)
        assert [Fraction(str(value)) for value in counters[name]] == column
        signal = "power.total" if name == "total" else f"{name}.power"
        shown = dict(wave[signal])
        value = None
        for row in rows:
            value = shown.get(int(Fraction(row["time_ns"]) * 1000), value)
            assert value == float(row[name])
    assert sum(sums[:-1]) == sums[-1]
    assert float(sums[-1]) == pytest.approx(result.energy.total, rel=1e-12)
    assert result.summary()["power"]["total"]["peak_w"] == power.total.peak


def test_full_activity_of_a_platform():
    paper = vp.Platform.load("platform/paper.yaml")
    assert vp.full_activity_power(paper) == pytest.approx(1.52453, rel=1e-6)
    half = vp.Platform.load("platform/paper.yaml", voltage=0.35 * 2**0.5)
    assert vp.full_activity_power(half) == pytest.approx(1.52453 / 2, rel=1e-6)
    quad = vp.Platform.load("platform/quad.yaml")
    each = [vp.full_activity_power(quad, f"core{i}") for i in range(4)]
    assert vp.full_activity_power(quad) == pytest.approx(sum(each))
    with pytest.raises(vp.InputError, match="no core 'core9'"):
        vp.full_activity_power(quad, "core9")
    by_width = {
        vlen: vp.full_activity_power(
            vp.Platform.load("platform/paper.yaml", core={"vlen": vlen, "mlen": vlen})
        )
        for vlen in (512, 1024, 2048)
    }
    assert by_width == pytest.approx({512: 1.52453 / 4, 1024: 1.52453 / 2, 2048: 1.52453}, rel=1e-6)
