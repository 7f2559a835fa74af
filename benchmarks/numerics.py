"""Processor time of the row kernels in nanoseconds per row: ``python -m benchmarks.numerics``."""

from npuvp._core import numerics as core

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


if __name__ == "__main__":
    columns = [nanoseconds_per_row(format=format) for format in ("bf16", "fp32")]
    print(f"{'ns per row of 2048 lanes':24}{'BF16':>10}{'FP32':>10}")
    for name in KERNELS:
        print(f"{name:24}" + "".join(f"{column[name]:10.0f}" for column in columns))
