"""Random numbers: published vectors, C++ against NumPy, and the distribution."""

import numpy as np
from golden_rows import assert_same_bits
from npuvp._core import numerics as core

from npuvp.golden import philox

# Known answers of Philox-4x32-10 as its authors publish them (kat_vectors of Random123).
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def test_known_answers() -> None:
    for counter, key, words in KNOWN:
        d = np.zeros(4, np.uint32)
        core.philox(d, tuple(counter), tuple(key))
        np.testing.assert_array_equal(d, words)
        np.testing.assert_array_equal(philox.philox(counter, key), words)


def test_uniform_and_gumbel(target: str) -> None:
    rng = np.random.default_rng(1)
    words = np.concatenate(
        [[0, 255, 256, 511, 512, 2**31, 2**32 - 1, 2**32 - 256], rng.integers(0, 2**32, 100_000)]
    ).astype(np.uint32)
    u, g = np.empty(words.size, np.float32), np.empty(words.size, np.float32)
    core.uniform(u, words)
    core.gumbel(g, words)
    assert_same_bits(u, philox.uniform(words))
    assert_same_bits(g, philox.gumbel(words))
    np.testing.assert_array_equal(u[:5], np.float32([1, 1, 1, 1, 3]) * 2.0**-24)
    assert u[6] == 1 - 2.0**-24
    assert np.isfinite(g).all() and g.min() > -2.82 and g.max() < 16.64


def test_gumbel_row(target: str) -> None:
    for n, first, stream, key in (
        (2048, 0, 0, 0),
        (7, 2**32 - 1, 2**40 + 3, 2**63 + 5),
        (1, 5, 1, 9),
    ):
        d = np.empty(n, np.float32)
        core.gumbel_row(d, first, stream, key)
        assert_same_bits(d, philox.gumbel_row(n, first, stream, key))


def test_rows_continue_each_other() -> None:
    whole = philox.gumbel_row(64, 10, 1, 2)
    assert_same_bits(philox.gumbel_row(32, 18, 1, 2), whole[32:])
    assert not np.array_equal(philox.gumbel_row(64, 10, 2, 2), whole)
    assert not np.array_equal(philox.gumbel_row(64, 10, 1, 3), whole)


def test_distribution() -> None:
    g = philox.gumbel_row(400_000, 0, 0, 42).astype(np.float64)
    assert abs(g.mean() - np.euler_gamma) < 0.01
    assert abs(g.var() - np.pi**2 / 6) < 0.03
