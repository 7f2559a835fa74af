"""V_RAND, V_RED_MAX_RAND and S_RAND_FP: the counter names the draw, in machine and golden model."""

import ml_dtypes
import numpy as np
import pytest

import npuvp as vp
from npuvp.generation.random import token_gumbel
from npuvp.golden.machine import run
from npuvp.golden.philox import gumbel, philox, uniform

VLEN = 32
SEED, POSITION, CALL, ROW = 0x0123_4567_89AB_CDEF, 37, 5, 2
SETUP = f"""
    LI gp1, {SEED & 0xFFFFFFFF}
    C_CSRW rng_key0, gp1
    LI gp1, {SEED >> 32}
    C_CSRW rng_key1, gp1
    LI gp1, {POSITION}
    C_CSRW rng_counter1, gp1
    LI gp1, {CALL}
    C_CSRW rng_counter2, gp1
    LI gp1, {ROW}
    C_CSRW rng_counter3, gp1
"""


def platform() -> vp.Platform:
    made = vp.Platform("random")
    made.hbm("hbm", backend="ideal", size="1MiB", latency="10ns", bandwidth="64GB/s")
    made.core("core0", vlen=VLEN, mlen=VLEN, blen=4, hlen=4)
    return made


def both(text: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the machine, which the golden model shares."""
    firmware = vp.assemble(text + "\n    C_HALT gp0\n")
    one = platform().run(firmware, inputs=inputs).outputs
    other = run(platform(), firmware, inputs=inputs).outputs
    for name, value in one.items():
        assert np.array_equal(value, other[name]), name
    return one


@pytest.mark.parametrize(("mode", "draw"), [("uniform", uniform), ("gumbel", gumbel)])
def test_a_row_begins_at_counter_word_0(mode: str, draw: object) -> None:
    # The last groups of four lanes pass the end of word 0.
    first = 0xFFFFFFFE
    outputs = both(
        f"""
    .tensor y, core0.vector, 0, bf16, {VLEN}, out
    {SETUP}
    LI gp1, {first}
    C_CSRW rng_counter0, gp1
    LI gp2, 11
    V_RAND gp0, gp2, {mode}
    """
    )
    counters = [[(first + i) % 2**32, POSITION, 11, ROW] for i in range(VLEN // 4)]
    words = philox(counters, [SEED & 0xFFFFFFFF, SEED >> 32]).ravel()
    assert callable(draw)
    expected = np.asarray(draw(words)).astype(ml_dtypes.bfloat16)
    assert np.array_equal(outputs["y"].astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("mode", ["uniform", "gumbel"])
def test_a_number_for_a_position_is_not_rounded(mode: str) -> None:
    outputs = both(
        f"""
    .tensor y, core0.fp, 0, fp32, 1, out
    {SETUP}
    LI gp1, 0xFFFFFFFF
    C_CSRW rng_counter0, gp1
    LI gp2, 1234
    S_RAND_FP f1, gp2, {mode}
    S_ST_FP f1, gp0, 0
    """
    )
    word = philox([0xFFFFFFFF, 1234, CALL, ROW], [SEED & 0xFFFFFFFF, SEED >> 32])[:1]
    expected = uniform(word) if mode == "uniform" else gumbel(word)
    assert outputs["y"] == expected
    assert expected.astype(ml_dtypes.bfloat16) != expected


@pytest.mark.parametrize("first", [0, 48, 51])
def test_the_noisy_maximum_keeps_the_plain_logit(first: int) -> None:
    temperature = 0.75
    logits = np.linspace(-1, 1, 2 * VLEN).astype(ml_dtypes.bfloat16).astype(np.float32)
    logits[3] = -np.inf
    logits[5] = np.nan
    outputs = both(
        f"""
    .tensor x, core0.vector, 0, bf16, {2 * VLEN}, in
    .tensor y, core0.fp, 0, fp32, 2, out
    .tensor i, core0.int, 0, raw32, 1, out
    {SETUP}
    LI gp1, {np.float32(temperature).view(np.uint32)}
    C_CSRW rng_scale, gp1
    LI gp1, {np.float32(-np.inf).view(np.uint32)}
    S_SET_FP f1, gp1
    LI gp2, {first}
    LI gp3, {VLEN}
    V_RED_MAX_RAND gp4, gp0, gp2, f1, f2
    S_ADD_INT gp2, gp2, gp3
    V_RED_MAX_RAND gp4, gp3, gp2, f1, f2
    S_ST_FP f1, gp0, 0
    S_ST_FP f2, gp0, 1
    S_ST_INT gp4, gp0, 0
    """,
        x=logits,
    )
    noise = token_gumbel(first + 2 * VLEN, POSITION, CALL, ROW, SEED)[first:]
    noisy = logits + np.float32(temperature) * noise
    best = int(np.nanargmax(noisy))
    assert int(outputs["i"][0]) == first + best
    assert outputs["y"].tolist() == [noisy[best], logits[best]]


def test_where_nothing_exceeds_the_maximum_all_stays() -> None:
    outputs = both(
        f"""
    .tensor y, core0.fp, 0, fp32, 2, out
    .tensor i, core0.int, 0, raw32, 1, out
    {SETUP}
    LI gp1, {np.float32(100).view(np.uint32)}
    S_SET_FP f1, gp1
    S_SET_FP f2, gp1
    LI gp4, 77
    V_RED_MAX_RAND gp4, gp0, gp0, f1, f2
    S_ST_FP f1, gp0, 0
    S_ST_FP f2, gp0, 1
    S_ST_INT gp4, gp0, 0
    """
    )
    assert outputs["y"].tolist() == [100, 100]
    assert outputs["i"].tolist() == [77]
