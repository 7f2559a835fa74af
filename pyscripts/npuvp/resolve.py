"""Fills in the parameters whose value 0 stands for another parameter or for a preset's figure."""

from typing import Any

__all__ = ["FORMAT_BYTES", "UNSCALED", "resolve_core"]

FORMAT_BYTES = {"bf16": 2, "fp32": 4}
"""Bytes of one element in a storage format."""

UNSCALED = ("bf16", "fp16", "fp32")
"""Memory formats without blocks and scales."""


def resolve_core(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a core as the machine sees them (`zero` in `parameters.yaml`)."""
    result = dict(values)
    result["mlen"] = mlen = values["mlen"] or values["vlen"]
    result["blen"] = values["blen"] or min(128, mlen)
    result["hlen"] = values["hlen"] or min(128, values["vlen"], mlen)
    result["matrix_sram_bytes"] = (
        values["matrix_sram_bytes"] or 2 * mlen * mlen * FORMAT_BYTES[values["matrix_format"]]
    )
    result["prefetch_m_rows"] = values["prefetch_m_rows"] or mlen
    return result
