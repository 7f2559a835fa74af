"""Compilation: what fits, what does not, how large the code is, what the passes show."""

from typing import Any

import numpy as np
import pytest
from compiler_cases import platform

import npuvp as vp
from npuvp.compiler import CompileError, compile_generation
from npuvp.compiler.build import build, fuse
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan

PLAN = GenerationPlan(gen_length=16, block_length=8, steps=8, cache="dual")
SMALL = "llada-tiny:layers=2,hidden=64,heads=4,mlp=96,vocab=200"


def words(model: str, plan: GenerationPlan = PLAN, **core: Any) -> int:
    compilation = compile_generation(
        model, platform(64, 16, **core).description(), plan, prompt_length=8
    )
    text = compilation.firmware.text(0)
    assert text is not None
    return len(text.words)


def test_code_does_not_grow_with_layers_steps_or_vocabulary() -> None:
    base = words(SMALL)
    assert words(SMALL.replace("layers=2", "layers=30")) == base
    # Constants of two words in place of one.
    assert words(SMALL.replace("vocab=200", "vocab=50184")) - base < 20
    longer = GenerationPlan(gen_length=128, block_length=8, steps=128, cache="dual")
    assert words(SMALL, longer) - base < 120


def test_llada_8b_fits_the_paper_platform(tmp_path: Any) -> None:
    plan = GenerationPlan(gen_length=64, block_length=32, steps=16, cache="dual")
    machine = vp.Platform.load("platform/paper.yaml")
    compilation = compile_generation("llada-8b", machine.description(), plan, prompt_length=64)
    path = compilation.firmware.save(tmp_path / "8b.elf")
    assert path.stat().st_size < 1_000_000
    assert compilation.layout.layer_stride * 32 > 13_000_000_000


def test_passes_are_listed() -> None:
    compilation = compile_generation(SMALL, platform(64, 16).description(), PLAN, prompt_length=8)
    listings = compilation.dump()
    assert "%q: bf16[tokens, 64] = linear(%n, @q)" in listings["1_operations.txt"]
    assert "repeat 2 layers {" in listings["2_phases.txt"]
    assert "phase gate_up:" in listings["2_phases.txt"]
    assert "layer base" in listings["3_layout.txt"]
    assert "; phase attention" in listings["4_firmware.s"]
    # The text is the program: it assembles to the same words.
    again, made = vp.assemble(listings["4_firmware.s"]).text(0), compilation.firmware.text(0)
    assert again is not None
    assert made is not None
    assert again.words == made.words


def test_phases_hold_every_operation_once() -> None:
    program = fuse(build(load_model(SMALL).spec))
    fused = [operation for phase in program.phases for operation in phase.operations]
    assert fused == program.operations
    assert [phase.name for phase in program.phases] == [
        "embed", "qkv", "attention", "o", "gate_up", "down", "head",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_format": "mxint8", "cache": "none"}, "keys in mxint8 with cache 'none'"),
    ],
)
def test_unsupported_plans_are_named(changes: dict[str, Any], message: str) -> None:
    plan = GenerationPlan(**{**PLAN.__dict__, **changes})
    with pytest.raises(CompileError, match=message):
        words(SMALL, plan)


@pytest.mark.parametrize(
    ("core", "message"),
    [
        ({"matrix_sram_bytes": 2 * 64 * 64}, "keys and values of a head, 24 x 16"),
        ({"vector_sram_bytes": 32 * 64 * 2}, "phase qkv: 4 rows per token"),
        ({"int_sram_words": 80}, r"INT SRAM has 80 words(.|\n)*room for 1 x 3"),
        ({"fp_sram_words": 8}, "sampling state of 1 x 8 positions"),
        ({"vector_format": "fp32", "vector_sram_bytes": "8MiB"}, "core.vector_format: fp32"),
    ],
)
def test_what_does_not_fit_is_named(core: dict[str, Any], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        words(SMALL, **core)


def test_memory_that_is_too_small_is_named() -> None:
    with pytest.raises(CompileError, match="head: 1,035,993,088 bytes, but HBM has 1,073,"):
        words("llada-8b")


@pytest.mark.parametrize(
    ("cache", "batch", "changes"),
    [
        ("none", 2, {}),
        ("prefix", 1, {}),
        ("dual", 2, {}),
        ("dual", 1, {"temperature": 0.7, "remasking": "random"}),
    ],
)
def test_timing_mode_with_the_plans_decisions(
    cache: Any, batch: int, changes: dict[str, Any]
) -> None:
    plan = GenerationPlan(gen_length=8, block_length=4, steps=4, cache=cache, **changes)
    machine = platform(64, 16)
    compilation = compile_generation(
        SMALL, machine.description(), plan, prompt_length=5, batch=batch
    )
    canvas = np.full((13, batch), compilation.checkpoint.spec.mask_id)
    canvas[:5] = 7
    timing = machine.run(
        compilation.firmware,
        inputs={"tokens": canvas},
        mode="timing",
        decisions=compilation.decisions(),
    )
    compilation.firmware.segments += compilation.weight_segments()
    functional = machine.run(compilation.firmware, inputs={"tokens": canvas})
    planned, recorded = compilation.decisions()[0], functional.decisions[0]
    assert [pc for pc, _ in planned] == [pc for pc, _ in recorded]
    assert timing.cycles == functional.cycles
    assert len(timing.host_words) == 4
