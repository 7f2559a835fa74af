"""Closed forms of what several cores share."""

import json

import pytest

import npuvp as vp
from npuvp.analytical import estimate, estimate_sampling, hardware_of, roofline
from npuvp.analytical.flow import Pattern, _streams, alike, beside, slices, streams
from npuvp.analytical.shared import dealt, in_turns, rows_dealt
from npuvp.cli import main
from npuvp.compiler.shares import share
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.replay import time_generation
from npuvp.sampling import sample, sampling_firmware, seeded_logits, workload
from npuvp.validate import QUICK, Case, check_case

PLAN = GenerationPlan(gen_length=16, block_length=8, steps=8, cache="dual")
LLADA = load_model("llada-8b").spec


def _hardware(name, **over):
    return hardware_of(vp.Platform.load(f"platform/{name}.yaml", **over).description())


def test_work_is_dealt_out_in_groups():
    assert [share(100, 16, core, 4) for core in range(4)] == [(0, 16), (16, 32), (48, 32), (80, 20)]
    assert [share(2, 1, core, 4) for core in range(4)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert dealt(4, (100, 16), (4, 1)) == (((16, 1), (0,)), ((32, 1), (1, 2)), ((20, 1), (3,)))
    # Seven rows in tiles of two: the first core has tiles 0 and 2, the second 1 and the odd row.
    assert in_turns(2, 2, 7) == (((2, 0, 1), (0,)), ((1, 1, 0), (1,)))
    assert rows_dealt(4, 16, 2, 9) == (((4,), (0, 1)), ((1,), (2,)), ((0,), (3,)))


def _mesh(name, **over):
    mesh = _hardware(name, **over).memory.mesh
    assert mesh is not None
    return mesh


def test_what_all_cores_load_comes_to_one_after_the_other():
    mesh = _mesh("manycore", hbm={"refresh": "none"})
    # 4 KiB of one node for all 64 cores: it gives 102.4 bytes per cycle, and is never idle for long.
    (there,) = alike(mesh, 64, (0, 1, 4096, 0))
    least = 64 * 4096 / (819.2 / 8)
    assert least <= max(there) <= 1.05 * least
    # The core beside the node, and near the host, has it long before the one in the far corner.
    assert there[7] < there[63] / 3
    # Behind it come others, and of 32 KiB every node has a part.
    first, behind = alike(mesh, 64, (0, 1, 4096, 0), (4096, 7, 4096, 0))
    assert all(one <= other for one, other in zip(first, behind, strict=True))
    assert max(behind) < 1.3 * least


def test_refreshes_come_in_between():
    quiet, there = (
        alike(mesh, 64, *[(0, 1, 4096, 0)] * 2)[-1]
        for mesh in (_mesh("manycore", hbm={"refresh": "none"}), _mesh("manycore"))
    )
    # One every 3,900 cycles for 350, in which a node does nothing; what is there before does not wait.
    assert 3900 < max(quiet) < 2 * 3900 and 350 <= max(there) - max(quiet) < 500
    assert min(there) == min(quiet)


def _weights(cores, rows):
    """A matrix of rows of 8 KiB in blocks of 1 KiB, of which each core has so many."""
    shares = tuple((core * rows, rows) for core in range(cores))
    return Pattern(((0,),), (1024,), (1024,), (cores * rows * 1024,), 8, shares, 256, 64)


def test_weights_are_asked_for_piece_by_piece():
    pattern = _weights(2, 512)
    asked = pattern.asked(512, 512)
    # The first panel's pieces grow: 64, 64 and 128 rows; then 64 each. Every block of columns apart.
    assert [length // 1024 for _, length, _ in asked[::8]] == [64, 64, 128, 64, 64, 64, 64]
    assert asked[0][0] == 512 * 1024 and asked[1][0] - asked[0][0] == 2 * 512 * 1024
    assert sum(length for _, length, _ in asked) == 512 * 8192
    assert pattern.asked(0, 0) == []


def test_streams_are_as_fast_as_links_and_memory_let_them():
    ideal = {"hbm": {"refresh": "none", "backend": "ideal"}}
    # A burst of 4 KiB is 17 flits of 256 bytes: two cores are held up by their own links.
    bytes_ = 2 * 512 * 8192
    took = streams(_mesh("quad", **ideal), _weights(2, 512), ())
    assert 0.93 * 2 * 4096 / 17 <= bytes_ / took <= 2 * 4096 / 17
    # Four meet in mesh and memory, which gives 819.2 bytes per cycle.
    took = streams(_mesh("quad", **ideal), _weights(4, 512), ())
    assert 700 < 2 * bytes_ / took <= 819.2
    # Rows of banks cost more than an ideal memory.
    assert streams(_mesh("quad"), _weights(4, 512), ()) > 1.1 * took


def test_a_long_stream_goes_on_as_it_did(monkeypatch):
    mesh, pattern = _mesh("quad"), _weights(4, 4096)
    assert pattern.bursts(mesh) == 32_768
    part = streams(mesh, pattern, ())
    # Where each core began does not matter to it.
    assert streams(mesh, pattern, (5, 400, 300, 9)) == part
    monkeypatch.setattr("npuvp.analytical.flow._MOST_BURSTS", 40_000)
    _streams.cache_clear()
    whole = streams(mesh, pattern, ())
    _streams.cache_clear()
    assert part != whole and part == pytest.approx(whole, rel=0.15)


def test_columns_of_the_same_rows_meet_in_their_nodes():
    mesh = _mesh("quad", hbm={"refresh": "none"})
    alone = beside(mesh, (), (0,), 0, 64, 256, 1024, False)
    four = beside(mesh, (), (0, 1, 2, 3), 0, 64, 256, 1024, False)
    # 256 bursts of two flits on their way from nodes that all cores meet in.
    assert alone < four < 4 * alone
    # Who comes late meets nobody; time counts from when the last one begins.
    apart = beside(mesh, (0, 5000, 10_000, 15_000), (0, 1, 2, 3), 0, 64, 256, 1024, False)
    assert apart == pytest.approx(alone, rel=0.1)
    assert beside(mesh, (), (0, 1, 2, 3), 0, 64, 256, 1024, True) > 0
    # Without a mesh, or alone, there is nothing to meet in.
    memory = _hardware("quad").memory
    assert memory.beside((), (1,), 0, 64, 256, 1024, False) is None
    assert _hardware("paper").memory.mesh is None


def test_slices_of_a_vocabulary_come_one_behind_the_other():
    mesh = _mesh("quad", hbm={"refresh": "none"})
    first, second = slices(mesh, 4, 33_792, 4 * 33_792, 2)
    assert 33_792 * 4 / 819.2 < first < second < 2 * first


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


def test_slices_of_all_cores_are_within_the_limits():
    platform = vp.Platform.load("platform/quad.yaml", hbm={"refresh": "none"})
    found = estimate_sampling(hardware_of(platform.description()), 2, 4, 126_464, "split")
    work = workload(seeded_logits(2, 4, 126_464))
    simulated = sample(platform, work, mode="timing", form="split", progress=False)
    assert found.cycles == pytest.approx(simulated.cycles, rel=0.05)


def test_cores_whose_shares_begin_in_nodes_of_their_own():
    # They were thought to meet in few nodes of the memory: `down` was 20 % too long.
    model = "llada-tiny:layers=2,hidden=512,heads=16,mlp=1024,vocab=4096"
    plan = GenerationPlan(gen_length=16, block_length=8, steps=4, cache="dual")
    rows = list(check_case(Case("manycore", model, plan, batch=2, cores=3)))
    errors = {row.what: row.error for row in rows if row.share > 0.05}
    assert len(errors) == 15 and max(map(abs, errors.values())) < 0.11
    assert abs(errors["full 32 all GEMM"]) < 0.04 and abs(errors["refine_dual 8 down"]) < 0.05


def test_more_cores_are_faster_and_share_one_memory():
    hardware = _hardware("quad", core={"matrix_sram_bytes": "4MiB"})
    plan = GenerationPlan(gen_length=64, block_length=32, steps=16, cache="dual")
    found = [
        estimate(LLADA, hardware, plan, prompt_length=64, batch=2, cores=cores)
        for cores in (1, 2, 3, 4)
    ]
    times = [estimate.time for estimate in found]
    # From three on the memory is what they wait for, and how four streams meet there.
    assert times[0] > times[1] > times[2] and times[1] > times[3]
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
