"""Rows that hold every corner of their format."""

import numpy as np

CORNERS = np.array(
    [
        *(0x00000000, 0x80000000),  # zeros
        *(0x00000001, 0x80000001, 0x00010000, 0x007FFFFF, 0x807F0000),  # subnormals
        *(0x00800000, 0x80800000, 0x00810000),  # least normals
        *(0x3F800000, 0xBF800000, 0x3F7FFFFF, 0x3F7F0000, 0x3F800001, 0x3F808000, 0x3F818000),
        *(0x40000000, 0x3F000000, 0x42B00000, 0xC2B00000, 0x42B10000, 0xC2B10000),  # +-88, +-88.5
        *(0xC2AEAC50, 0xC2AF0000, 0x42AF0000, 0x3F317218, 0x3EB17218, 0xBEB17218),  # exp's seams
        *(0x3F3504F3, 0x3F3504F4, 0x3FB504F3, 0x3F350000, 0x3FB50000),  # log's seams
        *(0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F0000, 0x7F7F8000, 0x7F000000, 0x7E800000),
        *(0x7F800000, 0xFF800000),  # infinities
        *(0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF810000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FAB0000),
    ],
    dtype=np.uint32,
)
FORMATS = {"bf16": np.uint16, "fp32": np.uint32}


def as_row(bits: np.ndarray, storage: str) -> np.ndarray:
    """Float32 bit patterns, cut to the format, as a row."""
    if storage == "bf16":
        return (bits >> np.uint32(16)).astype(np.uint16)
    return bits.astype(np.uint32).view(np.float32)


def pairs_of_corners(storage: str) -> tuple[np.ndarray, np.ndarray]:
    """Two rows in which every corner meets every other one; a multiple of 64 lanes."""
    count = -(-(CORNERS.size**2) // 64) * 64
    index = np.arange(count) % CORNERS.size**2
    first = CORNERS[index % CORNERS.size]
    return as_row(first, storage), as_row(CORNERS[index // CORNERS.size], storage)


def random_bits(storage: str, n: int, seed: int) -> np.ndarray:
    """Any bit patterns, NaNs included."""
    return as_row(np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint32), storage)


def numbers(storage: str, n: int, seed: int, scale: float = 4.0) -> np.ndarray:
    """Normally distributed numbers."""
    x = np.random.default_rng(seed).normal(0, scale, n).astype(np.float32)
    return as_row(x.view(np.uint32), storage)


def bits_of(row: np.ndarray) -> np.ndarray:
    row = np.asarray(row)
    return row.view(FORMATS["bf16" if row.dtype == np.uint16 else "fp32"])


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(bits_of(actual), bits_of(expected))
