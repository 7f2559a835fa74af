"""Cross-step reuse: what a call computes and moves is what its cache mode says, and no more."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from compiler_cases import platform

from npuvp.compiler import compile_generation
from npuvp.compiler.runtime import generate_and_run
from npuvp.compiler.state import PHASES
from npuvp.generation.calls import CallRecord
from npuvp.model.checkpoint import load_model
from npuvp.plan import Cache, GenerationPlan
from npuvp.run import Lap

# All sizes are multiples of what the machine works on at once, so that nothing is padded.
WIDTH, BLEN = 32, 8
LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD, MLP, VOCAB = 2, 64, 4, 2, 16, 96, 160
MODEL = f"llada-tiny:layers={LAYERS},hidden={HIDDEN},heads={HEADS},kv_heads={KV_HEADS},mlp={MLP},vocab={VOCAB}"
PROMPT, GENERATED, BLOCK, BATCH = 16, 16, 8, 2
LENGTH = PROMPT + GENERATED
Q, KV = HEADS * HEAD, KV_HEADS * HEAD
LAYER_WEIGHTS = HIDDEN * (Q + 2 * KV) + Q * HIDDEN + 3 * HIDDEN * MLP


@dataclass(frozen=True)
class Use:
    """Of a call, by counter."""

    macs: int
    read: int
    written: int


def uses(laps: list[Lap]) -> list[Use]:
    """From the mark of each call to its word to the host."""
    found = []
    begin: Lap | None = None
    for lap in laps:
        if lap.kind == "call":
            begin = lap
        elif lap.kind == "word":
            assert begin is not None
            found.append(
                Use(
                    lap.macs - begin.macs,
                    lap.bytes_read - begin.bytes_read,
                    lap.bytes_written - begin.bytes_written,
                )
            )
    return found


def expected_macs(call: CallRecord) -> int:
    """Tokens that the facts say (L, L - s or K, times the batch) through all matrices; attention to
    all L keys; the head for the block only, or from the first mask before it on, which there is
    none."""
    tokens = BATCH * call.length
    # A head fills half of a row of lanes, and the product takes the row.
    attention = HEADS * (LENGTH * WIDTH + HEAD * LENGTH)
    return LAYERS * tokens * (LAYER_WEIGHTS + attention) + BATCH * BLOCK * VOCAB * HIDDEN


def expected_written(call: CallRecord) -> int:
    """Rows of the call: x, q, k, v, o, x, gated, x."""
    tokens = BATCH * call.length
    layer = Q + 2 * KV + Q + HIDDEN + MLP + HIDDEN
    return 2 * tokens * (HIDDEN + LAYERS * layer)


def expected_read(call: CallRecord) -> int:
    """Weights once, the keys and values of all L positions, and the rows of the call."""
    tokens = BATCH * call.length
    weights = LAYERS * LAYER_WEIGHTS + VOCAB * HIDDEN
    cache = LAYERS * BATCH * LENGTH * 2 * KV
    # embedding; x; q; o, x; x; gated, x. Angles once per position.
    layer = HIDDEN + Q + Q + HIDDEN + HIDDEN + MLP + HIDDEN
    rows = (
        LAYERS * call.length * 2 * WIDTH
        + tokens * (HIDDEN + LAYERS * layer)
        + BATCH * BLOCK * HIDDEN
    )
    return 2 * (weights + cache + rows)


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_matrix_operations_and_bytes_of_every_call(cache: Cache) -> None:
    plan = GenerationPlan(gen_length=GENERATED, block_length=BLOCK, steps=8, cache=cache)
    model = load_model(MODEL)
    prompt = np.arange(BATCH * PROMPT).reshape(BATCH, PROMPT) + 5
    result, run = generate_and_run(model, prompt, plan, platform(WIDTH, BLEN))
    assert run is not None
    lengths = {"none": (LENGTH, LENGTH), "prefix": (GENERATED, BLOCK), "dual": (BLOCK, BLOCK)}
    refined = [call.length for call in result.calls if call.kind != "full" or cache == "none"]
    assert set(refined) == set(lengths[cache])
    assert len(result.calls) == 8
    for call, use in zip(result.calls, uses(run.laps[0]), strict=True):
        assert use.macs == expected_macs(call)
        # Tokens, masks, tables and records are a few rows.
        assert 0 <= use.read - expected_read(call) < 0.06 * expected_read(call)
        assert 0 <= use.written - expected_written(call) < 0.06 * expected_written(call)


def test_the_head_sees_the_block_only() -> None:
    plan = GenerationPlan(gen_length=GENERATED, block_length=BLOCK, steps=2, cache="dual")
    machine = platform(WIDTH, BLEN)
    compilation = compile_generation(
        MODEL, machine.description(), plan, prompt_length=PROMPT, batch=BATCH
    )
    compilation.firmware.segments += compilation.weight_segments()
    canvas = np.full((LENGTH, BATCH), compilation.checkpoint.spec.mask_id)
    canvas[:PROMPT] = 7
    laps = machine.run(compilation.firmware, inputs={"tokens": canvas}).laps[0]
    spent = [
        after.macs - before.macs
        for before, after in pairwise(laps)
        if before.kind == "phase" and PHASES[before.value] == "head"
    ]
    assert set(spent) == {BATCH * BLOCK * VOCAB * HIDDEN}
