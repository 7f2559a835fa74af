"""Runs a program on the machine and on the golden machine and compares all architectural state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npuvp.errors import RunError, Trap
from npuvp.firmware import Firmware, Text
from npuvp.golden import GoldenMachine
from npuvp.isa import load
from npuvp.machine import Machine

MAX_INSTRUCTIONS = 30_000
UNTIMED = [c for c in load().csrs if not c.name.startswith("cycle")]


@dataclass
class End:
    """How a run ended: nothing, or a trap."""

    message: str = ""
    detail: str = ""
    pc: int = -1
    text: str = ""


def run_machine(description: dict[str, Any], firmware: Firmware) -> tuple[Machine, End]:
    machine = Machine(description, firmware)
    try:
        machine.run(progress=False)
    except Trap as trap:
        report = next(
            machine.native.core(i)["trap"]
            for i in range(len(description["cores"]))
            if machine.native.core(i)["trap"]
        )
        return machine, End(trap.message, report["detail"], trap.pc, str(trap))
    return machine, End()


def run_golden(description: dict[str, Any], firmware: Firmware) -> tuple[GoldenMachine, End]:
    machine = GoldenMachine(description, firmware)
    try:
        machine.run(MAX_INSTRUCTIONS)
    except Trap as trap:
        return machine, End(trap.message, "", trap.pc, str(trap))
    return machine, End()


@dataclass
class Run:
    """A comparison: what differs, how the machine's run ended, what it executed."""

    faults: list[str]
    end: End
    executed: dict[str, int]


def compare(description: dict[str, Any], firmware: Firmware, hbm_bytes: int) -> Run | None:
    """Runs on both machines; None where the program does not end."""
    try:
        golden, wanted = run_golden(description, firmware)
    except RunError:
        return None
    machine, found = run_machine(description, firmware)
    executed: Counter[str] = Counter()
    for core in range(len(description["cores"])):
        executed.update(machine.native.core(core)["instructions_by_mnemonic"])
    faults: list[str] = []
    if (found.message, found.pc) != (wanted.message, wanted.pc):
        faults.append(
            f"end: machine {found.message!r} at pc {found.pc}, golden {wanted.message!r} at "
            f"pc {wanted.pc}\n--- machine\n{found.text}\n--- golden\n{wanted.text}"
        )
    # The machine learns of a failed transfer later than the instruction that asked for it.
    elif not found.message.startswith("DMA "):
        faults = _state_differences(description, machine, golden, hbm_bytes)
        if found.text != wanted.text and "illegal" not in found.text and "C_JUMP" not in found.text:
            faults.append(f"trap text:\n--- machine\n{found.text}\n--- golden\n{wanted.text}")
    return Run(faults, found, executed)


def _state_differences(
    description: dict[str, Any], machine: Machine, golden: GoldenMachine, hbm_bytes: int
) -> list[str]:
    faults = []
    for core in range(len(description["cores"])):
        faults += _core_differences(description, machine, golden, core)
    ours = np.zeros(hbm_bytes, np.uint8)
    theirs = np.zeros(hbm_bytes, np.uint8)
    base = description["hbms"][0]["parameters"]["base"]
    machine.read_global(base, theirs)
    golden.read_global(base, ours)
    faults += _array("hbm", theirs, ours)
    for what, timed, wanted in (
        ("host words", machine.native.host_words, golden.host_words),
        ("doorbells", machine.native.doorbells, golden.doorbells),
    ):
        found = sorted(((core, word) for _, core, word in timed), key=lambda word: word[0])
        if found != sorted(wanted, key=lambda word: word[0]):
            faults.append(f"{what}: machine {found[:8]}, golden {wanted[:8]}")
    return faults


def _core_differences(
    description: dict[str, Any], machine: Machine, golden: GoldenMachine, core: int
) -> list[str]:
    faults = []
    theirs, ours = machine.registers(core), golden.registers(core)
    for key in ("pc", "gp", "ha", "loops"):
        if theirs[key] != ours[key]:
            faults.append(f"{key}: machine {theirs[key]}, golden {ours[key]}")
    # A register's signalling NaN comes through a Python float as a quiet one.
    quiet = np.array(theirs["fp"], np.float32).view(np.uint32)
    wanted = np.array(ours["fp"], np.float32).view(np.uint32)
    if not np.array_equal(quiet, wanted):
        faults.append(f"fp: machine {[hex(v) for v in quiet]}, golden {[hex(v) for v in wanted]}")
    retired = machine.native.core(core)["instructions"]
    if retired != golden.cores[core].instructions:
        faults.append(f"retired: machine {retired}, golden {golden.cores[core].instructions}")
    if machine.native.core(core)["exit_code"] != golden.cores[core].exit_code:
        faults.append("exit codes differ")
    base = description["cores"][core]["base"]
    for csr in UNTIMED:
        word = np.zeros(4, np.uint8)
        machine.read_global(base + 4 * csr.number, word)
        value = int(word.view(np.uint32)[0])
        expected = golden.read_csr(golden.cores[core], csr.number)
        if value != expected:
            faults.append(f"CSR {csr.name}: machine {value:#x}, golden {expected:#x}")
    name = description["cores"][core]["name"]
    for sram in ("vector", "matrix", "fp", "int"):
        _, unit, storage, size = machine.place(f"{name}.{sram}")
        a = machine.read_bytes(f"{name}.{sram}", 0, size * unit)
        b = golden.read_bytes(f"{name}.{sram}", 0, size * unit)
        kind = {2: np.uint16, 4: np.uint32}[unit]
        faults += _array(f"{name}.{sram} ({storage})", a.view(kind), b.view(kind))
    return faults


def _array(what: str, theirs: Any, ours: Any) -> list[str]:
    where = np.flatnonzero(theirs != ours)
    if not len(where):
        return []
    shown = ", ".join(
        f"[{i}] machine {int(theirs[i]):#x} golden {int(ours[i]):#x}" for i in where[:6]
    )
    return [f"{what}: {len(where)} differ: {shown}"]


def minimal(description: dict[str, Any], firmware: Firmware, hbm_bytes: int) -> list[int]:
    """The program with every instruction taken out that the difference does not need."""
    words = list(next(iter(firmware.cores.values())).words)

    def kind(candidate: list[int]) -> str:
        trial = replace(firmware, cores={-1: Text(candidate, [None] * len(candidate))})
        run = compare(description, trial, hbm_bytes)
        return run.faults[0].partition(":")[0] if run and run.faults else ""

    wanted = kind(words)
    nothing = 0x22  # S_ADDI_INT gp0, gp0, 0
    step = len(words)
    while step:
        for begin in range(0, len(words), step):
            piece = words[begin : begin + step]
            candidate = [*words[:begin], *[nothing] * len(piece), *words[begin + step :]]
            if candidate != words and kind(candidate) == wanted:
                words = candidate
        step //= 2
    return words
