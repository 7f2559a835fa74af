"""Microscaling: the recorded conversions of the public library, and C++ against NumPy."""

from pathlib import Path

import numpy as np
import pytest
from golden_rows import CORNERS, as_row, assert_same_bits, bits_of, numbers, random_bits
from npuvp._core import numerics as core

from npuvp.golden import mx
from npuvp.golden.formats import bf16_to_float, float_to_bf16

DATA = Path(__file__).parents[2] / "data" / "mx.npz"
RECORDED = {
    "mxfp4_e2m1": "fp4_e2m1",
    "mxfp6_e2m3": "fp6_e2m3",
    "mxfp6_e3m2": "fp6_e3m2",
    "mxfp8_e4m3": "fp8_e4m3",
    "mxfp8_e5m2": "fp8_e5m2",
    "mxint8": "int8",
    "mxint4": "int4",
}
SCALED = [name for name, t in mx.MX_FORMATS.items() if t.scaled]
PLAIN = [name for name, t in mx.MX_FORMATS.items() if not t.scaled]


def core_encode(name: str, block: int, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    elements = np.full(core.mx_element_bytes(name, row.size), 0xA5, dtype=np.uint8)
    scales = np.full(core.mx_scale_bytes(name, block, row.size), 0xA5, dtype=np.uint8)
    core.mx_encode_row(name, block, row, elements, scales)
    return elements, scales


def core_decode(
    name: str, block: int, elements: np.ndarray, scales: np.ndarray, n: int, storage: str
) -> np.ndarray:
    row = np.full(n, 7, dtype=np.uint16 if storage == "bf16" else np.float32)
    core.mx_decode_row(name, block, elements, scales, row)
    return row


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_conversions(name: str) -> None:
    recorded = np.load(DATA)
    x = recorded["x"]
    elements, scales = mx.mx_encode_row(name, 32, x)
    np.testing.assert_array_equal(
        scales[:, 0].astype(int) - 127, recorded[f"{RECORDED[name]}_scale_exp"]
    )
    expected = recorded[f"{RECORDED[name]}_even"]
    if name.startswith("mxint"):
        expected = expected + np.float32(0)  # two's complement has no -0
    assert x.shape == (186, 32)
    assert_same_bits(mx.mx_decode_row(name, 32, elements, scales, 32, "fp32"), expected)
    for i, row in enumerate(x):
        found = core_encode(name, 32, row)
        np.testing.assert_array_equal(found[0], elements[i])
        np.testing.assert_array_equal(found[1], scales[i])
        assert_same_bits(core_decode(name, 32, *found, 32, "fp32"), expected[i])


def encode_inputs(storage: str) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    finite = CORNERS[:-9]
    wide = np.exp2(rng.uniform(-149, 127, 2048)) * rng.choice([-1, 1], 2048)
    tied = rng.integers(-512, 512, 2048) / np.float32(64)
    below = np.float32(2) ** rng.integers(-8, 8, 2048) * (1 - np.float32(2.0**-8))
    return [
        numbers(storage, 2048, 1),
        numbers(storage, 2048, 2, 1e-9),
        numbers(storage, 2048, 3, 1e-38),
        numbers(storage, 100, 4),
        as_row(np.zeros(64, np.uint32), storage),
        as_row(np.full(64, 0x80000000, np.uint32), storage),
        as_row(wide.astype(np.float32).view(np.uint32), storage),
        as_row(np.sort(np.abs(wide)).astype(np.float32).view(np.uint32), storage),
        as_row(tied.astype(np.float32).view(np.uint32), storage),
        as_row(below.astype(np.float32).view(np.uint32), storage),
        as_row(rng.choice(finite, 2048), storage),
        as_row(rng.choice(CORNERS, 2048), storage),
        random_bits(storage, 2048, 5),
    ]


@pytest.mark.parametrize("block", [8, 16, 32])
@pytest.mark.parametrize("name", mx.MX_FORMATS)
def test_encode(target: str, storage: str, name: str, block: int) -> None:
    for row in encode_inputs(storage):
        found, expected = core_encode(name, block, row), mx.mx_encode_row(name, block, row)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("block", [8, 16, 32, 64])
@pytest.mark.parametrize("name", SCALED)
def test_decode(target: str, storage: str, name: str, block: int) -> None:
    rng = np.random.default_rng(block)
    for n in (4, 64, 100, 2048):
        size = mx.mx_element_bytes(name, n)
        scale_ranges = [(120, 134), (0, 256), (0, 12), (240, 256), (10, 247), (9, 11), (245, 248)]
        for low, high in scale_ranges:
            scales = rng.integers(low, high, mx.mx_scale_bytes(name, block, n), dtype=np.uint8)
            for allowed in (256, 0x7F):  # without the codes that are NaN in E4M3
                elements = rng.integers(0, allowed, size, dtype=np.uint8)
                row = core_decode(name, block, elements, scales, n, storage)
                expected = mx.mx_decode_row(name, block, elements, scales, n, storage)
                assert_same_bits(row, expected)


@pytest.mark.parametrize("name", SCALED)
def test_every_code_at_every_scale(target: str, storage: str, name: str) -> None:
    codes = 1 << mx.mx_traits(name).element_bits
    elements = mx._pack(mx.mx_traits(name), np.arange(codes, dtype=np.uint8))
    for scale in range(256):
        scales = np.full(codes // 8, scale, dtype=np.uint8)
        row = core_decode(name, 8, elements, scales, codes, storage)
        assert_same_bits(row, mx.mx_decode_row(name, 8, elements, scales, codes, storage))


@pytest.mark.parametrize("name", [name for name in SCALED if name.startswith("mx")])
def test_elements_survive_decoding_and_encoding(name: str) -> None:
    values = mx.element_values(name)
    values = values[np.isfinite(values) & (np.abs(values) <= mx.mx_traits(name).max)]
    x = np.random.default_rng(3).choice(values, 2048)
    x[::32] = mx.mx_traits(name).max  # so that the scale is found again
    row = float_to_bf16(x * np.float32(2.0**-20))
    elements, scales = mx.mx_encode_row(name, 32, row)
    np.testing.assert_array_equal(scales, 127 - 20)
    assert_same_bits(mx.mx_decode_row(name, 32, elements, scales, 2048), row)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_formats(storage: str, name: str) -> None:
    size = mx.mx_element_bytes(name, 4096)
    elements = np.random.default_rng(8).integers(0, 256, size, dtype=np.uint8)
    if name == "fp16":
        elements = np.arange(4096, dtype=np.uint16) * np.uint16(16) + np.uint16(5)
        elements = elements.view(np.uint8)
    none = np.zeros(0, dtype=np.uint8)
    row = core_decode(name, 32, elements, none, 4096, storage)
    assert_same_bits(row, mx.mx_decode_row(name, 32, elements, none, 4096, storage))


def test_hand_picked_values() -> None:
    # E4M3: 1.0, 448, NaN, least subnormal 2^-9; scale 2^1.
    elements = np.array([0x38, 0x7E, 0x7F, 0x01, 0x80, 0xB8, 0, 0], dtype=np.uint8)
    x = bf16_to_float(core_decode("mxfp8_e4m3", 8, elements, np.uint8([128]), 8, "bf16"))
    np.testing.assert_array_equal(x, [2, 896, np.nan, 2.0**-8, -0.0, -2, 0, 0])
    assert np.signbit(x[4])
    # The block maximum saturates: the scale is floor, not ceiling (microxcaling's bf16 trap).
    row = float_to_bf16(np.float32([255, 1, 100, 20, 0, 0, 0, 0]))
    elements, scales = core_encode("mxfp4_e2m1", 8, row)
    x = core_decode("mxfp4_e2m1", 8, elements, scales, 8, "fp32")
    np.testing.assert_array_equal(x[:4], [192, 0, 96, 16])
    # The first of two 4-bit elements is the low nibble, and the odd one out has the next to itself.
    elements, _ = core_encode("mxfp4_e2m1", 8, float_to_bf16(np.float32([1, 6, -0.5])))
    np.testing.assert_array_equal(elements, [0x72, 0x09])
    # Four 6-bit elements in three bytes, lowest bits first: 1.0, 0, 0, -7.5.
    elements, _ = core_encode("mxfp6_e2m3", 32, np.float32([1, 0, 0, -7.5]))
    np.testing.assert_array_equal(elements, [0x08, 0x00, 0xFC])
    # Two's complement without its most negative number.
    elements, _ = core_encode("mxint4", 8, np.float32([1.99, -1.99, 0.25, -0.25]))
    np.testing.assert_array_equal(elements, [0x97, 0xF1])


def test_a_block_with_infinity_or_nan_is_nan() -> None:
    for bad in (np.inf, -np.inf, np.nan):
        row = np.ones(48, np.float32)
        row[35] = bad
        elements, scales = core_encode("mxfp8_e4m3", 32, row)
        np.testing.assert_array_equal(scales, [119, 255])
        np.testing.assert_array_equal(elements[32:], np.zeros(16))
        x = core_decode("mxfp8_e4m3", 32, elements, scales, 48, "bf16")
        np.testing.assert_array_equal(x[:32], 0x3F80)
        np.testing.assert_array_equal(x[32:], 0x7FC0)


def test_plena_ladder() -> None:
    # Half the IEEE ladder below 2^-6, a gap above it, infinity where OCP has 256.
    elements = np.array([0x01, 0x07, 0x08, 0x78, 0x79, 0xF8, 0x77, 0x80], dtype=np.uint8)
    x = core_decode("plena_e4m3", 8, elements, np.uint8([127]), 8, "fp32")
    expected = [2.0**-10, 7 / 8 * 2.0**-7, 2.0**-6, np.inf, np.nan, -np.inf, 240, -0.0]
    np.testing.assert_array_equal(x, expected)
    assert np.signbit(x[7])
    one, zero = np.uint8([0x38] * 7 + [0]), np.uint8([0] * 8)
    x = core_decode("plena_e4m3", 8, one, np.uint8([0]), 8, "fp32")
    assert_same_bits(x, np.zeros(8, np.float32))
    x = core_decode("plena_e4m3", 8, one, np.uint8([255]), 8, "fp32")
    np.testing.assert_array_equal(x, [np.inf] * 7 + [np.nan])
    np.testing.assert_array_equal(zero, 0)


def test_plena_encoding() -> None:
    row = np.float32([1.97, 1.0, -1e-6, 0.0, -0.0, 2.0**-6.5, 0.5, -1.75])
    elements, scales = core_encode("plena_e4m3", 8, row)
    assert scales[0] == 127
    # 1.97 is not carried to 2; a negative number that vanishes is -0; [2^-7, 2^-6) collapses.
    np.testing.assert_array_equal(elements, [0x3F, 0x38, 0x80, 0x00, 0x00, 0x07, 0x30, 0xBE])
    _, scales = core_encode("plena_e4m3", 8, np.zeros(8, np.float32))
    assert scales[0] == 0
    _, scales = core_encode("plena_e4m3", 8, np.full(8, 1e-30, np.float32))
    assert scales[0] == 127 - 30


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="'mxfp9' is not one of mxfp8_e4m3, "):
        core.mx_element_bytes("mxfp9", 4)
    with pytest.raises(ValueError, match="'mxfp9' is not one of mxfp8_e4m3, "):
        mx.mx_traits("mxfp9")
    row = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="block of 0"):
        core.mx_encode_row("mxint8", 0, row, np.zeros(4, np.uint8), np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match="block of 0"):
        mx.mx_encode_row("mxint8", 0, row)
    assert bits_of(row).sum() == 0
