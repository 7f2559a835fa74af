"""Matrix multiplication, C++ against NumPy, bit for bit."""

import numpy as np
import pytest
from golden_rows import CORNERS, as_row, assert_same_bits, numbers
from npuvp._core import numerics as core

from npuvp.golden.gemm import gemm


def core_gemm(a: np.ndarray, b: np.ndarray, c: np.ndarray, transposed: bool = False) -> np.ndarray:
    (m, k), n = a.shape, b.shape[1]
    c = c.copy().ravel()
    if transposed:
        core.gemm(a.ravel(), np.ascontiguousarray(b.T).ravel(), c, m, n, k, (k, 1), (1, k))
    else:
        core.gemm(a.ravel(), b.ravel(), c, m, n, k, (k, 1), (n, 1))
    return c.reshape(m, n)


def matrices(storage: str, m: int, n: int, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(m * n * k)

    def scaled(exponents: tuple[int, int], size: int) -> np.ndarray:
        x = rng.normal(size=size) * np.exp2(rng.integers(*exponents, size))
        return as_row(x.astype(np.float32).view(np.uint32), storage)

    def corners(size: int, among: np.ndarray) -> np.ndarray:
        return as_row(rng.choice(among, size), storage)

    pairs = [
        (numbers(storage, m * k, 1), numbers(storage, k * n, 2)),
        (scaled((-70, -60), m * k), scaled((-75, -60), k * n)),  # subnormal products
        (scaled((60, 64), m * k), scaled((62, 64), k * n)),  # products that overflow
        (scaled((-126, -100), m * k), scaled((90, 126), k * n)),
        (corners(m * k, CORNERS[:-9]), corners(k * n, CORNERS[:-9])),
        (corners(m * k, CORNERS), numbers(storage, k * n, 3)),
        (np.zeros_like(numbers(storage, m * k, 1)), corners(k * n, CORNERS[-9:])),
    ]
    return [(a.reshape(m, k), b.reshape(k, n)) for a, b in pairs]


SHAPES = [(1, 1, 1), (4, 4, 64), (12, 32, 128), (13, 33, 129), (5, 70, 300), (30, 100, 17)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_product(target: str, storage: str, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    c = np.random.default_rng(1).normal(size=(m, n)).astype(np.float32)
    c.flat[0] = -0.0
    for a, b in matrices(storage, m, n, k):
        expected = gemm(a, b, c)
        assert_same_bits(core_gemm(a, b, c), expected)
        assert_same_bits(core_gemm(a, b, c, transposed=True), expected)


def test_many_rows(target: str) -> None:
    a, b = numbers("bf16", 800 * 9, 1).reshape(800, 9), numbers("bf16", 9 * 40, 2).reshape(9, 40)
    c = np.zeros((800, 40), np.float32)
    assert_same_bits(core_gemm(a, b, c), gemm(a, b))


def test_products_are_rounded_before_they_are_added(target: str) -> None:
    # 2^-150 rounds to 0 alone; fused, it would carry the accumulator to twice its value.
    a, c = np.float32([[2.0**-75]]), np.float32([[2.0**-149]])
    assert_same_bits(core_gemm(a, a, c), c)
    # Overflow of the product is infinite whatever it is added to.
    a, b, c = np.float32([[2.0**100]]), np.float32([[2.0**28]]), np.float32([[-(2.0**127)]])
    assert_same_bits(core_gemm(a, b, c), np.float32([[np.inf]]))
    # With 24 bits a product is not exact.
    x = np.float32(1 + 2.0**-23)
    one = np.float32([[x]])
    assert_same_bits(core_gemm(one, one, np.float32([[-1]])), np.float32([[x * x - np.float32(1)]]))


def test_order_is_ascending_in_k(target: str) -> None:
    terms = np.float32([1e30, 1, -1e30, 2, 4])
    product = core_gemm(terms[None], np.ones((5, 1), np.float32), np.zeros((1, 1), np.float32))
    assert product[0, 0] == 6
    # However k is split over calls.
    a, b = numbers("bf16", 3 * 300, 5).reshape(3, 300), numbers("bf16", 300 * 7, 6).reshape(300, 7)
    c = np.zeros((3, 7), np.float32)
    for begin, end in ((0, 1), (1, 150), (150, 300)):
        c = core_gemm(np.ascontiguousarray(a[:, begin:end]), b[begin:end], c)
    assert_same_bits(c, gemm(a, b))


def test_strides(target: str) -> None:
    # Interleaved heads: element (r, p) of a at column 3 p + 1, and padded rows of b.
    wide = numbers("bf16", 6 * 48, 7).reshape(6, 48)
    b = numbers("bf16", 16 * 40, 8).reshape(16, 40)
    c = np.zeros(6 * 37, np.float32)
    core.gemm(wide.ravel()[1:], b.ravel(), c, 6, 37, 16, (48, 3), (40, 1))
    assert_same_bits(c.reshape(6, 37), gemm(wide[:, 1::3], b[:, :37]))


def test_mixed_formats(target: str) -> None:
    a, b = numbers("fp32", 4 * 9, 1).reshape(4, 9), numbers("bf16", 9 * 5, 2).reshape(9, 5)
    assert_same_bits(core_gemm(a, b, np.zeros((4, 5), np.float32)), gemm(a, b))


def test_inner_dimensions_must_agree() -> None:
    with pytest.raises(ValueError, match="a has 3 columns, b has 2 rows"):
        gemm(np.zeros((1, 3), np.float32), np.zeros((2, 1), np.float32))


@pytest.mark.parametrize("n", [3, 40])
def test_many_products_at_once_are_those_products(n: int) -> None:
    """One right side for several left ones, on both sides of the switch to a running sum."""
    rng = np.random.default_rng(4)
    a = rng.normal(size=(5, 2, 9)).astype(np.float32)
    b = rng.normal(size=(9, n)).astype(np.float32)
    c = rng.normal(size=(5, 2, n)).astype(np.float32)
    wanted = np.stack([gemm(one, b, start) for one, start in zip(a, c, strict=True)])
    assert gemm(a, b, c).tobytes() == wanted.tobytes()
    assert gemm(a, b).tobytes() == gemm(a, b, np.zeros_like(c)).tobytes()
