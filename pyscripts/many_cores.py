"""Two firmware examples for many cores on a mesh: a split matrix product and an all-reduce."""

import numpy as np

import npuvp as vp
from npuvp.many_cores import all_reduce, split_gemm


def platform(cores: int) -> vp.Platform:
    """Cores of 64 lanes in a square, a memory of four nodes beside them."""
    side = max(4, round(cores**0.5))
    p = vp.Platform(f"cores{cores}")
    mesh = p.mesh("noc", columns=side + 1, rows=side, flit_bytes=128)
    for i in range(cores):
        core = p.core(f"core{i}", vlen=64, mlen=64, blen=4, matrix_sram_bytes="64KiB")
        mesh.attach(core, at=(i % side, i // side))
    hbm = p.hbm("hbm", preset="HBM2E", backend="builtin")
    mesh.attach(hbm, at=[(side, y) for y in range(4)])
    return p


rng = np.random.default_rng(0)
x, w = rng.standard_normal((32, 256)), rng.standard_normal((64, 256))
values = rng.standard_normal((16, 16, 64))
products = {}
for cores in (1, 2, 4, 16):
    product = split_gemm(platform(cores), x, w)
    reduced = all_reduce(platform(cores), values[:cores, : 16 // cores * cores])
    products[cores] = product.outputs["y"]
    same = np.array_equal(products[cores], products[1])
    print(
        f"{cores:3} cores: product {product.cycles:6} cycles, bits as on one core: {same}; "
        f"all-reduce {reduced.cycles:6} cycles"
    )
