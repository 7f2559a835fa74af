"""Several cores share a generation: the same tokens, and the same bits on the way."""

from typing import Any

import numpy as np
import pytest
from compiler_cases import NAMES, load, platform, same_calls, same_results

import npuvp as vp
from npuvp.compiler import CompileError, compile_generation
from npuvp.compiler.runtime import generate_and_run
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan

SMALL = "llada-tiny:layers=2,hidden=64,heads=4,mlp=96,vocab=200"
PLAN = GenerationPlan(gen_length=8, block_length=4, steps=4, cache="dual")


@pytest.mark.parametrize("name", NAMES)
def test_recorded_case_on_four_cores(name: str) -> None:
    case = load(name)
    result = vp.generate(
        case.directory, case.prompt, case.plan, platform(cores=4), attention_mask=case.mask
    )
    assert len(result.calls) == len(case.transfer)
    assert same_calls(result.calls, case.transfer, case.after) == []
    assert np.array_equal(result.tokens, case.final)


def _bits(cores: int, plan: GenerationPlan, model: str = SMALL, **core: Any) -> Any:
    """Result, the residual stream as the last call left it, and how busy each matrix unit was."""
    machine = platform(64, 16, cores, **core)
    prompt = np.array([[5, 6, 7], [90, 3, 2]])
    result, run = generate_and_run(model, prompt, plan, machine)
    compilation = compile_generation(
        model, machine.description(), plan, prompt_length=3, batch=len(prompt)
    )
    at, table = compilation.layout.addresses["x"], compilation.layout.stored["x"]
    assert machine.machine is not None
    rows = compilation.shape.batch * plan.block_length
    return result, machine.machine.read_bytes("hbm", at, rows * table.pitch).tobytes(), run


@pytest.mark.parametrize(
    ("cores", "core", "changes"),
    [
        (2, {}, {}),
        (3, {"mlen": 32, "matrix_sram_bytes": 1 << 16}, {"cache": "prefix"}),
        (4, {}, {"kv_format": "baos-mxint4"}),
        (4, {}, {"revision": "llada", "cache": "none", "cfg_scale": 0.5}),
        (16, {}, {"threshold": 0.01}),
        (3, {}, {"temperature": 1.0, "seed": 5}),
        (2, {}, {"revision": "llada", "cache": "none", "remasking": "random"}),
        (
            4,
            {},
            {
                "revision": "llada",
                "cache": "none",
                "temperature": 0.5,
                "confidence_eos_eot_inf": True,
                "eot_id": 7,
            },
        ),
    ],
)
def test_bits_do_not_depend_on_the_number_of_cores(
    cores: int, core: dict[str, Any], changes: dict[str, Any]
) -> None:
    plan = GenerationPlan(**{**PLAN.__dict__, **changes})
    one, wanted, _ = _bits(1, plan)
    several, found, run = _bits(cores, plan, **core)
    same_results(one, several)
    assert found == wanted
    products = [unit["matrix"]["macs"] for unit in run.stats["cores"].values()]
    assert len(products) == cores
    # Sixteen cores have more hands than there are heads and panels.
    assert sum(bool(count) for count in products) >= min(cores, 8), products


def test_golden_machine_agrees_on_several_cores() -> None:
    model = load_model("llada-tiny:layers=1,hidden=32,heads=2,mlp=48,vocab=100")
    prompt = np.array([[5, 6, 7], [90, 3, 2]])
    machine = platform(32, 8, 2)
    result = vp.generate(model, prompt, PLAN, machine)
    same_results(result, vp.generate(model, prompt, PLAN, machine, golden=True))


def test_timing_mode_on_several_cores() -> None:
    machine = platform(64, 16, 3)
    compilation = compile_generation(SMALL, machine.description(), PLAN, prompt_length=5, batch=2)
    canvas = np.full((13, 2), compilation.checkpoint.spec.mask_id)
    canvas[:5] = 7
    timing = machine.run(
        compilation.firmware,
        inputs={"tokens": canvas},
        mode="timing",
        decisions=compilation.decisions(),
    )
    compilation.firmware.segments += compilation.weight_segments()
    functional = machine.run(compilation.firmware, inputs={"tokens": canvas})
    for core in range(3):
        planned, recorded = compilation.decisions()[core], functional.decisions[core]
        assert [pc for pc, _ in planned] == [pc for pc, _ in recorded]
    assert timing.cycles == functional.cycles


def test_more_cores_than_there_are() -> None:
    with pytest.raises(CompileError, match=r"cores: 3, allowed: 1\.\.2, as the platform has"):
        vp.generate(SMALL, np.array([[5]]), PLAN, platform(64, 16, 2), cores=3)


def test_cores_that_differ_are_named() -> None:
    machine = vp.Platform("unlike")
    machine.hbm("hbm", backend="ideal", size="1GiB", latency="100ns", bandwidth="400GB/s")
    for name, size in (("core0", "256KiB"), ("core1", "64KiB")):
        machine.core(name, vlen=64, mlen=64, blen=16, hlen=16, vector_sram_bytes=size)
    wrong = r"core1\.vector_sram_bytes: 65536, allowed: 262144, as core0 has"
    with pytest.raises(CompileError, match=wrong):
        compile_generation(SMALL, machine.description(), PLAN, prompt_length=3)
    # One core needs nobody to be like it.
    assert compile_generation(SMALL, machine.description(), PLAN, prompt_length=3, cores=1)
