"""Mean and highest power per component, from the same numbers as the power trace's file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ComponentPower", "PowerSummary", "power_summary"]


@dataclass(frozen=True)
class ComponentPower:
    """Power of one component. An estimate.

    Attributes:
        average: Energy over the run's duration, in W.
        peak: Of the highest window, in W, to the last digit what the CSV says.
        peak_ps: Where that window begins.
        dynamic_fj: Energy of events, in fJ.
        static_fj: Leakage and clocks, in fJ.
    """

    average: float
    peak: float
    peak_ps: int
    dynamic_fj: int
    static_fj: int


@dataclass(frozen=True)
class PowerSummary:
    """Power of a run.

    Attributes:
        window_ps: Length of a window.
        components: By column of the power trace.
        total: Of all; its peak is that of the sum.
    """

    window_ps: int
    components: Mapping[str, ComponentPower]
    total: ComponentPower

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""

        def plain(power: ComponentPower) -> dict[str, Any]:
            return {
                "average_w": power.average,
                "peak_w": power.peak,
                "peak_ns": power.peak_ps / 1e3,
                "dynamic_j": power.dynamic_fj * 1e-15,
                "static_j": power.static_fj * 1e-15,
            }

        return {
            "window_ns": self.window_ps / 1e3,
            "total": plain(self.total),
            "components": {name: plain(power) for name, power in self.components.items()},
        }


def power_summary(sink: Any, time_ps: int) -> PowerSummary:
    """Reads a power trace's sink after its run of `time_ps` picoseconds."""

    def component(dynamic: int, static: int, peak: float, peak_ps: int) -> ComponentPower:
        # 1 fJ in 1 ps is 1 mW.
        average = (dynamic + static) / time_ps * 1e-3 if time_ps else 0.0
        return ComponentPower(average, peak, peak_ps, dynamic, static)

    components = {
        name: component(sink.dynamic_fj(i), sink.static_fj(i), *sink.column_peak(i))
        for i, name in enumerate(sink.columns)
    }
    total = component(
        sum(c.dynamic_fj for c in components.values()),
        sum(c.static_fj for c in components.values()),
        sink.peak_watts,
        sink.peak_begin,
    )
    return PowerSummary(sink.window_ps, components, total)
