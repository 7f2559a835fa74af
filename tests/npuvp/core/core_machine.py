"""Small machines and programs for the tests of the core."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import npuvp as vp
from npuvp.machine import Machine
from npuvp.run import Result, run_firmware

SMALL: dict[str, Any] = {
    "vlen": 16,
    "mlen": 16,
    "blen": 4,
    "hlen": 4,
    "vector_sram_bytes": 64 * 32,
    "matrix_sram_bytes": 2 * 16 * 16 * 2,
    "fp_sram_words": 256,
    "int_sram_words": 256,
    "act_block": 8,
    "weight_block": 8,
    "kv_block": 8,
    "prefetch_v_rows": 4,
    "dma_queue_depth": 2,
}
"""Overrides of a core that is small in everything."""


def platform(cores: int = 1, memory: Mapping[str, Any] | None = None, **core: Any) -> vp.Platform:
    """A platform of `cores` small cores and an ideal memory."""
    p = vp.Platform("test")
    for i in range(cores):
        p.core(f"core{i}", **(SMALL | core))
    fast = {"backend": "ideal", "size": "1MiB", "bandwidth": "32GB/s", "latency": "10ns"}
    p.hbm("hbm", **(fast | dict(memory or {})))
    return p


def bf16(x: Any) -> NDArray[np.uint16]:
    """Float32 to BF16, to nearest even (no NaN)."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def floats(x: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (x.astype(np.uint32) << 16).view(np.float32)


@dataclass
class Run:
    """A finished run and its machine."""

    result: Result
    machine: Machine

    @property
    def cycles(self) -> int:
        return self.result.cycles

    @property
    def gp(self) -> list[int]:
        found: list[int] = self.machine.registers()["gp"]
        return found

    @property
    def fp(self) -> list[float]:
        found: list[float] = self.machine.registers()["fp"]
        return found

    def bytes(self, space: str, offset: int, count: int) -> NDArray[np.uint8]:
        return self.machine.read_bytes(space, offset, count)

    def vector(self, element: int, count: int, core: int = 0) -> NDArray[np.float32]:
        return floats(self.bytes(f"core{core}.vector", 2 * element, 2 * count).view(np.uint16))

    def words(self, space: str, index: int, count: int) -> NDArray[np.uint32]:
        return self.bytes(space, 4 * index, 4 * count).view(np.uint32)


def run(
    text: str,
    *,
    on: vp.Platform | None = None,
    mode: str = "functional",
    memories: Mapping[tuple[str, int], NDArray[Any]] | None = None,
    decisions: Any = None,
    **core: Any,
) -> Run:
    """Assembles and runs; `memories`: raw contents by (space, byte offset)."""
    p = on or platform(**core)

    def prepare(machine: Machine) -> None:
        for (space, offset), data in (memories or {}).items():
            machine.write_bytes(space, offset, np.ascontiguousarray(data).view(np.uint8).ravel())

    result = run_firmware(
        p,
        vp.assemble("\n" + text),
        mode=mode,
        prepare=prepare,
        decisions=decisions,
        progress=False,
    )
    assert p.machine is not None
    return Run(result, p.machine)


def cycles(text: str, **options: Any) -> int:
    """Cycles of a program, the same in both data modes and for any quantum."""
    found = run(text, **options).cycles
    assert run(text, mode="timing", **options).cycles == found
    if "on" not in options:
        for quantum in ("1ns", "10us"):
            assert run(text, **{**options, "quantum": quantum}).cycles == found
    return found
