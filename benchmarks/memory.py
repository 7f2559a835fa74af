"""Requests per second of the built-in HBM, and its ratio to Ramulator where that is present."""

from benchmarks.measurement import Measurement
from npuvp import _core
from npuvp.memory_stream import memory_stream

LIMIT = 30  # times the requests per second of Ramulator 2.1, same stream, same run
REPEAT = 3


def _rate(backend: str, pattern: str, requests: int) -> float:
    """Requests per second of CPU time: 16 channels of 2 pseudo-channels, 32-byte reads."""
    return memory_stream(
        preset="HBM2_2400",
        channels=16,
        pseudo_channels=2,
        backend=backend,
        pattern=pattern,
        reads=1,
        writes=0,
        refresh="all_bank",
        requests=requests,
    ).requests_per_second_simulated


def measure() -> dict[str, Measurement]:
    """The rates, and the ratios where the backend `ramulator` is part of the build."""
    missing = _core.memory_backend_unavailable("ramulator")
    result = {}
    for pattern, own, other in (("sequential", 1_000_000, 250_000), ("random", 500_000, 60_000)):
        rates = {"builtin": 0.0, "ramulator": 0.0}
        for _ in range(REPEAT):
            # In turns, so that noise hits both alike.
            rates["builtin"] = max(rates["builtin"], _rate("builtin", pattern, own))
            if not missing:
                rates["ramulator"] = max(rates["ramulator"], _rate("ramulator", pattern, other))
        result[f"hbm {pattern} requests"] = Measurement(
            rates["builtin"] / 1e6, None, "higher", "M/s", "16 channels x 2, 32 B, built-in"
        )
        ratio = None if missing else rates["builtin"] / rates["ramulator"]
        note = (
            "not measured: this build has no Ramulator (set RAMULATOR_ROOT)"
            if missing
            else f"Ramulator: {rates['ramulator'] / 1e3:.0f} k/s on the same stream"
        )
        name = f"hbm {pattern}, built-in to ramulator"
        result[name] = Measurement(ratio, LIMIT, "higher", "ratio", note)
    return result
