"""The sampling step on the machine against the golden model and float64."""

import numpy as np
import pytest

import npuvp as vp
from npuvp.golden.formats import bf16_to_float
from npuvp.golden.mx import mx_decode_row, mx_encode_row
from npuvp.golden.sampling import float64_confidence, sampling_step
from npuvp.sampling import sample, sampling_firmware, seeded_logits, workload


def platform(vlen, **core):
    return vp.Platform.load(
        "platform/paper.yaml", core={"vlen": vlen, "matrix_sram_bytes": 2 * vlen * vlen * 2, **core}
    )


def quantised(logits):
    """MXFP8 E4M3 bytes of logits (B, L, V) by the golden encoder: elements, scales."""
    batch, positions, vocabulary = logits.shape
    elements = np.zeros((batch, positions, vocabulary), np.uint8)
    scales = np.zeros((batch, positions, -(-vocabulary // 32)), np.uint8)
    for b in range(batch):
        for p in range(positions):
            elements[b, p], scales[b, p] = mx_encode_row("mxfp8_e4m3", 32, logits[b, p])
    return elements, scales


def check(vlen, batch, positions, vocabulary, form, *, seed=0, k=None, tokens=None, **core):
    logits = seeded_logits(batch, positions, vocabulary, seed)
    work = workload(logits, tokens=tokens, k=k, mask_id=vocabulary - 1)
    p = platform(vlen, **core)
    result = sample(p, work, form=form)
    elements, scales = quantised(work.logits)
    golden = sampling_step(
        elements,
        scales,
        vocabulary,
        work.tokens,
        work.k,
        work.mask_id,
        vlen=vlen,
    )
    out = result.outputs
    np.testing.assert_array_equal(out["argmax"], golden.argmax)
    np.testing.assert_array_equal(
        out["confidence"].view(np.uint32), golden.confidence.view(np.uint32)
    )
    np.testing.assert_array_equal(out["transfer"], golden.transfer)
    np.testing.assert_array_equal(out["tokens"], golden.tokens)
    committed = out["transfer"].sum(axis=1)
    np.testing.assert_array_equal(committed, work.k)
    return out, elements, scales, vocabulary


@pytest.mark.parametrize("vlen", [64, 128, 256, 512, 1024, 2048])
@pytest.mark.parametrize("form", ["performance", "edge"])
def test_equals_the_golden_model_and_float64(vlen, form):
    # The vocabulary fills no row: 4999 = 2 * 2048 + 903, and no MX block: 4999 = 156 * 32 + 7.
    out, elements, scales, vocabulary = check(vlen, 2, 5, 4999, form, k=[1, 5])
    decoded = mx_decode_row("mxfp8_e4m3", 32, elements, scales, vocabulary)
    exact = float64_confidence(decoded)
    np.testing.assert_allclose(out["confidence"], exact, rtol=0.005)
    np.testing.assert_array_equal(out["argmax"], bf16_to_float(decoded).argmax(axis=-1))


@pytest.mark.parametrize("vlen", [64, 2048])
def test_confidences_of_a_full_vocabulary_are_right_on_every_width(vlen):
    logits = seeded_logits(1, 2, 126_464, seed=3)
    out, elements, scales, vocabulary = check(vlen, 1, 2, 126_464, None, seed=3)
    decoded = mx_decode_row("mxfp8_e4m3", 32, elements, scales, vocabulary)
    np.testing.assert_allclose(out["confidence"], float64_confidence(decoded), rtol=0.005)
    assert logits.shape == (1, 2, 126_464)


def test_bf16_registers_would_lose_the_confidence():
    """Why FP registers are FP32: row sums of about 60 no longer change a BF16 sum of 16,384."""
    logits = np.random.default_rng(5).standard_normal((1, 1, 126_464), dtype=np.float32) * 0.05
    work = workload(logits, k=1)
    exact = 1 / np.exp(logits.astype(float) - logits.max()).sum()
    ratio = {
        form: float(sample(platform(64, fp_format=form), work).outputs["confidence"][0, 0]) / exact
        for form in ("fp32", "bf16")
    }
    assert ratio["bf16"] > 2.0
    assert 0.9 < ratio["fp32"] < 1.1  # the logits lost digits to MXFP8


@pytest.mark.parametrize("vocabulary", [1, 31, 32, 33, 63, 64, 65, 127, 129])
@pytest.mark.parametrize("form", ["performance", "edge"])
def test_any_vocabulary(vocabulary, form):
    check(64, 1, 3, vocabulary, form, k=2)


@pytest.mark.parametrize("positions", [63, 64, 65, 130])
def test_rows_longer_than_the_machine(positions):
    check(64, 2, positions, 200, "edge", k=[0, positions])


def test_only_masked_positions_compete():
    tokens = np.full((2, 4), 99)
    tokens[0, 1] = tokens[1, 0] = tokens[1, 3] = 7  # already revealed; 99 is the mask
    out, *_ = check(64, 2, 4, 100, "performance", tokens=tokens, k=[3, 2])
    np.testing.assert_array_equal(out["transfer"], [[1, 0, 1, 1], [0, 1, 1, 0]])
    assert (out["tokens"][0, 1], out["tokens"][1, 0], out["tokens"][1, 3]) == (7, 7, 7)


def test_equal_confidences_go_to_the_lower_position():
    logits = np.zeros((1, 6, 64), np.float32)
    logits[..., 5] = 8.0
    result = sample(platform(64), workload(logits, k=2, mask_id=63))
    np.testing.assert_array_equal(result.outputs["transfer"], [[1, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(result.outputs["argmax"], [[5] * 6])


def test_negative_logits_and_minus_infinity():
    logits = np.full((1, 2, 70), -300.0, np.float32)
    logits[0, 0, 69] = -200.0
    logits[0, 1, 3] = -100.0
    result = sample(platform(64), workload(logits, k=1, mask_id=69))
    np.testing.assert_array_equal(result.outputs["argmax"], [[69, 3]])


@pytest.mark.parametrize("issue", ["blocking", "scoreboard"])
@pytest.mark.parametrize("form", ["performance", "edge"])
def test_timing_mode_has_the_same_cycles(issue, form):
    work = workload(seeded_logits(2, 3, 4999), mask_id=4998)
    p = platform(256, issue=issue)
    functional = sample(p, work, form=form)
    timing = sample(p, work, form=form, mode="timing")
    assert timing.cycles == functional.cycles > 1000
    assert timing.cycles_by_class == functional.cycles_by_class
    assert sum(timing.cycles_by_class.values()) == timing.cycles
    assert timing.energy.total == functional.energy.total
    assert timing.outputs == {}


def test_blocking_vector_cycles_are_the_published_ones():
    """15 per row of logits, 4 * 32 per row of the batch (mask, top-k mask, two selects)."""
    work = workload(seeded_logits(1, 32, 126_464))
    result = sample(platform(2048, issue="blocking"), work)
    assert result.cycles_by_class["vector"] == 32 * 62 * 15 + 4 * 32
    published = 477_696 / 16
    assert abs(result.cycles_by_class["vector"] / published - 1) < 0.01


def test_firmware_chooses_the_form_that_fits():
    edge = vp.Platform.load("platform/edge.yaml")
    labels = sampling_firmware(edge, 1, 4, 126_464).symbols
    assert "CHUNKS" in labels
    assert "GROUPS" in sampling_firmware(edge, 1, 4, 1000).symbols


def bad(message, *arguments, **options):
    with pytest.raises(vp.InputError) as error:
        workload(*arguments, **options)
    assert message in str(error.value)
    return str(error.value)


def test_bad_logits():
    good = np.zeros((2, 3, 64), np.float32)
    bad("logits: type int64, allowed: floats", np.zeros((2, 3, 64), int))
    bad("logits: shape (64,), allowed: (B, L, V) or (L, V)", good[0, 0])
    bad("logits: shape (0, 3, 64)", good[:0])
    nan = good.copy()
    nan[1, 2, 5] = np.nan
    bad("logits: NaN at [1, 2, 5], and in 1 of 6 positions", nan)


def test_bad_counts_are_reported_together():
    good = np.zeros((2, 3, 64), np.float32)
    text = bad(
        "tokens: shape (2, 2), allowed: (2, 3)", good, tokens=np.zeros((2, 2), int), k=[1.5, 1]
    )
    assert "k: type float64, allowed: integers" in text
    tokens = np.full((2, 3), 63)
    tokens[1, 0] = 1
    bad("k[1]: 3, but row 1 has 2 masked positions", good, tokens=tokens, k=3)
    assert workload(good, tokens=tokens, k=2).k.tolist() == [2, 2]
    bad("k: -1..1, allowed: 0..", good, k=[-1, 1])


def test_a_step_that_does_not_fit_says_why():
    small = vp.Platform.load("platform/edge.yaml")
    with pytest.raises(vp.AssemblyError, match="two positions' logits do not fit in Vector SRAM"):
        sampling_firmware(small, 1, 4, 126_464, form="performance")
    with pytest.raises(vp.AssemblyError, match="tokens, candidates and k do not fit in INT SRAM"):
        sampling_firmware(small, 1, 400, 100)
    with pytest.raises(vp.InputError, match=r"form 'fast' \(allowed: performance, edge, split\)"):
        sampling_firmware(small, 1, 4, 100, form="fast")
