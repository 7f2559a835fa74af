"""Processor time of the row kernels in nanoseconds per row of 2048 lanes."""

from npuvp._core import numerics as core

from benchmarks.measurement import Measurement

KERNELS = (
    *("add_vv", "sub_vf", "mul_vv", "max_vv", "exp", "reciprocal", "log", "sqrt", "abs"),
    *("sum", "max", "max_index"),
    *(
        f"{way} {name}"
        for way in ("decode", "encode")
        for name in ("mxfp8_e4m3", "mxint8", "mxint4", "plena_e4m3")
    ),
)


def nanoseconds_per_row(
    lanes: int = 2048, format: str = "bf16", repeat: int = 2000
) -> dict[str, float]:
    """The best of five measurements of every kernel; format is "bf16" or "fp32"."""
    return {
        name: min(core.nanoseconds(name, format, lanes, repeat) for _ in range(5))
        for name in KERNELS
    }


def measure() -> dict[str, Measurement]:
    """Every kernel on BF16 rows; only reported."""
    return {
        f"row_{name.replace(' ', '_')}": Measurement(value, None, "lower", "ns", "BF16, 2048 lanes")
        for name, value in nanoseconds_per_row().items()
    }
