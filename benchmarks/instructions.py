"""Speed of the core: simple instructions, and matrix multiplication in both data modes.

Times are of this thread's processor, so a busy machine does not change the ratios much.
"""

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

# One thread for NumPy's matmul; read when NumPy is loaded.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
from npuvp._core import machine as core  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

import npuvp as vp  # noqa: E402
from benchmarks import scalesim  # noqa: E402
from benchmarks.measurement import Measurement  # noqa: E402
from npuvp.machine import Machine  # noqa: E402

Measured = dict[str, Measurement]


def _seconds(run: Callable[[], Any]) -> float:
    begin = time.thread_time()
    run()
    return time.thread_time() - begin


def _platform(**parameters: Any) -> vp.Platform:
    p = vp.Platform("bench")
    p.core("core0", **parameters)
    p.hbm("hbm", backend="ideal", size="1MiB", bandwidth="32GB/s")
    return p


def simple_instructions(count: int = 2_000_000, repeat: int = 5) -> Measured:
    """Integer instructions per second in timing mode against a bare b_transport + wait loop."""
    body = "\n".join(f"    S_ADDI_INT gp{2 + i % 12}, gp{2 + (i + 5) % 12}, 3" for i in range(30))
    firmware = vp.assemble(f"    C_LOOP_START gp1, {count // 31}\n{body}\n    C_LOOP_END gp1\n")
    description = _platform(vlen=64).description()
    best = {"machine": 0.0, "bare": 0.0}
    for _ in range(repeat):
        machine = Machine(description, firmware, functional=False)
        seconds = _seconds(machine.native.run)
        best["machine"] = max(best["machine"], machine.native.core(0)["instructions"] / seconds)
        loops = count // 4
        best["bare"] = max(best["bare"], loops / _seconds(lambda n=loops: core.bare_loop(n)))  # type: ignore[misc]
    return {
        "simple_instructions_vs_bare_systemc_loop": Measurement(
            best["machine"] / best["bare"],
            2.0,
            "higher",
            note=f"{best['machine'] / 1e6:.1f} M instructions/s, {best['bare'] / 1e6:.1f} M loops/s",
        )
    }


def gemm_source(m: int, n: int, k: int, s: int, b: int) -> str:
    """C = A B with operands resident, for an array of MLEN = VLEN = s and BLEN = b.

    A [m, k] and C [m, n] lie in column blocks of s in Vector SRAM, C behind A; B [k, n] lies in
    Matrix SRAM as tiles of s x s, those of one column of tiles one after the other.
    """
    return f"""
        .equ M, {m}
        .equ N, {n}
        .equ K, {k}
        .equ S, {s}
        .equ B, {b}
        .reg rC, gp10
        .reg rRows, gp5
        .reg rColumn, gp8
        .reg rTile, gp4
        .reg rA, gp6
        .reg rT, gp12
            LI rC, M * K
            C_LOOP_START gp1, N / S             ; columns of tiles
                C_LOOP_START gp2, S / B         ; columns of outputs in a tile
                    LI rRows, 0
                    C_LOOP_START gp3, M / B
                        MV rTile, rColumn
                        MV rA, rRows
                        C_LOOP_START gp11, K / S
                            M_MM 0, rTile, rA
                            LI rT, M * S
                            S_ADD_INT rA, rA, rT
                            LI rT, S * S
                            S_ADD_INT rTile, rTile, rT
                        C_LOOP_END gp11
                        M_MM_WO rC, gp0, 0
                        LI rT, B * S
                        S_ADD_INT rRows, rRows, rT
                        S_ADD_INT rC, rC, rT
                    C_LOOP_END gp3
                    LI rT, M * S - B            ; back to the first row, B columns on
                    S_SUB_INT rC, rC, rT
                    LI rT, B * S
                    S_ADD_INT rColumn, rColumn, rT
                C_LOOP_END gp2
                LI rT, M * S - S                ; next column block of C, next column of tiles
                S_ADD_INT rC, rC, rT
                LI rT, (K / S - 1) * S * S
                S_ADD_INT rColumn, rColumn, rT
            C_LOOP_END gp1
    """


def gemm_platform(m: int, n: int, k: int, s: int, b: int) -> vp.Platform:
    """A machine in whose SRAMs the operands fit."""
    return _platform(
        vlen=s,
        blen=b,
        hlen=min(b, 64),
        vector_sram_bytes=2 * m * (n + k),
        matrix_sram_bytes=2 * n * k,
    )


def _column_blocks(x: NDArray[Any], s: int) -> NDArray[Any]:
    rows, columns = x.shape
    return np.ascontiguousarray(x.reshape(rows, columns // s, s).transpose(1, 0, 2))


def _bf16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def _floats(x: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (x.astype(np.uint32) << 16).view(np.float32)


def gemm_functional(n: int = 1024, s: int = 512, b: int = 128, repeat: int = 5) -> Measured:
    """Functional BF16 GEMM of n x n x n at VLEN = MLEN = s against NumPy's float32 matmul."""
    firmware = vp.assemble(gemm_source(n, n, n, s, b))
    description = gemm_platform(n, n, n, s, b).description()
    rng = np.random.default_rng(0)
    a, w = (_bf16(rng.standard_normal((n, n), dtype=np.float32)) for _ in range(2))
    tiles = w.reshape(n // s, s, n // s, s).transpose(2, 0, 1, 3)
    x, y = _floats(a), _floats(w)
    best = {"machine": float("inf"), "numpy": float("inf")}
    for _ in range(repeat):
        machine = Machine(description, firmware)
        machine.write_bytes("core0.vector", 0, _column_blocks(a, s).view(np.uint8).ravel())
        machine.write_bytes("core0.matrix", 0, np.ascontiguousarray(tiles).view(np.uint8).ravel())
        best["machine"] = min(best["machine"], _seconds(machine.native.run))
        best["numpy"] = min(best["numpy"], _seconds(lambda: x @ y))
    raw = machine.read_bytes("core0.vector", 2 * n * n, 2 * n * n).view(np.uint16)
    result = _floats(raw).reshape(n // s, n, s).transpose(1, 0, 2).reshape(n, n)
    error = np.abs(result - x @ y).max() / np.abs(result).max()
    if error > 2.0**-8:
        raise AssertionError(f"the product is wrong: relative error {error:g}")
    return {
        f"functional_gemm_{n}_vs_numpy": Measurement(
            best["machine"] / best["numpy"],
            4.0,
            "lower",
            note=f"BF16 at VLEN {s}: {best['machine']:.3f} s, float32 NumPy {best['numpy']:.3f} s",
        )
    }


def gemm_timing(m: int = 512, n: int = 4096, k: int = 4096, s: int = 64) -> Measured:
    """Timing mode on a square array, whose busy cycles have a closed form, against SCALE-Sim."""
    firmware = vp.assemble(gemm_source(m, n, k, s, s))
    machine = Machine(gemm_platform(m, n, k, s, s).description(), firmware, functional=False)
    seconds = _seconds(machine.native.run)
    busy = machine.native.core(0)["matrix"]["busy_cycles"]
    closed_form = -(-m // s) * -(-n // s) * (k + 2 * s - 2) - 1
    try:
        theirs, cycles = scalesim.run(128, 512, 512, s)
        ratio, note = (
            theirs / seconds,
            f"{theirs:.2f} s for its {cycles:,} cycles, ours {seconds:.4f} s",
        )
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        ratio, note = None, f"SCALE-Sim could not be run here: {error}"
    return {
        f"timing_gemm_{m}x{n}x{k}_vs_scalesim_128x512x512": Measurement(
            ratio, 100.0, "higher", note=note
        ),
        "matrix_busy_cycles_beyond_closed_form": Measurement(
            busy - closed_form, 0, "lower", "cycles", f"{busy:,} cycles"
        ),
    }


def measure() -> Measured:
    """All of them."""
    return simple_instructions() | gemm_functional() | gemm_timing()
