"""Programs in the public PLENA dialect: decimal numbers, no labels, everything unrolled.

They use the public instructions alone, as that assembler's templates do, and stand in memory as
PLENA lays tensors out: all element rows, then all scale rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp import Firmware, assemble
from npuvp.firmware import DataSegment
from npuvp.golden.codec import GoldenCodec

M, B, BLOCK, FORMAT = 64, 4, 8, "plena_e4m3"


def quantised(values: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A tensor's bytes in memory, and the numbers that they stand for."""
    codec = GoldenCodec()
    elements, scales = codec.encode_rows(values.astype(np.float32), FORMAT, BLOCK)
    numbers = codec.decode_rows(elements, scales, FORMAT, BLOCK, *values.shape)
    return np.concatenate([elements, scales]), numbers


@dataclass
class PlenaText:
    """Writes a program line by line."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    def constant(self, register: str, value: int) -> None:
        """As the public templates load numbers."""
        if value < 1 << 18:
            self(f"S_ADDI_INT {register}, gp0, {value}")
        else:
            self(f"S_LUI_INT {register}, {value >> 12}")
            self(f"S_ADDI_INT {register}, {register}, {value & 0xFFF}")

    def tensor(self, address_register: str, base: int, rows: int, columns: int) -> None:
        """Address, scale distance and row pitch of the tensor that transfers follow."""
        self.constant("gp1", base)
        self(f"C_SET_ADDR_REG {address_register}, gp0, gp1")
        self.constant("gp1", rows * columns)
        self("C_SET_SCALE_REG gp1")
        self.constant("gp1", columns)
        self("C_SET_STRIDE_REG gp1")


def linear(rows: int, k: int, n: int) -> str:
    """y [rows, n] = x [rows, k] . w [k, n], all MXFP8; x at 0, w and y behind one another."""
    text = PlenaText()
    x_bytes, w_bytes = (count + count // BLOCK for count in (rows * k, k * n))
    text("; x to Vector SRAM in column blocks, four rows at a time")
    text.tensor("a0", 0, rows, k)
    for block in range(k // M):
        for row in range(0, rows, 4):
            text.constant("gp2", (block * rows + row) * M)
            text.constant("gp3", row * k + block * M)
            text("H_PREFETCH_V gp2, gp3, a0, 1, 0")
    result = rows * k
    text.tensor("a1", x_bytes, k, n)
    for column in range(n // M):
        for block in range(k // M):
            text.constant("gp2", block * M * M)
            text.constant("gp3", block * M * n + column * M)
            text("H_PREFETCH_M gp2, gp3, a1, 1, 0")
        text.constant("gp9", result + column * rows * M)
        for row in range(0, rows, B):
            for piece in range(M // B):
                for block in range(k // M):
                    text.constant("gp4", block * M * M + piece * B * M)
                    text.constant("gp5", (block * rows + row) * M)
                    text("M_MM 0, gp4, gp5")
                text(f"M_MM_WO gp9, gp0, {row * M + piece * B}")
    text.tensor("a2", x_bytes + w_bytes, rows, n)
    for column in range(n // M):
        for row in range(0, rows, 4):
            text.constant("gp2", result + (column * rows + row) * M)
            text.constant("gp3", row * n + column * M)
            text("H_STORE_V gp2, gp3, a2, 1, 0")
    return "\n".join(text.lines)


def linear_firmware(x: NDArray[Any], w: NDArray[Any]) -> tuple[Firmware, NDArray[Any], slice]:
    """Firmware with its data, the result in float64, and where the result stands in memory."""
    x_bytes, x_numbers = quantised(x)
    w_bytes, w_numbers = quantised(w)
    rows, k = x.shape
    firmware = assemble(linear(rows, k, w.shape[1]))
    firmware.segments.append(
        DataSegment("hbm", 0, "raw8", np.concatenate([x_bytes, w_bytes]).tobytes())
    )
    begin = len(x_bytes) + len(w_bytes)
    size = rows * w.shape[1]
    expected = x_numbers.astype(float) @ w_numbers.astype(float)
    return firmware, expected, slice(begin, begin + size + size // BLOCK)
