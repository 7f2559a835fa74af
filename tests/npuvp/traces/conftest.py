from collections.abc import Callable
from typing import Any

import pytest
from npuvp._core import trace as t

MNEMONICS = ["C_HALT", "V_EXP_V", "S_ADD_INT", "V_RED_MAX_IDX"]


class Machine:
    """Synthetic events of a small machine: one core with two units and a DMA, one channel."""

    def __init__(self) -> None:
        self.tracing: Any = None
        self.hub = t.Hub()
        self.core = self.hub.add_source("core0", "core", 0.125)
        self.scalar = self.hub.add_source("core0.scalar", "unit")
        self.vector = self.hub.add_source("core0.vector", "unit", 0.25)
        self.dma = self.hub.add_source("core0.dma", "dma")
        self.channel = self.hub.add_source("hbm.ch0", "memory", 0.0625)
        self.host = self.hub.add_source("host", "host")

    def run(self, rounds: int = 3) -> int:
        """Plays `rounds` of 40 ns; returns the end in ps."""
        kind, emit = t.Kind, self.hub.emit
        emit(kind.host, self.host, 0, 0, 0)
        emit(kind.host, self.host, 0, 0, 2)
        end = 0
        for i in range(rounds):
            at = 40_000 * i
            emit(kind.mark, self.core, at, at, 5, i % 3)
            emit(kind.instruction, self.core, at, at + 20_000, 4 * i, 1, 7)
            emit(kind.unit_busy, self.vector, at, at + 20_000, 4 * i)
            self.hub.energy(self.vector, at, at + 20_000, 4_000_001)
            emit(kind.instruction, self.core, at + 1000, at + 2000, 4 * i + 1, 2, 9)
            emit(kind.unit_busy, self.scalar, at + 1000, at + 2000, 4 * i + 1)
            emit(kind.stall, self.core, at + 2000, at + 20_000, 4 * i + 2, 1)
            emit(kind.dma, self.dma, at + 20_000, at + 35_000, i, 4096, 0)
            emit(kind.command, self.channel, at + 21_000, at + 21_000, i, 1, 5)
            emit(kind.memory, self.channel, at + 22_000, at + 35_000, 0, 4096, 0)
            self.hub.energy(self.channel, at + 22_000, at + 35_000, 999_999_999)
            end = at + 40_000
            self.hub.advance(end)
        emit(kind.host, self.host, end, end, 3)
        self.hub.finish(end)
        return end

    def open(self, options: Any) -> Any:
        """The sinks for `options`, with this machine's words."""
        from npuvp.traces import open_tracing

        self.tracing = open_tracing(
            self.hub,
            options,
            operations=MNEMONICS,
            commands=["ACT", "RD"],
            marks={"phase": ["argmax", "softmax", "transfer"]},
            periods=[1000],
        )
        return self.tracing


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def make_machine() -> Callable[[], Machine]:
    return Machine
