"""The machine's number formats on PyTorch tensors, bit for bit.

`round_trip` gives what an encoding followed by a decoding gives (`npuvp.golden.mx`; the DMA engine in
the machine). Values are float32 throughout.
"""

import torch
from torch import Tensor

from npuvp.baos import TINY, CacheFormat, headroom
from npuvp.golden.mx import mx_traits

__all__ = ["bf16", "factors", "fold", "normalise", "round_trip"]


def bf16(x: Tensor) -> Tensor:
    """Rounds float32 to BF16 numbers, to nearest even."""
    return x.to(torch.bfloat16).to(torch.float32)


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent for integers in -149..127, exactly (subnormal float32 included)."""
    wide = (exponent.to(torch.int64) + 1023) << 52
    return wide.view(torch.float64).to(torch.float32)


def _biased_exponent(x: Tensor) -> Tensor:
    """Exponent field of float32 numbers, int32, 0..255."""
    return (x.contiguous().view(torch.int32) >> 23) & 0xFF


def round_trip(x: Tensor, element: str, block: int) -> Tensor:
    """What an MX format keeps: every block of `block` values on the last axis shares a scale.

    The scale is 2^(floor(log2 of the largest magnitude) - emax), at least 2^-127; elements are
    rounded to nearest even and saturate; a block with an infinity or a NaN becomes NaN.

    Args:
        x: float32, the last axis a multiple of `block`.
        element: Name of an OCP format (`npuvp.golden.mx.MX_FORMATS`), or "bf16".
        block: Values that share a scale.

    Returns:
        float32, same shape, before any rounding to the format of Vector SRAM.

    Raises:
        ValueError: No such format, or blocks do not divide the last axis.
    """
    if element == "bf16":
        return bf16(x)
    t = mx_traits(element)
    if not t.kind.startswith("ocp"):
        raise ValueError(f"element format {element!r}, allowed: bf16 and the OCP formats")
    if block < 1 or x.shape[-1] % block:
        raise ValueError(f"blocks of {block} do not divide {x.shape[-1]} values")
    blocks = x.reshape(*x.shape[:-1], -1, block)
    largest = blocks.abs().amax(dim=-1, keepdim=True)
    special = ~torch.isfinite(largest)
    # A subnormal maximum has an exponent below -126; the scale is clamped in either case.
    exponent = torch.frexp(torch.where(special, 1.0, largest))[1] - 1
    exponent = torch.where(largest == 0, -126, exponent)
    exponent = (exponent - t.emax).clamp(min=-127)
    y = blocks * _power_of_two(-exponent)
    magnitude = y.abs()
    if t.kind == "ocp_int":
        value = torch.round(magnitude * 2.0**t.mantissa_bits) * 2.0**-t.mantissa_bits
    else:
        # Elements below the smallest normal number share its step.
        step = (_biased_exponent(magnitude) - 127).clamp(min=1 - t.bias) - t.mantissa_bits
        size = ((step + 127) << 23).view(torch.float32)
        value = torch.round(magnitude / size) * size
    value = value.clamp(max=t.max)
    result = torch.copysign(value, y) * _power_of_two(exponent)
    if t.kind == "ocp_int":
        result = result + 0.0  # two's complement has no -0
    result = torch.where(special, torch.nan, result)
    return result.reshape(x.shape)


def factors(x: Tensor, format: CacheFormat) -> Tensor:
    """`npuvp.baos.factors`: (B, L, heads, channels) to (B, 1, heads, channels)."""
    largest = x.abs().amax(dim=1, keepdim=True)
    if format.rounding == "pow2":
        bits = largest.contiguous().view(torch.int32)
        fraction = ((bits & 0x7FFFFF) != 0).to(torch.int32)
        factor = ((bits & 0x7F800000) + (fraction << 23)).view(torch.float32)
    else:
        factor = bf16(largest * headroom(format.element))
    return torch.where(largest < TINY, 1.0, factor)


def normalise(x: Tensor, factor: Tensor) -> Tensor:
    """`npuvp.baos.normalise`: x * (1 / factor), both rounded to BF16."""
    return bf16(x * bf16(1.0 / factor))


def fold(x: Tensor, factor: Tensor) -> Tensor:
    """`npuvp.baos.fold`: x * factor rounded to BF16."""
    return bf16(x * factor)
