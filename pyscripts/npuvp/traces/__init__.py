"""Traces of a run: waveforms, power, timeline and instruction log."""

from npuvp.traces.selection import SelectionError, select
from npuvp.traces.session import TraceOptions, Tracing, open_tracing, power_columns
from npuvp.traces.times import format_time, picoseconds

__all__ = [
    "SelectionError",
    "TraceOptions",
    "Tracing",
    "format_time",
    "open_tracing",
    "picoseconds",
    "power_columns",
    "select",
]
