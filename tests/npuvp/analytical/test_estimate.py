"""Closed forms of generations and sampling steps."""

import json

import pytest

import npuvp as vp
from npuvp.analytical import (
    DEVICES,
    device_time,
    estimate,
    estimate_sampling,
    hardware_of,
    roofline,
)
from npuvp.area import area_of
from npuvp.cli import main
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan


def _hardware(name: str, **over):
    return hardware_of(vp.Platform.load(f"platform/{name}.yaml", **over).description())


LLADA = load_model("llada-8b").spec
PLAN = GenerationPlan(gen_length=256, block_length=32, steps=256, cache="dual")


def test_macs_and_bytes_of_a_call_are_those_of_its_operations():
    found = estimate(LLADA, _hardware("v80"), PLAN, prompt_length=128, batch=4)
    refine = next(call for call in found.calls if call.kind.kind == "refine_dual")
    # 4 x 32 rows fill one group of 128 exactly, and every width is a multiple of the array's.
    assert refine.phases["down"].macs == 32 * 128 * 4096 * 12288
    assert refine.phases["head"].macs == 128 * 4096 * -(-126464 // 2048) * 2048
    weights = 32 * 2 * 4096 * 12288
    activations = 32 * 128 * 2 * (12288 + 2 * 4096)
    assert refine.phases["down"].hbm_bytes == weights + activations
    assert sum(call.times for call in found.calls) == 256
    assert found.tokens == 4 * 256


def test_more_bandwidth_helps_what_is_bound_by_it_and_nothing_else():
    slow = _hardware("paper", hbm={"size": "64GiB"})
    fast = _hardware(
        "paper", hbm={"size": "64GiB", "bandwidth": "819.2GB/s"}, core={"dma_ports": 32}
    )
    sizes = {"prompt_length": 64, "batch": 1}
    a, b = (estimate(LLADA, hardware, PLAN, **sizes) for hardware in (slow, fast))
    refine = [found.calls[1].phases for found in (a, b)]
    assert 1.7 < refine[0]["down"].cycles / refine[1]["down"].cycles < 2.0
    assert refine[0]["down"].macs == refine[1]["down"].macs
    assert a.area.total == pytest.approx(b.area.total)


def test_sampling_engine_has_the_published_area():
    area = area_of(vp.Platform.load("platform/paper.yaml").description())
    assert area.core["vector"] == pytest.approx(2.931, rel=1e-3)
    assert area.core["scalar"] == pytest.approx(661e-6)
    assert area.mesh == 0
    assert area.total == pytest.approx(sum(area.core.values()))


def test_a_mesh_takes_its_share_of_area():
    area = area_of(vp.Platform.load("platform/quad.yaml").description())
    assert area.cores == pytest.approx(4 * sum(area.core.values()))
    assert area.mesh == pytest.approx(8 * 0.035 * sum(area.core.values()))


def test_no_phase_is_above_its_roof():
    points = roofline(estimate(LLADA, _hardware("v80"), PLAN, prompt_length=128, batch=16))
    assert len(points) == 12
    assert all(0 < point.flops <= 1.0001 * point.roof for point in points)
    assert {point.bound for point in points} == {"compute", "memory"}


def test_device_is_a_roofline():
    device = DEVICES["a6000"]
    plan = GenerationPlan(gen_length=32, block_length=32, steps=1, cache="none")
    found = device_time(device, LLADA, plan, prompt_length=32, batch=1)
    # One call of 64 rows: bound by its weights in BF16.
    layers = 2 * 32 * (4 * 4096**2 + 3 * 4096 * 12288) / 768e9
    assert found.transformer == pytest.approx(layers, rel=0.01)
    assert found.head == pytest.approx(2 * 4096 * 126464 / 768e9)
    assert found.sampling == pytest.approx(2 * 32 * 126464 / 768e9)


def test_published_sampling_step_in_closed_form():
    found = estimate_sampling(_hardware("paper", core={"issue": "blocking"}), 16, 32, 126_464)
    assert found.form == "performance"
    assert found.cycles == pytest.approx(991_038, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 0.9}, "number of calls depends on the data"),
        ({"factor": 1.0}, "number of calls depends on the data"),
        ({"gen_length": 4096, "steps": 4096}, "positions, the model has 4096"),
    ],
)
def test_what_has_no_closed_form_says_so(changes, message):
    plan = GenerationPlan(**({"gen_length": 64, "block_length": 32, "steps": 64} | changes))
    with pytest.raises(vp.CompileError, match=message):
        estimate(LLADA, _hardware("v80"), plan, prompt_length=32, batch=1)


def test_narrow_weights_move_fewer_bytes_and_nothing_else():
    hardware = _hardware("v80")
    sizes = {"prompt_length": 64, "batch": 1}
    wide, narrow = (
        estimate(LLADA, hardware, PLAN, formats={"weights": name}, **sizes).calls[1].phases["down"]
        for name in ("bf16", "mxint4")
    )
    elements = 32 * 4096 * 12288
    # 4 bits and a scale byte per 32 in place of 16 bits.
    assert wide.hbm_bytes - narrow.hbm_bytes == elements * (2 - 0.5 - 1 / 32)
    assert wide.macs == narrow.macs and narrow.cycles < wide.cycles


def test_a_burst_on_a_mesh_has_a_header_flit():
    memory = _hardware("quad", hbm={"refresh": "none"}).memory
    # 1 KiB is four flits of 256 B and a header; rows that follow each other make bursts of 4 KiB.
    assert memory.streaming(64, 1024, pitch=8192) == 64 * 5
    assert memory.streaming(64, 1024) == 16 * 17


def test_what_is_under_way_covers_a_part_of_a_refresh():
    memory = _hardware("quad").memory
    length, period = memory.refresh
    assert (length, period) == (350.0, 3900.0)
    exposed = length - memory.reads * 5
    assert exposed == 350 - 32 * 5
    assert memory.streaming(64, 1024, pitch=8192) == pytest.approx(320 / (1 - exposed / period))
    # 32 bursts of 4 KiB last longer than a refresh.
    assert memory.streaming(64, 1024) == 16 * 17


@pytest.mark.parametrize(("calls", "times"), [(3, 24), ("worst", 64)])
def test_calls_under_a_threshold_are_those_that_are_stated(calls, times):
    plan = GenerationPlan(gen_length=64, block_length=8, steps=64, cache="dual", threshold=0.9)
    found = estimate(LLADA, _hardware("v80"), plan, prompt_length=32, calls_per_block=calls)
    assert sum(call.times for call in found.calls) == times


def test_what_does_not_fit_names_the_phase():
    hardware = _hardware("paper", hbm={"size": "64GiB"}, core={"vector_sram_bytes": "2MiB"})
    with pytest.raises(vp.CompileError, match=r"a tile of 128 keys takes .* 1032 rows of Vector"):
        estimate(LLADA, hardware, PLAN, prompt_length=32, batch=1)


def test_command_prints_errors_beside_the_simulation(capsys):
    arguments = [
        "estimate",
        "models/llada-mini",
        "--platform",
        "platform/edge.yaml",
        "--gen-length",
    ]
    arguments += ["8", "--block-length", "8", "--steps", "4", "--cache", "dual", "--check"]
    assert main([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    rows = {(row["call"], row["phase"]): row for row in data["check"]["phases"]}
    assert abs(data["check"]["error"]) < 0.1
    assert rows["full", "qkv"]["simulated"] > 10_000
    assert data["roofline"]["points"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "every figure is an estimate" in text and "refine_dual 8 gate_up" in text
