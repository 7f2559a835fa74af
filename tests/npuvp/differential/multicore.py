"""Random programs of several cores without races: synchronisation orders who touches what."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from npuvp import Firmware, Platform, assemble
from npuvp.firmware import DataSegment

from .contents import HBM_BYTES, random_floats

VLEN = 16
ROWS = 64


@cache
def description(cores: int) -> dict[str, Any]:
    platform = Platform(f"differential_{cores}_cores")
    platform.hbm("hbm", backend="ideal", size="1MiB", latency="20ns", bandwidth="64GB/s")
    for number in range(cores):
        platform.core(
            f"core{number}",
            vlen=VLEN,
            blen=4,
            hlen=4,
            act_block=16,
            weight_block=16,
            kv_block=16,
            vector_sram_bytes=ROWS * VLEN * 2,
            fp_sram_words=64,
            int_sram_words=64,
        )
    return platform.description()


def program(description: dict[str, Any], rng: np.random.Generator) -> Firmware:
    """Rounds in which one core spreads rows, all compute on them, and one collects the results."""
    count = len(description["cores"])
    base = [core["base"] for core in description["cores"]]
    slot = description["platform"]["core_window"] // 8
    texts: list[list[str]] = [[] for _ in range(count)]

    def each(line: str) -> None:
        for text in texts:
            text.append(line)

    def load(text: list[str], register: str, value: int) -> None:
        text.append(f"LI {register}, {value}")

    each("C_CSRR gp12, core_id")
    each("C_CSRR gp11, n_cores")
    for _ in range(int(rng.integers(1, 4))):
        sender, collector = (int(rng.integers(0, count)) for _ in range(2))
        rows = int(rng.integers(1, 4))
        source, target = 0, int(rng.integers(8, 12)) * VLEN
        chosen = int(rng.integers(1, 1 << count))
        semaphore = int(rng.integers(0, 64))
        text = texts[sender]
        for register, value in (("gp1", source), ("gp2", target), ("gp3", chosen), ("gp4", rows)):
            load(text, register, value)
        text.append("H_MCAST gp1, gp2, gp3, gp4, 3")
        text.append("C_FENCE 8")
        load(text, "gp5", semaphore)
        load(text, "gp6", count)
        text.append("C_SEM_SIGNAL gp5, gp6")
        for number, text in enumerate(texts):
            load(text, "gp5", semaphore)
            load(text, "gp6", 1)
            text.append("C_SEM_WAIT gp5, gp6")
            load(text, "gp1", target)
            load(text, "gp2", 20 * VLEN)
            operation = rng.choice(["V_ADD_VV", "V_MUL_VV", "V_SUB_VV", "V_MAX_VV"])
            text.append(f"{operation} gp2, gp1, gp2")
            text.append("V_EXP_V gp2, gp2, 0")
            # A row of every core to the collector's Vector SRAM, from SRAM to SRAM.
            length = int(rng.choice([2 * VLEN, VLEN, 6]))
            load(text, "gp7", length)
            text.append("C_CSRW dma_len, gp7")
            load(text, "gp7", int(rng.choice([0, 1, 2])))
            text.append("C_CSRW dma_rows, gp7")
            text.append("C_CSRW dma_pitch, gp0")
            load(text, "gp8", 20 * VLEN * 2)
            load(text, "gp9", (40 + 2 * number) * VLEN * 2)
            text.append(f"LIA a0, {base[number] + slot}, gp7, gp10")
            text.append(f"LIA a1, {base[collector] + slot}, gp7, gp10")
            text.append("H_COPY a1, gp9, a0, gp8, 5")
            # Another to memory.
            load(text, "gp9", 1024 * number + int(rng.integers(0, 256)) * 4)
            text.append("LIA a1, 0, gp7")
            text.append("H_COPY a1, gp9, a0, gp8, 6")
            text.append("C_FENCE 0x60")
        load_all = int(rng.integers(0, 64))
        for text in texts:
            load(text, "gp5", load_all)
            text.append("C_BARRIER gp5, gp11")
            text.append("C_HOST_PUSH gp12")
        text = texts[collector]
        load(text, "gp1", 40 * VLEN)
        load(text, "gp2", 0)
        text.append("V_MAX_VV gp2, gp1, gp2")
        text.append("C_DOORBELL gp2")
        for text in texts:
            text.append("C_BARRIER gp5, gp11")
    lines = []
    for number, text in enumerate(texts):
        lines += [f".core {number}", *text, "C_HALT gp12"]
    made = assemble("\n".join(lines))
    for number in range(count):
        bits = np.concatenate([random_floats(rng, VLEN) for _ in range(ROWS)])
        values = (bits >> 16).astype(np.uint16)
        made.segments.append(DataSegment(f"core{number}.vector", 0, "bf16", values.tobytes()))
    memory = rng.integers(0, 256, HBM_BYTES, dtype=np.uint8)
    made.segments.append(DataSegment("hbm", 0, "raw8", memory.tobytes()))
    made.check()
    return made
