"""Top-k against NumPy and against its definition."""

import numpy as np
import pytest
from golden_rows import CORNERS, as_row, assert_same_bits, numbers, random_bits
from npuvp._core import numerics as core

from npuvp.golden import topk
from npuvp.golden.formats import float_of_bits, float_to_bf16, from_float


def core_mask(confidence: np.ndarray, mask: np.ndarray, n: int, k: int) -> np.ndarray:
    d = np.full_like(mask, 7)
    core.topk_mask(confidence, mask, d, n, k)
    return d


@pytest.mark.parametrize("row_storage", ["bf16", "fp32"])
def test_mask(storage: str, row_storage: str) -> None:
    rng = np.random.default_rng(7)
    for n, lanes in ((1, 4), (4, 4), (32, 2048), (64, 64), (100, 128), (2048, 2048)):
        for confidence in (
            numbers(storage, n, n),
            random_bits(storage, n, n),
            as_row(rng.choice(CORNERS, n), storage),
            as_row(rng.choice(CORNERS[:4], n), storage),
        ):
            mask = as_row(rng.choice(CORNERS, lanes), row_storage)
            mask[rng.random(lanes) < 0.3] = 0
            for k in (0, 1, 2, n // 2, n - 1, n, n + 5):
                expected = topk.topk_mask(confidence, mask, n, k)
                assert_same_bits(core_mask(confidence, mask, n, k), expected)


def test_mask_order() -> None:
    confidence = np.float32([0.5, np.nan, 0.9, 0.5, -0.0, 0.0, 0.9, np.nan])
    mask = np.ones(8, np.float32)
    for k, chosen in enumerate([2, 6, 0, 3, 4, 5, 1, 7]):
        gained = core_mask(confidence, mask, 8, k + 1) - core_mask(confidence, mask, 8, k)
        np.testing.assert_array_equal(np.flatnonzero(gained), [chosen])
    mask[2] = -0.0
    mask[6] = np.nan  # not zero
    np.testing.assert_array_equal(core_mask(confidence, mask, 8, 1), np.eye(8)[6])
    np.testing.assert_array_equal(core_mask(confidence, mask, 5, 8), [1, 1, 0, 1, 1, 0, 0, 0])
    with pytest.raises(ValueError, match="over 9 confidences: a row has 8 lanes"):
        core.topk_mask(np.zeros(9, np.float32), mask, mask, 9, 1)
    with pytest.raises(ValueError, match="over 9 confidences: a row has 8 lanes"):
        topk.topk_mask(np.zeros(9, np.float32), mask, 9, 1)


def test_mask_may_overwrite_its_sources() -> None:
    confidence, mask = numbers("bf16", 64, 1), numbers("bf16", 64, 2)
    expected = topk.topk_mask(confidence, mask, 64, 10)
    for name in ("confidence", "mask"):
        arrays = {"confidence": confidence.copy(), "mask": mask.copy()}
        core.topk_mask(arrays["confidence"], arrays["mask"], arrays[name], 64, 10)
        assert_same_bits(arrays[name], expected)


def test_confidences_rank_in_their_own_precision() -> None:
    confidence = np.float32([0.9991, 0.9993, 0.9992, 0.9990])
    mask = float_to_bf16(np.ones(4))
    assert len(set(float_to_bf16(confidence))) == 1
    np.testing.assert_array_equal(core_mask(confidence, mask, 4, 1), [0, 0x3F80, 0, 0])


@pytest.mark.parametrize("over_all", [False, True])
def test_softmax(target: str, storage: str, over_all: bool) -> None:
    rng = np.random.default_rng(1)
    for n, k in ((32, 4), (128, 8), (64, 8), (5, 5), (1, 1), (7, 0), (1000, 33)):
        for logits in (
            numbers(storage, n, n),
            random_bits(storage, n, n),
            as_row(rng.choice(CORNERS, n), storage),
            as_row(rng.choice(CORNERS[-8:], n), storage),
        ):
            indices, weights = np.zeros(k, np.uint32), np.zeros(k, np.float32)
            core.topk_softmax(logits, indices, weights, over_all)
            expected = topk.topk_softmax(logits, k, over_all)
            np.testing.assert_array_equal(indices, expected[0])
            assert_same_bits(weights, expected[1])


def test_softmax_values() -> None:
    logits = from_float(np.float32([1, 3, -np.inf, 3, np.nan, 2]), np.zeros(0, np.float32))
    indices, weights = np.zeros(3, np.uint32), np.zeros(3, np.float32)
    core.topk_softmax(logits, indices, weights, False)
    np.testing.assert_array_equal(indices, [1, 3, 5])
    np.testing.assert_allclose(weights, np.exp([3, 3, 2]) / np.exp([3, 3, 2]).sum(), rtol=1e-6)
    core.topk_softmax(logits, indices, weights, True)
    np.testing.assert_allclose(weights, np.exp([3, 3, 2]) / np.exp([1, 3, 3, 2]).sum(), rtol=1e-6)
    core.topk_softmax(float_of_bits([0xFF800000] * 4), indices, weights, False)
    np.testing.assert_array_equal(indices, [0, 1, 2])
    np.testing.assert_array_equal(weights, [0, 0, 0])
    with pytest.raises(ValueError, match=r"k is 3, allowed 0\.\.2"):
        core.topk_softmax(np.zeros(2, np.float32), indices, weights, False)
    with pytest.raises(ValueError, match=r"k is 3, allowed 0\.\.2"):
        topk.topk_softmax(np.zeros(2, np.float32), 3)
