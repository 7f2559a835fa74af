"""Sixty-four cores that stream through the mesh against one core alone beside the same memory."""

import gc
import time
from collections.abc import Iterator
from statistics import fmean

import numpy as np

import npuvp as vp
from benchmarks.measurement import Measurement
from npuvp.isa import assemble_text
from npuvp.run import collect_result, prepare_run

_ROUNDS = 96
_PART = 0x10_1000  # one piece of the interleaving more than 1 MiB: cores begin at different nodes
_PROGRAM = """
; Every core streams its own part of the memory: 8 rows of 512 logits per transfer, two transfers
; under way, a maximum over each row.
    .tensor stream, hbm, 0, raw8, CORES * PART, in
    .text
    .core all
    LIA a1, 0, gp1
    C_CSRR gp1, core_id
    LI gp2, PART
    S_MUL_INT gp3, gp1, gp2
    LI gp4, 0                       ; buffers
    LI gp5, 4096
    LI gp6, 8
    LI gp7, 0x8_0000
    C_CSRW scale, gp7
    LI gp7, 32
    C_CSRW dma_block, gp7
    LI gp11, 1
    H_LD_V gp4, gp3, a1, gp6, 0
    C_LOOP_START gp8, ROUNDS
        MV gp9, gp4
        MV gp4, gp5
        MV gp5, gp9
        S_ADDI_INT gp3, gp3, 4096
        H_LD_V gp4, gp3, a1, gp6, 0
        .rept 8
            V_RED_MAX_IDX gp10, gp9, gp0, f1
            S_ADDI_INT gp9, gp9, 512
        .endr
    C_LOOP_END gp8
    C_FENCE 0xFFFF
    C_HALT gp0
"""


def _platform(cores: int) -> vp.Platform:
    p = vp.Platform.load("platform/manycore.yaml")
    if cores > 1:
        return p
    alone = vp.Platform("alone", clock="1GHz")
    many = p.cores[0]
    alone.core("core0", **{name: entry.value for name, entry in many.settings.items()})
    alone.hbm("hbm", preset="HBM2E_V80", backend="builtin")
    return alone


def _runs(cores: int) -> Iterator[tuple[float, float]]:
    """Seconds of CPU per instruction and per byte of DMA, run after run."""
    firmware = assemble_text(_PROGRAM, defines={"CORES": cores, "ROUNDS": _ROUNDS, "PART": _PART})
    platform = _platform(cores)
    data = np.full(cores * _PART, 0x38, np.uint8)
    while True:
        prepared = prepare_run(platform, firmware, inputs={"stream": data}, outputs=[])
        gc.collect()
        begin = time.process_time()
        prepared.machine.run(progress=False)
        seconds = time.process_time() - begin
        per_core = collect_result(prepared, seconds).stats["cores"].values()
        instructions = sum(core["instructions"] for core in per_core)
        yield seconds / instructions, seconds / sum(core["dma"]["bytes_read"] for core in per_core)


def measure() -> dict[str, Measurement]:
    """Cost on this host per simulated instruction and per byte of DMA, 64 cores over one."""
    alone, together = _runs(1), _runs(64)
    one = many = (float("inf"), float("inf"))
    # In turns, as many instructions of either: the shortest of short runs would be one that the host
    # happened to favour, which no long one is.
    for _ in range(7):
        runs = [next(alone) for _ in range(64)]
        one = min(one, (fmean(run[0] for run in runs), fmean(run[1] for run in runs)))
        many = min(many, next(together))
    return {
        f"noc_64_cores_per_{what}": Measurement(
            many[i] / one[i],
            2.0,
            "lower",
            note=f"{many[i] * 1e9:.3g} ns over the mesh, {one[i] * 1e9:.3g} ns alone on a bus",
        )
        for i, what in enumerate(("instruction", "dma_byte"))
    }
