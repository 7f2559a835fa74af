"""The algebra of BAOS: exact values, identities, and where it wins."""

import numpy as np
import pytest

from npuvp import baos


def _rows(seed: int = 0, shape: tuple[int, ...] = (2, 24, 32)) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return baos.fold(x, 1)


def test_factors_are_rounded_up_to_powers_of_two() -> None:
    column = np.array([[0.75, -1.0, 1.0078125, 0.0, 2.0**-100, 2.0**-101, 6.0]], np.float32)
    found = baos.factors(np.concatenate([column / 2, column]))
    assert found.tolist() == [1.0, 1.0, 2.0, 1.0, 2.0**-100, 1.0, 8.0]
    assert baos.factors(column, "bf16").tolist() == [
        0.75, 1.0, 1.0078125, 1.0, 2.0**-100, 1.0, 6.0,
    ]  # fmt: skip


def test_powers_of_two_change_nothing_without_quantisation() -> None:
    k, q = _rows(1), _rows(2)
    factor = baos.factors(k)[:, None]
    assert (baos.normalise(k, factor) * factor == k).all()
    plain = np.einsum("bqc,btc->bqt", q, k)
    folded = np.einsum("bqc,btc->bqt", baos.fold(q, factor), baos.normalise(k, factor))
    assert (plain == folded).all()


def test_an_outlier_channel_spoils_plain_blocks_only() -> None:
    k = _rows(3)
    k[..., 5] *= 64
    k = baos.fold(k, 1)
    format = baos.CacheFormat.parse("baos-mxint4")
    factor = baos.factors(k)[:, None]
    smooth = baos.cached(k, factor, format) * factor
    plain = baos.cached(k, None, format)
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
    ],
)
def test_names_of_cache_formats(name: str, wanted: baos.CacheFormat) -> None:
    assert baos.CacheFormat.parse(name) == wanted


@pytest.mark.parametrize("name", ["baos-bf16", "fp16", "mxint3", "baos-", "plena_e4m3"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="format"):
        baos.CacheFormat.parse(name)


def test_blocks_divide_the_head() -> None:
    assert [baos.kv_block(n) for n in (8, 16, 32, 128)] == [8, 16, 32, 32]
    for head in (4, 24, 48):
        with pytest.raises(ValueError, match=f"head_dim {head}"):
            baos.kv_block(head)
