"""What happens to a waveform around its run: FST by conversion, limits and forecasts."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from npuvp.traces.session import TraceOptions, Tracing
from npuvp.traces.times import format_time

if TYPE_CHECKING:
    from npuvp.machine import Machine

__all__ = ["Waveform"]


class Waveform:
    """The waveform of one run.

    Args:
        options: What was asked for.

    Raises:
        ValueError: An FST file is asked for and `vcd2fst` is not installed.
    """

    def __init__(self, options: TraceOptions):
        self.fst: Path | None = None
        self.options = options
        if options.vcd is not None and Path(options.vcd).suffix == ".fst":
            if shutil.which("vcd2fst") is None:
                raise ValueError(
                    f"{options.vcd}: FST files are made by vcd2fst, which is not installed "
                    "(Debian: apt install gtkwave); a name that ends in .vcd needs nothing"
                )
            self.fst = Path(options.vcd)
            self.options = replace(options, vcd=self.fst.with_suffix(".vcd"))

    @property
    def shows_commands(self) -> bool:
        """Whether names of DRAM commands are needed."""
        return self.options.vcd is not None or self.options.timeline_commands

    def files(self, tracing: Tracing) -> dict[str, Path]:
        """What is written, under the names that it has in the end."""
        return tracing.files if self.fst is None else {**tracing.files, "vcd": self.fst}

    def close(self, tracing: Tracing, machine: "Machine") -> list[str]:
        """Converts and reports, after the run or what ended it. Returns what the user should know.

        Raises:
            RuntimeError: The conversion failed; the VCD file stays.
        """
        if tracing.vcd is None:
            return []
        notes = []
        end = machine.native.end_ps
        if tracing.vcd.limit_reached:
            at, begin = tracing.vcd.limit_at, tracing.vcd.start
            share = (end - begin) / max(at - begin, 1)
            notes.append(
                f"the waveform reached its limit of {self.options.limit_bytes:,} bytes at "
                f"{format_time(at)} of {format_time(end)}; all of it would take about "
                f"{share * self.options.limit_bytes / 1e6:,.0f} MB: choose fewer signals "
                "(--signals) or a part of the run (--wave-start, --wave-stop), or raise the limit"
            )
        if tracing.vcd.waiting:
            notes.append(
                f"the waveform is empty: {self.options.start!r}, where it was to begin, did not come"
            )
        if self.fst is not None:
            vcd = tracing.files["vcd"]
            done = subprocess.run(
                ["vcd2fst", str(vcd), str(self.fst)], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise RuntimeError(
                    f"vcd2fst {vcd} {self.fst} failed: {done.stderr.strip()}; {vcd} is whole"
                )
            vcd.unlink()
            tracing.files["vcd"] = self.fst
        return notes
