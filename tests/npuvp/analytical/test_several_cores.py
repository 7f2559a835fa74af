"""Closed forms of what several cores share."""

import json
from math import sqrt

import pytest

import npuvp as vp
from npuvp.analytical import estimate, estimate_sampling, hardware_of, roofline
from npuvp.analytical.memory import nodes_met
from npuvp.analytical.shared import dealt, in_turns, rows_dealt
from npuvp.cli import main
from npuvp.compiler.shares import share
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.replay import time_generation
from npuvp.sampling import sampling_firmware
from npuvp.validate import QUICK, check_case

PLAN = GenerationPlan(gen_length=16, block_length=8, steps=8, cache="dual")
LLADA = load_model("llada-8b").spec


def _hardware(name, **over):
    return hardware_of(vp.Platform.load(f"platform/{name}.yaml", **over).description())


def test_work_is_dealt_out_in_groups():
    assert [share(100, 16, core, 4) for core in range(4)] == [(0, 16), (16, 32), (48, 32), (80, 20)]
    assert [share(2, 1, core, 4) for core in range(4)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert dealt(4, (100, 16), (4, 1)) == (((16, 1), 1), ((32, 1), 2), ((20, 1), 1))
    # Seven rows in tiles of two: the first core has tiles 0 and 2, the second 1 and the odd row.
    assert in_turns(2, 2, 7) == (((2, 0, 1), 1), ((1, 1, 0), 1))
    assert rows_dealt(4, 16, 2, 9) == (((4,), 2), ((1,), 1), ((0,), 1))


@pytest.mark.parametrize(
    ("panel", "met"),
    # All eight cores begin at one node, and stream two panels of two pieces of 4 KiB at a time.
    [(8192, 4.0), (16384, 8.0), (2048, 1.0)],
)
def test_streams_meet_in_the_nodes_that_hold_them(panel, met):
    assert nodes_met(8, 8, 8 * 4096, panel, (0, 64 * 4096)) == met


def test_packets_wait_behind_packets_to_other_cores():
    memory = _hardware("quad", hbm={"refresh": "none", "backend": "ideal"}).shared(4).memory
    # As many nodes as cores: each link is busy for 2 - sqrt(2) of its time (16 + 1 flits per burst).
    rows = 64
    expected = rows * 4096 / (256 * 16 / 17 * (2 - sqrt(2)))
    assert memory.streaming(rows, 4096, met=4) == pytest.approx(expected)
    # A transfer that is short has its share of the memory.
    assert memory.streaming(8, 4096) == pytest.approx(8 * 4096 / (819.2 / 4))


def test_rows_side_by_side_meet_in_the_nodes_that_requests_reach():
    memory = _hardware("quad").memory
    assert memory.reads == 32 and memory.nodes == 4
    # 16 rows of 256 bytes stand in one node, which serves two cores in turns; 32 in two.
    assert memory.abreast(16, 256, 2) == 2.0
    assert memory.abreast(17, 256, 2) == pytest.approx(1 / (2 - sqrt(2)))
    # A core has 32 requests under way: more rows reach no further.
    assert memory.abreast(64, 256, 2) == memory.abreast(17, 256, 2)
    assert memory.abreast(64, 256, 1) == 1.0
    assert _hardware("paper").memory.abreast(64, 256, 2) == 1.0


@pytest.mark.parametrize(("platform", "cores"), [("quad", None), ("quad", 3), ("manycore", 8)])
def test_bytes_and_macs_are_those_of_all_cores(platform, cores):
    machine = vp.Platform.load(f"platform/{platform}.yaml")
    sizes = {"prompt_length": 16, "batch": 2, "cores": cores}
    model = load_model("llada-tiny:layers=2")
    closed = estimate(model.spec, hardware_of(machine.description()), PLAN, **sizes)
    simulated = time_generation(model, machine, PLAN, **sizes)
    assert closed.cores == (cores or 4)
    for ours, theirs in zip(closed.calls, simulated.calls, strict=True):
        moved = sum(phase.hbm_bytes for phase in ours.phases.values())
        assert moved == pytest.approx(theirs.hbm_bytes, rel=0.002)
        assert sum(phase.macs for phase in ours.phases.values()) == theirs.macs
    assert closed.energy == pytest.approx(simulated.energy, rel=0.1)
    assert 0 < closed.matrix_utilisation < 1 and 0 < closed.vector_utilisation < 1


def test_phases_on_all_cores_are_within_the_limits():
    case = next(case for case in QUICK if case.platform == "quad" and case.cores is None)
    rows = list(check_case(case))
    assert len(rows) > 10 and all("all cores" in row.case for row in rows)
    assert [row.what for row in rows if not row.holds] == []


def test_more_cores_are_faster_and_share_one_memory():
    hardware = _hardware("quad", core={"matrix_sram_bytes": "4MiB"})
    plan = GenerationPlan(gen_length=64, block_length=32, steps=16, cache="dual")
    found = [
        estimate(LLADA, hardware, plan, prompt_length=64, batch=2, cores=cores)
        for cores in (1, 2, 3, 4)
    ]
    times = [estimate.time for estimate in found]
    assert times == sorted(times, reverse=True)
    assert 1.5 < times[0] / times[3] < 3.0
    # The array's work is the same; so is the area, which is that of the platform.
    assert len({round(estimate.calls[1].phases["down"].macs) for estimate in found}) == 1
    assert len({estimate.area.total for estimate in found}) == 1
    for closed in found:
        points = roofline(closed)
        assert all(0 < point.flops <= point.roof for point in points)
    assert found[3].peak_flops == 4 * found[0].peak_flops


def test_what_has_no_closed_form_on_several_cores_is_named():
    quad = _hardware("quad")
    with pytest.raises(vp.CompileError, match=r"cores: 5, allowed: 1\.\.4, as the platform has"):
        estimate(load_model("llada-tiny").spec, quad, PLAN, cores=5)
    with pytest.raises(vp.CompileError, match="a mixture of experts on 4 cores: no closed form"):
        estimate(load_model("llada-moe-tiny").spec, quad, PLAN)
    unlike = vp.Platform("unlike")
    unlike.core("a", vlen=128, mlen=128, blen=16, hlen=16)
    unlike.core("b", vlen=128, mlen=128, blen=16, hlen=16, dma_ports=2)
    unlike.hbm("hbm", backend="ideal", size="1GiB", bandwidth="128GB/s")
    hardware = hardware_of(unlike.description())
    spec = load_model("llada-tiny").spec
    with pytest.raises(vp.CompileError, match=r"b\.dma_ports: 2, allowed: \d+, as a has \(closed"):
        estimate(spec, hardware, PLAN)
    assert estimate(spec, hardware, PLAN, cores=1).cycles > 0


def test_a_split_sampling_step_says_what_does_not_fit():
    manycore = _hardware("manycore")
    assert estimate_sampling(manycore, 1, 16, 20_000).form == "split"
    assert estimate_sampling(manycore, 1, 16, 20_000, "edge").form == "edge"
    with pytest.raises(vp.InputError, match="513 positions do not fit in a row of Vector SRAM"):
        estimate_sampling(manycore, 1, 513, 20_000)
    with pytest.raises(
        vp.InputError, match="indices of all cores take 8710 words, INT SRAM has 8192"
    ):
        estimate_sampling(manycore, 3, 128, 20_000, "split")
    # The same limits as the firmware's: of indices 120 positions fit, 121 do not.
    platform = vp.Platform.load("platform/manycore.yaml")
    for positions in (120, 121):
        sizes = (2, positions, 20_000)
        words = (4 + 64) * positions + 2 + 3
        if words <= 8192:
            sampling_firmware(platform, *sizes)
            assert estimate_sampling(manycore, *sizes).cycles > 0
            continue
        with pytest.raises(vp.AssemblyError, match="indices of all cores do not fit"):
            sampling_firmware(platform, *sizes)
        with pytest.raises(vp.InputError, match=f"take {words} words"):
            estimate_sampling(manycore, *sizes)


def test_command_estimates_and_checks_several_cores(capsys):
    arguments = ["estimate", "llada-tiny", "--platform", "platform/quad.yaml", "--gen-length", "8"]
    arguments += ["--block-length", "8", "--steps", "2", "--cache", "dual", "--cores", "2"]
    assert main(arguments) == 0
    assert "llada-tiny on quad (2 cores): every figure is an estimate" in capsys.readouterr().out
    assert main([*arguments, "--check", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["cores"] == 2 and abs(data["check"]["error"]) < 0.15
