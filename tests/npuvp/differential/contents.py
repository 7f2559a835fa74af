"""Contents of memories: numbers of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from npuvp.firmware import DataSegment, Firmware

HBM_ELEMENTS = 48 * 1024
HBM_BYTES = 64 * 1024
"""Elements lie below HBM_ELEMENTS, scales behind: a store's two streams never meet."""

SPECIAL_FLOATS = np.array(
    [
        0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000,
        0xFFC00000, 0x7F800001, 0x7FBFFFFF, 0xFFFF0001, 0x7FFFFFFF, 0x00000001, 0x80000001,
        0x007FFFFF, 0x00800000, 0x80800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F0000, 0x7F7F8000,
        0x42B00000, 0xC2B00000, 0x42B00001, 0xC2AFFFFF, 0x3F808000, 0x3F818000, 0x00010000,
        0x00018000, 0x33800000, 0x4B000000, 0x4B800001, 0x3EAAAAAB, 0x40490FDB, 0x00400000,
    ],
    np.uint32,
)  # fmt: skip


def random_floats(rng: np.random.Generator, n: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Bit patterns of n float32 numbers: moderate ones, any ones, special ones, many equal ones."""
    kind = rng.integers(0, 5)
    moderate = rng.normal(0, rng.choice([0.01, 1.0, 30.0]), n).astype(np.float32)
    if kind == 0:
        return moderate.view(np.uint32)
    if kind == 1:
        return np.float32(np.round(moderate)).view(np.uint32)
    if kind == 2:
        return rng.integers(0, 1 << 32, n, dtype=np.uint32)
    if kind == 3:
        return rng.choice(SPECIAL_FLOATS, n)
    sprinkled = moderate.view(np.uint32).copy()
    where = rng.random(n) < 0.1
    sprinkled[where] = rng.choice(SPECIAL_FLOATS, int(where.sum()))
    return sprinkled


def firmware(description: dict[str, Any], words: list[int], rng: np.random.Generator) -> Firmware:
    """The program with random contents of every memory of core 0 and of HBM."""
    p = description["cores"][0]["parameters"]
    made = Firmware.from_words(words)
    unit = {"bf16": 2, "fp32": 4}

    def floats(space: str, count: int, storage: str) -> None:
        pieces = [random_floats(rng, 64) for _ in range(-(-count // 64))]
        bits = np.concatenate(pieces)[:count]
        data = (bits >> 16).astype(np.uint16) if storage == "bf16" else bits
        made.segments.append(DataSegment(f"core0.{space}", 0, storage, data.tobytes()))

    floats("vector", p["vector_sram_bytes"] // unit[p["vector_format"]], p["vector_format"])
    floats("matrix", p["matrix_sram_bytes"] // unit[p["matrix_format"]], p["matrix_format"])
    floats("fp", p["fp_sram_words"], p["fp_format"])
    integers = rng.integers(0, 1 << 32, p["int_sram_words"], dtype=np.uint32)
    integers[rng.random(len(integers)) < 0.5] &= np.uint32(63)
    made.segments.append(DataSegment("core0.int", 0, "raw32", integers.tobytes()))
    memory = rng.integers(0, 256, HBM_BYTES, dtype=np.uint8)
    for begin in range(0, HBM_ELEMENTS, 4096):  # float32, BF16 and any bytes
        if rng.random() < 0.5:
            memory[begin : begin + 4096] = random_floats(rng, 1024).view(np.uint8)
    scales = memory[HBM_ELEMENTS:]
    moderate = rng.random(len(scales)) < 0.8
    scales[moderate] = rng.integers(115, 140, int(moderate.sum()), dtype=np.uint8)
    made.segments.append(DataSegment("hbm", 0, "raw8", memory.tobytes()))
    made.check()
    return made
