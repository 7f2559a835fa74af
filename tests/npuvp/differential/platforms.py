"""Small platforms of every kind of geometry and format."""

from __future__ import annotations

from functools import cache
from typing import Any

from npuvp import Platform

COMMON = {
    "imem_words": 1 << 16,
    "fp_sram_words": 96,
    "int_sram_words": 96,
    "prefetch_v_rows": 3,
    "writeback_v_rows": 2,
}

GEOMETRIES: dict[str, dict[str, Any]] = {
    # name: parameters of the core; rows of Vector SRAM are chosen below
    "square": {"vlen": 16, "mlen": 16, "blen": 4, "hlen": 4},
    "plena": {
        "vlen": 16, "mlen": 16, "blen": 4, "hlen": 4, "issue": "blocking", "fp_format": "bf16",
        "matrix_rows": 2, "act_format": "plena_e4m3", "act_block": 8, "weight_format": "plena_e4m3",
        "weight_block": 8, "kv_format": "plena_e4m3", "kv_block": 8, "max_loop_instructions": 200,
    },
    "fp32": {
        "vlen": 8, "mlen": 8, "blen": 2, "hlen": 2, "vector_format": "fp32",
        "matrix_format": "fp32", "act_format": "mxfp8_e4m3", "act_block": 8,
        "weight_format": "bf16", "kv_format": "mxint4", "kv_block": 8,
    },
    "narrow_registers": {
        "vlen": 16, "mlen": 8, "blen": 4, "hlen": 4, "vector_format": "fp32", "fp_format": "bf16",
        "act_format": "mxint8", "act_block": 16, "weight_format": "mxint8", "weight_block": 8,
        "kv_format": "bf16",
    },
    "wide_array": {
        "vlen": 8, "mlen": 16, "blen": 8, "hlen": 8, "act_format": "mxint8", "act_block": 8,
        "weight_format": "mxint8", "weight_block": 16, "kv_format": "mxint8", "kv_block": 8,
        "issue": "blocking",
    },
}  # fmt: skip


@cache
def description(name: str) -> dict[str, Any]:
    core = dict(COMMON, **GEOMETRIES[name])
    vector = 2 if core.get("vector_format", "bf16") == "bf16" else 4
    matrix = 2 if core.get("matrix_format", "bf16") == "bf16" else 4
    core.setdefault("act_format", "mxfp8_e4m3")
    core.setdefault("act_block", 16)
    core.setdefault("weight_block", 16)
    core.setdefault("kv_block", 16)
    rows = 160 if core["mlen"] <= core["vlen"] else 320
    core["vector_sram_bytes"] = rows * core["vlen"] * vector
    core["matrix_sram_bytes"] = 3 * core["mlen"] ** 2 * matrix
    platform = Platform(f"differential_{name}")
    platform.hbm("hbm", backend="ideal", size="1MiB", latency="20ns", bandwidth="64GB/s")
    platform.core("core0", **core)
    return platform.description()
