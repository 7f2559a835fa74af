"""The simulated machine of one run: elaborated from a platform, loaded with a firmware."""

import math
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from npuvp._core import convert
from npuvp._core import machine as _machine
from npuvp.energy import CoreEnergy, EnergyTable, load_energy
from npuvp.errors import DeadlockError, RunError, Trap
from npuvp.firmware import Firmware
from npuvp.loading import LoadedMachine
from npuvp.memory_facts import energy_generation
from npuvp.parameters import copied
from npuvp.quantities import format_quantity

__all__ = ["Machine", "core_coefficients", "energy_coefficients", "memory_coefficients"]


def energy_coefficients(description: Mapping[str, Any]) -> dict[str, Any]:
    """Energy coefficients of every component, as the simulator takes them (fJ and W).

    Raises:
        EnergyError: The table lacks something that the platform needs.
    """
    table = load_energy(description["platform"]["energy"]).at(description["platform"]["voltage"])
    clock = description["platform"]["clock"]
    gated = description["platform"]["clock_gating"]
    result: dict[str, Any] = {}
    areas = []
    for core in description["cores"]:
        parameters = core["parameters"]
        e = table.core(parameters, clock, gated)
        areas.append(sum(e.area_mm2.values()))
        result[core["name"]] = copied(core_coefficients(e, parameters["weight_format"]))
    for memory in description["hbms"]:
        result[memory["name"]] = memory_coefficients(table, memory)
    if description["noc"] is not None:
        flit = description["noc"]["parameters"]["flit_bytes"]
        # A link is about as long as a tile is wide, and a tile is as large as its core.
        hop = math.sqrt(max(areas))
        result[description["noc"]["name"]] = {"hop_fj": table.noc(flit, hop).hop_fj}
    return result


@lru_cache(maxsize=1024)
def core_coefficients(e: CoreEnergy, weight: str) -> dict[str, Any]:
    """Those of a core, for weights of a format; who changes them makes a copy before."""
    watts = e.static_watts
    return {
        "issue_fj": e.issue_fj,
        "classes": {
            name: {"once_fj": c.once_fj, "element_fj": c.element_fj}
            for name, c in e.classes.items()
        },
        "row_access_fj": e.sram_access_fj["vector"],
        "matrix_row_fj": e.sram_access_fj["matrix"],
        "dma_byte_fj": e.dma_byte_fj,
        "mac_fj": e.mac_fj.get(weight, e.mac_fj["bf16"]),
        "static_watts": {
            "control": watts["control"] + watts["imem"],
            "scalar": watts["scalar"],
            "vector": watts["vector"],
            "matrix": watts["matrix"],
            "dma": watts["dma"],
            "sram": sum(w for name, w in watts.items() if name.endswith("_sram")),
        },
    }


def memory_coefficients(table: EnergyTable, memory: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a memory of a platform's description."""
    parameters = memory["parameters"]
    m = table.memory(energy_generation(parameters))
    channels = max(1, parameters["channels"] * parameters["stacks"])
    return {
        "static_watts": m.background_watts * channels,
        "read_byte_fj": m.read_byte_fj,
        "write_byte_fj": m.write_byte_fj,
        "by_command": parameters["backend"] != "ideal",
        "activate_fj": m.activate_fj,
        "read_command_byte_fj": m.read_array_byte_fj + m.interface_byte_fj,
        "write_command_byte_fj": m.write_array_byte_fj + m.interface_byte_fj,
        "refresh_fj": m.refresh_fj,
        "refresh_bank_fj": m.refresh_fj // _banks(memory["config"]),
    }


def _banks(config: Mapping[str, Any] | None) -> int:
    """Banks of a pseudo-channel, all of which an all-bank refresh covers."""
    if config is None:
        return 1
    organization = config["organization"]
    return int(organization["stack_ids"] * organization["bank_groups"] * organization["banks"])


class Machine(LoadedMachine):
    """One run's machine. It can be read (and written) before and after it runs.

    Args:
        description: `Platform.description()`.
        firmware: What it runs.
        functional: Data mode.
        targets: Targets written in Python, by name.
    """

    codec = convert

    def __init__(
        self,
        description: dict[str, Any],
        firmware: Firmware,
        *,
        functional: bool = True,
        targets: Mapping[str, Any] | None = None,
    ):
        super().__init__(description, firmware, functional)
        self.native = _machine.Machine(
            description, energy_coefficients(description), dict(targets or {}), functional
        )
        self._load()

    def read_global(self, address: int, out: NDArray[np.uint8]) -> None:
        """Fills `out` from a global address on, without time passing."""
        self.native.read(address, out)

    def write_global(self, address: int, data: NDArray[np.uint8]) -> None:
        """Writes from a global address on, without time passing."""
        self.native.write(address, data)

    def load_text(self, core: int, words: list[int], entry: int) -> None:
        """Gives a core its program."""
        self.native.load_text(core, words, entry)

    def registers(self, core: int = 0) -> dict[str, Any]:
        """Registers of a core: pc, gp, fp, ha, and the depth of its loop stack."""
        found: dict[str, Any] = self.native.registers(core)
        return found

    # Running

    def run(self, progress: bool | None = None) -> None:
        """Runs to the end.

        Args:
            progress: Show simulated time while it runs; None: where it takes over two seconds and
                standard error is a terminal.

        Raises:
            Trap: Firmware did something that cannot be carried out.
            DeadlockError: Nothing can happen any more, or nothing has for as long as the platform's
                watchdog waits: cores only wait or poll.
            KeyboardInterrupt: Ctrl-C; traces up to that instant are complete.
        """
        stop = (
            _show_progress(self.native, self.description["name"]) if progress is not False else None
        )
        try:
            outcome = self.native.run()
        finally:
            if stop is not None:
                stop()
        if outcome == _machine.Outcome.interrupted:
            raise KeyboardInterrupt
        error = self.error_of(outcome)
        if error is not None:
            raise error

    def error_of(self, outcome: Any) -> RunError | None:
        """What to raise for the outcome of a run; None for one that finished."""
        if outcome == _machine.Outcome.trapped:
            return self._trap()
        if outcome == _machine.Outcome.deadlocked:
            return DeadlockError(self._deadlock("nothing can happen any more"))
        if outcome == _machine.Outcome.stalled:
            limit = format_quantity("time", self.description["platform"]["watchdog"])
            return DeadlockError(
                self._deadlock(f"no core has made progress for {limit} (the platform's `watchdog`)")
            )
        if outcome != _machine.Outcome.finished:
            return RunError(f"the run ended as {outcome}")
        return None

    def _trap(self) -> Trap:
        for index in range(len(self.description["cores"])):
            report = self.native.core(index)["trap"]
            if report is not None:
                return Trap(self._trap_text(index, report), report, self)
        raise AssertionError("no core trapped")

    def _deadlock(self, what: str) -> str:
        lines = [f"{what} at {self.native.end_ps / 1e6:.3f} us:"]
        for index, core in enumerate(self.description["cores"]):
            state = self.native.core(index)
            if state["finished"]:
                continue
            pc = self.registers(index)["pc"]
            waiting = state["waiting_for"]
            does = f"waits for {waiting}" if waiting else "runs, but only polls"
            lines.append(f"{core['name']} at pc {pc:#06x} {does}  {self._where(index, pc)}")
        return "\n  ".join([*lines, *self.native.waiting])


def _show_progress(native: Any, name: str) -> Callable[[], None]:
    """Prints simulated time from a thread of its own, from two seconds on; returns how to stop."""
    done = threading.Event()

    def show() -> None:
        if done.wait(2.0):
            return
        with tqdm(
            desc=name,
            unit=" us",
            unit_scale=False,
            disable=None,
            leave=False,
            bar_format="{desc}: {n:.1f} us simulated in {elapsed}",
        ) as bar:
            while not done.wait(0.2):
                bar.n = native.progress_ps / 1e6
                bar.refresh()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join()

    return stop
