"""Everything the C++ kernels of ``tlm/numerics`` compute, in NumPy and bit for bit.

Row kernels are in `npuvp.golden.rows`, float32 functions in `npuvp.golden.elementary`; the rest is
named as in C++ and re-exported here.
"""

from npuvp.golden import elementary, rows
from npuvp.golden.formats import (
    CANONICAL_NAN_BF16,
    CANONICAL_NAN_FP32,
    bf16_to_float,
    canonical,
    float_bits,
    float_of_bits,
    float_to_bf16,
    from_float,
    round_to,
    to_float,
)
from npuvp.golden.gemm import gemm
from npuvp.golden.mx import (
    MX_FORMATS,
    MxTraits,
    mx_decode_row,
    mx_element_bytes,
    mx_encode_row,
    mx_scale_bytes,
    mx_traits,
)
from npuvp.golden.philox import gumbel, gumbel_row, philox, uniform
from npuvp.golden.rows import LaneMask
from npuvp.golden.topk import topk_mask, topk_softmax

__all__ = [
    "CANONICAL_NAN_BF16",
    "CANONICAL_NAN_FP32",
    "MX_FORMATS",
    "LaneMask",
    "MxTraits",
    "bf16_to_float",
    "canonical",
    "elementary",
    "float_bits",
    "float_of_bits",
    "float_to_bf16",
    "from_float",
    "gemm",
    "gumbel",
    "gumbel_row",
    "mx_decode_row",
    "mx_element_bytes",
    "mx_encode_row",
    "mx_scale_bytes",
    "mx_traits",
    "philox",
    "round_to",
    "rows",
    "to_float",
    "topk_mask",
    "topk_softmax",
    "uniform",
]
