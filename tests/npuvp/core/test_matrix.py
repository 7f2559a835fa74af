"""Matrix unit: results bit for bit against sums in the specified order, and cycles."""

from typing import Any

import numpy as np
import pytest
from core_machine import Run, bf16, floats, platform, run
from numpy.typing import NDArray

from npuvp.golden.gemm import gemm

rng = np.random.default_rng(5)


def numbers(*shape: int) -> NDArray[np.uint16]:
    return bf16(rng.standard_normal(shape) * 3)


def stored(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return floats(bf16(x))


GEOMETRIES = [
    {"vlen": 16, "mlen": 16, "blen": 4, "hlen": 4},
    {"vlen": 32, "mlen": 16, "blen": 4, "hlen": 4},
    {"vlen": 8, "mlen": 16, "blen": 4, "hlen": 4},
    {"vlen": 8, "mlen": 32, "blen": 16, "hlen": 8},
    {"vlen": 16, "mlen": 16, "blen": 4, "hlen": 4, "matrix_rows": 2},
    {"vlen": 16, "mlen": 16, "blen": 16, "hlen": 16},
    {"vlen": 16, "mlen": 16, "blen": 1, "hlen": 2},
]


class Bench:
    """Vector SRAM full of numbers and two tiles, and programs on them."""

    def __init__(self, **core: Any):
        self.core = core
        self.w, self.m, self.b = core["vlen"], core["mlen"], core["blen"]
        self.pitch = max(self.w, self.m)
        self.rows = self.b * core.get("matrix_rows", 1)
        self.size = 192 * self.pitch
        self.v = numbers(self.size)
        self.t = numbers(2, self.m, self.m)

    def run(self, text: str) -> Run:
        return run(
            text,
            memories={("core0.vector", 0): self.v, ("core0.matrix", 0): self.t},
            **self.core,
            vector_sram_bytes=2 * self.size,
            matrix_sram_bytes=4 * self.m * self.m,
        )

    def operand(self, address: int, count: int) -> NDArray[np.uint16]:
        return np.stack([self.v[address + i * self.pitch :][: self.m] for i in range(count)])


@pytest.fixture(params=GEOMETRIES, ids=lambda g: "-".join(map(str, g.values())))
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(**request.param)


@pytest.mark.parametrize("transpose", [False, True])
def test_mm(bench: Bench, transpose: bool) -> None:
    m, b, pitch = bench.m, bench.b, bench.pitch
    k = m - b
    first, second = 2 * pitch, 5 * pitch + (m if m < bench.w else 0)
    out = 100 * pitch + (bench.w - b if m < bench.w else m - b)
    order = "gp2, gp1" if transpose else "gp1, gp2"
    name = "M_TMM" if transpose else "M_MM"
    r = bench.run(f"""
        LI gp1, {k * m}
        LI gp2, {first}
        {name} 0, {order}
        LI gp1, {m * m + k * m}
        LI gp2, {second}
        {name} 0, {order}
        LI gp3, {out - 1}
        LI gp4, 2
        M_MM_WO gp3, gp4, 1
        M_MM_WO gp3, gp0, {1 + 40 * pitch}
    """)
    acc = np.zeros((bench.rows, b), np.float32)
    for tile, address in ((0, first), (1, second)):
        t = bench.t[tile]
        right = t[k : k + b, :].T if transpose else t[:, k : k + b]
        acc = gemm(bench.operand(address, bench.rows), right, acc)
    expected = floats(bench.v.copy())
    for i in range(bench.rows):
        expected[out + 2 * i * pitch :][:b] = stored(acc[i])
    for i in range(bench.rows):  # the accumulators are clear now
        expected[out + (40 + i) * pitch :][:b] = 0
    np.testing.assert_array_equal(r.vector(0, bench.size), expected)


@pytest.mark.parametrize("transpose", [False, True])
def test_mv(bench: Bench, transpose: bool) -> None:
    m, b = bench.m, bench.b
    column = 0 if transpose else m - b
    name = "M_TMV" if transpose else "M_MV"
    out = 7 * bench.pitch + m - b
    r = bench.run(f"""
        LI gp1, {m * m + column}
        LI gp2, {3 * bench.pitch}
        {name} 0, gp1, gp2
        {name} 0, gp1, gp2
        LI gp3, {out}
        M_MV_WO gp3, 0
    """)
    v = bench.operand(3 * bench.pitch, 1)
    t = bench.t[1]
    right = t[:b, :].T if transpose else t[:, column : column + b]
    acc = gemm(v, right, gemm(v, right))
    expected = floats(bench.v.copy())
    expected[out : out + b] = stored(acc[0])
    np.testing.assert_array_equal(r.vector(0, bench.size), expected)


@pytest.mark.parametrize("head_length", [0, 8])
@pytest.mark.parametrize("name", ["M_BMM", "M_BTMM", "M_BTMV"])
def test_batched(bench: Bench, name: str, head_length: int) -> None:
    m = bench.m
    length = head_length or bench.core["hlen"]
    heads = m // length
    offset = (heads - 1) * length
    rows = 1 if name == "M_BTMV" else m
    out = 64 * bench.pitch if rows * heads * bench.pitch < 128 * bench.pitch else 0
    if rows * heads > 192:
        pytest.skip("more rows than the small SRAM has")
    scale = np.float32(0.3)
    r = bench.run(f"""
        LI gp5, {head_length}
        C_CSRW head_len, gp5
        LI gp5, {int(scale.view(np.uint32))}
        C_CSRW bmm_scale, gp5
        LI gp1, {m * m + offset}
        LI gp2, {4 * bench.pitch}
        {name} {"gp0" if rows == 1 else "0"}, gp1, gp2
        {name} {"gp0" if rows == 1 else "0"}, gp1, gp2
        LI gp3, {out}
        {"M_BMV_WO" if rows == 1 else "M_BMM_WO"} gp3, 0
    """)
    v = bench.operand(4 * bench.pitch, rows)
    t = bench.t[1]
    expected = floats(bench.v.copy())
    for head in range(heads):
        if name == "M_BMM":
            product = gemm(v[:, head::heads], t[offset : offset + length, :])
        else:
            product = gemm(
                v[:, head * length : (head + 1) * length], t[:, offset : offset + length].T
            )
        acc = scale * product + scale * product
        for i in range(rows):
            at = out + (head * rows + i) * bench.pitch
            expected[at : at + m] = stored(acc[i])
    np.testing.assert_array_equal(r.vector(0, bench.size), expected)


def test_bmv_with_one_head() -> None:
    bench = Bench(vlen=16, mlen=16, blen=4, hlen=16)
    r = bench.run(
        """
        LI gp1, 256
        LI gp2, 32
        M_BMV gp0, gp1, gp2
        M_BMV_WO gp2, 0
    """
    )
    expected = np.float32(0.25) * gemm(bench.operand(32, 1), bench.t[1])
    np.testing.assert_array_equal(r.vector(32, 16), stored(expected)[0])


def test_the_writeouts_read_their_immediate_from_bit_14() -> None:
    bench = Bench(vlen=16, mlen=16, blen=4, hlen=4)
    r = bench.run("""
        LI gp2, 32
        M_MV 0, gp0, gp2
        LI gp3, 160
        M_MV_WO gp3, 64             ; acts as 4
    """)
    expected = floats(bench.v.copy())
    expected[164:168] = stored(gemm(bench.operand(32, 1), bench.t[0][:, :4]))[0]
    np.testing.assert_array_equal(r.vector(0, bench.size), expected)


# Time


def gemm_program(m: int, n: int, k: int, s: int) -> str:
    """Whole GEMM on an array of s x s with operands resident, in column blocks of s."""
    rows = -(-m // s) * s
    deep = -(-k // s)
    return f"""
        LI gp8, {rows * deep * s}           ; results, over each other
        C_LOOP_START gp1, {-(-m // s)}
            LI gp4, 0                       ; tile
            C_LOOP_START gp2, {-(-n // s)}
                MV gp5, gp7                 ; rows of the block
                C_LOOP_START gp3, {deep}
                    M_MM 0, gp4, gp5
                    LI gp6, {rows * s}
                    S_ADD_INT gp5, gp5, gp6
                    LI gp6, {s * s}
                    S_ADD_INT gp4, gp4, gp6
                C_LOOP_END gp3
                M_MM_WO gp8, gp0, 0
            C_LOOP_END gp2
            S_ADDI_INT gp7, gp7, {s * s}
        C_LOOP_END gp1
    """


def gemm_machine(m: int, n: int, k: int, s: int, **core: Any) -> Any:
    rows = -(-m // s) * s
    tiles = -(-k // s) * -(-n // s)
    return platform(
        vlen=s, mlen=s, blen=s, hlen=s,
        vector_sram_bytes=(rows * -(-k // s) + s) * s * 2,
        matrix_sram_bytes=tiles * s * s * 2,
        prefetch_v_rows=1, writeback_v_rows=1,
        **core,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("m", "n", "k", "s"),
    [(128, 512, 512, 64), (512, 4096, 4096, 64), (8, 8, 8, 8), (9, 17, 8, 8), (16, 8, 64, 16)],
)
def test_a_square_array_takes_the_closed_form(m: int, n: int, k: int, s: int) -> None:
    r = run(gemm_program(m, n, k, s), on=gemm_machine(m, n, k, s), mode="timing")
    busy = r.result.stats["cores"]["core0"]["matrix"]["busy_cycles"]
    assert busy == -(-m // s) * -(-n // s) * (k + 2 * s - 2) - 1
    known = {(128, 512, 512): 10_207, (512, 4096, 4096): 2_161_663}
    assert known.get((m, n, k), busy) == busy
