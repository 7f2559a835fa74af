"""Firmware examples for many cores: the same bits for any number of them, and what they refuse."""

import numpy as np
import pytest

import npuvp as vp
from npuvp.golden.formats import bf16_to_float, float_to_bf16
from npuvp.isa import AssemblyError
from npuvp.many_cores import all_reduce, split_gemm


def round_bf16(x):
    return bf16_to_float(float_to_bf16(x))


def platform(cores, mesh=False, **core):
    p = vp.Platform("many")
    side = max(2, round(cores**0.5))
    noc = p.mesh("noc", columns=side + 1, rows=side) if mesh else None
    for i in range(cores):
        part = p.core(
            f"core{i}",
            **(
                {"vlen": 64, "mlen": 64, "blen": 4, "hlen": 16, "matrix_sram_bytes": "32KiB"} | core
            ),
        )
        if noc is not None:
            noc.attach(part, at=(i % side, i // side))
    hbm = p.hbm("hbm", preset="HBM2E", backend="builtin" if mesh else "ideal")
    if noc is not None:
        noc.attach(hbm, at=[(side, 0), (side, 1)])
    return p


def test_a_split_product_has_the_bits_of_one_core():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((8, 128)), rng.standard_normal((64, 128))
    left, right = round_bf16(x.astype(np.float32)), round_bf16(w.astype(np.float32))
    total = np.zeros((8, 64), np.float32)
    for k in range(128):
        total += left[:, k, None] * right[None, :, k]
    expected = round_bf16(total)
    cycles = {}
    for cores in (1, 2, 4, 16):
        r = split_gemm(platform(cores, mesh=True), x, w)
        np.testing.assert_array_equal(r.outputs["y"], expected, err_msg=f"{cores} cores")
        cycles[cores] = r.cycles
    assert cycles[4] < cycles[2] < cycles[1]


@pytest.mark.parametrize(("cores", "mesh"), [(1, False), (2, False), (3, True), (16, True)])
def test_an_all_reduce_sums_in_the_order_of_the_cores_everywhere(cores, mesh):
    rng = np.random.default_rng(cores)
    values = rng.standard_normal((cores, 2 * cores, 64)).astype(np.float32)
    values[0, 0, 0], values[-1, 0, 0] = 1e30, -1e30  # the order shows
    r = all_reduce(platform(cores, mesh=mesh), values)
    given = round_bf16(values)
    total = given[0]
    for core in range(1, cores):
        total = round_bf16(total + given[core])
    np.testing.assert_array_equal(r.outputs["y"], np.broadcast_to(total, values.shape))
    timing = all_reduce(platform(cores, mesh=mesh), values, mode="timing")
    assert timing.cycles == r.cycles


def test_what_does_not_divide_or_fit_is_refused():
    p = platform(2)
    zeros = np.zeros
    with pytest.raises(vp.InputError, match="x has K = 64, w has K = 128: must be equal"):
        split_gemm(p, zeros((4, 64)), zeros((64, 128)))
    with pytest.raises(vp.InputError, match=r"x: shape \(64,\), allowed: 2 dimensions"):
        split_gemm(p, zeros(64), zeros((64, 64)))
    with pytest.raises(AssemblyError, match="every core takes a multiple of BLEN columns"):
        split_gemm(p, zeros((4, 64)), zeros((12, 64)))
    with pytest.raises(AssemblyError, match="do not fit in a tile"):
        split_gemm(p, zeros((4, 64)), zeros((136, 64)))
    with pytest.raises(AssemblyError, match="do not fit in Matrix SRAM"):
        split_gemm(p, zeros((4, 5 * 64)), zeros((64, 5 * 64)))
    with pytest.raises(vp.InputError, match=r"allowed: \(2, a multiple of 2, 64\)"):
        all_reduce(p, zeros((2, 3, 64)))
    with pytest.raises(AssemblyError, match="do not fit in Vector SRAM"):
        all_reduce(platform(2, vector_sram_bytes="2KiB"), zeros((2, 8, 64)))
