"""The algebra of BAOS: exact values, identities, and where it wins."""

from dataclasses import replace

import numpy as np
import pytest

from npuvp import baos


def _rows(seed: int = 0, shape: tuple[int, ...] = (2, 24, 32)) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return baos.fold(x, 1)


FORMAT = baos.CacheFormat.parse("baos-mxint4")
POW2 = baos.CacheFormat.parse("baos-mxint4-pow2")


def test_factors_are_rounded_up_to_powers_of_two() -> None:
    column = np.array([[0.75, -1.0, 1.0078125, 0.0, 2.0**-100, 2.0**-101, 6.0]], np.float32)
    found = baos.factors(np.concatenate([column / 2, column]), POW2)
    assert found.tolist() == [1.0, 1.0, 2.0, 1.0, 2.0**-100, 1.0, 8.0]
    floating = baos.CacheFormat.parse("baos-mxfp4-bf16")
    assert baos.factors(column, floating).tolist() == [
        0.75, 1.0, 1.0078125, 1.0, 2.0**-100, 1.0, 6.0,
    ]  # fmt: skip
    # 8 / 7 as a BF16 number is 1.140625; products are rounded to 2^-7 in [1, 2).
    assert baos.factors(column, FORMAT).tolist() == [
        0.85546875, 1.140625, 1.1484375, 1.0, 1.140625 * 2.0**-100, 1.0, 6.84375,
    ]  # fmt: skip


def test_integers_leave_room_for_their_largest() -> None:
    assert baos.headroom("mxint4") == 1.140625
    assert baos.headroom("mxint8") == 1.0078125  # 128 / 127
    assert [baos.headroom(e) for e in ("mxfp4_e2m1", "mxfp6_e2m3", "mxfp8_e4m3")] == [1, 1, 1]
    # The loudest key of every channel becomes the largest element, 7, whatever its mantissa.
    k = np.linspace(1, 2, 128, dtype=np.float32).reshape(1, 1, 128)
    k = baos.fold(np.concatenate([k, -k / 64], axis=1), 1)
    factor = baos.factors(k, FORMAT)[:, None]
    assert (baos.cached(k, factor, FORMAT)[0, 0] == 7 / 8).all()
    assert len(np.unique(baos.cached(k, baos.factors(k, POW2)[:, None], POW2)[0, 0])) == 5


def test_powers_of_two_change_nothing_without_quantisation() -> None:
    k, q = _rows(1), _rows(2)
    factor = baos.factors(k, POW2)[:, None]
    assert (baos.normalise(k, factor) * factor == k).all()
    plain = np.einsum("bqc,btc->bqt", q, k)
    folded = np.einsum("bqc,btc->bqt", baos.fold(q, factor), baos.normalise(k, factor))
    assert (plain == folded).all()


def test_an_outlier_channel_spoils_plain_blocks_only() -> None:
    k = _rows(3)
    k[..., 5] *= 64
    k = baos.fold(k, 1)
    factor = baos.factors(k, FORMAT)[:, None]
    smooth = baos.cached(k, factor, FORMAT) * factor
    plain = baos.cached(k, None, FORMAT)
    others = np.arange(32) != 5
    assert np.abs(plain - k)[..., others].mean() > 5 * np.abs(smooth - k)[..., others].mean()
    assert (plain[..., others] == 0).mean() > 0.9


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("bf16", baos.CacheFormat("bf16")),
        ("mxfp4", baos.CacheFormat("mxfp4_e2m1")),
        ("baos-mxint8", baos.CacheFormat("mxint8", True)),
        ("baos-mxint4-bf16", baos.CacheFormat("mxint4", True, "bf16")),
        ("baos-mxfp4-pow2", baos.CacheFormat("mxfp4_e2m1", True, "pow2")),
    ],
)
def test_names_of_cache_formats(name: str, wanted: baos.CacheFormat) -> None:
    assert baos.CacheFormat.parse(name) == wanted


def test_rounding_suits_the_element() -> None:
    integer, floating = (baos.CacheFormat.parse(f"baos-{e}") for e in ("mxint4", "mxfp4"))
    assert (integer.rounding, floating.rounding) == ("bf16", "pow2")
    # Formats of keys and values can be given one by one: the element decides.
    assert replace(integer, element="mxfp8_e4m3").rounding == "pow2"
    for name in ("baos-mxint4-pow2", "baos-mxfp4-bf16"):
        format = baos.CacheFormat.parse(name)
        assert format.rounding == format.factors == name.split("-")[-1]


@pytest.mark.parametrize(
    "name",
    [
        "baos-bf16",
        "baos-pow2",
        "mxint4-pow2",
        "baos-mxint4-pow2-bf16",
        "fp16",
        "mxint3",
        "baos-",
        "plena_e4m3",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="format"):
        baos.CacheFormat.parse(name)


def test_blocks_divide_the_head() -> None:
    assert [baos.kv_block(n) for n in (8, 16, 32, 128)] == [8, 16, 32, 32]
    for head in (4, 24, 48):
        with pytest.raises(ValueError, match=f"head_dim {head}"):
            baos.kv_block(head)
