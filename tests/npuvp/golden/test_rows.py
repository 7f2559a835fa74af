"""The C++ row kernels against their NumPy twins, bit for bit, on every SIMD target."""

import numpy as np
import pytest
from golden_rows import CORNERS, as_row, assert_same_bits, numbers, pairs_of_corners, random_bits
from npuvp._core import numerics as core

from npuvp.golden import rows
from npuvp.golden.formats import float_of_bits, float_to_bf16

VV = ["add_vv", "sub_vv", "mul_vv", "max_vv", "min_vv"]
VF = ["add_vf", "sub_vf", "rsub_vf", "mul_vf", "max_vf", "min_vf"]
V = ["exp", "reciprocal", "log", "sqrt", "abs", "floor_power_of_two"]
RELATIONS = ["lt", "le", "eq", "ge", "gt"]
SCALARS = float_of_bits(CORNERS)
LENGTHS = [4, 8, 64, 100, 512, 2048]
MASKS = [
    None,
    rows.LaneMask(0b1011_0110_0101, 16),
    rows.LaneMask(0, 64),
    rows.LaneMask(2**32 - 1, 4),
]


def operands(storage: str, n: int, seed: int) -> list[np.ndarray]:
    return [numbers(storage, n, seed), random_bits(storage, n, seed + 1)]


def golden_vv(name: str, a: np.ndarray, b: np.ndarray, mask: rows.LaneMask | None) -> np.ndarray:
    if name[:2] in RELATIONS:
        return rows.compare_vv(name[:2], a, b, mask)
    return getattr(rows, name)(a, b, mask)


def golden_vf(name: str, a: np.ndarray, f: float, mask: rows.LaneMask | None) -> np.ndarray:
    if name[:2] in RELATIONS:
        return rows.compare_vf(name[:2], a, f, mask)
    return getattr(rows, name)(a, f, mask)


@pytest.mark.parametrize("name", [*VV, *(f"{r}_vv" for r in RELATIONS)])
def test_two_rows(target: str, storage: str, name: str) -> None:
    cases = [pairs_of_corners(storage)]
    for n in LENGTHS:
        a, b = operands(storage, n, n)
        cases += [(a, b), (a, numbers(storage, n, n + 2)), (b, random_bits(storage, n, n + 3))]
    for a, b in cases:
        for mask in MASKS:
            d = np.full_like(a, 7)
            core.vv(name, d, a, b, mask)
            assert_same_bits(d, golden_vv(name, a, b, mask))


@pytest.mark.parametrize("name", [*VF, *(f"{r}_vf" for r in RELATIONS)])
def test_row_and_scalar(target: str, storage: str, name: str) -> None:
    corners, _ = pairs_of_corners(storage)
    for f in SCALARS:
        for mask in MASKS[:2]:
            d = np.full_like(corners, 7)
            core.vf(name, d, corners, float(f), mask)
            assert_same_bits(d, golden_vf(name, corners, f, mask))
    for n in LENGTHS:
        for a in operands(storage, n, n):
            d = np.full_like(a, 7)
            core.vf(name, d, a, 1.2345678, None)
            assert_same_bits(d, golden_vf(name, a, np.float32(1.2345678), None))


@pytest.mark.parametrize("name", V)
def test_one_row(target: str, storage: str, name: str) -> None:
    rows_of_it = [pairs_of_corners(storage)[0]]
    for n in LENGTHS:
        rows_of_it += operands(storage, n, n)
    for a in rows_of_it:
        for mask in MASKS:
            d = np.full_like(a, 7)
            core.v(name, d, a, mask)
            assert_same_bits(d, getattr(rows, name)(a, mask))


@pytest.mark.parametrize("name", V)
def test_every_bf16_number(target: str, name: str) -> None:
    a = np.arange(65536, dtype=np.uint16)
    d = np.empty_like(a)
    core.v(name, d, a, None)
    assert_same_bits(d, getattr(rows, name)(a))


@pytest.mark.parametrize("name", V)
def test_float32_over_all_exponents(target: str, name: str) -> None:
    a = random_bits("fp32", 1 << 18, 5)
    d = np.empty_like(a)
    core.v(name, d, a, None)
    assert_same_bits(d, getattr(rows, name)(a))


def test_destination_may_be_a_source(target: str, storage: str) -> None:
    mask = rows.LaneMask(0b0101, 16)
    for use in (None, mask):
        a, b = operands(storage, 100, 3)
        for name in [*VV, "lt_vv"]:
            for source in (0, 1):
                pair = [a.copy(), b.copy()]
                core.vv(name, pair[source], pair[0], pair[1], use)
                assert_same_bits(pair[source], golden_vv(name, a, b, use))
        for name in V:
            d = b.copy()
            core.v(name, d, d, use)
            assert_same_bits(d, getattr(rows, name)(b, use))
        d = b.copy()
        core.vf("sub_vf", d, d, 0.3, use)
        assert_same_bits(d, rows.sub_vf(b, np.float32(0.3), use))
        d = b.copy()
        core.shift(d, d, 37)
        assert_same_bits(d, rows.shift(b, 37))


def test_masked_lanes_receive_the_first_source(storage: str) -> None:
    a, b = numbers(storage, 64, 1), numbers(storage, 64, 2)
    d = np.zeros_like(a)
    core.vv("add_vv", d, a, b, (0b0010, 16))
    assert_same_bits(d[:16], a[:16])
    assert_same_bits(d[32:], a[32:])
    assert not np.array_equal(d[16:32], a[16:32])
    # Without a bit of its own a lane takes no part: 32 heads of one lane each.
    core.vv("add_vv", d, a, b, (2**32 - 1, 1))
    assert_same_bits(d[32:], a[32:])
    assert not np.array_equal(d[:32], a[:32])


def test_masked_exp_clamps_disabled_lanes() -> None:
    a = float_to_bf16(np.float32([100, -100, 3, np.nan]))
    d = np.empty_like(a)
    core.v("exp", d, a, (0, 1))
    assert_same_bits(d, float_to_bf16(np.float32([88, -88, 3, np.nan])))


def test_select_shift_fill_and_conversions(target: str, storage: str) -> None:
    mask, a = pairs_of_corners(storage)
    b = random_bits(storage, a.size, 9)
    d = np.empty_like(a)
    core.select(d, mask, a, b)
    assert_same_bits(d, rows.select(mask, a, b))
    assert np.any(d != b) and np.any(d != a)
    for count in (0, 1, 5, a.size - 1, a.size, a.size + 1, 2**40):
        core.shift(d, a, count)
        assert_same_bits(d, rows.shift(a, count))
    for f in SCALARS:
        core.fill(d, float(f))
        assert_same_bits(d, rows.fill(d, f))
    x = np.empty(a.size, dtype=np.float32)
    core.to_float(x, a)
    assert_same_bits(x, rows.to_float(a))
    x = random_bits("fp32", a.size, 10)
    core.from_float(d, x)
    assert_same_bits(d, rows.from_float(x, d))


def test_shift_moves_to_higher_lanes() -> None:
    a = np.arange(1, 5, dtype=np.uint16)
    d = np.empty_like(a)
    core.shift(d, a, 1)
    np.testing.assert_array_equal(d, [0, 1, 2, 3])


def reduction_rows(storage: str) -> list[np.ndarray]:
    found = []
    for n in (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096):
        found += [numbers(storage, n, n), random_bits(storage, n, n + 1)]
        found += [np.abs(numbers("fp32", n, n)).astype(np.float32)] if storage == "fp32" else []
    for n in (64, 2048):
        tiny = as_row(np.random.default_rng(n).choice(CORNERS[:2], n), storage)
        signs = as_row(np.random.default_rng(n).choice(CORNERS[-9:], n), storage)
        negative = (
            numbers(storage, n, n) | 0x8000
            if storage == "bf16"
            else -np.abs(numbers(storage, n, n))
        )
        found += [tiny, signs, negative, rows.fill(tiny, -np.inf), rows.fill(tiny, np.nan)]
        found += [as_row(np.random.default_rng(n).choice(CORNERS[:-9], n), storage)]
    return found


@pytest.mark.parametrize("name", ["sum", "max", "min"])
def test_reductions(target: str, storage: str, name: str) -> None:
    for a in reduction_rows(storage):
        for f in (0.0, -0.0, 1.5, np.inf, -np.inf, np.nan, 1e-45):
            for mask in MASKS:
                actual = np.float32(core.reduce(name, a, f, mask))
                assert_same_bits(actual, getattr(rows, name)(a, np.float32(f), mask))


def test_sum_is_a_halving_tree() -> None:
    # Pairs four lanes apart cancel first; every other order loses the small terms.
    a = np.float32([1e30, 1, 1e30, 2, -1e30, 4, -1e30, 8])
    assert core.reduce("sum", a, 0.5) == 15.5
    with pytest.raises(ValueError, match="100 lanes: a halving tree needs a power of two"):
        core.reduce("sum", np.zeros(100, np.float32), 0.0)


def test_maximum_with_a_nan_leaves_the_scalar() -> None:
    a = np.float32([1, 5, np.nan, 2])
    assert core.reduce("max", a, 3.0) == 3.0
    assert core.reduce("max", a, 3.0, (0b1011, 1)) == 5.0
    assert core.reduce("max", a[:2], np.nan) == 5.0
    assert np.isnan(core.reduce("max", a, np.nan))


def test_max_index(target: str, storage: str) -> None:
    for a in reduction_rows(storage):
        for best in (-np.inf, 0.0, -0.0, 3.0, np.inf, np.nan):
            for mask in MASKS:
                found, value, lane = core.max_index(a, best, 77, mask)
                expected = rows.max_index(a, np.float32(best), 77, mask)
                assert (found, lane) == (bool(expected[0]), int(expected[2]))
                if not np.isnan(best):
                    assert_same_bits(np.float32(value), expected[1])


def test_max_index_takes_the_first_and_only_what_is_larger() -> None:
    a = np.zeros(2048, np.float32)
    a[[700, 1500]] = 9
    assert core.max_index(a, -np.inf, 0) == (True, 9.0, 700)
    assert core.max_index(a, 9.0, 5) == (False, 9.0, 5)
    assert core.max_index(a, 8.999, 5) == (True, 9.0, 700)
    a[[3, 2047]] = np.nan
    assert core.max_index(a, -np.inf, 0) == (True, 9.0, 700)
    zeros = np.float32([-1, -0.0, 0.0, -2])
    found, value, lane = core.max_index(zeros, -np.inf, 0)
    assert (found, lane) == (True, 1) and np.signbit(value)
    assert core.max_index(np.full(64, -np.inf, np.float32), -np.inf, 5) == (False, -np.inf, 5)


def test_unknown_target_is_refused() -> None:
    with pytest.raises(ValueError, match="'PDP11' is not one of"):
        core.use_simd_target("PDP11")
