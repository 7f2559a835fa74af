"""Looking at a machine that stands still: registers, memories as numbers, where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp._core import debugger as _debugger
from npuvp.debug.expressions import evaluate, parse_expression
from npuvp.debug.places import labels_of
from npuvp.debug.stops import Breakpoint, Loop, Transfer, Watchpoint
from npuvp.debug.watching import row_elements
from npuvp.errors import InputError
from npuvp.firmware import Firmware, Tensor, element_bits
from npuvp.isa.declaration import load
from npuvp.isa.disassembler import instruction_text
from npuvp.machine import Machine
from npuvp.run import PreparedRun
from npuvp.traces.names import mark_names
from npuvp.traces.session import MARK_KINDS

__all__ = ["View"]

#: Number of a mark that says that none of its kind is open any more.
_MARK_ENDS = 0xFFFFFFFF


class View:
    """What can be read of a run that stands still; `Debugger` moves it.

    Attributes:
        firmware: What runs.
        mode: Data mode.
    """

    firmware: Firmware
    mode: str
    _prepared: PreparedRun
    _core: int
    _points: dict[int, Breakpoint | Watchpoint]

    @property
    def machine(self) -> Machine:
        """The machine; memories can be read at any time."""
        return self._prepared.machine

    @property
    def core_names(self) -> list[str]:
        """Names of the cores."""
        return [core["name"] for core in self.machine.description["cores"]]

    @property
    def core(self) -> str:
        """The core that the last stop was about; assign to look at another one."""
        name: str = self.core_names[self._core]
        return name

    @core.setter
    def core(self, name: str) -> None:
        self._core = self._index(name)

    def _index(self, name: str) -> int:
        if name not in self.core_names:
            raise InputError(f"no core {name!r} (cores: {', '.join(self.core_names)})")
        return self.core_names.index(name)

    def state(self, core: int) -> dict[str, Any]:
        """All of a core as plain data: see `registers`, `loops`, `transfers` for views of it."""
        found: dict[str, Any] = _debugger.state(self.machine.native, core)
        found["marks"] = [-1 if mark == _MARK_ENDS else mark for mark in found["marks"]]
        return found

    def registers(self, core: str | None = None) -> dict[str, int | float]:
        """Registers of a core by name: pc, gp0.., f0.., a0.., CSRs."""
        state = self.state(self._core if core is None else self._index(core))
        found: dict[str, int | float] = {"pc": state["pc"]}
        found |= {f"gp{i}": value for i, value in enumerate(state["gp"])}
        found |= {f"f{i}": value for i, value in enumerate(state["fp"])}
        found |= {f"a{i}": value for i, value in enumerate(state["ha"])}
        found |= {csr.name: state["csr"][csr.number] for csr in load().csrs}
        return found

    def _names(self, core: int) -> dict[str, Any]:
        """What expressions may name."""
        state = self.state(core)
        found: dict[str, Any] = {
            symbol.name: symbol.value
            for symbol in self.firmware.symbols.values()
            if not symbol.section
        }
        found |= labels_of(self.firmware, core)
        found |= dict(zip(MARK_KINDS, state["marks"], strict=False))
        found |= {"cycle": state["cycle"], "instructions": state["instructions"]}
        return found | self.registers(self.core_names[core])

    def _reader(self, core: int) -> Callable[[str, int], int | float]:
        def read(memory: str, word: int) -> int | float:
            value: int | float = self.sram(memory, word, core=self.core_names[core]).item()
            return value

        return read

    def value(self, expression: str, core: str | None = None) -> Any:
        """The value of an expression such as "gp4 + 2", "fp[12]", "step" over a core.

        Raises:
            InputError: It is malformed, or names what is not there.
        """
        index = self._core if core is None else self._index(core)
        names = self._names(index)
        return evaluate(parse_expression(expression, names), names, self._reader(index))

    def loops(self, core: str | None = None) -> list[Loop]:
        """Open loops of a core, the outermost first."""
        index = self._core if core is None else self._index(core)
        return [
            Loop(pc, f"gp{register}", count - left + 1, count, self._where(index, pc))
            for pc, register, left, count in self.state(index)["loops"]
        ]

    def marks(self, core: str | None = None) -> dict[str, int]:
        """Numbers of the marks that are open on a core, by kind."""
        state = self.state(self._core if core is None else self._index(core))
        return {
            kind: number
            for kind, number in zip(MARK_KINDS, state["marks"], strict=False)
            if number >= 0
        }

    def transfers(self, core: str | None = None) -> list[Transfer]:
        """DMA transfers of a core that are not complete, the oldest first."""
        index = self._core if core is None else self._index(core)
        return [
            Transfer(
                **{**found, "ranges": tuple(found["ranges"])}, where=self._where(index, found["pc"])
            )
            for found in self.state(index)["transfers"]
        ]

    def sram(
        self, space: str, rows: int | slice | range | None = None, *, core: str | None = None
    ) -> NDArray[Any]:
        """Contents of an SRAM as numbers.

        Args:
            space: "vector", "matrix", "fp" or "int".
            rows: One row (of VLEN or MLEN elements) or word, or a slice or range of them; None: all.
            core: Whose; None: that of the last stop.

        Returns:
            float32 (uint32 for "int"): of shape (rows, elements) or (words,), without the first
            dimension where one row or word was asked for.

        Raises:
            InputError: No such space or rows; floating-point data in timing mode.
        """
        name = self.core if core is None else self.core_names[self._index(core)]
        full = f"{name}.{space}"
        _, _, _, size = self.machine.place(full)
        if space != "int" and self.mode == "timing":
            raise InputError(f"{full}: timing mode computes no floating-point data")
        elements = row_elements(self.machine, full)
        count = size // elements
        if rows is None:
            rows = range(count)
        one = isinstance(rows, (int, np.integer))
        first, end = 0, 0
        if isinstance(rows, (int, np.integer)):
            first, end = int(rows), int(rows) + 1
        elif isinstance(rows, slice):
            if rows.step not in (None, 1):
                raise InputError(f"{full}: rows by steps of {rows.step} (allowed: 1)")
            first = 0 if rows.start is None else rows.start
            end = count if rows.stop is None else rows.stop
        elif isinstance(rows, range):
            if rows.step != 1:
                raise InputError(f"{full}: rows by steps of {rows.step} (allowed: 1)")
            first, end = rows.start, rows.stop
        if not 0 <= first < end <= count:
            raise InputError(f"{full} has rows 0..{count - 1}, not {first}..{end - 1}")
        shape = (end - first,) if elements == 1 else (end - first, elements)
        form = "raw32" if space == "int" else "fp32"
        values = self.machine.read_tensor(
            Tensor("rows", full, first * elements, form, shape, "inout")
        )
        values = values.view(np.uint32) if space == "int" else values
        return values[0] if one else values

    def hbm(
        self,
        address: int,
        count: int,
        element_format: str = "raw8",
        *,
        scales: int = 0,
        block: int = 32,
    ) -> NDArray[Any]:
        """Elements in HBM as numbers.

        Args:
            address: Of the first byte.
            count: Elements.
            element_format: "raw8", "raw32", "bf16", "fp16", "fp32" or an MX format.
            scales: Of MX formats: address of the first scale byte.
            block: Of MX formats: elements per scale.

        Returns:
            uint8 of raw8, int32 of raw32, else float32.

        Raises:
            InputError: Outside the memory. FirmwareError: no such format.
        """
        _, _, _, size = self.machine.place("hbm")
        span = -(-count * element_bits(element_format) // 8)
        if count < 1 or not 0 <= address <= size - span:
            raise InputError(
                f"hbm {address:#x}, {count} elements of {element_format} (HBM: 0..{size - 1:#x})"
            )
        return self.machine.read_tensor(
            Tensor("hbm", "hbm", address, element_format, (count,), "inout", 0, block, scales)
        )

    def tensor(self, name: str) -> NDArray[Any]:
        """A tensor that the firmware declares, as it stands now.

        Raises:
            InputError: There is none of this name.
        """
        tensor = self.firmware.tensors.get(name)
        if tensor is None:
            known = ", ".join(self.firmware.tensors) or "none"
            raise InputError(f"no tensor {name!r} (tensors: {known})")
        return self.machine.read_tensor(tensor)

    def _where(self, core: int, pc: int) -> str:
        return self.machine._where(core, pc)

    def instruction(self, pc: int, core: str | None = None) -> str:
        """One line: core, word address, instruction, source line and label."""
        index = self._core if core is None else self._index(core)
        text = self.firmware.text(index)
        if text is None or pc >= len(text.words):
            return f"{self.core_names[index]} pc {pc:#06x}  (end of the program)"
        name = self.core_names[index]
        shown = f"{name} pc {pc:#06x}  {instruction_text(text.words[pc], pc)}"
        return f"{shown:<52}  {self._where(index, pc)}".rstrip()

    def where(self, core: str | None = None) -> str:
        """Where a core stands: instruction, clock, marks, open loops, what it waits for."""
        index = self._core if core is None else self._index(core)
        state = self.state(index)
        name = self.core_names[index]
        lines = [self.instruction(state["pc"], name)]
        words = mark_names(self.firmware)
        marks = ""
        for kind, number in self.marks(name).items():
            known = words.get(kind, [])
            marks += f", {kind} {known[number] if number < len(known) else number}"
        lines.append(f"cycle {state['cycle']}, {state['instructions']} instructions{marks}")
        for loop in reversed(self.loops(name)):
            lines.append(
                f"in iteration {loop.iteration} of {loop.count} of the loop on {loop.register} "
                f"from pc {loop.pc:#06x}  {loop.where}"
            )
        if state["halted"]:
            lines.append("halted")
        elif state["waiting_for"]:
            lines.append(f"waits for {state['waiting_for']}")
        return "\n  ".join(lines)

    def disassembly(self, core: str | None = None, *, before: int = 4, after: int = 6) -> str:
        """Instructions around a core's pc: ``=>`` the next one, ``*`` those with a breakpoint."""
        index = self._core if core is None else self._index(core)
        text = self.firmware.text(index)
        if text is None:
            return f"{self.core_names[index]} has no program"
        pc = self.state(index)["pc"]
        names = {value: name for name, value in labels_of(self.firmware, index).items()}
        marked = {
            at
            for point in self._points.values()
            if isinstance(point, Breakpoint) and index in point.places
            for at in point.places[index].pcs
        }
        lines = []
        for at in range(max(0, pc - before), min(len(text.words), pc + after + 1)):
            if at in names:
                lines.append(f"            {names[at]}:")
            arrow = ("=>" if at == pc else "  ") + ("*" if at in marked else " ")
            shown = f"{arrow} {at:#06x}  {instruction_text(text.words[at], at, names)}"
            place = text.locations[at]
            source = ""
            if place is not None:
                line = self.firmware.source_line(place).strip()
                rest = line.removeprefix(instruction_text(text.words[at], at, names)).strip()
                line = rest if rest.startswith((";", "//")) or not rest else line
                source = f"{Path(place.file).name}:{place.line}  {line}".rstrip()
            lines.append(f"{shown:<52}  {source}".rstrip())
        if pc >= len(text.words):
            lines.append(f"=>  {pc:#06x}  (end of the program)")
        return "\n".join(lines)
