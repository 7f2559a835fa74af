"""PyTorch's conversions: the recorded ones, and bit for bit those of machine and golden model."""

from pathlib import Path

import numpy as np
import pytest

from npuvp import baos
from npuvp.golden import mx
from npuvp.golden.formats import bf16_to_float, float_to_bf16

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra `accuracy`)")

from npuvp.accuracy import caches, conversions  # noqa: E402
from npuvp.accuracy.schemes import FORMATS, Scheme  # noqa: E402

DATA = Path(__file__).parents[2] / "data" / "mx.npz"
OCP = sorted(set(FORMATS.values()))


def bits(x: np.ndarray) -> np.ndarray:
    """Bit patterns with every NaN alike."""
    x = np.ascontiguousarray(x, np.float32)
    return np.where(np.isnan(x), np.uint32(0x7FC00000), x.view(np.uint32))


def convert(x: np.ndarray, name: str, block: int) -> np.ndarray:
    return conversions.round_trip(torch.from_numpy(x.copy()), name, block).numpy()


def golden(x: np.ndarray, name: str, block: int) -> np.ndarray:
    return mx.mx_decode_row(name, block, *mx.mx_encode_row(name, block, x), x.shape[-1], "fp32")


@pytest.mark.parametrize("name", OCP)
def test_recorded_conversions(name: str) -> None:
    recorded = np.load(DATA)
    expected = recorded[f"{name.removeprefix('mx')}_even"]
    if name.startswith("mxint"):
        expected = expected + np.float32(0)  # two's complement has no -0
    assert expected.shape == (186, 32)
    np.testing.assert_array_equal(bits(convert(recorded["x"], name, 32)), bits(expected))


@pytest.mark.parametrize("name", OCP)
@pytest.mark.parametrize("block", [4, 32])
def test_random_bit_patterns(name: str, block: int) -> None:
    rng = np.random.default_rng(5)
    # Any pattern at all, and blocks of numbers of nearby magnitude.
    anything = rng.integers(0, 2**32, (400, 32), dtype=np.uint32).view(np.float32)
    exponent = rng.integers(-150, 128, (800, 1))
    with np.errstate(over="ignore"):
        near = (rng.standard_normal((800, 32)) * 2.0**exponent).astype(np.float32)
    halves = (rng.integers(-64, 65, (400, 32)) / 16).astype(np.float32)
    for x in (anything, near, halves):
        np.testing.assert_array_equal(bits(convert(x, name, block)), bits(golden(x, name, block)))
    assert np.isnan(convert(anything, name, block)).any()


@pytest.mark.parametrize("name", OCP)
def test_the_machine_s_own_conversion(name: str) -> None:
    from npuvp._core import numerics as core

    x = float_to_bf16(np.random.default_rng(6).standard_normal(64).astype(np.float32) * 3)
    elements = np.zeros(core.mx_element_bytes(name, 64), np.uint8)
    scales = np.zeros(core.mx_scale_bytes(name, 32, 64), np.uint8)
    core.mx_encode_row(name, 32, x, elements, scales)
    row = np.zeros(64, np.uint16)
    core.mx_decode_row(name, 32, elements, scales, row)
    found = conversions.bf16(torch.from_numpy(convert(bf16_to_float(x), name, 32))).numpy()
    np.testing.assert_array_equal(bits(found), bits(bf16_to_float(row)))
    assert (found != bf16_to_float(x)).any()


def test_what_cannot_be_converted() -> None:
    x = torch.zeros(2, 32)
    with pytest.raises(ValueError, match="blocks of 24 do not divide 32"):
        conversions.round_trip(x, "mxint4", 24)
    with pytest.raises(ValueError, match="'plena_e4m3', allowed: bf16 and the OCP formats"):
        conversions.round_trip(x, "plena_e4m3", 32)
    with pytest.raises(ValueError, match="'mxint5' is not one of"):
        conversions.round_trip(x, "mxint5", 32)


def channels() -> np.ndarray:
    """K of (B, L, heads, channels) with loud, quiet and dead channels."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((3, 9, 2, 32)) * 2.0 ** rng.integers(-6, 7, (1, 1, 2, 32))
    x[:, :, 0, 3] = 0
    x[:, :, 1, 4] = 2.0**-110
    x[:, 4, 1, 5] = 8
    return baos.fold(x.astype(np.float32), 1)


@pytest.mark.parametrize("rounding", ["pow2", "bf16"])
@pytest.mark.parametrize("element", ["mxint4", "mxfp4_e2m1", "mxint8"])
def test_the_algebra_of_baos(rounding: str, element: str) -> None:
    k, v, q = channels(), channels()[::-1].copy(), channels()[..., ::-1].copy()
    name = f"baos-{element.removesuffix('_e2m1')}-{rounding}"
    format = baos.CacheFormat.parse(name)
    treatment = caches.Treatment(Scheme.parse(name), 32, 32)
    treatment.warm(0, torch.from_numpy(k), torch.from_numpy(v))
    wanted = [baos.factors(x.swapaxes(1, 2), format)[:, None] for x in (k, v)]
    for found, expected in zip(treatment.taken[0], wanted, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)
    assert treatment.taken[0][0][0, 0, 0, 3] == treatment.taken[0][0][0, 0, 1, 4] == 1
    stored = treatment.stored(0, torch.from_numpy(k), torch.from_numpy(v))
    for found, x, factor in zip(stored, (k, v), wanted, strict=True):
        np.testing.assert_array_equal(found.numpy(), baos.cached(x, factor, format))
    queries = torch.from_numpy(q)[:, :, :, None]
    np.testing.assert_array_equal(
        treatment.query(0, queries)[:, :, :, 0].numpy(), baos.fold(q, wanted[0])
    )
    np.testing.assert_array_equal(
        treatment.output(0, queries)[:, :, :, 0].numpy(), baos.fold(q, wanted[1])
    )


def test_the_rotation_keeps_products() -> None:
    turn = caches.hadamard(32)
    np.testing.assert_array_equal((turn @ turn.T).numpy(), 32 * np.eye(32))
    treatment = caches.Treatment(Scheme.parse("rotation-mxint8"), 32, 32)
    k, q = torch.from_numpy(channels()), torch.from_numpy(channels()[::-1].copy())
    keys, values = treatment.stored(0, k, k)
    turned = treatment.query(0, q[:, :, :, None])[:, :, :, 0]
    plain, found = (q * k).sum(-1), (turned * keys).sum(-1)
    error = (plain - found).abs().max() / plain.abs().max()
    assert 0 < error < 0.02
    np.testing.assert_array_equal(values.numpy(), conversions.round_trip(k, "mxint8", 32).numpy())
