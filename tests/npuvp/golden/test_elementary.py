"""Error bounds of the elementary functions, and the scalar FP unit."""

import numpy as np
import pytest
from golden_rows import CORNERS, assert_same_bits, random_bits
from npuvp._core import numerics as core

from npuvp.golden import elementary
from npuvp.golden.formats import float_of_bits


def ulps(actual: np.ndarray, exact: np.ndarray) -> float:
    """Largest error in units in the last place of the exact result (float64)."""
    _, exponent = np.frexp(exact)
    ulp = np.ldexp(1.0, np.maximum(exponent - 24, -149))
    return float(np.max(np.abs(actual.astype(np.float64) - exact) / ulp))


def test_exp_error() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-88, 88, 2_000_000), rng.normal(0, 1e-3, 100_000)])
    x = x.astype(np.float32)
    assert ulps(elementary.exp(x), np.exp(x.astype(np.float64))) < 1.2
    x = np.linspace(-88, -87.3, 20_000, dtype=np.float32)  # subnormal results
    assert ulps(elementary.exp(x), np.exp(x.astype(np.float64))) < 1.2


def test_exp_is_exact_where_it_can_be() -> None:
    assert_same_bits(elementary.exp([0.0, -0.0]), np.float32([1, 1]))
    x = np.float32([88, 88.1, 1e30, np.inf])
    np.testing.assert_array_equal(elementary.exp(x), elementary.exp(x)[:1].repeat(4))
    x = np.float32([-88, -88.1, -1e30, -np.inf])
    np.testing.assert_array_equal(elementary.exp(x), elementary.exp(x)[:1].repeat(4))
    assert elementary.exp(np.float32(-88)) > 0


def test_log_error() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate(
        [
            np.abs(float_of_bits(rng.integers(1, 0x7F800000, 2_000_000, dtype=np.uint32))),
            rng.uniform(0.5, 2, 2_000_000).astype(np.float32),
            np.float32(1) + np.arange(-2000, 2000, dtype=np.float32) * np.float32(2**-23),
        ]
    )
    assert ulps(elementary.log(x), np.log(x.astype(np.float64))) < 1.2
    assert_same_bits(
        elementary.log([1.0, 0.0, -0.0, np.inf]), np.float32([0, -np.inf, -np.inf, np.inf])
    )
    assert np.isnan(elementary.log([-1e-45, -1.0, -np.inf, np.nan])).all()


def test_reciprocal_and_square_root_are_correctly_rounded() -> None:
    x = np.abs(random_bits("fp32", 200_000, 3))
    x = x[np.isfinite(x) & (x > 1e-37) & (x < 1e37)]
    wide = x.astype(np.longdouble)
    assert_same_bits(elementary.reciprocal(x), (1 / wide).astype(np.float32))
    assert_same_bits(elementary.sqrt(x), np.sqrt(wide).astype(np.float32))


def test_floor_power_of_two() -> None:
    x = np.float32([1, 1.99, 2, -3, 0.75, 1e-45, 3e-45, 0, -0.0, -np.inf, 3e38])
    expected = np.float32([1, 1, 2, 2, 0.5, 1e-45, 3e-45, 0, 0, np.inf, 2.0**127])
    assert_same_bits(elementary.floor_power_of_two(x), expected)


@pytest.mark.parametrize("name", ["exp", "log", "reciprocal", "sqrt"])
def test_scalar_functions_are_the_lane_functions(target: str, name: str) -> None:
    x = np.concatenate([float_of_bits(CORNERS), random_bits("fp32", 20_000, 4)])
    d = np.empty_like(x)
    getattr(core, f"scalar_{name}")(d, x)
    assert_same_bits(d, getattr(elementary, name)(x))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "max", "min"])
def test_scalar_arithmetic(name: str) -> None:
    corners = float_of_bits(CORNERS)
    a, b = (m.ravel().copy() for m in np.meshgrid(corners, corners))
    d = np.empty_like(a)
    getattr(core, f"scalar_{name}")(d, a, b)
    assert_same_bits(d, getattr(elementary, name)(a, b))


def test_scalar_maximum_ignores_nan() -> None:
    a, b = np.float32([np.nan, 1, np.nan, -0.0, 0.0]), np.float32([2, np.nan, np.nan, 0.0, -0.0])
    d = np.empty_like(a)
    core.scalar_max(d, a, b)
    assert_same_bits(
        d, np.array([0x40000000, 0x3F800000, 0x7FC00000, 0, 0], np.uint32).view(np.float32)
    )
