"""The golden machine: an interpreter of the whole ISA, bit for bit the simulated machine."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.errors import DeadlockError, RunError, Trap
from npuvp.firmware import Firmware
from npuvp.golden.codec import GoldenCodec
from npuvp.golden.dma import DMA, multicast
from npuvp.golden.faults import Fault
from npuvp.golden.matrix import MATRIX
from npuvp.golden.memory import MemoryMap, SparseMemory, Window
from npuvp.golden.scalar import CONTROL, SCALAR
from npuvp.golden.state import CSR, Core, decode_word, illegal_detail
from npuvp.golden.synchronise import Barriers, Semaphores
from npuvp.golden.vector import VECTOR
from npuvp.isa.disassembler import instruction_text
from npuvp.isa.encoding import decode
from npuvp.loading import LoadedMachine
from npuvp.tensors import checked_inputs, checked_outputs

if TYPE_CHECKING:
    from npuvp.platform import Platform

__all__ = ["GoldenMachine", "GoldenResult", "run"]


@dataclass
class GoldenResult:
    """What a run of the golden machine gave.

    Attributes:
        outputs: Output tensors by name.
        registers: Per core: pc, gp, fp, ha, loops.
        instructions: Retired ones, per core.
        exit_codes: Of C_HALT, per core.
        host_words: (core, word) that firmware pushed to the host.
        doorbells: (core, code) of interrupts to the host.
        marks: (core, kind, number).
        machine: The machine as it stands, for its memories.
    """

    outputs: dict[str, NDArray[Any]]
    registers: list[dict[str, Any]]
    instructions: list[int]
    exit_codes: list[int]
    host_words: list[tuple[int, int]]
    doorbells: list[tuple[int, int]]
    marks: list[tuple[int, int, int]] = field(default_factory=list)
    machine: "GoldenMachine | None" = None


class GoldenMachine(LoadedMachine):
    """Executes in program order, one core at a time, without time.

    A transfer is complete when its instruction is; cores take turns where one waits for another.
    CSRs that count cycles count instructions.

    Args:
        description: `Platform.description()`.
        firmware: What it runs.
    """

    codec = GoldenCodec()

    def __init__(self, description: dict[str, Any], firmware: Firmware):
        super().__init__(description, firmware)
        self.memory = MemoryMap(description["memory_map"])
        for memory in description["hbms"]:
            parameters = memory["parameters"]
            self.memory.add(parameters["base"], SparseMemory(parameters["size"]))
        cores = description["cores"]
        self.cores = [Core(core["parameters"], core["index"], len(cores)) for core in cores]
        slot = description["platform"]["core_window"] // 8
        for core, described in zip(self.cores, cores, strict=True):
            windows = (
                Window(core.vector),
                Window(core.matrix),
                Window(core.fp_sram, narrow=core.fp_format == "bf16"),
                Window(core.int_sram),
            )
            for number, window in enumerate(windows, 1):
                self.memory.add(described["base"] + number * slot, window)
        self.semaphore_count: int = description["host"]["parameters"]["semaphores"]
        self.semaphores = Semaphores()
        self.barriers = Barriers()
        self.host_words: list[tuple[int, int]] = []
        self.doorbells: list[tuple[int, int]] = []
        self.marks: list[tuple[int, int, int]] = []
        self.observer: Callable[[Core, int], None] | None = None
        """Called after every instruction with its core and pc."""
        self._load()

    def read_global(self, address: int, out: NDArray[np.uint8]) -> None:
        """Fills `out` from a global address on."""
        out[:] = self.memory.read(address, len(out))

    def write_global(self, address: int, data: NDArray[np.uint8]) -> None:
        """Writes from a global address on."""
        self.memory.write(address, data)

    def load_text(self, core: int, words: list[int], entry: int) -> None:
        """Gives a core its program."""
        self.cores[core].text = [decode_word(word) for word in words]
        self.cores[core].pc = entry

    def registers(self, core: int = 0) -> dict[str, Any]:
        """Registers of a core: pc, gp, fp, ha, and the depth of its loop stack."""
        c = self.cores[core]
        return {
            "pc": c.pc,
            "gp": list(c.gp),
            "fp": [float(value) for value in c.fp],
            "ha": list(c.ha),
            "loops": len(c.loops),
        }

    def read_csr(self, core: Core, number: int) -> int:
        """A CSR's value as C_CSRR reads it."""
        counter = core.instructions
        special = {
            CSR["core_id"]: core.index,
            CSR["n_cores"]: core.count,
            CSR["cycle_lo"]: counter & 0xFFFFFFFF,
            CSR["cycle_hi"]: counter >> 32,
            CSR["instret_lo"]: counter & 0xFFFFFFFF,
            CSR["instret_hi"]: counter >> 32,
        }
        return special.get(number, core.csr[number])

    def run(self, max_instructions: int | None = None) -> None:
        """Runs every core to its end.

        Args:
            max_instructions: Where to give up, summed over the cores; None: nowhere.

        Raises:
            Trap: Firmware did something that cannot be carried out.
            DeadlockError: Every core that goes on waits.
            RunError: More than `max_instructions`.
        """
        if not self.advance(max_instructions):
            raise DeadlockError(self._deadlock())

    def advance(self, max_instructions: int | None = None) -> bool:
        """Runs until every core has halted (True) or waits (False) for what is not in the machine,
        such as the host.

        Args:
            max_instructions: Where to give up, summed over the cores; None: nowhere.

        Raises:
            Trap, RunError: As `run`.
        """
        left = max_instructions
        while any(not core.halted for core in self.cores):
            progress = False
            for core in self.cores:
                before, ran = core.instructions, not core.halted
                self._run_core(core, left)
                done = core.instructions - before
                progress = progress or done > 0 or (ran and core.halted)
                if left is not None:
                    left -= done
                    if left <= 0 and not core.halted:
                        raise RunError(
                            f"more than {max_instructions} instructions, core {core.index} at pc "
                            f"{core.pc:#06x}"
                        )
            if not progress:
                return False
        return True

    def _run_core(self, core: Core, limit: int | None) -> None:
        """Runs a core until it halts or waits, or has executed `limit` instructions."""
        stop = None if limit is None else core.instructions + limit
        while not core.halted and (stop is None or core.instructions < stop):
            if core.pc >= len(core.text):
                core.halted = True
                return
            pc = core.pc
            try:
                if not self._execute(core):
                    return
                core.instructions += 1
                if self.observer is not None:
                    self.observer(core, pc)
                self._check_loops(core)
            except Fault as fault:
                raise self._trap(core, fault) from None

    def _execute(self, core: Core) -> bool:
        """Executes one instruction; False, with nothing changed, if the core has to wait."""
        d = core.text[core.pc]
        name = d.name
        if name in CONTROL:
            return CONTROL[name](self, core, d)
        if not name:
            raise Fault("illegal instruction word", illegal_detail(d.word))
        if name in DMA:
            DMA[name](self.memory, core, d)
        elif name == "H_MCAST":
            multicast(self.cores, core, d)
        else:
            simple = SCALAR.get(name) or VECTOR.get(name) or MATRIX[name]
            simple(core, d)
        core.pc += 1
        return True

    def _check_loops(self, core: Core) -> None:
        limit = core.p["max_loop_instructions"]
        if not limit or not core.loops:
            return
        oldest = min(core.loops, key=lambda loop: loop.iteration_began)
        if core.instructions - oldest.iteration_began > limit:
            raise Fault(
                f"more than {limit} instructions in one iteration of a loop",
                f"loop of C_LOOP_START at pc {oldest.start}",
            )

    def _trap(self, core: Core, fault: Fault) -> Trap:
        report: dict[str, Any] = {
            "core": self.description["cores"][core.index]["name"],
            "message": fault.message,
            "detail": fault.detail,
            "pc": core.pc,
            "cycle": core.instructions,
            "time_ps": 0,
            "text": "",
            "operands": [],
            "addresses": [],
        }
        if core.pc < len(core.text):
            d = core.text[core.pc]
            found = decode(d.word)
            report["text"] = instruction_text(d.word & ~(found.ignored if found else 0), core.pc)
            for operand in d.instruction.operands if d.instruction else ():
                if operand.role == "write" or operand.field is None:
                    continue
                number = operand.field.get(d.word)
                shown: tuple[int, ...]
                if operand.kind == "gp":
                    shown = (number, core.gp[number], core.gp_writer[number])
                elif operand.kind == "ha":
                    shown = (number, core.ha[number])
                else:
                    continue
                entries = report["operands" if operand.kind == "gp" else "addresses"]
                if shown not in entries:
                    entries.append(shown)
        return Trap(self._trap_text(core.index, report), report, self)

    def _deadlock(self) -> str:
        lines = ["nothing can happen any more:"]
        for core in self.cores:
            if not core.halted:
                name = self.description["cores"][core.index]["name"]
                where = self._where(core.index, core.pc)
                lines.append(f"{name} at pc {core.pc:#06x} waits for {core.waiting}  {where}")
        return "\n  ".join(lines)


def run(
    platform: "Platform | Mapping[str, Any]",
    firmware: Firmware | str | Path,
    *,
    inputs: Mapping[str, ArrayLike] | None = None,
    outputs: Iterable[str] | None = None,
    max_instructions: int | None = None,
) -> GoldenResult:
    """Runs a firmware on the golden machine of a platform.

    Args:
        platform: A platform, or what its `description()` gives.
        firmware: A `Firmware` or the path of an ELF file.
        inputs: Values of the tensors that the firmware declares as inputs, by name.
        outputs: Tensors to fetch; None: all that are declared as outputs.
        max_instructions: Where to give up; None: nowhere.

    Raises:
        InputError: Firmware, inputs or outputs do not fit.
        Trap: Firmware did something that cannot be carried out.
        DeadlockError: Every core that goes on waits.
        RunError: More than `max_instructions`.
    """
    if not isinstance(firmware, Firmware):
        firmware = Firmware.load(firmware)
    description = dict(platform) if isinstance(platform, Mapping) else platform.description()
    values = checked_inputs(firmware, inputs or {}, integers_only=False)
    fetch = checked_outputs(firmware, outputs)
    machine = GoldenMachine(description, firmware)
    machine.load_inputs(values)
    machine.run(max_instructions)
    return GoldenResult(
        outputs={tensor.name: machine.read_tensor(tensor) for tensor in fetch},
        registers=[machine.registers(core.index) for core in machine.cores],
        instructions=[core.instructions for core in machine.cores],
        exit_codes=[core.exit_code for core in machine.cores],
        host_words=machine.host_words,
        doorbells=machine.doorbells,
        marks=machine.marks,
        machine=machine,
    )
